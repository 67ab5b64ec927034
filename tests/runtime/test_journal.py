"""The journal by itself, on a queue of commits that answers when it is told to."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING

import pytest

from asfn._json import Payload
from asfn.errors import StateFailed, StoreError
from asfn.runtime.history import shapes
from asfn.runtime.journal import Barrier, Journal
from asfn.store.records import Final, Progress

if TYPE_CHECKING:
    from asfn.store.records import Commit, ExecutionRow
    from asfn.store.writer import Answer


class Queue:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[tuple[Commit, Answer]] = []

    def submit(self, commit: Commit) -> asyncio.Future[ExecutionRow | None]:
        future: asyncio.Future[ExecutionRow | None] = asyncio.get_running_loop().create_future()
        self.given.append((commit, future))
        return future

    def hand_over(self, commit: Commit, answer: Answer) -> None:
        self.given.append((commit, answer))


def test_a_commit_holds_its_events_and_each_payload_once() -> None:
    queue = Queue()
    journal = Journal(7, queue, 100, last_id=3)
    given, made = Payload({"a": 1}), Payload([2])
    assert journal.record("PassStateEntered", 3, 10.0, "One", given) == 4
    assert journal.record("PassStateExited", 4, 10.5, "One", made, None, {"x": given, "y": made}) == 5
    assert journal.record("PassStateEntered", 5, 10.5, "Two", made) == 6
    assert journal.events_waiting == 3
    journal.flush()

    [(commit, _)] = queue.given
    assert isinstance(commit, Progress)
    assert commit.segment is not None
    assert (commit.key, commit.segment.first_id, commit.segment.last_id) == (7, 4, 6)
    assert list(commit.segment.texts) == [given, made]
    assert [event["type"] for event in shapes(commit.segment)] == [
        "PassStateEntered", "PassStateExited", "PassStateEntered",
    ]  # fmt: skip
    assert shapes(commit.segment)[1]["stateExitedEventDetails"] == {
        "name": "One",
        "output": "[2]",
        "outputDetails": {"truncated": False},
        "assignedVariables": {"x": '{"a":1}', "y": "[2]"},
        "assignedVariablesDetails": {"truncated": False},
    }
    assert journal.events_waiting == 0


def test_all_branches_that_wait_for_one_commit_go_on_when_it_is_durable() -> None:
    async def main() -> None:
        queue = Queue()
        journal = Journal(7, queue, 100)
        journal.record("ExecutionStarted", 0, 1.0)
        waiting = [asyncio.create_task(journal.barrier()) for _ in range(3)]
        cancelled = asyncio.create_task(journal.barrier())
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert not any(task.done() for task in waiting)
        [(_, answer)] = queue.given
        answer.set_result(None)
        assert await asyncio.gather(*waiting) == [True] * 3
        assert await journal.barrier() is False

    asyncio.run(main())


def test_what_failed_is_told_to_a_later_barrier_too() -> None:
    async def main() -> None:
        queue = Queue()
        journal = Journal(7, queue, 100)
        journal.record("ExecutionStarted", 0, 1.0)
        journal.flush()
        queue.given[0][1].set_exception(StoreError("the disk is full"))
        with pytest.raises(StoreError):
            await journal.barrier()

    asyncio.run(main())


def test_the_last_barrier_closes_every_open_token() -> None:
    queue = Queue()
    journal = Journal(7, queue, 100)
    for token in ("one", "two", "three"):
        journal.expect_token(token)
    journal.close_token("two", 1.0)
    barrier = journal.finish(Final("SUCCEEDED", 2.0, Payload(1)))

    assert barrier is not None
    [(commit, answer)] = queue.given
    assert answer is barrier
    assert isinstance(commit, Progress)
    assert commit.tokens is not None
    assert commit.tokens.closed[0] == ("two", 1.0)
    assert sorted(commit.tokens.closed[1:]) == [("one", 2.0), ("three", 2.0)]
    assert not journal.open_tokens


def test_a_full_history_still_takes_the_end_of_the_execution() -> None:
    journal = Journal(7, Queue(), 3, last_id=2)
    with pytest.raises(StateFailed, match="maximum number of history events"):
        journal.record("PassStateEntered", 2, 1.0)
    assert journal.record("ExecutionFailed", 2, 1.0) == 3


def test_a_barrier_calls_back_in_a_turn_of_its_own_and_in_the_context_that_asked() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="the writer's")

    async def main() -> None:
        told: list[tuple[str, BaseException | None]] = []
        early, late = Barrier(), Barrier()
        variable.set("the asker's")
        early.then(lambda barrier: told.append((variable.get(), barrier.error)))
        variable.set("the writer's")
        error = StoreError("no")
        early.set_result(None)
        late.set_exception(error)
        late.then(lambda barrier: told.append((variable.get(), barrier.error)))
        assert told == []
        await asyncio.sleep(0)
        assert told == [("the asker's", None), ("the writer's", error)]

    asyncio.run(main())
