"""Group commit: what is written together, who is told what, and what a failure touches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from asfn._json import JsonError, Payload
from asfn.errors import EngineClosed, EngineFenced, StoreError
from asfn.store.memory import MemoryStore
from asfn.store.protocol import CommitRefused
from asfn.store.records import Progress, Segment
from asfn.store.writer import Writer, weigh
from tests.store.samples import LARGE_TEXT, execution_arn, final, frame, progress, row, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from asfn.store.protocol import Store
    from asfn.store.records import Commit, EngineRow, ExecutionRow


class GatedStore(MemoryStore):
    """Holds every group until `gate` is set, keeps what the groups were, and fails the next ones as told."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.groups: list[list[Commit]] = []
        self.errors: list[BaseException] = []

    async def apply(self, engine: EngineRow, commits: Sequence[Commit]) -> list[ExecutionRow | None]:
        self.groups.append(list(commits))
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        return await super().apply(engine, commits)


class Bench:
    """A writer at work over a gated store."""

    def __init__(self, store: GatedStore, engine: EngineRow, **settings: Any) -> None:
        self.store = store
        self.engine = engine
        self.writer = Writer(store, engine, **settings)
        self.running = asyncio.create_task(self.writer.run())

    async def busy(self) -> None:
        """Let the writer take what is queued and wait at the gate."""
        for _ in range(5):
            await asyncio.sleep(0)

    @property
    def sizes(self) -> list[int]:
        return [len(group) for group in self.store.groups]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async for item in benches():
        yield item


@pytest.fixture
async def small_groups() -> AsyncIterator[Bench]:
    async for item in benches(group_commits=3, queue_commits=5):
        yield item


async def benches(**settings: Any) -> AsyncIterator[Bench]:
    store = GatedStore()
    bench = Bench(store, await store.register_engine(0.0, 30.0), **settings)
    yield bench
    store.gate.set()
    bench.running.cancel()
    await asyncio.wait([bench.running])


async def outcome(answer: asyncio.Future[ExecutionRow | None]) -> BaseException | None:
    """The error of a commit, None for success."""
    await asyncio.wait([answer])
    return answer.exception()


# Groups


async def test_a_future_is_done_when_its_commit_is_written(store: Store, engine: EngineRow) -> None:
    writer = Writer(store, engine)
    running = asyncio.create_task(writer.run())

    assert await writer.submit(start(1, engine)) is None
    assert await store.execution(execution_arn("order-1")) == row(1, engine)
    assert await writer.submit(start(1, engine)) == row(1, engine)

    await writer.close()
    await running


async def test_what_is_submitted_during_one_group_goes_into_the_next(bench: Bench) -> None:
    first = bench.writer.submit(start(1, bench.engine))
    await bench.busy()
    others = [bench.writer.submit(start(key, bench.engine)) for key in (2, 3, 4)]
    await bench.busy()
    assert bench.sizes == [1]

    bench.store.gate.set()
    await asyncio.gather(first, *others)

    assert bench.sizes == [1, 3]


async def test_commits_are_written_in_the_order_they_were_submitted(small_groups: Bench) -> None:
    bench = small_groups
    bench.store.gate.set()
    commits: list[Commit] = [start(1, bench.engine), *(progress(1, id, id) for id in range(1, 9))]

    await asyncio.gather(*map(bench.writer.submit, commits))

    assert [commit for group in bench.store.groups for commit in group] == commits
    assert bench.sizes == [3, 3, 3]


async def test_a_group_is_capped_by_bytes_but_takes_at_least_one_commit() -> None:
    async for bench in benches(group_bytes=3_000):
        bench.store.gate.set()
        large = [start(key, bench.engine, input=Payload.parse(LARGE_TEXT)) for key in (1, 2)]
        small = [start(key, bench.engine) for key in (3, 4)]
        huge = start(5, bench.engine, input=Payload("x" * 5_000))
        await asyncio.gather(*map(bench.writer.submit, [*large, *small, huge, start(6, bench.engine)]))

        assert bench.sizes == [1, 3, 1, 1]


def test_the_weight_of_a_commit_counts_all_its_texts_in_bytes() -> None:
    payload = Payload("é" * 10)
    whole = Progress(
        1,
        Segment(1, 1, "12345", [payload]),
        [frame("/é", "123")],
        final=final("FAILED", "1", error="ab", cause="é"),
    )

    assert weigh(whole) == 5 + 22 + (3 + len('{"body":1}') + 3) + (1 + 2 + 2)
    assert weigh(Progress(1)) == 0
    assert weigh(start(1)) == len(row(1).arn) + len(row(1).name) + len('{"id": 1}')


# Waiting


async def test_a_waiter_that_is_cancelled_does_not_cancel_the_write(bench: Bench) -> None:
    async def wait(commit: Commit) -> None:
        await bench.writer.submit(commit)

    impatient = asyncio.create_task(wait(start(1, bench.engine)))
    queued = asyncio.create_task(wait(start(2, bench.engine)))
    other = bench.writer.submit(start(3, bench.engine))
    await bench.busy()
    late = asyncio.create_task(wait(start(4, bench.engine)))
    await bench.busy()
    for task in (impatient, queued, late):
        task.cancel()
    await asyncio.wait([impatient, queued, late])
    bench.store.gate.set()
    await other
    await bench.writer.flush()

    names = [f"order-{key}" for key in (1, 2, 3, 4)]
    assert [await bench.store.execution(execution_arn(name)) is not None for name in names] == [True] * 4


async def test_flush_waits_for_what_was_submitted_before_it_only(small_groups: Bench) -> None:
    bench = small_groups
    answers = [bench.writer.submit(start(key, bench.engine)) for key in range(1, 6)]
    flushing = asyncio.create_task(bench.writer.flush())
    await bench.busy()
    assert not flushing.done()
    later = [bench.writer.submit(start(key, bench.engine)) for key in range(6, 12)]

    bench.store.gate.set()
    await flushing
    assert all(answer.done() for answer in answers)
    assert not later[-1].done()
    await bench.writer.flush()
    assert all(answer.done() for answer in later)


async def test_flush_of_an_idle_writer_returns_at_once_and_says_nothing_of_failures(bench: Bench) -> None:
    await bench.writer.flush()
    bench.store.gate.set()
    bench.store.errors.append(StoreError("no"))
    answer = bench.writer.submit(start(1, bench.engine))
    await bench.writer.flush()
    assert isinstance(answer.exception(), StoreError)


async def test_room_is_made_when_the_queue_has_gone_down(small_groups: Bench) -> None:
    bench = small_groups
    assert not bench.writer.full
    await bench.writer.room()
    answers = [bench.writer.submit(start(key, bench.engine)) for key in range(1, 9)]
    waiting = asyncio.create_task(bench.writer.room())
    await bench.busy()
    assert bench.writer.full
    assert not waiting.done()

    bench.store.gate.set()
    await waiting
    assert not bench.writer.full
    await asyncio.gather(*answers)


# Failures


async def test_a_commit_at_fault_fails_alone(bench: Bench) -> None:
    bench.store.gate.set()
    await asyncio.gather(*(bench.writer.submit(start(key, bench.engine)) for key in (1, 2)))
    hole = bench.writer.submit(progress(1, 5, 5))
    good = [bench.writer.submit(commit) for commit in (progress(2, 1, 1), start(3, bench.engine))]
    stolen_key = bench.writer.submit(start(2, bench.engine, name="thief"))

    assert await asyncio.gather(*good) == [None, None]
    assert isinstance(await outcome(hole), CommitRefused)
    assert isinstance(await outcome(stolen_key), CommitRefused)
    assert len(await bench.store.segments(2)) == 1


async def test_commits_behind_one_at_fault_of_the_same_execution_fail_with_it(bench: Bench) -> None:
    first = bench.writer.submit(start(1, bench.engine))
    await bench.busy()
    answers = [
        bench.writer.submit(commit)
        for commit in (
            progress(1, 1, 1),
            progress(1, 3, 3),
            Progress(1, None, [frame("/lost")]),
            start(2, bench.engine),
        )
    ]
    bench.store.gate.set()

    assert [type(await outcome(answer)) for answer in (first, *answers)] == [
        *(type(None), type(None), CommitRefused, CommitRefused, type(None)),
    ]
    assert await bench.store.frames(1) == []
    assert len(await bench.store.segments(1)) == 1


@pytest.mark.parametrize(
    "bad",
    [
        start(2, input=Payload(object())),  # type: ignore[arg-type]
        Progress(2, Segment(1, 1, "\ud800", [])),
        Progress(2, None, [frame("")], final=final("FAILED", None, cause="lone \udc00")),
        Progress(2, Segment(1, 1, "[]", [Payload({"a": "\ud800"})])),
    ],
)
async def test_a_commit_that_cannot_be_encoded_fails_alone(store: Store, engine: EngineRow, bad: Commit) -> None:
    writer = Writer(store, engine)
    guilty = writer.submit(bad)
    follower = writer.submit(progress(2, 2, 2))
    good = writer.submit(start(1, engine))
    await writer.close()

    assert await good is None
    assert isinstance(guilty.exception(), JsonError | UnicodeEncodeError)
    assert isinstance(follower.exception(), JsonError | UnicodeEncodeError)


async def test_a_refused_transaction_fails_its_group_and_what_follows_it_and_the_next_group_is_written(
    bench: Bench,
) -> None:
    bench.store.errors.append(StoreError("the disk is full"))
    group = [bench.writer.submit(start(key, bench.engine)) for key in (1, 2)]
    await bench.busy()
    behind = bench.writer.submit(progress(1, 1, 1))
    next_group = bench.writer.submit(start(3, bench.engine))
    bench.store.gate.set()

    errors = [await outcome(answer) for answer in (*group, behind)]

    assert [str(error) for error in errors] == ["the disk is full"] * 3
    assert len({id(error) for error in errors}) == 3
    assert await next_group is None
    assert bench.sizes == [2, 1]
    assert await bench.writer.submit(start(1, bench.engine)) is None


async def test_an_error_that_is_no_store_error_reaches_the_waiters_and_the_writer_goes_on(bench: Bench) -> None:
    bench.store.gate.set()
    bench.store.errors.append(ZeroDivisionError("a bug"))
    assert isinstance(await outcome(bench.writer.submit(start(1, bench.engine))), ZeroDivisionError)
    assert await bench.writer.submit(start(1, bench.engine)) is None


async def test_a_fenced_engine_writes_nothing_any_more(bench: Bench) -> None:
    claimer = await bench.store.register_engine(0.0, 30.0)
    await bench.store.claim(claimer, 1.0, dead=[bench.engine.id])
    group = bench.writer.submit(start(1, bench.engine))
    await bench.busy()
    queued = bench.writer.submit(start(2, bench.engine))
    flushing = asyncio.create_task(bench.writer.flush())
    assert not bench.writer.fenced.is_set()
    bench.store.gate.set()

    await asyncio.wait_for(bench.writer.fenced.wait(), 5)
    await bench.running
    await flushing
    later = bench.writer.submit(start(3, bench.engine))

    for answer in (group, queued, later):
        assert isinstance(await outcome(answer), EngineFenced)
    assert bench.sizes == [1]
    await bench.writer.close()


# The end


async def test_closing_writes_what_is_queued_and_refuses_the_rest(bench: Bench) -> None:
    answers = [bench.writer.submit(start(key, bench.engine)) for key in (1, 2)]
    await bench.busy()
    answers.append(bench.writer.submit(start(3, bench.engine)))
    closing = asyncio.create_task(bench.writer.close())
    await bench.busy()
    answers.append(bench.writer.submit(start(4, bench.engine)))
    bench.store.gate.set()

    await closing
    await bench.running

    assert [answer.result() for answer in answers] == [None] * 4
    assert isinstance(await outcome(bench.writer.submit(start(5, bench.engine))), EngineClosed)
    await bench.writer.close()


async def test_closing_a_writer_that_nobody_runs_writes_what_is_queued(store: Store, engine: EngineRow) -> None:
    writer = Writer(store, engine)
    answer = writer.submit(start(1, engine))

    await writer.close()

    assert answer.result() is None
    assert await store.execution(execution_arn("order-1")) is not None
    await writer.run()


async def test_a_writer_runs_once_at_a_time(bench: Bench) -> None:
    await bench.busy()
    with pytest.raises(RuntimeError, match="running already"):
        await bench.writer.run()


async def test_a_cancelled_writer_finishes_the_group_it_writes_and_fails_the_rest(bench: Bench) -> None:
    written = bench.writer.submit(start(1, bench.engine))
    await bench.busy()
    queued = bench.writer.submit(start(2, bench.engine))
    bench.running.cancel()
    await bench.busy()
    bench.running.cancel()
    await bench.busy()
    assert not written.done()
    bench.store.gate.set()

    await asyncio.wait([bench.running])

    assert bench.running.cancelled()
    assert written.result() is None
    assert isinstance(queued.exception(), EngineClosed)
    assert isinstance(await outcome(bench.writer.submit(start(3, bench.engine))), EngineClosed)


class Crash(BaseException):
    """As if the process had ended here."""


async def test_what_is_no_exception_ends_the_writer_and_reaches_the_waiters(bench: Bench) -> None:
    bench.store.errors.append(Crash())
    group = bench.writer.submit(start(1, bench.engine))
    await bench.busy()
    queued = bench.writer.submit(start(2, bench.engine))
    bench.store.gate.set()

    with pytest.raises(Crash):
        await bench.running

    assert isinstance(await outcome(group), Crash)
    assert isinstance(await outcome(queued), EngineClosed)


async def test_a_thousand_executions_share_few_transactions(store: Store, engine: EngineRow) -> None:
    writer = Writer(store, engine)
    running = asyncio.create_task(writer.run())

    async def execute(key: int) -> None:
        await writer.submit(start(key, engine))
        await writer.submit(progress(key, 1, 2, frames=[frame("", LARGE_TEXT)]))
        await writer.submit(progress(key, 3, 4, final=final()))

    await asyncio.gather(*(execute(key) for key in range(1, 1_001)))
    await writer.close()
    await running

    for key in (1, 500, 1_000):
        assert [item.last_id for item in await store.segments(key)] == [2, 4]
        assert await store.frames(key) == []
