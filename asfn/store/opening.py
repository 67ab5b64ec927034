"""The store that a database URL names. SQLite is imported when a URL asks for it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from asfn.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from asfn.store.codec import Codec
    from asfn.store.protocol import Store


def open_store(
    database: str | Store,
    off_loop: Callable[[], AbstractContextManager[object]] = nullcontext,
    codec: Codec | None = None,
) -> Store:
    """The store that a program names by its URL, or brings along; it is not connected yet.

    database: "memory://", "sqlite:///relative/path.db", "sqlite:////absolute/path.db", or a Store. Raises ValueError.
    """
    if not isinstance(database, str):
        if codec is not None:
            raise ValueError("give the codec to the store: SqliteStore(path, codec=...)")
        return database
    if database == "memory://":
        return MemoryStore()
    if database.startswith("sqlite:///"):
        from asfn.store.sqlite import SqliteStore

        return SqliteStore(database.removeprefix("sqlite:///"), off_loop=off_loop, codec=codec)
    raise ValueError(f"unknown database URL {database!r}: use memory:// or sqlite:///path/to/file.db")
