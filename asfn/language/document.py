"""A definition as it was handed in: its value, its text, and where each part of the text stands.

Positions are worked out when a finding asks for one; a clean definition never pays for them. Whatever the
text holds, reading it gives a Document or a DefinitionError.
"""

from __future__ import annotations

import json
import math
import os
import re
from typing import TYPE_CHECKING, Final, Literal, NoReturn

from asfn._json import JsonError, decode
from asfn.errors import DefinitionError
from asfn.language.diagnostics import Diagnostic
from asfn.language.source_json import MAX_DEPTH, JsonSyntaxError, Lines, Node, parse_positions, source_location
from asfn.language.source_yaml import YamlSyntaxError, parse_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asfn._json import Json

Format = Literal["json", "yaml"]
Tokens = tuple[str | int, ...]

MAX_PLACED_CHARACTERS: Final = 1_048_576
"""Longest JSON text in which places are looked up, what AWS takes ([M]). Beyond it findings have no line."""

_YAML_SUFFIXES: Final = (".yaml", ".yml")
_YAML_START: Final = re.compile(r"(?:\s*(?:#[^\n]*)?\n)*(?:---|%YAML|\s*[\w\"'-]+\s*:(?:\s|$))")


class Document:
    """A definition with the text it was read from.

    value: JSON, not yet checked.   text: None when the definition was given as a value.   name: the file's
    name.
    """

    __slots__ = ("_lines", "_nodes", "name", "repeats", "text", "value")

    def __init__(
        self,
        value: Json,
        text: str | None = None,
        name: str | None = None,
        *,
        nodes: Node | None = None,
        repeats: bool = False,
    ) -> None:
        self.value = value
        self.text = text
        self.name = name
        self.repeats = repeats
        self._nodes = nodes
        self._lines: Lines | None = None

    def position(self, pointer_tokens: Tokens) -> tuple[int, int] | None:
        """Line and column, from 1, of the value at a path of names and indexes; None when not known."""
        node = self._find(pointer_tokens)
        return None if node is None else self._at(node.offset)

    def key_position(self, pointer_tokens: Tokens) -> tuple[int, int] | None:
        """Line and column of the member's name, or of the value where it has none (in a list, the root)."""
        node = self._find(pointer_tokens)
        if node is None:
            return None
        return self._at(node.offset if node.key_offset is None else node.key_offset)

    def repeated_names(self) -> Iterator[tuple[Tokens, tuple[int, int]]]:
        """Every name that stands twice in one object: its path, and the position of the later one."""
        if not self.repeats or self.text is None:
            return
        stack: list[tuple[Tokens, Node]] = [((), self._root())]
        while stack:
            tokens, node = stack.pop()
            for name, offset in node.repeated:
                yield (*tokens, name), self._at(offset)
            stack.extend(((*tokens, token), child) for token, child in reversed(node.members.items()))

    def _find(self, tokens: Tokens) -> Node | None:
        return None if self.text is None else self._root().find(tokens)

    def _root(self) -> Node:
        assert self.text is not None
        if self._nodes is None:
            if len(self.text) > MAX_PLACED_CHARACTERS:
                self._nodes = Node(0)
                return self._nodes
            try:
                self._nodes = parse_positions(self.text)
            except JsonSyntaxError:  # nesting that the decoder still took
                self._nodes = Node(0)
        return self._nodes

    def _at(self, offset: int) -> tuple[int, int]:
        assert self.text is not None
        if self._lines is None:
            self._lines = Lines(self.text)
        return self._lines.position(offset)


def read_document(
    source: str | bytes | dict[str, Json] | os.PathLike[str],
    *,
    name: str | None = None,
    format: Format | None = None,
) -> Document:
    """A definition from its text, its value, or the file at a path.

    A str is the text itself, JSON or YAML; which one is told by `format`, by the suffix of `name`, or else
    seen from the text. Raises DefinitionError with one finding when the text is neither, is not UTF-8, or
    cannot be read.
    """
    if isinstance(source, os.PathLike):
        path = os.fspath(source)
        name = name or os.path.basename(path)
        try:
            with open(path, "rb") as file:
                source = file.read()
        except OSError as error:
            _refuse(f"The definition file {path} cannot be read: {error.strerror or error}")
    if isinstance(source, (bytes, bytearray, memoryview)):
        source = _text(bytes(source))
    if not isinstance(source, str):
        return Document(source, None, name)
    text = source.removeprefix("\ufeff")
    if not text.isascii():
        _check_unicode(text)
    if not text.strip():
        blank = Diagnostic("ERROR", "SCHEMA_VALIDATION_FAILED", "Definition must be a valid JSON object")
        raise DefinitionError([blank])  # [A] test_validate_state_machine_definition_not_a_definition[EMPTY_STRING]
    if format is None and name is not None and name.lower().endswith(_YAML_SUFFIXES):
        format = "yaml"
    if format == "yaml":
        return _read_yaml(text, name)
    try:
        value = decode(text)
    except JsonError as error:
        if format is None and text.lstrip()[0] not in '{["' and _YAML_START.match(text):
            return _read_yaml(text, name)
        _refuse_json(text, str(error))
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_too_deep(value):
        _refuse_json(text, "recursion")
    return Document(value, text, name, repeats=_has_repeated_names(text))


def json_fault(value: object, path: str = "$", depth: int = 0) -> str | None:
    """Why a Python value is not JSON, or None. Only for definitions given as values: a text cannot be wrong so."""
    if value is None or isinstance(value, (bool, int)):
        return None
    if isinstance(value, str):
        return None if value.isascii() or _is_unicode(value) else f"{path} holds a lone surrogate"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{path} is {value}"
    if depth >= MAX_DEPTH:
        return f"{path[:80]}… is nested too deeply"
    if isinstance(value, dict):
        for name, member in value.items():
            if not isinstance(name, str) or not (name.isascii() or _is_unicode(name)):
                return f"{path} has the name {name!r}, which is not text"
            fault = json_fault(member, f"{path}.{name}", depth + 1)
            if fault:
                return fault
        return None
    if isinstance(value, list):
        for index, member in enumerate(value):
            fault = json_fault(member, f"{path}[{index}]", depth + 1)
            if fault:
                return fault
        return None
    return f"{path} is of type {type(value).__name__}"


def _is_too_deep(value: Json) -> bool:
    """Whether lists and objects are nested deeper than MAX_DEPTH, which the decoder may still take."""
    level: list[Json] = [value]
    for _ in range(MAX_DEPTH + 1):
        containers = [node for node in level if isinstance(node, (dict, list))]
        if not containers:
            return False
        level = [member for node in containers for member in (node.values() if isinstance(node, dict) else node)]
    return True


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_unicode(text: str) -> None:
    """Refuse a text with a lone surrogate, which no finding could show."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        line, column = Lines(text).position(error.start)
        _refuse(f"The definition is not Unicode text: character {error.start} is a lone surrogate", line, column)


def _read_yaml(text: str, name: str | None) -> Document:
    try:
        value, nodes = parse_yaml(text)
    except YamlSyntaxError as error:
        _refuse(f"The YAML text cannot be read: {error.message}", error.line, error.column)
    return Document(value, text, name, nodes=nodes, repeats=True)


def _text(data: bytes) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - (before.rfind(b"\n") + 1) + 1
        _refuse(f"The definition is not {encoding.upper()} text: byte {error.start} is not valid", line, column)


def _has_repeated_names(text: str) -> bool:
    """Whether some object of a valid JSON text names a member twice; the decoder keeps the last."""
    found = False

    def look(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal found
        members = dict(pairs)
        found = found or len(members) != len(pairs)
        return members

    try:
        json.loads(text, object_pairs_hook=look, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return False
    return found


def _refuse_json(text: str, reason: str) -> NoReturn:
    """Raise for a text that the decoder refused, with AWS's sentence and location for it."""
    if len(text) > MAX_PLACED_CHARACTERS:
        _refuse_long(text, reason)
    try:
        parse_positions(text)
    except JsonSyntaxError as error:
        line, column = Lines(text).position(error.offset)
        location = source_location(text, line, column)
        _refuse(f"{error.message}\n at {location}", line, column, location)
    _refuse(f"The definition cannot be read: {reason}")


def _refuse_long(text: str, reason: str) -> NoReturn:
    """Raise for a long text with what the decoder said; reading it once more would take seconds."""
    if "recursion" in reason:
        _refuse(f"The definition cannot be read: lists and objects may be nested {MAX_DEPTH} deep")
    found = re.search(r"\(byte ([0-9]+)\)", reason)
    head = text.encode(errors="replace")[: int(found[1])].decode(errors="ignore") if found else text
    line, column = head.count("\n") + 1, len(head) - (head.rfind("\n") + 1) + 1
    _refuse(f"The definition cannot be read: {reason}", line, column)


def _refuse(message: str, line: int | None = None, column: int | None = None, pointer: str | None = None) -> NoReturn:
    raise DefinitionError([Diagnostic("ERROR", "INVALID_JSON_DESCRIPTION", message, pointer, line, column)])
