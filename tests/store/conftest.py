"""One store for each implementation of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from asfn.store.codec import GzipCodec
from asfn.store.memory import MemoryStore
from asfn.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from asfn.store.protocol import Store
    from asfn.store.records import EngineRow


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flows.db"


@pytest_asyncio.fixture(params=["memory", "sqlite", "coded"])
async def store(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Store]:
    codec = GzipCodec() if request.param == "coded" else None
    store: Store = MemoryStore() if request.param == "memory" else SqliteStore(path, codec=codec)
    await store.open()
    yield store
    await store.close()


@pytest_asyncio.fixture
async def sqlite(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


@pytest_asyncio.fixture
async def coded(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, codec=GzipCodec())
    await store.open()
    yield store
    await store.close()


@pytest_asyncio.fixture
async def engine(store: Store) -> EngineRow:
    return await store.register_engine(0.0, 30.0)
