"""Groups: however commits fall into transactions, and in whichever store, the outcome is the same."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from asfn.store.group import Standing, lies_at_or_below, plan_group
from asfn.store.memory import MemoryStore
from asfn.store.protocol import CommitRefused
from asfn.store.records import ExecutionQuery, Progress
from tests.store.samples import final, frame, progress, row, segment, start, texts

if TYPE_CHECKING:
    from asfn.store.protocol import Store
    from asfn.store.records import Commit, EngineRow

PATHS = ("", "/0.0:A:0", "/0.0:A:0/1.0:B:0", "/0.0:A:0/1.0:B:1", "/0.0:A:1", "/0.0:A:10", "/2.0:A:0")


def random_commit(draw: random.Random, key: int, last_ids: dict[int, int], engine: EngineRow) -> Commit:
    """A commit as a runtime might make it, holes and late ones included."""
    if draw.random() < 0.15:
        return start(key, engine, name=f"order-{draw.choice([key, key, 1])}")
    first_id = last_ids.get(key, 0) + (1 if draw.random() < 0.95 else 2)
    last_id = first_id + draw.randrange(3)
    with_segment = draw.random() < 0.7
    if with_segment:
        last_ids[key] = last_id
    return Progress(
        key,
        segment(first_id, last_id, *draw.choices(['"a"', "[1,  2]", '"' + "y" * 1_500 + '"'], k=2))
        if with_segment
        else None,
        [frame(path, body=draw.randrange(1_000)) for path in draw.sample(PATHS, draw.randrange(4))],
        draw.sample(PATHS, 1) if draw.random() < 0.3 else (),
        final=final(draw.choice(["FAILED", "SUCCEEDED"])) if draw.random() < 0.06 else None,
        parked=draw.random() < 0.03,
        wake_at=7.0,
    )


async def contents(store: Store) -> list[Any]:
    """Everything a store says about its executions."""
    rows = await store.executions(ExecutionQuery(limit=1_000))
    return [
        (
            row,
            sorted((item.path, item.body) for item in await store.frames(row.key)),
            [(item.first_id, item.last_id, item.body, texts(item.texts)) for item in await store.segments(row.key)],
        )
        for row in rows
    ]


@pytest.mark.parametrize("seed", range(25))
async def test_the_outcome_does_not_depend_on_the_grouping_or_the_store(
    store: Store, engine: EngineRow, seed: int
) -> None:
    draw = random.Random(seed)
    single = MemoryStore()
    single_engine = await single.register_engine(0.0, 30.0)
    last_ids: dict[int, int] = {}
    answers: list[Any] = []
    pending: list[Commit] = [start(key, engine) for key in range(1, 6)]
    pending += [random_commit(draw, draw.randrange(1, 6), last_ids, engine) for _ in range(150)]

    accepted: list[Commit] = []
    for commit in pending:
        try:
            answers += await single.apply(single_engine, [commit])
            accepted.append(commit)
        except CommitRefused:
            continue
    grouped: list[Any] = []
    while accepted:
        size = draw.randrange(1, 30)
        grouped += await store.apply(engine, accepted[:size])
        del accepted[:size]

    assert grouped == answers
    assert await contents(store) == await contents(single)


def test_what_starts_and_ends_in_one_group_is_inserted_as_it_ended() -> None:
    original = start(1, None, owner=3)
    commits: list[Commit] = [original, progress(1, 1, 1, frames=[frame("")], final=final("FAILED", None, error="E"))]

    group = plan_group(3, commits, {}, [])

    assert [(item.status, item.owner, item.error) for item in group.starts] == [("FAILED", None, "E")]
    assert (group.finals, group.drops, group.frames) == ([], [], {1: {"": frame("")}})
    assert original.row.status == "RUNNING"


def test_frames_that_are_dropped_again_in_their_group_are_never_written() -> None:
    commits: list[Commit] = [
        Progress(1, None, [frame("/a"), frame("/a/b"), frame("/ab")]),
        Progress(1, dropped=["/a"]),
    ]

    group = plan_group(3, commits, {1: Standing("RUNNING", 3, 0)}, [])

    assert list(group.frames[1]) == ["/ab"]
    assert group.drops == [(1, "/a")]


def test_holders_and_answers_are_rows_apart() -> None:
    holder = row(1, None, name="a")

    group = plan_group(3, [start(2, None, name="a")], {}, [holder])

    assert group.answers == [holder]
    assert group.answers[0] is not holder


@pytest.mark.parametrize(
    ("path", "top", "expected"),
    [
        ("", "", True),
        ("/a", "", True),
        ("/a", "/a", True),
        ("/a/b", "/a", True),
        ("/ab", "/a", False),
        ("/a", "/a/b", False),
        ("", "/a", False),
    ],
)
def test_a_path_lies_at_or_below_another(path: str, top: str, expected: bool) -> None:
    assert lies_at_or_below(path, top) is expected
