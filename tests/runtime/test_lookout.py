"""The watcher for what others write: how often it asks, whom it tells, and what does not disturb it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from asfn.errors import StoreError
from asfn.runtime.lookout import Lookout, ring_all
from asfn.testing.loop import run


class Versions:
    """As much of a store as a lookout needs. stamps: what `stamp` gives, a new one each time when None."""

    def __init__(self, stamps: bool) -> None:
        self.current = 0
        self.asked = 0
        self.refuses = False
        if stamps:
            self.stamp = lambda: self.current

    async def version(self) -> int:
        self.asked += 1
        if self.refuses:
            raise StoreError("no")
        return self.current


@asynccontextmanager
async def looking(store: Any, *, polls: bool = True) -> AsyncIterator[Lookout]:
    lookout = Lookout(store, polls=polls)
    task = asyncio.create_task(lookout.run())
    yield lookout
    task.cancel()
    await asyncio.wait([task])
    lookout.close()


@pytest.mark.parametrize("stamps", [True, False])
def test_nobody_is_told_while_nothing_is_written_and_everybody_within_a_look_of_it(stamps: bool) -> None:
    async def main() -> None:
        store, told = Versions(stamps), 0

        async def look() -> None:
            nonlocal told
            told += 1

        async with looking(store) as lookout:
            await asyncio.sleep(10)
            assert store.asked == 0  # nobody wants it
            wanted = True
            lookout.add(lambda: wanted, look)
            lookout.need()
            await asyncio.sleep(10)
            assert told == 1  # the first version that it saw
            assert store.asked <= (12 if stamps else 201)  # once a second where a stamp says that nothing happened
            store.current += 1
            news = lookout.follow()
            await asyncio.wait_for(news, 0.11)
            assert told == 2
            wanted = False
            await asyncio.sleep(2)
            asked = store.asked
            await asyncio.sleep(10)
            assert store.asked == asked

    run(main())


def test_those_who_begin_to_want_news_hurry_no_look() -> None:
    async def main() -> None:
        store = Versions(stamps=False)
        async with looking(store) as lookout:
            lookout.add(lambda: True, _nothing)
            for _ in range(1000):
                lookout.need()
                lookout.follow()
                await asyncio.sleep(0.001)
            assert store.asked <= 21

    run(main())


async def _nothing() -> None: ...


def test_engines_of_one_loop_ring_each_other_where_nothing_is_polled() -> None:
    async def main() -> None:
        told: list[str] = []

        async def look(name: str) -> None:
            told.append(name)

        async with looking(Versions(True), polls=False) as one, looking(Versions(True), polls=False) as two:
            one.add(lambda: True, lambda: look("one"))
            two.add(lambda: False, lambda: look("two"))
            await asyncio.sleep(100)
            assert told == []
            ring_all()
            await asyncio.sleep(0.01)
            assert sorted(told) == ["one", "two"]

    run(main())


@pytest.mark.parametrize("error", [StoreError("no"), ValueError("ours")])
def test_trouble_is_told_and_looking_goes_on(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        store, fails = Versions(True), True
        told = 0

        async def look() -> None:
            nonlocal told
            if fails:
                raise error
            told += 1

        async with looking(store) as lookout:
            lookout.add(lambda: True, look)
            lookout.need()
            await asyncio.sleep(3)
            assert caplog.records
            fails = False
            news = lookout.follow()
            store.current += 1
            await asyncio.wait_for(news, 5)
            assert told >= 1

    run(main())
