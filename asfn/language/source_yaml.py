"""YAML text as JSON values with positions: the core schema of YAML 1.2, without its traps.

Only JSON types come out: `Yes`, `on`, `NO` and `2024-01-01` are text, as YAML 1.2 reads them, and so are
`.inf` and `.nan`. Keys are always text. Aliases are followed within a bound, and nothing recurses. PyYAML is
loaded on use.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from asfn.language.source_json import MAX_DEPTH, Node

if TYPE_CHECKING:
    from asfn._json import Json

MAX_VALUES: Final = 500_000
"""How many values a YAML text may unfold to: a bound for aliases of aliases."""

MAX_CHARACTERS: Final = 1_048_576
"""Length of a YAML text: what AWS takes for a definition [M]. A longer one would take seconds to read."""

_TAG: Final = "tag:yaml.org,2002:"
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT: Final = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_MERGE: Final = object()


class YamlSyntaxError(ValueError):
    """The text is not YAML, or holds what JSON has no place for. line, column: from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


def parse_yaml(text: str) -> tuple[Json, Node]:
    """The value of a YAML text and its nodes, whose offsets are those of the text. Raises YamlSyntaxError."""
    if len(text) > MAX_CHARACTERS:
        raise YamlSyntaxError(f"the text is longer than {MAX_CHARACTERS} characters", 1, 1)
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Builder().build(yaml.parse(text, Loader=loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(part for part in (error.context, error.problem) if part)
        raise YamlSyntaxError(message, *((mark.line + 1, mark.column + 1) if mark else (1, 1))) from error
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        if isinstance(error, YamlSyntaxError):
            raise
        raise YamlSyntaxError(str(error).splitlines()[0], 1, 1) from error


class _Open:
    """A list or object whose end has not come: its value, its node, the key that waits for a value."""

    __slots__ = ("anchor", "key", "key_offset", "merges", "node", "value")

    def __init__(self, value: Any, node: Node, anchor: str | None) -> None:
        node.members = {}
        self.value = value  # Any: a list or a dict of Json, told apart where it matters
        self.node = node
        self.anchor = anchor
        self.key: object = None
        self.key_offset = 0
        self.merges: list[tuple[Json, Any]] = []


class _Builder:
    """Values from parse events, with a stack of its own. What an alias repeats is shared, not copied."""

    def __init__(self) -> None:
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Json, Node, int]] = {}
        self.sizes: dict[int, int] = {}
        self.count = 0
        self.root: tuple[Json, Node] | None = None

    def build(self, events: Any) -> tuple[Json, Node]:  # Any: PyYAML's events are not typed
        for event in events:
            kind = type(event).__name__
            if kind == "ScalarEvent":
                self.scalar(event)
            elif kind in ("MappingStartEvent", "SequenceStartEvent"):
                self.start(event, {} if kind == "MappingStartEvent" else [])
            elif kind in ("MappingEndEvent", "SequenceEndEvent"):
                self.end(event)
            elif kind == "AliasEvent":
                self.alias(event)
            elif kind == "DocumentStartEvent" and self.root is not None:
                raise _error(event, "a definition is one YAML document, and a second one begins here")
        if self.root is None:
            return None, Node(0)
        return self.root

    def scalar(self, event: Any) -> None:
        opened = self.stack[-1] if self.stack else None
        if opened is not None and isinstance(opened.value, dict) and opened.key is None:
            merge = event.value == "<<" and not event.style and event.tag is None
            opened.key = _MERGE if merge else event.value
            opened.key_offset = event.start_mark.index
            return
        node = Node(event.start_mark.index)
        self.place(event, _scalar(event), node, 1)
        if event.anchor:
            self.anchors[event.anchor] = (_scalar(event), node, 1)

    def start(self, event: Any, value: Json) -> None:
        if event.tag not in (None, "!", f"{_TAG}map", f"{_TAG}seq"):
            raise _error(event, f"the tag {_shown(event.tag)} has no meaning in a definition")
        if len(self.stack) >= MAX_DEPTH:
            raise _error(event, f"lists and objects may be nested {MAX_DEPTH} deep")
        if self.stack and isinstance(self.stack[-1].value, dict) and self.stack[-1].key is None:
            raise _error(event, "a key must be text")
        self.stack.append(_Open(value, Node(event.start_mark.index), event.anchor))
        self.sizes[id(value)] = self.count

    def end(self, event: Any) -> None:
        opened = self.stack.pop()
        value = opened.value
        for merged, node in opened.merges:
            for source in merged if isinstance(merged, list) else [merged]:
                if not isinstance(source, dict):
                    raise _error(event, "<< merges objects only")
                for key, member in source.items():
                    if key not in value:
                        value[key] = member
                        opened.node.members[key] = node.members.get(key, node)
        size = self.count - self.sizes.pop(id(value)) + 1
        self.place(event, value, opened.node, 1)
        if opened.anchor:
            self.anchors[opened.anchor] = (value, opened.node, size)

    def alias(self, event: Any) -> None:
        if self.stack and isinstance(self.stack[-1].value, dict) and self.stack[-1].key is None:
            raise _error(event, "a key must be text")
        if event.anchor not in self.anchors:
            inside = any(opened.anchor == event.anchor for opened in self.stack)
            why = "holds itself" if inside else "is not defined before this place"
            raise _error(event, f"the alias *{event.anchor} {why}")
        value, node, size = self.anchors[event.anchor]
        self.place(event, value, node, size)

    def place(self, event: Any, value: Json, node: Node, size: int) -> None:
        """Puts a finished value into the list or object that is open."""
        self.count += size
        if self.count > MAX_VALUES:
            raise _error(event, f"the text unfolds to more than {MAX_VALUES} values")
        if not self.stack:
            self.root = (value, node)
            return
        opened = self.stack[-1]
        container = opened.value
        if isinstance(container, list):
            opened.node.members[len(container)] = node
            container.append(value)
            return
        key, opened.key = opened.key, None
        if key is _MERGE:
            opened.merges.append((value, node))
            return
        assert isinstance(key, str)
        if key in container:
            opened.node.repeated = (*opened.node.repeated, (key, opened.key_offset))
        member = opened.node.members[key] = Node(node.offset, opened.key_offset)
        member.members, member.repeated = node.members, node.repeated
        container[key] = value


def _scalar(event: Any) -> Json:
    """A scalar by the core schema; quoted and block scalars are text."""
    text: str = event.value
    tag = event.tag
    if tag not in (None, "!"):
        return _tagged(event, text, tag)
    if event.style or tag == "!":
        return text
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return _integer(event, text)
    if _FLOAT.fullmatch(text):
        return _float(event, text)
    return text


def _tagged(event: Any, text: str, tag: str) -> Json:
    if tag == f"{_TAG}str":
        return text
    if tag == f"{_TAG}null" and text in _NULLS:
        return None
    if tag == f"{_TAG}bool" and text in _BOOLEANS:
        return _BOOLEANS[text]
    if tag == f"{_TAG}int" and _INTEGER.fullmatch(text):
        return _integer(event, text)
    if tag == f"{_TAG}float" and _FLOAT.fullmatch(text):
        return _float(event, text)
    raise _error(event, f"the tag {_shown(tag)} has no meaning here")


def _integer(event: Any, text: str) -> int:
    try:
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    except ValueError as error:
        raise _error(event, "a number of this length cannot be read") from error


def _float(event: Any, text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise _error(event, "a number of this size cannot be written as JSON")
    return number


def _shown(tag: str) -> str:
    return tag.replace(_TAG, "!!")


def _error(event: Any, message: str) -> YamlSyntaxError:
    mark = event.start_mark
    return YamlSyntaxError(message, mark.line + 1, mark.column + 1)
