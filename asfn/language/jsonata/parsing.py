"""Text to syntax tree, by jsonata-python's parser in the grammar of JSONata 2.0.6, and AWS's text for what fails.

The tree is the port's own (`Parser.Symbol`), read here and in `syntax.py`, evaluated by `pure.py`, never changed.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from asfn.language.jsonata import failures
from asfn.language.jsonata.failures import JsonataSyntaxError
from asfn.language.jsonata.port import JException, Parser, RegexFlags, Tokenizer
from asfn.language.jsonata.regex import Pattern, PatternError

Node: TypeAlias = Any  # jsonata.parser.Parser.Symbol, an untyped library's class

_MAX_CHARACTERS: Final = 262_144
_MAX_TOKENS: Final = 32_768  # half a second


def parse(source: str) -> Node:
    """The syntax tree of an expression without its delimiters. Raises JsonataSyntaxError."""
    if len(source) > _MAX_CHARACTERS:
        raise _too_long()
    parser = Parser()
    lexer = _Lexer(source)
    parser.source = source
    parser.lexer = lexer
    try:
        parser.advance()
        tree = parser.expression(0)
        if parser.node.id != "(end)":
            raise JException("S0201", parser.node.position, parser.node.value)
        tree = parser.process_ast(tree)
    except JsonataSyntaxError:
        raise
    except JException as error:
        raise _refusal(error) from None
    except RecursionError:
        raise JsonataSyntaxError("U1001", failures.STACK_LIMIT) from None  # AWS's text is not known [U]
    except KeyError as error:
        raise _coded("S0204", error.args[0]) from None
    except (RuntimeError, AttributeError, TypeError, IndexError, ValueError) as error:
        raise _unforeseen(str(error), lexer) from None
    if tree.type == "parent" or tree.seeking_parent is not None:
        raise _coded("S0217")
    return tree


class _Lexer(Tokenizer):  # type: ignore[misc]  # the library has no types
    """The port's tokenizer without the operators that came after 2.0.6, and with the codes it misses."""

    def __init__(self, source: str) -> None:
        super().__init__(source, _compile_pattern)
        self.tokens_left = _MAX_TOKENS

    def next(self, prefix: bool) -> Any:
        self.tokens_left -= 1
        if self.tokens_left < 0:
            raise _too_long()
        try:
            token = super().next(prefix)
        except IndexError:
            raise self._cut_short() from None
        except PatternError as error:
            raise JException("S0302", self.position, str(error)) from None
        if token is not None and token.type == "operator" and token.value in ("?:", "??"):
            self.position -= 1  # 2.0.6 reads two operators
            token.value = "?"
        return token

    def _cut_short(self) -> JException:
        """The text ended inside a token."""
        text = self.path
        opened = text.rfind("/*")
        if opened >= 0 and text.find("*/", opened + 2) < 0:
            return JException("S0106", opened)
        if text.endswith("\\"):
            return JException("S0103", len(text), "")
        return JException("S0207" if text.endswith("/") else "S0101", len(text))


def _too_long() -> JsonataSyntaxError:
    """AWS's own bound is not known [U]."""
    return JsonataSyntaxError("U1001", "The expression is too long")


def _compile_pattern(pattern: str, flags: RegexFlags) -> Pattern:
    return Pattern.compile(pattern, ignore_case=flags.case_insensitive, multiline=flags.multiline)


def _refusal(error: JException) -> JsonataSyntaxError:
    code = error.error
    if code == "S0301" and error.current is not None:
        code = "S0103"  # the port reports an illegal escape under the code of an empty pattern
    if code == "S0302" and error.current is not None:
        return JsonataSyntaxError("S0302", str(error.current))
    return _coded(code, error.current, error.expected, error.extra)


def _coded(code: str, *details: object) -> JsonataSyntaxError:
    return JsonataSyntaxError(code, failures.render(code, details))


def _unforeseen(text: str, lexer: _Lexer) -> JsonataSyntaxError:
    """An exception of the port itself, on text that the reference refuses with a code."""
    if "parameterized types" in text:
        return _coded("S0402")
    if "Type parameters" in text:
        return _coded("S0401")
    if lexer.position >= lexer.length:
        return _coded("S0207")
    return _coded("S0201", lexer.path[lexer.position : lexer.position + 1])
