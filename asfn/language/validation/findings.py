"""Findings on their way: collected with paths, sorted by document order, then given lines and columns."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from asfn.language.diagnostics import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Collection

    from asfn._json import Json
    from asfn.language.diagnostics import Severity
    from asfn.language.document import Document, Tokens

SCHEMA = "SCHEMA_VALIDATION_FAILED"

_MOST_NAMES_COMPARED: Final = 10_000  # for all hints of one definition: half a second
_MOST_CHARACTERS_COMPARED: Final = 200
_CLOSE: Final = 0.7


class _Finding:
    __slots__ = ("code", "key", "last", "message", "place", "pointer", "severity", "suggestion")

    def __init__(
        self,
        severity: Severity,
        code: str,
        message: str,
        pointer: str | None,
        place: Tokens,
        key: bool,
        suggestion: str | None,
        last: bool = False,
    ) -> None:
        self.severity = severity
        self.code = code
        self.message = message
        self.pointer = pointer
        self.place = place
        self.key = key
        self.suggestion = suggestion
        self.last = last


class Findings:
    """What has been found so far.

    path: the location that AWS names.   field: a member of the object at `path` that the finding is about; it
    only moves line and column there.   placed=False: AWS gives no location.   last: it stands behind all that
    is found inside of `path`.
    """

    def __init__(self) -> None:
        self._items: list[_Finding] = []
        self._names_left = _MOST_NAMES_COMPARED

    def error(
        self,
        path: Tokens,
        message: str,
        *,
        code: str = SCHEMA,
        field: str | None = None,
        suggestion: str | None = None,
        placed: bool = True,
        last: bool = False,
    ) -> None:
        place = path if field is None else (*path, field)
        location = pointer(path) if placed else None
        self._items.append(_Finding("ERROR", code, message, location, place, field is not None, suggestion, last))

    def warning(
        self,
        path: Tokens,
        message: str,
        *,
        code: str,
        field: str | None = None,
        suggestion: str | None = None,
    ) -> None:
        place = path if field is None else (*path, field)
        self._items.append(_Finding("WARNING", code, message, pointer(path), place, field is not None, suggestion))

    def hint(self, name: str, names: Collection[str]) -> str | None:
        """`Did you mean 'ResultPath'?` when one of the names is close to the given one.

        A definition with thousands of slips gets it for the first of them only: all of them would take minutes.
        """
        self._names_left -= len(names)
        return did_you_mean(name, names) if self._names_left >= 0 else None

    @property
    def count(self) -> int:
        return len(self._items)

    def diagnostics(self, document: Document) -> list[Diagnostic]:
        """All findings in document order, each with its line and column when the document has a text."""
        if not self._items:
            return []
        order = _Order(document.value)
        result = []
        for item in sorted(self._items, key=order.of):
            place = item.place
            position = document.key_position(place) if item.key else document.position(place)
            while position is None and place and document.text is not None:
                place = place[:-1]
                position = document.position(place)
            line, column = position or (None, None)
            result.append(
                Diagnostic(
                    item.severity,
                    item.code,
                    _writable(item.message),
                    item.pointer,
                    line,
                    column,
                    None if item.suggestion is None else _writable(item.suggestion),
                )
            )
        return result


def _writable(text: str) -> str:
    """A text that can be printed and stored: a lone surrogate, which an escape in a path may make, is shown escaped."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class _Order:
    """Where a path stands in a document: the index of each step. A missing member sorts as its parent."""

    def __init__(self, value: Json) -> None:
        self._value = value
        self._indexes: dict[int, dict[str, int]] = {}

    def of(self, finding: _Finding) -> tuple[float, ...]:
        """The key by which findings are sorted."""
        key = self.key(finding.place)
        return (*key, math.inf) if finding.last else key

    def key(self, path: Tokens) -> tuple[int, ...]:
        value = self._value
        steps: list[int] = []
        for token in path:
            if isinstance(value, dict) and isinstance(token, str) and token in value:
                indexes = self._indexes.get(id(value))
                if indexes is None:
                    indexes = self._indexes[id(value)] = {name: index for index, name in enumerate(value)}
                steps.append(indexes[token])
                value = value[token]
            elif isinstance(value, list) and isinstance(token, int) and token < len(value):
                steps.append(token)
                value = value[token]
            else:
                break
        return tuple(steps)


def pointer(path: Tokens) -> str:
    """AWS's location: names with slashes between them, indexes in brackets, `/States/Pay/Retry[0]` [A]."""
    if not path:
        return "/"
    return "".join([f"[{token}]" if isinstance(token, int) else f"/{token}" for token in path])


@lru_cache(maxsize=16_384)
def _likeness(name: str, candidate: str) -> float:
    """difflib's measure of two spellings, 0 where it is below _CLOSE; kept, since one slip is often made many times."""
    if 2 * min(len(name), len(candidate)) < _CLOSE * (len(name) + len(candidate)):
        return 0
    from difflib import SequenceMatcher  # only for a definition that is wrong

    matcher = SequenceMatcher(None, candidate, name)
    likeness = matcher.ratio() if matcher.quick_ratio() >= _CLOSE else 0
    return likeness if likeness >= _CLOSE else 0


def did_you_mean(name: str, names: Collection[str]) -> str | None:
    """`Did you mean 'ResultPath'?` when one of the names is close to the given one. See `Findings.hint`."""
    lowered = {candidate.lower(): candidate for candidate in reversed(list(names))}
    folded = name.strip().lower()
    found = lowered.get(folded) or lowered.get(folded.replace(" ", "").replace("_", "").replace("-", ""))
    if found is None and len(folded) >= 4:
        longer = [candidate for candidate in lowered if candidate.startswith(folded)]
        found = lowered[min(longer, key=len)] if longer else None
    if found is None and lowered and len(folded) <= _MOST_CHARACTERS_COMPARED:
        likeness, closest = max((_likeness(folded, candidate), candidate) for candidate in lowered)
        found = lowered[closest] if likeness else None
    return None if found is None or found == name else f"Did you mean '{found}'?"
