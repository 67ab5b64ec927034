"""Bringing both sides into the form in which recordings are kept, before they are compared.

Recorded strings hold tokens instead of names and ids: some have a value (bindings), the others stand for any text.
An engine's answer gets what the recorder did to AWS's: JSON objects given as text are decoded, once.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

_ALWAYS: Final = {"<region>": "us-east-1", "<partition>": "aws"}
ISO_DATE: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)"


@dataclass(frozen=True)
class Placeholders:
    """The tokens of one case. Any: recorded JSON of every shape goes through here.

    wildcards: each stands for one text, the same wherever it appears.   bare: words that stand for anything.
    dates: words that stand for a date in ISO 8601 form, or for themselves.
    """

    bindings: dict[str, str]
    wildcards: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    _binding: re.Pattern[str] = field(init=False, repr=False)
    _token: re.Pattern[str] | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_binding", _any_of(self.bindings))
        tokens = (*self.wildcards, *self.bare, *self.dates)
        object.__setattr__(self, "_token", _any_of(tokens) if tokens else None)

    @classmethod
    def of(cls, case: dict[str, Any]) -> Placeholders:
        """The tokens that a case declares, and the two that stand everywhere."""
        given = case.get("placeholders") or {}
        date = given.get("iso_dates_become")
        bare = tuple(given.get("bare_wildcards", ()))
        return cls(
            bindings={**_ALWAYS, **given.get("bindings", {})},
            wildcards=tuple(given.get("wildcards", ())),
            bare=bare,
            dates=(date,) if date and date not in bare else (),
        )

    def bind(self, value: Any) -> Any:
        """The recorded value with every bound token replaced, in keys too; the longest token first."""
        if isinstance(value, str):
            return self._binding.sub(lambda match: self.bindings[match[0]], value)
        if isinstance(value, dict):
            return {self.bind(key): self.bind(member) for key, member in value.items()}
        if isinstance(value, list):
            return [self.bind(item) for item in value]
        return value

    def pieces(self, text: str) -> list[str] | None:
        """A text split into literals (even places) and tokens (odd places); None when it has no token."""
        if self._token is None:
            return None
        pieces = self._token.split(text)
        return pieces if len(pieces) > 1 else None


def _any_of(tokens: Any) -> re.Pattern[str]:
    return re.compile("(" + "|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)) + ")")


def decode_members(value: Any) -> Any:
    """What the recorder did: a member of an object that is the text of a JSON object becomes that object, once."""
    if isinstance(value, dict):
        return {key: _decoded(member) for key, member in value.items()}
    if isinstance(value, list):
        return [decode_members(item) for item in value]
    return value


def _decoded(member: Any) -> Any:
    if not isinstance(member, str):
        return decode_members(member)
    if member.startswith("{"):
        try:
            return json.loads(member)
        except ValueError:
            return member
    return member
