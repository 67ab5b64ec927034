"""The grammar of paths: text to steps, by recursive descent over Jayway's dialect (asl.md section 4).

Nothing is evaluated here: `paths.py` makes accessors of reference paths, `path_nodes.py` a tree of the rest.
Texts are hostile: length, number of steps and nesting are bounded, and every refusal is a PathSyntaxError.
"""

from __future__ import annotations

import json
import re
from typing import Final

from asfn._json import Json, JsonError, decode
from asfn.language.path_steps import (
    Call,
    Compare,
    Comparison,
    Constant,
    Element,
    Every,
    Exists,
    Filter,
    Junction,
    Member,
    Negation,
    Operand,
    Pattern,
    Route,
    Scan,
    Span,
    Step,
    Test,
)

_MAX_TEXT: Final = 8_192
_MAX_STEPS: Final = 100
_MAX_NESTING: Final = 20
_MAX_INDEX: Final = 2_147_483_647  # a Java int, as in Jayway
_BLANKS: Final = " \t\r\n"
_NAME_ENDS: Final = frozenset(".[()] \t\r\n")
_INNER_NAME_ENDS: Final = _NAME_ENDS | frozenset("<>=!~&|,")  # inside filters and calls: `@.price<10`
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_SPAN: Final = re.compile(r" *(?P<start>-?[0-9]+)? *: *(?P<stop>-?[0-9]+)? *(?:: *(?:-?[0-9]+)? *)?")
_INDEXES: Final = re.compile(r" *-?[0-9]+ *(?:, *-?[0-9]+ *)*")
_BARE_WORD_ENDS: Final = frozenset(" \t\r\n)&|<>=!~,")

_SYMBOLS: Final[tuple[Comparison, ...]] = ("===", "!==", "==", "!=", "<=", ">=", "=~", "<", ">")
_WORDS: Final[tuple[Comparison, ...]] = (
    "subsetof", "contains", "noneof", "anyof", "empty", "size", "nin", "all", "in",
)  # fmt: skip
_FUNCTIONS: Final = frozenset(
    ["length", "size", "min", "max", "avg", "sum", "stddev", "keys", "concat", "append", "first", "last", "index"]
)


class PathSyntaxError(ValueError):
    """A text is not a path, or not of the kind asked for. column: 0-based place, None when unknown."""

    def __init__(self, message: str, column: int | None = None) -> None:
        super().__init__(message)
        self.column = column


def parse_steps(text: str, start: int) -> tuple[Step, ...]:
    """The steps of a path behind its root, which ends before `start`; trailing blanks are allowed.

    Raises PathSyntaxError.
    """
    if len(text) > _MAX_TEXT:
        raise PathSyntaxError(f"a path may have at most {_MAX_TEXT} characters")
    parser = _Parser(text.rstrip(_BLANKS), start)
    steps = parser.steps(0)
    if parser.place < len(parser.text):
        raise parser.error("expected '.' or '['")
    return steps


class _Parser:
    """One pass over one text; `place` is the next character to read."""

    __slots__ = ("place", "text")

    def __init__(self, text: str, place: int) -> None:
        self.text = text
        self.place = place

    def error(self, message: str, place: int | None = None) -> PathSyntaxError:
        column = self.place if place is None else place
        return PathSyntaxError(f"{message} at column {column} of '{self.text[:200]}'", column)

    def peek(self, offset: int = 0) -> str:
        place = self.place + offset
        return self.text[place] if place < len(self.text) else ""

    def skip_blanks(self) -> None:
        while self.place < len(self.text) and self.text[self.place] in _BLANKS:
            self.place += 1

    def take(self, text: str) -> bool:
        if self.text.startswith(text, self.place):
            self.place += len(text)
            return True
        return False

    def take_behind_blanks(self, text: str) -> bool:
        self.skip_blanks()
        return self.take(text)

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise self.error(f"expected '{text}'")

    # Steps.

    def steps(self, depth: int) -> tuple[Step, ...]:
        if depth > _MAX_NESTING:
            raise self.error("nested too deeply")
        steps: list[Step] = []
        while self.peek() in (".", "["):
            if steps and isinstance(steps[-1], Call):
                raise self.error("a function must be the last step")
            if self.take(".."):
                steps.append(Scan())
                steps.append(self.bracket(depth) if self.peek() == "[" else self.named(depth))
            elif self.take("."):
                steps.append(self.bracket(depth) if self.peek() == "[" else self.named(depth))
            else:
                steps.append(self.bracket(depth))
            if len(steps) > _MAX_STEPS:
                raise self.error(f"a path may have at most {_MAX_STEPS} steps")
        return tuple(steps)

    def named(self, depth: int) -> Step:
        if self.take("*"):
            return Every()
        begin = self.place
        name = self.name(_NAME_ENDS if depth == 0 else _INNER_NAME_ENDS)
        if not name:
            raise self.error("expected a name, '*' or '['", begin)
        if self.peek() == "(":
            return self.call(name, begin, depth)
        return Member((name,))

    def name(self, ends: frozenset[str]) -> str:
        r"""A name in dot notation; `\` keeps a character from ending it, `\uXXXX` is a UTF-16 unit [S]."""
        parts: list[str] = []
        while (character := self.peek()) and character not in ends:
            self.place += 1
            if character == "\\":
                character = self.escape()
            elif character < " ":
                raise self.error("control character in a name", self.place - 1)
            parts.append(character)
        return _joined_surrogates("".join(parts))

    def escape(self) -> str:
        escaped = self.peek()
        if not escaped:
            raise self.error("nothing behind '\\'")
        self.place += 1
        digits = self.text[self.place : self.place + 4]
        if escaped == "u" and len(digits) == 4 and all(digit in "0123456789abcdefABCDEF" for digit in digits):
            self.place += 4
            return chr(int(digits, 16))
        return escaped

    def bracket(self, depth: int) -> Step:
        begin = self.place
        self.expect("[")
        self.skip_blanks()
        character = self.peek()
        if character in ("'", '"'):
            return self.quoted_names(character)
        if character == "?":
            return self.filter(depth)
        if character == "*":
            self.place += 1
            self.skip_blanks()
            self.expect("]")
            return Every()
        end = self.text.find("]", self.place)
        if end < 0:
            raise self.error("missing ']'", begin)
        inside = self.text[self.place : end]
        step = self.numbers(inside)
        self.place = end + 1
        return step

    def numbers(self, inside: str) -> Step:
        if (span := _SPAN.fullmatch(inside)) is not None and (span["start"] or span["stop"]):
            return Span(*(self.index(span[name]) if span[name] else None for name in ("start", "stop")))
        if _INDEXES.fullmatch(inside) is None:
            raise self.error("expected a quoted name, an index, '*', a slice such as [1:] or a filter '?('")
        return Element(tuple(self.index(number) for number in inside.split(",")))

    def index(self, text: str) -> int:
        if len(text) > 20 or abs(int(text)) > _MAX_INDEX:
            raise self.error("an index is too large")
        return int(text)

    def quoted_names(self, quote: str) -> Member:
        names = []
        while True:
            names.append(self.quoted(quote, names_only=True))
            self.skip_blanks()
            if self.take("]"):
                return Member(tuple(names))
            if not self.take(","):
                raise self.error("expected ',' or ']' behind a name")
            self.skip_blanks()

    def quoted(self, quote: str, *, names_only: bool) -> str:
        r"""The text between two quotes.

        A recording shows that `\"` inside `['...']` keeps its backslash [A]. So in names a backslash only
        guards the quote itself [U]; in texts of filters it escapes as in JSON.
        """
        begin = self.place
        self.expect(quote)
        parts: list[str] = []
        while (character := self.peek()) != quote:
            if not character:
                raise self.error(f"missing {quote}", begin)
            self.place += 1
            if character == "\\":
                if names_only:
                    following = self.peek()
                    self.place += 1
                    character = following if following == quote else character + following
                else:
                    character = self.text_escape()
            parts.append(character)
        self.place += 1
        return _joined_surrogates("".join(parts))

    def text_escape(self) -> str:
        controls = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
        following = self.escape()
        return controls.get(following, following)

    def call(self, name: str, begin: int, depth: int) -> Call:
        if name not in _FUNCTIONS:
            raise self.error(f"there is no function {name}()", begin)
        self.expect("(")
        arguments: list[Operand] = []
        self.skip_blanks()
        while not self.take(")"):
            arguments.append(self.operand(depth + 1, bare_words=False))
            self.skip_blanks()
            if not self.take(",") and self.peek() != ")":
                raise self.error("expected ',' or ')'")
            self.skip_blanks()
        return Call(name, tuple(arguments))

    # Filters.

    def filter(self, depth: int) -> Filter:
        self.expect("?")
        self.skip_blanks()
        self.expect("(")
        test = self.any_of(depth + 1)
        self.skip_blanks()
        self.expect(")")
        self.skip_blanks()
        self.expect("]")
        return Filter(test)

    def any_of(self, depth: int) -> Test:
        if depth > _MAX_NESTING:
            raise self.error("nested too deeply")
        tests = [self.all_of(depth)]
        while self.take_behind_blanks("||"):
            tests.append(self.all_of(depth))
        return tests[0] if len(tests) == 1 else Junction(False, tuple(tests))

    def all_of(self, depth: int) -> Test:
        tests = [self.single(depth)]
        while self.take_behind_blanks("&&"):
            tests.append(self.single(depth))
        return tests[0] if len(tests) == 1 else Junction(True, tuple(tests))

    def single(self, depth: int) -> Test:
        if depth > _MAX_NESTING:
            raise self.error("nested too deeply")
        self.skip_blanks()
        if self.take("!"):
            return Negation(self.single(depth + 1))
        if self.take("("):
            test = self.any_of(depth + 1)
            self.skip_blanks()
            self.expect(")")
            return test
        return self.relation(depth)

    def relation(self, depth: int) -> Test:
        begin = self.place
        left = self.operand(depth, bare_words=True)
        self.skip_blanks()
        if self.peek() in (")", "&", "|"):
            if not isinstance(left, Route):
                raise self.error("expected a comparison", begin)
            return Exists(left)
        operator = self.comparison()
        self.skip_blanks()
        right = self.operand(depth, bare_words=True)
        if operator == "=~" and isinstance(left, Pattern) == isinstance(right, Pattern):
            raise self.error("'=~' needs one pattern such as /a.*/i", begin)
        if operator != "=~" and (isinstance(left, Pattern) or isinstance(right, Pattern)):
            raise self.error("a pattern needs '=~'", begin)
        return Compare(left, operator, right)

    def comparison(self) -> Comparison:
        for symbol in _SYMBOLS:
            if self.take(symbol):
                return symbol
        for word in _WORDS:
            if self.text[self.place : self.place + len(word)].lower() == word:
                following = self.peek(len(word))
                if not (following.isalnum() or following == "_"):
                    self.place += len(word)
                    return word
        raise self.error("expected a comparison such as == or in")

    def operand(self, depth: int, *, bare_words: bool) -> Operand:
        self.skip_blanks()
        character = self.peek()
        if character in ("@", "$"):
            self.place += 1
            return Route(character == "@", self.steps(depth + 1))
        if character in ("'", '"'):
            return Constant(self.quoted(character, names_only=False))
        if character == "/":
            return self.pattern()
        if character in ("[", "{"):
            return Constant(self.json_literal())
        number = _NUMBER.match(self.text, self.place)
        if number is not None:
            self.place = number.end()
            return Constant(self.decoded(number.group(), number.start()))
        return self.word(bare_words)

    def word(self, bare_words: bool) -> Constant:
        """true, false, null, or a text without quotes: published machines write `@.Name==Receipt` [R]."""
        begin = self.place
        while (character := self.peek()) and character not in _BARE_WORD_ENDS:
            self.place += 1
        text = self.text[begin : self.place]
        if text in ("true", "false", "null"):
            return Constant(decode(text))
        if not bare_words or not text or not all(part.isalnum() or part in "_-.:" for part in text):
            raise self.error("expected a value or a path", begin)
        return Constant(text)

    def json_literal(self) -> Json:
        """A list or object; texts may have single quotes, as `['a','b']`."""
        begin = self.place
        depth = 0
        quote = ""
        while character := self.peek():
            self.place += 1
            if quote:
                if character == "\\":
                    self.place += 1
                elif character == quote:
                    quote = ""
            elif character in ("'", '"'):
                quote = character
            elif character in "[{":
                depth += 1
            elif character in "]}":
                depth -= 1
                if depth == 0:
                    return self.decoded(_with_double_quotes(self.text[begin : self.place]), begin)
        raise self.error("a list or object is not closed", begin)

    def decoded(self, text: str, begin: int) -> Json:
        try:
            return decode(text)
        except JsonError:
            raise self.error("not valid JSON", begin) from None

    def pattern(self) -> Pattern:
        begin = self.place
        self.place += 1
        while (character := self.peek()) != "/":
            if not character:
                raise self.error("a pattern is not closed", begin)
            self.place += 2 if character == "\\" else 1
        text = self.text[begin + 1 : self.place].replace("\\/", "/")
        self.place += 1
        flags = ""
        while self.peek().isalpha():
            flags += self.peek()
            self.place += 1
        from asfn.language.linear_regex import LinearRegex, RegexError  # few paths have a pattern

        try:
            return Pattern(LinearRegex.compile(text, flags))
        except RegexError as error:
            raise self.error(f"pattern: {error}", begin) from None


def _with_double_quotes(text: str) -> str:
    """The JSON text with its single-quoted texts rewritten."""

    def rewritten(match: re.Match[str]) -> str:
        token = match.group()
        if token[0] == '"':
            return token
        return json.dumps(token[1:-1].replace("\\'", "'"))

    return re.sub(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", rewritten, text, flags=re.DOTALL)


def _joined_surrogates(text: str) -> str:
    r"""Two escaped halves `\uD83D\uDE00` become one character; a half alone stays as it is."""
    if text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
