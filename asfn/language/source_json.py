"""Where things stand in a JSON text: a parser that keeps positions, for diagnostics only.

The values come from `asfn._json.decode`, which is fast and keeps no positions. This parser runs when that one
failed, or when a finding needs a line and a column. It never recurses, so that no text can exhaust the stack,
and its sentences are those of the parser AWS uses (Jackson), as far as they are known ([A] api.md section 8;
others [R]).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Final, NoReturn

MAX_DEPTH: Final = 500
"""Nesting of lists and objects that a definition may have, JSON and YAML. AWS's bound is not known [U]."""

_BLANK: Final = re.compile(r"[ \t\r\n]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_PLAIN: Final = re.compile(r'[^"\\\x00-\x1f]*')
_FRACTION: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.(?![0-9])|(?:\.[0-9]+)?[eE](?![+-]?[0-9])[+-]?)")  # cut short
_WORD: Final = re.compile(r"(?!\d)[\w$]+")
_LITERALS: Final = ("null", "true", "false")
_VALUE: Final = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
_SNIPPET_CHARACTERS: Final = 500
_WORD_CHARACTERS: Final = 256

# An entry as nearly all are: a name without escapes, a scalar, and what may follow it. All else is read step by step.
_SCALAR: Final = (
    r'(?P<value>"[^"\\\x00-\x1f]*"|true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)'
    r"(?=[ \t\r\n]*[,\]}])"
)
_NAME: Final = r'(?P<key>"(?P<name>[^"\\\x00-\x1f]*)")[ \t\r\n]*:[ \t\r\n]*'
_FIRST_MEMBER: Final = re.compile(rf"[ \t\r\n]*{_NAME}(?:{_SCALAR}|(?P<bracket>[\[{{]))")
_NEXT_MEMBER: Final = re.compile(rf"[ \t\r\n]*,[ \t\r\n]*{_NAME}(?:{_SCALAR}|(?P<bracket>[\[{{]))")
_FIRST_ELEMENT: Final = re.compile(rf"[ \t\r\n]*{_SCALAR}")
_NEXT_ELEMENT: Final = re.compile(rf"[ \t\r\n]*,[ \t\r\n]*{_SCALAR}")


class Node:
    """One value of the text. offset, key_offset: where the value and its key begin, None without a key.

    members: children by name or index, of a list or an object.   repeated: names that stand again in this object,
    with the offset of the later key.
    """

    __slots__ = ("key_offset", "members", "offset", "repeated")

    def __init__(self, offset: int, key_offset: int | None = None) -> None:
        self.offset = offset
        self.key_offset = key_offset
        self.members: dict[str | int, Node] = _NO_MEMBERS
        self.repeated: tuple[tuple[str, int], ...] = ()

    def find(self, tokens: tuple[str | int, ...]) -> Node | None:
        """The node at the end of a path of names and indexes, or None."""
        node = self
        for token in tokens:
            child = node.members.get(token)
            if child is None:
                return None
            node = child
        return node


_NO_MEMBERS: Final[dict[str | int, Node]] = {}  # shared by every node that is no list or object; never changed


class Lines:
    """Line and column, both from 1, of an offset in a text."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer(r"\n|\r\n?", text))]

    def position(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


class JsonSyntaxError(ValueError):
    """The text is not JSON. message: Jackson's sentence without the place; offset: where it stopped."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


def source_location(text: str, line: int, column: int) -> str:
    """AWS's location of a syntax error, `[Source: (String)"<text>"; line: 1, column: 4]`; cut when long [R]."""
    cut = len(text) - _SNIPPET_CHARACTERS
    snippet = f'"{text[:_SNIPPET_CHARACTERS]}"' + (f"[truncated {cut} chars]" if cut > 0 else "")
    return f"[Source: (String){snippet}; line: {line}, column: {column}]"


def _shown(character: str) -> str:
    """A character as Jackson names it, `'}' (code 125)`; beyond Latin-1 in hexadecimal too."""
    code = ord(character)
    if code < 0x20 or 0x7F <= code < 0xA0:
        return f"(CTRL-CHAR, code {code})"
    return f"'{character}' (code {code}{f' / 0x{code:x}' if code > 255 else ''})"


def parse_positions(text: str) -> Node:
    """The nodes of a JSON text. Raises JsonSyntaxError; never anything else, whatever the text."""
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: Lines | None = None
        self.open: list[tuple[str, int, Node]] = []

    def parse(self) -> Node:
        """One value, read with a stack of open lists and objects instead of recursion."""
        self.blanks()
        root = self.value(None)
        while self.open:
            bracket, _, node = self.open[-1]
            if bracket == "{":
                if not self.plain_member(node):
                    self.member(node)
            elif not self.plain_element(node):
                self.element(node)
        self.blanks()
        if self.at < len(self.text):
            self.unexpected(f"was expecting the end of the text after {'an object' if root.members else 'a value'}")
        return root

    def plain_member(self, node: Node) -> bool:
        """The next name and value of the open object, when they are written plainly; else False and nothing read."""
        match = (_NEXT_MEMBER if node.members else _FIRST_MEMBER).match(self.text, self.at)
        if match is None:
            return False
        name, key_offset = match["name"], match.start("key")
        if name in node.members:
            node.repeated = (*node.repeated, (name, key_offset))
        if match["bracket"] is None:
            self.at = match.end()
            node.members[name] = Node(match.start("value"), key_offset)
        else:
            self.at = match.end() - 1
            node.members[name] = self.value(key_offset)
        return True

    def plain_element(self, node: Node) -> bool:
        """The next value of the open list, when it is a scalar written plainly; else False and nothing read."""
        match = (_NEXT_ELEMENT if node.members else _FIRST_ELEMENT).match(self.text, self.at)
        if match is None:
            return False
        self.at = match.end()
        node.members[len(node.members)] = Node(match.start("value"))
        return True

    def member(self, node: Node) -> None:
        """The next name and value of the open object, or its end."""
        self.blanks()
        if not node.members and self.peek("Object") in "]}":
            self.first_end("}")
            return
        if node.members and not self.separator("}", "Object"):
            return
        if self.peek("Object", within=bool(node.members)) != '"':
            self.unexpected("was expecting double-quote to start field name")
        key_offset = self.at
        name = self.string("name")
        self.blanks()
        if self.peek("Object", within=True) != ":":
            self.unexpected("was expecting a colon to separate field name and value")
        self.at += 1
        self.blanks()
        if name in node.members:
            node.repeated = (*node.repeated, (name, key_offset))
        node.members[name] = self.value(key_offset)

    def element(self, node: Node) -> None:
        """The next value of the open list, or its end."""
        self.blanks()
        if not node.members and self.peek("Array") in "]}":
            self.first_end("]")
            return
        if node.members and not self.separator("]", "Array"):
            return
        node.members[len(node.members)] = self.value(None)

    def first_end(self, end: str) -> None:
        """The end of an empty list or object."""
        if self.text[self.at] != end:
            self.mismatch(self.text[self.at])
        self.close()

    def separator(self, end: str, kind: str) -> bool:
        """Steps over the comma before the next entry; False when the list or object ended instead."""
        character = self.peek(kind)
        if character == end:
            self.close()
            return False
        if character in "]}":
            self.mismatch(character)
        if character != ",":
            self.unexpected(f"was expecting comma to separate {kind} entries")
        self.at += 1
        self.blanks()
        return True

    def value(self, key_offset: int | None) -> Node:
        node = Node(self.at, key_offset)
        character = self.peek("Object" if self.open and self.open[-1][0] == "{" else "Array", within=True)
        if character in "{[":
            if len(self.open) >= MAX_DEPTH:
                message = f"Document nesting depth ({MAX_DEPTH + 1}) exceeds the maximum allowed ({MAX_DEPTH})"
                raise JsonSyntaxError(message, self.at)
            node.members = {}
            self.open.append((character, self.at, node))
            self.at += 1
        elif character == '"':
            self.string("string value")
        elif character in "-0123456789":
            self.number()
        else:
            self.word(character)
        return node

    def word(self, character: str) -> None:
        """null, true or false; anything else is no value."""
        word = _WORD.match(self.text, self.at)
        if word is None:
            if not self.open and character in "]}":
                self.mismatch(character)
            self.unexpected("expected a value" if character == "}" else f"expected a valid value {_VALUE}")
        token = word.group()
        if token in _LITERALS:
            self.at = word.end()
            return
        if token in ("NaN", "Infinity"):
            why = "enable JsonParser.Feature.ALLOW_NON_NUMERIC_NUMBERS to allow"  # [U] other versions say it otherwise
            raise JsonSyntaxError(f"Non-standard token '{token}': {why}", word.end())
        if len(token) >= _WORD_CHARACTERS:
            message = f"Unrecognized token '{token[:_WORD_CHARACTERS]}...': was expecting {_VALUE}"
            raise JsonSyntaxError(message, self.at + _WORD_CHARACTERS)
        raise JsonSyntaxError(f"Unrecognized token '{token}': was expecting {_VALUE}", word.end())

    def number(self) -> None:
        text = self.text
        short = _FRACTION.match(text, self.at)
        if short:
            part = "Decimal point" if short.group().endswith(".") else "Exponent indicator"
            self.no_digit(short.end(), f"{part} not followed by a digit", self.at + 1)
        number = _NUMBER.match(text, self.at)
        if number is None:
            why = "expected digit (0-9) to follow minus sign, for valid numeric value"
            self.no_digit(self.at + 1, why, self.at + 2)
        end = number.end()
        follower = text[end : end + 1]
        if number.group() in ("0", "-0") and follower and follower in "0123456789":
            raise JsonSyntaxError("Invalid numeric value: Leading zeroes not allowed", end)
        self.at = end
        if not self.open and follower not in ("", " ", "\t", "\r", "\n"):
            self.unexpected("Expected space separating root-level values")

    def no_digit(self, at: int, why: str, stopped_at: int) -> NoReturn:
        """A number that breaks off at an offset."""
        if at >= len(self.text):
            raise JsonSyntaxError("Unexpected end-of-input in a Number value", at)
        raise JsonSyntaxError(f"Unexpected character ({_shown(self.text[at])}) in numeric value: {why}", stopped_at)

    def string(self, what: str) -> str:
        """Steps over a string and returns its content."""
        text = self.text
        start = self.at
        at = start + 1
        pieces: list[str] = []
        while True:
            plain = _PLAIN.match(text, at)
            assert plain is not None
            pieces.append(plain.group())
            at = plain.end()
            if at >= len(text):
                why = " in field name" if what == "name" else f": was expecting closing quote for a {what}"
                raise JsonSyntaxError(f"Unexpected end-of-input{why}", at)
            character = text[at]
            if character == '"':
                self.at = at + 1
                return "".join(pieces)
            if character != "\\":
                message = (
                    f"Illegal unquoted character ({_shown(character)}): "
                    f"has to be escaped using backslash to be included in {what}"
                )
                raise JsonSyntaxError(message, at + 1)
            piece, at = self.escape(at + 1)
            pieces.append(piece)

    def escape(self, at: int) -> tuple[str, int]:
        """The character of the escape after a backslash, and the offset behind it."""
        character = self.text[at : at + 1]
        simple = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/"}
        if character in simple and character:
            return simple[character], at + 1
        if character != "u":
            if not character:
                raise JsonSyntaxError("Unexpected end-of-input in character escape sequence", at)
            raise JsonSyntaxError(f"Unrecognized character escape {_shown(character)}", at + 1)
        digits = self.text[at + 1 : at + 5]
        wrong = re.search(r"[^0-9A-Fa-f]", digits)
        if wrong:
            why = "expected a hex-digit for character escape sequence"
            raise JsonSyntaxError(f"Unexpected character ({_shown(wrong.group())}): {why}", at + 2 + wrong.start())
        if len(digits) < 4:
            raise JsonSyntaxError("Unexpected end-of-input in character escape sequence", len(self.text))
        code = int(digits, 16)
        low = re.match(r"\\u([Dd][C-Fc-f][0-9A-Fa-f]{2})", self.text[at + 5 : at + 11])
        if 0xD800 <= code < 0xDC00 and low:
            return chr(0x10000 + ((code - 0xD800) << 10) + int(low.group(1), 16) - 0xDC00), at + 11
        if 0xD800 <= code < 0xE000:
            raise JsonSyntaxError(f"Invalid surrogate character: \\u{digits} stands alone", at + 5)
        return chr(code), at + 5

    def close(self) -> None:
        self.open.pop()
        self.at += 1

    def blanks(self) -> None:
        if self.text[self.at : self.at + 1] > " ":  # the usual case, without a search
            return
        blank = _BLANK.match(self.text, self.at)
        assert blank is not None
        self.at = blank.end()

    def peek(self, kind: str, *, within: bool = False) -> str:
        """The character at hand; the end of the text is an error. within: a comma, name or colon stands before it."""
        if self.at < len(self.text):
            character = self.text[self.at]
            if character == "/":
                feature = "(not recognized as one since Feature 'ALLOW_COMMENTS' not enabled for parser)"
                self.unexpected(f"maybe a (non-standard) comment? {feature}")
            if character < " ":
                why = r"only regular white space (\r, \n, \t) is allowed between tokens"
                raise JsonSyntaxError(f"Illegal character ({_shown(character)}): {why}", self.at + 1)
            return character
        if not self.open:
            raise JsonSyntaxError("No content to map due to end-of-input", self.at)
        if within:
            raise JsonSyntaxError(f"Unexpected end-of-input within/between {kind} entries", self.at)
        opening = self.place(self.open[-1][1])
        message = f"Unexpected end-of-input: expected close marker for {kind} (start marker at {opening})"
        raise JsonSyntaxError(message, self.at)

    def unexpected(self, wanted: str) -> NoReturn:
        raise JsonSyntaxError(f"Unexpected character ({_shown(self.text[self.at])}): {wanted}", self.at + 1)

    def mismatch(self, character: str) -> NoReturn:
        """A bracket that closes what is not open."""
        kind, place = "root", source_location(self.text, 1, 0)
        if self.open:
            bracket, offset, _ = self.open[-1]
            kind, place = "Object" if bracket == "{" else "Array", self.place(offset)
        end = "}" if character == "]" else "]"
        message = f"Unexpected close marker '{character}': expected '{end}' (for {kind} starting at {place})"
        raise JsonSyntaxError(message, self.at + 1)

    def place(self, offset: int) -> str:
        if self.lines is None:
            self.lines = Lines(self.text)
        return source_location(self.text, *self.lines.position(offset))
