"""The inbox by itself: offers of work, and which news ends a wait."""

from __future__ import annotations

import asyncio

import pytest

from asfn.errors import EngineClosed
from asfn.runtime.calls import Heartbeat
from asfn.runtime.inbox import Inbox
from asfn.store.memory import MemoryStore
from asfn.store.records import ActivityTaskRow, Progress, TokenChanges, TokenRow
from asfn.testing.loop import DEFAULT_START_AT, VirtualClock, run
from tests.store.samples import start

SIGN = "arn:aws:states:us-east-1:123456789012:activity:sign"


async def store_with(*tokens: str, queued: bool = False) -> MemoryStore:
    store = MemoryStore()
    engine = await store.register_engine(0.0, 30.0)
    rows = [TokenRow(token, 1, "", 0.0) for token in tokens]
    work = [ActivityTaskRow(token, SIGN, 1, "{}", 0.0) for token in tokens] if queued else []
    await store.apply(engine, [start(1, engine), Progress(1, tokens=TokenChanges(opened=rows, queued=work))])
    return store


async def queue(store: MemoryStore, *tokens: str) -> None:
    changes = TokenChanges(
        opened=[TokenRow(token, 1, "", 0.0) for token in tokens],
        queued=[ActivityTaskRow(token, SIGN, 1, "{}", 0.0) for token in tokens],
    )
    [engine] = store._engines.values()
    await store.apply(engine, [Progress(1, tokens=changes)])


def test_an_offer_to_a_worker_that_goes_away_in_that_moment_is_passed_on() -> None:
    async def main(clock: VirtualClock) -> None:
        store = await store_with()
        inbox = Inbox(store, clock)
        first, second = (asyncio.ensure_future(inbox.poll(SIGN, name, clock.now() + 60)) for name in ("a", "b"))
        await asyncio.sleep(1)
        await queue(store, "t")
        inbox.offer(SIGN)
        first.cancel()

        work = await second

        assert work is not None
        assert work.token == "t"
        assert clock.now() == DEFAULT_START_AT + 1
        await inbox.close()

    run(main)


def test_as_many_workers_are_woken_as_there_is_work() -> None:
    async def main(clock: VirtualClock) -> None:
        store = await store_with()
        inbox = Inbox(store, clock)
        polls = [asyncio.ensure_future(inbox.poll(SIGN, None, clock.now() + 60)) for _ in range(10)]
        await asyncio.sleep(1)
        await queue(store, "t1", "t2", "t3")
        inbox.offer(SIGN, 3)
        await asyncio.sleep(1)
        assert [poll.done() for poll in polls] == [True] * 3 + [False] * 7
        inbox.dismiss()
        ends = await asyncio.gather(*polls[3:], return_exceptions=True)
        assert {type(end) for end in ends} == {EngineClosed}

    run(main)


def test_an_answer_ends_the_wait_and_the_token_is_told_apart_from_others() -> None:
    async def main(clock: VirtualClock) -> None:
        inbox = Inbox(await store_with("t", "u"), clock)
        mine, other = inbox.expect("t"), inbox.expect("u")
        assert inbox.expect("t") is mine
        waits = asyncio.ensure_future(inbox.outcome(mine, None, None))
        await asyncio.sleep(1)
        assert await inbox.settle("t", '["success","1"]') == (True, None)
        assert await waits == '["success","1"]'
        assert other.outcome is None
        ended, row = await inbox.settle("t", '["success","2"]')
        assert not ended
        assert row is not None
        assert row.state == "completed"

    run(main)


@pytest.mark.parametrize("clock_of", ["timeout", "heartbeat"])
def test_a_clock_that_rings_finds_an_answer_that_only_the_store_knows(clock_of: str) -> None:
    async def main(clock: VirtualClock) -> None:
        store = await store_with("t")
        inbox, elsewhere = Inbox(store, clock), Inbox(store, clock)
        waiting = inbox.expect("t")
        await elsewhere.settle("t", '["success","1"]')
        deadline = clock.now() + 10 if clock_of == "timeout" else None
        heartbeat = Heartbeat(10) if clock_of == "heartbeat" else None

        assert await inbox.outcome(waiting, deadline, heartbeat) == '["success","1"]'

    run(main)


def test_a_sign_of_life_that_only_the_store_knows_gives_the_rest_of_its_time() -> None:
    async def main(clock: VirtualClock) -> None:
        store = await store_with("t")
        inbox, elsewhere = Inbox(store, clock), Inbox(store, clock)
        waits = asyncio.ensure_future(inbox.outcome(inbox.expect("t"), None, Heartbeat(10)))
        await clock.sleep_until(DEFAULT_START_AT + 7)
        assert (await elsewhere.beat("t"))[0]

        assert await waits == '["heartbeat"]'
        assert clock.now() == DEFAULT_START_AT + 17
        assert (await elsewhere.beat("t"))[0] is False

    run(main)


def test_a_token_whose_row_is_gone_ends_by_its_clock() -> None:
    async def main(clock: VirtualClock) -> None:
        inbox = Inbox(await store_with(), clock)

        assert await inbox.outcome(inbox.expect("t"), clock.now() + 10, None) == '["timeout"]'
        assert await inbox.beat("u") == (False, None)

    run(main)


def test_what_came_while_nobody_listened_is_looked_up() -> None:
    async def main(clock: VirtualClock) -> None:
        store = await store_with("t", queued=True)
        elsewhere = Inbox(store, clock)
        work = await elsewhere.poll(SIGN, "w", clock.now())
        assert work is not None
        await elsewhere.settle("t", '["success","1"]')

        waiting = Inbox(store, clock).expect("t")
        assert (waiting.taken, waiting.outcome) == (None, None)
        inbox = Inbox(store, clock)
        waiting = inbox.expect("t")
        await inbox.look_up(waiting)

        assert (waiting.taken, waiting.outcome) == (("w", DEFAULT_START_AT), '["success","1"]')

    run(main)
