"""When an answer equals a recording: tokens match any text, objects are sets of members, the rest is exact.

Numbers keep their form: 1 and 1.0 are different, as they are in the texts AWS prints. Nothing here knows a single
case; the rules are the ones the recordings' own description gives.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.conformance.normalise import ISO_DATE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.conformance.normalise import Placeholders

# Contents depend on the day and the network; both sides must have the member.
_MASKED: Final = frozenset({"SdkHttpMetadata", "SdkResponseMetadata"})
# Members that AWS added over the years: not looked at where the recording is older than they are.
_CAME_WITH_TIME: Final = frozenset({"encryptionConfiguration", "RedriveCount", "RedriveStatus", "RedriveStatusReason"})
_KEYS_ONLY: Final = frozenset({"billingDetails"})
_JSON_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_LONGEST: Final = 160


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where two values differ."""

    path: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, got {self.got}"


@dataclass
class Matcher:
    """Compares an answer with a recording whose bindings are replaced already.

    texts: what each wildcard token has stood for so far; the same token is the same text everywhere.
    """

    placeholders: Placeholders
    texts: dict[str, str] = field(default_factory=dict)

    def difference(self, expected: Any, actual: Any, path: str = "$") -> Difference | None:
        """The first difference, None when the answer equals the recording. Any: JSON of every shape."""
        if isinstance(expected, str):
            return self._strings(expected, actual, path)
        if isinstance(expected, dict):
            if isinstance(actual, dict):
                return self._objects(expected, actual, path)
        elif isinstance(expected, list):
            if isinstance(actual, list):
                return self._lists(expected, actual, path)
        elif type(expected) is type(actual) and expected == actual:
            return None
        return Difference(path, shown(expected), shown(actual))

    def _objects(self, expected: dict[str, Any], actual: dict[str, Any], path: str) -> Difference | None:
        for key, member in expected.items():
            if key not in actual:
                return Difference(f"{path}.{key}", shown(member), "nothing")
            if key in _MASKED:
                continue
            if key in _KEYS_ONLY and isinstance(member, dict) and isinstance(actual[key], dict):
                if member.keys() != actual[key].keys():
                    return Difference(f"{path}.{key}", shown(sorted(member)), shown(sorted(actual[key])))
                continue
            found = self.difference(member, actual[key], f"{path}.{key}")
            if found is not None:
                return found
        for key, member in actual.items():
            if key not in expected and key not in _CAME_WITH_TIME:
                return Difference(f"{path}.{key}", "nothing", shown(member))
        return None

    def _lists(self, expected: list[Any], actual: list[Any], path: str) -> Difference | None:
        for index, (one, other) in enumerate(zip(expected, actual, strict=False)):
            found = self.difference(one, other, f"{path}[{index}]")
            if found is not None:
                return found
        if len(expected) != len(actual):
            return Difference(f"{path}.length", str(len(expected)), str(len(actual)))
        return None

    def _strings(self, expected: str, actual: Any, path: str) -> Difference | None:
        if expected == actual or expected in self.placeholders.bare:
            return None
        if isinstance(actual, str) and (self._fits(expected, actual) or self._same_json(expected, actual)):
            return None
        if isinstance(actual, str):
            return Difference(path, *_from_first_difference(expected, actual))
        return Difference(path, shown(expected), shown(actual))

    def _fits(self, expected: str, actual: str) -> bool:
        """Whether the text fits a recorded one that holds tokens; learns what the tokens stood for."""
        pieces = self.placeholders.pieces(expected)
        if pieces is None:
            return False
        pattern, names = self._pattern(pieces)
        match = re.fullmatch(pattern, actual, re.DOTALL)
        if match is None:
            return False
        for group, token in names.items():
            self.texts[token] = match[group]
        return True

    def _pattern(self, pieces: list[str]) -> tuple[str, Mapping[str, str]]:
        names: dict[str, str] = {}
        parts: list[str] = []
        for position, piece in enumerate(pieces):
            if position % 2 == 0:
                parts.append(re.escape(piece))
            elif piece in self.placeholders.bare:
                parts.append(".*?")
            elif piece in self.placeholders.dates:
                parts.append(f"(?:{ISO_DATE}|{re.escape(piece)})")
            elif piece in self.texts:
                parts.append(re.escape(self.texts[piece]))
            else:
                group = next((group for group, token in names.items() if token == piece), None)
                if group is not None:
                    parts.append(f"(?P={group})")
                else:
                    group = f"t{position}"
                    names[group] = piece
                    parts.append(f"(?P<{group}>.*?)")
        return "".join(parts), names

    def _same_json(self, expected: str, actual: str) -> bool:
        """JSON texts that differ only in the order of members: AWS's order in built objects is not stable."""
        if expected[:1] not in ("[", "{") or actual[:1] != expected[:1]:
            return False
        try:
            one, other = _with_number_texts(expected), _with_number_texts(actual)
        except ValueError:
            return False
        if _blanks(expected) != _blanks(actual):
            return False
        if self.placeholders.pieces(expected) is None and len(expected) != len(actual):
            return False  # the same members and another length: other escapes
        return self.difference(one, other) is None


def _blanks(text: str) -> int:
    """How many blanks stand in a JSON text outside its strings."""
    return len(re.findall(r"\s", _JSON_STRING.sub("", text)))


def _with_number_texts(text: str) -> Any:
    """The value of a JSON text in which numbers are told apart by how they are written."""
    return json.loads(text, parse_float=lambda number: f"\0{number}", parse_int=lambda number: f"\0{number}")


def _from_first_difference(expected: str, actual: str) -> tuple[str, str]:
    """Both texts, shown from a little before the place where they part."""
    common = next((at for at, (one, other) in enumerate(zip(expected, actual, strict=False)) if one != other), None)
    start = max(0, min(len(expected), len(actual)) if common is None else common) - 40
    if start <= 0 or max(len(expected), len(actual)) <= _LONGEST:
        return shown(expected), shown(actual)
    return shown(f"...{expected[start:]}"), shown(f"...{actual[start:]}")


def shown(value: Any) -> str:
    """A value for people, on one line and not too long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = json.dumps(text, ensure_ascii=False) if isinstance(value, str) else text
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
