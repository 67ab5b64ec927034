"""The contract of `Mailbox`, over every store: tokens, activities and their work."""

from __future__ import annotations

import asyncio
import random
import re
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from asfn.store.memory import MemoryStore
from asfn.store.queries import load, named, statements
from asfn.store.records import (
    ActivityRow,
    ActivityTaskRow,
    Message,
    Progress,
    Settlement,
    Taker,
    TokenChanges,
    TokenRow,
)
from asfn.store.sqlite import SqliteStore
from asfn.store.sqlite_file import MIGRATIONS
from tests.store.samples import final, machine_row, start

if TYPE_CHECKING:
    from pathlib import Path

    from asfn.store.protocol import Store
    from asfn.store.records import EngineRow

SIGN = "arn:aws:states:us-east-1:123456789012:activity:sign"
FILE = "arn:aws:states:us-east-1:123456789012:activity:file"
OUTCOME = '["success","{\\"ü\\": \\"\\u0000\\"}"]'
QUERIES = named(load("mailbox.sql"))


def opening(*tokens: str, execution: int = 1) -> Progress:
    rows = [TokenRow(token, execution, "/path", 1.5) for token in tokens]
    return Progress(execution, tokens=TokenChanges(opened=rows))


def queueing(*tokens: str, arn: str = SIGN) -> Progress:
    rows = [TokenRow(token, 1, "", 1.5) for token in tokens]
    work = [ActivityTaskRow(token, arn, 1, f'{{"for": "{token}"}}', 1.5) for token in tokens]
    return Progress(1, tokens=TokenChanges(opened=rows, queued=work))


def closing(*tokens: str) -> Progress:
    return Progress(1, tokens=TokenChanges(closed=[(token, 9.0) for token in tokens]))


def noting(*tokens: str) -> Progress:
    return Progress(1, tokens=TokenChanges(noted=list(tokens)))


def completed(token: str, at: float = 5.0, outcome: str = OUTCOME) -> Settlement:
    return Settlement(token, "completed", outcome, at)


def timed_out(token: str, at: float = 6.0, unless_beat_after: float | None = None) -> Settlement:
    return Settlement(token, "timed_out", '["timeout"]', at, unless_beat_after)


async def row(store: Store, token: str) -> TokenRow:
    [found] = await store.tokens([token])
    assert found is not None
    return found


@pytest.fixture
async def running(store: Store, engine: EngineRow) -> Store:
    await store.apply(engine, [start(1, engine)])
    return store


# --- tokens ----------------------------------------------------------------------------------------------------------


async def test_an_opened_token_is_open_and_an_unknown_one_is_not_there(running: Store, engine: EngineRow) -> None:
    await running.apply(engine, [opening("a")])

    assert await running.tokens(["b", "a", "a"]) == [None, *[TokenRow("a", 1, "/path", 1.5)] * 2]
    assert await running.token_news() == []


async def test_a_token_is_settled_once_by_whoever_comes_first(running: Store, engine: EngineRow) -> None:
    await running.apply(engine, [opening("a", "b")])

    answers = await running.settle_tokens([completed("a"), timed_out("a"), completed("x"), completed("b", 7.0)])

    settled = TokenRow("a", 1, "/path", 1.5, "completed", OUTCOME, settled_at=5.0)
    assert answers == [(True, None), (False, settled), (False, None), (True, None)]
    assert await running.settle_tokens([completed("a"), timed_out("b")]) == [
        (False, settled),
        (False, await row(running, "b")),
    ]
    assert sorted(await running.token_news()) == ["a", "b"]
    assert await running.settle_tokens([]) == []


async def test_an_outcome_goes_when_its_task_has_moved_on_and_the_state_stays(
    running: Store, engine: EngineRow
) -> None:
    await running.apply(engine, [opening("a", "b", "c")])
    await running.settle_tokens([completed("a"), timed_out("b")])

    await running.apply(engine, [closing("a", "b", "c")])

    assert await running.tokens(["a", "b", "c"]) == [
        TokenRow("a", 1, "/path", 1.5, "completed", settled_at=5.0),
        TokenRow("b", 1, "/path", 1.5, "timed_out", settled_at=6.0),
        TokenRow("c", 1, "/path", 1.5, "closed", settled_at=9.0),
    ]
    assert await running.token_news() == []
    assert [ended for ended, _ in await running.settle_tokens([completed("a"), completed("c")])] == [False, False]


async def test_a_token_may_be_opened_and_closed_in_one_group(running: Store, engine: EngineRow) -> None:
    await running.apply(engine, [queueing("a"), closing("a"), opening("b")])

    assert (await row(running, "a")).state == "closed"
    assert (await row(running, "b")).state == "open"
    assert await running.take_activity_tasks([Taker(SIGN, None)], 2.0) == [None]


async def test_changes_of_an_execution_that_is_not_the_engines_are_not_made(running: Store, engine: EngineRow) -> None:
    await running.apply(engine, [opening("a")])
    other = await running.register_engine(0.0, 30.0)

    await running.apply(other, [closing("a"), opening("b")])
    await running.apply(engine, [Progress(1, final=final()), closing("a"), opening("c", execution=9)])

    assert await running.tokens(["a", "b", "c"]) == [TokenRow("a", 1, "/path", 1.5), None, None]


async def test_the_final_commit_may_close_tokens(running: Store, engine: EngineRow) -> None:
    await running.apply(engine, [opening("a")])

    await running.apply(engine, [Progress(1, final=final(), tokens=TokenChanges(closed=[("a", 99.5)]))])

    assert await row(running, "a") == TokenRow("a", 1, "/path", 1.5, "closed", settled_at=99.5)


async def test_a_sign_of_life_is_kept_for_open_tokens_and_never_goes_back(running: Store, engine: EngineRow) -> None:
    await running.apply(engine, [opening("a", "b")])
    await running.settle_tokens([completed("b")])

    rows = await running.beat_tokens(["a", "b", "x"], 30.0)
    await running.beat_tokens(["a"], 20.0)

    assert [item.heartbeat_at if item is not None else "none" for item in rows] == [30.0, None, "none"]
    assert (await row(running, "a")).heartbeat_at == 30.0


async def test_a_lost_heartbeat_ends_a_token_only_without_a_later_sign_of_life(
    running: Store, engine: EngineRow
) -> None:
    await running.apply(engine, [opening("a", "b", "c", "d")])
    await running.beat_tokens(["a", "b", "d"], 30.0)

    settlements = [timed_out(token, unless_beat_after=at) for token, at in zip("abc", (29.9, 30.0, 0.0), strict=True)]
    answers = await running.settle_tokens([*settlements, timed_out("d")])

    assert [ended for ended, _ in answers] == [False, True, True, True]
    assert answers[0][1] == TokenRow("a", 1, "/path", 1.5, heartbeat_at=30.0)


async def test_of_many_who_settle_at_once_each_token_has_one(running: Store, engine: EngineRow) -> None:
    tokens = [f"t{number}" for number in range(40)]
    await running.apply(engine, [opening(*tokens)])
    draw = random.Random(3)

    async def settle(number: int) -> list[str]:
        mine = [completed(token, number) if draw.random() < 0.5 else timed_out(token, number) for token in tokens]
        draw.shuffle(mine)
        answers = await running.settle_tokens(mine)
        return [settlement.token for settlement, (ended, _) in zip(mine, answers, strict=True) if ended]

    won = await asyncio.gather(*(settle(number) for number in range(5)))

    assert sorted(token for mine in won for token in mine) == sorted(tokens)


# --- activities and their work ---------------------------------------------------------------------------------------


async def test_an_activity_is_put_once(store: Store) -> None:
    first = ActivityRow(SIGN, "sign", 1.0)

    assert await store.put_activity(first) == first
    assert await store.put_activity(ActivityRow(SIGN, "sign", 2.0)) == first
    await store.put_activity(ActivityRow(FILE, "file", 3.0))
    assert await store.activities() == [ActivityRow(FILE, "file", 3.0), first]
    assert await store.activity(SIGN) == first
    await store.delete_activity(SIGN)
    await store.delete_activity(SIGN)
    assert await store.activity(SIGN) is None


async def test_work_is_taken_oldest_first_and_once(running: Store, engine: EngineRow) -> None:
    await running.apply(engine, [queueing("a", "b"), queueing("f", arn=FILE), queueing("c")])
    assert await running.waiting_activity_tasks([SIGN, FILE, "other"]) == {SIGN: 3, FILE: 1}

    taken = await running.take_activity_tasks([Taker(SIGN, "w1"), Taker(FILE, None), Taker(FILE, "w2")], 7.0)
    more = await running.take_activity_tasks([Taker(SIGN, None)] * 4, 8.0)

    assert [work.token if work is not None else None for work in taken + more] == ["a", "f", None, "b", "c", None, None]
    assert taken[0] == ActivityTaskRow("a", SIGN, 1, '{"for": "a"}', 1.5)
    found = await row(running, "a")
    assert (found.worker_name, found.taken_at) == ("w1", 7.0)
    assert await running.waiting_activity_tasks([SIGN, FILE]) == {}
    assert sorted(await running.token_news()) == ["a", "b", "c", "f"]
    assert await running.take_activity_tasks([], 9.0) == []


async def test_noted_work_leaves_the_queue_and_the_token_stays_open(running: Store, engine: EngineRow) -> None:
    await running.apply(engine, [queueing("a")])
    await running.take_activity_tasks([Taker(SIGN, "w")], 7.0)

    await running.apply(engine, [noting("a")])

    assert await row(running, "a") == TokenRow("a", 1, "", 1.5)
    assert await running.token_news() == []
    await running.give_back_activity_task("a")
    assert await running.take_activity_tasks([Taker(SIGN, "w")], 8.0) == [None]


async def test_work_that_is_given_back_is_the_oldest_again(running: Store, engine: EngineRow) -> None:
    await running.apply(engine, [queueing("a", "b")])
    await running.take_activity_tasks([Taker(SIGN, "w")], 7.0)

    await running.give_back_activity_task("a")

    assert (await row(running, "a")).taken_at is None
    assert await running.token_news() == []
    assert await running.waiting_activity_tasks([SIGN]) == {SIGN: 2}
    [again] = await running.take_activity_tasks([Taker(SIGN, "next")], 8.0)
    assert again is not None
    assert again.token == "a"


@pytest.mark.parametrize("taken", [False, True])
async def test_a_closed_token_takes_its_work_out_of_the_queue(running: Store, engine: EngineRow, taken: bool) -> None:
    await running.apply(engine, [queueing("a")])
    if taken:
        await running.take_activity_tasks([Taker(SIGN, "w")], 7.0)

    await running.apply(engine, [closing("a")])

    assert await running.take_activity_tasks([Taker(SIGN, "w")], 8.0) == [None]
    assert await running.token_news() == []
    assert (await row(running, "a")).taken_at is None


async def test_rows_that_were_given_or_got_belong_to_the_caller(running: Store, engine: EngineRow) -> None:
    opened = TokenRow("a", 1, "/path", 1.5)
    await running.apply(engine, [Progress(1, tokens=TokenChanges(opened=[opened]))])
    opened.state = "closed"
    (await row(running, "a")).state = "closed"

    assert (await row(running, "a")).state == "open"


# --- SQLite ----------------------------------------------------------------------------------------------------------


async def test_the_version_changes_when_another_process_writes_and_not_by_itself(
    sqlite: SqliteStore, path: Path
) -> None:
    engine = await sqlite.register_engine(0.0, 30.0)
    before = await sqlite.version()
    await sqlite.apply(engine, [start(1, engine), opening("a")])
    assert await sqlite.version() == before

    other = SqliteStore(path)
    await other.open()
    assert [ended for ended, _ in await other.settle_tokens([completed("a")])] == [True]
    await other.close()

    assert await sqlite.version() != before
    assert (await row(sqlite, "a")).state == "completed"


async def test_the_version_of_a_store_in_memory_changes_with_whatever_another_engine_may_wait_for() -> None:
    store = MemoryStore()
    engine = await store.register_engine(0.0, 30.0)
    await store.apply(engine, [start(1, engine), queueing("a", "b")])

    versions = [await store.version()]
    for write in (
        store.settle_tokens([completed("a")]),
        store.take_activity_tasks([Taker(SIGN, "w")], 1.0),
        store.give_back_activity_task("a"),
        store.apply(engine, [closing("a")]),
        store.post(Message(1, "stop", "{}", 5.0)),
        store.drop_messages([1]),
        store.put_state_machine(machine_row()),
        store.retire_engine(engine),
    ):
        await write
        versions.append(await store.version())
    assert versions == sorted(set(versions))
    await store.settle_tokens([completed("a"), completed("x")])
    await store.tokens(["a"])
    assert await store.version() == versions[-1]


async def test_large_outcomes_and_inputs_come_back_as_they_were(running: Store, engine: EngineRow) -> None:
    text = '{"large": "' + "ü" * 100_000 + '"}'
    work = ActivityTaskRow("a", SIGN, 1, text, 1.5)
    await running.apply(engine, [Progress(1, tokens=TokenChanges(opened=[TokenRow("a", 1, "", 1.5)], queued=[work]))])

    [taken] = await running.take_activity_tasks([Taker(SIGN, None)], 2.0)
    assert taken is not None
    assert taken.input == text
    await running.settle_tokens([completed("a", outcome=text)])
    assert (await row(running, "a")).outcome == text


@pytest.mark.parametrize("name", sorted(set(QUERIES) - {"select_activities"}))
def test_every_query_of_the_mailbox_finds_its_rows_by_an_index(name: str) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for script in MIGRATIONS:
        for statement in statements(script):
            connection.execute(statement)
    names = re.findall(r"(?<!\w):(\w+)", QUERIES[name])
    numbers = [int(number) for number in re.findall(r"\?(\d+)", QUERIES[name])]
    nothing: Any = dict.fromkeys(names) if names else [None] * max(numbers, default=QUERIES[name].count("?"))
    steps = [step[3] for step in connection.execute(f"EXPLAIN QUERY PLAN {QUERIES[name]}", nothing)]
    connection.close()

    own = ("SCAN CONSTANT ROW", "SCAN closed", "SCAN news", "SCAN i")  # the statement's own rows, and all messages
    scans = [step for step in steps if step.startswith("SCAN ") and "VIRTUAL TABLE" not in step and step not in own]
    assert [step for step in scans if "USING COVERING INDEX" not in step and "USING INDEX" not in step] == []
