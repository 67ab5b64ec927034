"""Requests that share a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from asfn.errors import EngineClosed, StoreError
from asfn.runtime.grouped import Grouped


class Slow:
    """Doubles numbers, a group at a time; each group takes some turns of the loop."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.unclaimed: list[int] = []

    async def write(self, numbers: Sequence[int]) -> list[int]:
        self.groups.append(list(numbers))
        for _ in range(3):
            await asyncio.sleep(0)
        if -1 in numbers:
            raise StoreError("the disk is full")
        return [number * 2 for number in numbers]

    async def lost(self, answer: int) -> None:
        self.unclaimed.append(answer)


async def test_requests_of_one_turn_share_a_group_and_later_ones_the_next() -> None:
    slow = Slow()
    grouped = Grouped(slow.write, "slow")
    first = [grouped.submit(number) for number in range(3)]
    await asyncio.sleep(0)
    second = [grouped.submit(number) for number in range(3, 5)]

    assert await asyncio.gather(*first, *second) == [0, 2, 4, 6, 8]
    assert slow.groups == [[0, 1, 2], [3, 4]]


async def test_a_group_is_not_endless() -> None:
    slow = Slow()
    grouped = Grouped(slow.write, "slow")

    assert await asyncio.gather(*(grouped.submit(number) for number in range(2_500))) == list(range(0, 5_000, 2))
    assert [len(group) for group in slow.groups] == [1_000, 1_000, 500]


async def test_an_error_reaches_every_asker_of_its_group_and_no_other() -> None:
    slow = Slow()
    grouped = Grouped(slow.write, "slow")
    failing = [grouped.submit(-1), grouped.submit(1)]
    await asyncio.sleep(0)
    later = grouped.submit(2)

    errors = await asyncio.gather(*failing, return_exceptions=True)
    assert [str(error) for error in errors] == ["the disk is full"] * 2
    assert errors[0] is not errors[1]
    assert await later == 4


async def test_a_request_cancelled_before_it_is_written_is_dropped_and_after_it_is_unclaimed() -> None:
    slow = Slow()
    grouped = Grouped(slow.write, "slow", slow.lost)
    dropped, written, kept = (grouped.submit(number) for number in (1, 2, 3))
    dropped.cancel()
    await asyncio.sleep(0)
    written.cancel()

    assert await kept == 6
    assert slow.groups == [[2, 3]]
    assert slow.unclaimed == [4]


async def test_closing_does_what_was_handed_over_and_refuses_the_rest() -> None:
    slow = Slow()
    grouped = Grouped(slow.write, "slow")
    last = grouped.submit(4)

    await grouped.close()

    assert last.result() == 8
    with pytest.raises(EngineClosed):
        await grouped.submit(5)
    await grouped.close()
