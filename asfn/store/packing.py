"""How payload texts stand in a table: small ones in their row, large ones once per execution, by digest.

A `texts` column holds a JSON array; a member is a text itself, or `{"sha256": digest}` for one in the
payloads table. Texts are kept to the letter, blanks and number forms included ([A] history.md section 1).
No I/O here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from asfn._json import Payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

INLINE_BYTES: Final = 1024
_SURELY_SMALL: Final = INLINE_BYTES // 4  # characters; UTF-8 takes at most four bytes for one

Members = list[str | dict[str, str]]

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Members).decode


class PayloadRows:
    """Collects the large payloads of a transaction, each once. `rows`: (execution key, digest, text).

    named: what stands for the SHA-256 of a payload; a codec gives another.
    """

    __slots__ = ("_named", "_seen", "rows")

    def __init__(self, named: Callable[[str], str] | None = None) -> None:
        self.rows: list[tuple[int, str, str]] = []
        self._named = named
        self._seen: set[tuple[int, str]] = set()

    def column(self, key: int, payload: Payload | None) -> tuple[str | None, str | None]:
        """What stands for one payload in a pair of columns (text, digest): one of them, or none for None."""
        if payload is None:
            return None, None
        if payload.size_bytes <= INLINE_BYTES:
            return payload.text, None
        return None, self._keep(key, payload)

    def texts(self, key: int, payloads: Sequence[Payload]) -> str | None:
        """What stands for many payloads in a `texts` column: None when there are none."""
        if not payloads:
            return None
        members: Members = [
            text
            if len(text := payload.text) <= _SURELY_SMALL or payload.size_bytes <= INLINE_BYTES
            else {"sha256": self._keep(key, payload)}
            for payload in payloads
        ]
        return _encode(members).decode()

    def _keep(self, key: int, payload: Payload) -> str:
        digest = payload.digest if self._named is None else self._named(payload.digest)
        if (key, digest) not in self._seen:
            self._seen.add((key, digest))
            self.rows.append((key, digest, payload.text))
        return digest


def members(texts: str | None) -> Members:
    """The members of a `texts` column."""
    return _decode(texts) if texts is not None else []


def digests(columns: Iterable[Members]) -> set[str]:
    """The digests that unpacked columns refer to."""
    return {member["sha256"] for column in columns for member in column if isinstance(member, dict)}


def payloads(column: Members, large: Mapping[str, Payload]) -> list[Payload]:
    """The payloads of one column; `large`: by digest, shared between all who refer to them. Raises
    KeyError.
    """
    return [Payload.parse(item) if isinstance(item, str) else large[item["sha256"]] for item in column]
