"""JSON as asfn holds it: decoded once, encoded once, never changed after it was made.

A `Payload` is one JSON document on its way through an execution: the value, and its text as AWS would print it.
Data that no field touches keeps the text it came with ([A] history.md section 1); what the engine builds is
printed compact. Setting a member copies the spine and shares the rest (`language/paths.py`); nothing here copies.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
JsonObject: TypeAlias = dict[str, Json]

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode

_SPLICED_CHARACTERS: Final = 256


class JsonError(ValueError):
    """Text that is not JSON, or a value that JSON cannot hold. `str()` is one sentence."""


def encode(value: Json) -> str:
    """The compact JSON text of a value: no blank after `,` or `:`, members in insertion order.

    Raises JsonError for what JSON cannot hold: NaN, infinities, lone surrogates, foreign objects, nesting beyond
    the interpreter's recursion limit.
    """
    try:
        return _encode(value).decode()
    except (TypeError, ValueError, RecursionError, UnicodeError) as error:
        raise JsonError(f"the value cannot be written as JSON: {error}") from error


def decode(text: str | bytes) -> Json:
    """The value of a JSON text; integers of any size stay exact. Raises JsonError.

    Stricter than `json.loads`: NaN, Infinity, 1e400 and trailing data are refused.
    """
    try:
        return _decode(text)  # type: ignore[no-any-return]
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise JsonError(f"not valid JSON: {error}") from error


def check_finite(value: Json, path: str = "$") -> None:
    """Raise JsonError when a NaN or an infinity stands anywhere in `value` (msgspec would write null).

    So does nesting beyond the interpreter's recursion limit, which `encode` refuses as well.
    """
    try:
        _check_finite(value, path)
    except RecursionError:
        raise JsonError(f"{path} is nested too deeply to be written as JSON") from None


def _check_finite(value: Json, path: str) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise JsonError(f"{path} is {value}, which JSON cannot hold")
    elif isinstance(value, dict):
        for key, member in value.items():
            _check_finite(member, f"{path}.{key}")
    elif isinstance(value, list):
        for index, member in enumerate(value):
            _check_finite(member, f"{path}[{index}]")


class Payload(msgspec.Struct, eq=False, gc=False):
    """One immutable JSON document: its value, and its text, printed at most once.

    Two payloads that are the same object are stored once. Never change `value` in place.
    A Struct is made in half the time of a plain object; no payload is ever part of a cycle, so none is tracked.
    """

    value: Json
    _text: str | None = None
    _digest: str | None = None
    _is_compact: bool = False  # whether the text is the one that `encode` gives

    @classmethod
    def parse(cls, text: str) -> Payload:
        """The payload of a JSON text, which is kept as it was written. Raises JsonError."""
        return cls(decode(text), text)

    @classmethod
    def copy_of(cls, value: Json) -> Payload:
        """The payload of a value as it is now, whatever its owner does to it later. Raises JsonError."""
        text = encode(value)
        if "null" in text:  # what a NaN was printed as, perhaps
            check_finite(value)
        return cls(decode(text), text, None, True)

    @classmethod
    def of_list(cls, payloads: Sequence[Payload]) -> Payload:
        """The list of these documents, each printed as it is by itself. Raises JsonError."""
        text = ",".join([payload.text for payload in payloads])
        is_compact = all(payload._is_compact for payload in payloads)
        return cls([payload.value for payload in payloads], f"[{text}]", None, is_compact)

    def with_member(self, name: str, member: Payload) -> Payload:
        """This object with one member set. In a large one, a new member's text is put behind the text that is known:
        that costs a tenth of printing everything again.
        """
        value = self.value
        assert type(value) is dict
        changed = {**value, name: member.value}
        text = self._text
        if text is None or len(text) < _SPLICED_CHARACTERS or not self._is_compact or name in value:
            return Payload(changed)
        try:
            more = member.text
        except JsonError:  # who prints the whole will be told
            return Payload(changed)
        if not member._is_compact:
            return Payload(changed)
        return Payload(changed, f"{text[:-1]},{encode(name)}:{more}}}", None, True)

    @property
    def text(self) -> str:
        """The JSON text: as it came, or compact. Raises JsonError when the value cannot be written."""
        text = self._text
        if text is None:
            text = self._text = encode(self.value)
            self._is_compact = True
        return text

    def is_within(self, size_bytes: int) -> bool:
        """Whether the text surely has no more bytes than that. False too when the value cannot be written."""
        text = self._text
        if text is None:
            try:
                text = self._text = _encode(self.value).decode()
            except (TypeError, ValueError, RecursionError, UnicodeError):
                return False
            self._is_compact = True
        return len(text) * 4 <= size_bytes  # UTF-8 takes at most four bytes a character

    @property
    def size_bytes(self) -> int:
        """Length of the text in UTF-8, the measure of every AWS data limit."""
        text = self._text
        if text is None:
            text = self.text
        return len(text) if text.isascii() else len(text.encode())

    @property
    def digest(self) -> str:
        """SHA-256 of the text in hex: the key under which a store keeps a large payload."""
        digest = self._digest
        if digest is None:
            digest = self._digest = hashlib.sha256(self.text.encode()).hexdigest()
        return digest

    def __repr__(self) -> str:
        text = self.text
        return f"Payload({text if len(text) <= 60 else text[:57] + '...'})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Payload) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]  # a payload is compared by value and never a key


EMPTY_OBJECT: Final = Payload({}, "{}")
