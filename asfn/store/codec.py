"""A hook around everything that executions leave in a file: encryption, compression, or both.

The store's texts go through `Sealing`, which is there only when a codec is: without one nothing of this costs anything.
"""

from __future__ import annotations

import gzip
import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from asfn.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Cells = TypeVar("Cells", bound="tuple[Any, ...]")  # Any: SQLite types its cells, not its rows

_MAGIC: Final = "asfn codec probe "


class Codec(Protocol):
    """Changes the bytes of what is stored; give it to an Engine, or to a SqliteStore.

    Covered is every payload: inputs and outputs, histories, where branches stand (variables and calls in flight),
    errors and causes, the outcomes of task tokens, the work in activities' queues. Not covered: definitions; names,
    ARNs and dates; names of states; attributes, which are there to be searched; task tokens themselves; sizes.
    A file is used with one codec for its whole life, from its first execution on: it keeps the codec's name, and a
    probe that tells a wrong key. Both methods run in SQLite's threads and on the event loop, several at once and
    possibly many thousand times a second: they share nothing that is not made for that.
    """

    @property
    def name(self) -> str:
        """What the file remembers the codec by. It names method and format, not the key."""

    def encode(self, data: bytes) -> bytes:
        """What to store for `data`. Encryption should use a new nonce at each call and protect against changes."""

    def decode(self, data: bytes) -> bytes:
        """What `encode` was given. Raises any exception for what it did not make."""


class GzipCodec:
    """Compresses: an example of a Codec, and useful for large JSON that repeats itself.

    level: 1 (fast) to 9 (small).
    """

    name = "gzip"

    def __init__(self, level: int = 1) -> None:
        self._level = level

    def encode(self, data: bytes) -> bytes:
        """The data as one gzip member."""
        return gzip.compress(data, self._level, mtime=0)

    def decode(self, data: bytes) -> bytes:
        """The data again. Raises an OSError, EOFError or zlib.error for what is not gzip."""
        return gzip.decompress(data)


class Sealing:
    """A codec at work on the texts of one file. The coded bytes stand in text columns, as base64.

    key: of the digests under which large payloads stand. A plain SHA-256 would let a reader of the file confirm a guess
    of what a payload holds.
    """

    __slots__ = ("_codec", "_key")

    def __init__(self, codec: Codec, key: bytes) -> None:
        self._codec = codec
        self._key = key

    @classmethod
    def new(cls, codec: Codec) -> tuple[Sealing, str]:
        """A sealing with a key of its own, and the probe to keep in the file."""
        key = secrets.token_hex(32)
        sealing = cls(codec, key.encode())
        return sealing, sealing.seal(_MAGIC + key)

    @classmethod
    def of(cls, codec: Codec, probe: str) -> Sealing:
        """The sealing of a file that has this probe. Raises StoreError when the codec cannot read it."""
        text = cls(codec, b"").unseal(probe)
        if not text.startswith(_MAGIC):
            raise _unreadable(codec)
        return cls(codec, text.removeprefix(_MAGIC).encode())

    def seal(self, text: str) -> str:
        """What stands in the file for a text."""
        return b64encode(self._codec.encode(text.encode())).decode()

    def unseal(self, text: str) -> str:
        """The text again. Raises StoreError for what the codec cannot read."""
        try:
            return self._codec.decode(b64decode(text, validate=True)).decode()
        except Exception as error:  # whatever a user's codec raises
            raise _unreadable(self._codec) from error

    def digest(self, digest: str) -> str:
        """The name of a large payload in the file, from the SHA-256 of its text."""
        return hmac.new(self._key, digest.encode(), hashlib.sha256).hexdigest()

    def seal_rows(self, rows: Iterable[Cells], *columns: int) -> list[Cells]:
        """The rows with these columns sealed; None stays None."""
        return [_changed(row, columns, self.seal) for row in rows]

    def unseal_rows(self, rows: Iterable[Cells], *columns: int) -> list[Cells]:
        """The rows with these columns as they were. Raises StoreError."""
        return [_changed(row, columns, self.unseal) for row in rows]


def _changed(row: Cells, columns: Sequence[int], change: Any) -> Cells:  # Any: str -> str, bound to a slots object
    cells = list(row)
    for column in columns:
        if cells[column] is not None:
            cells[column] = change(cells[column])
    return tuple(cells)  # type: ignore[return-value]  # a row of the same kind


def _unreadable(codec: Codec) -> StoreError:
    return StoreError(f"the codec {codec.name!r} cannot read what the file holds: is it the right key, and undamaged?")
