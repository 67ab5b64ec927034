"""What every store promises. Each test runs over all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from asfn._json import Payload
from asfn.errors import EngineFenced
from asfn.store.protocol import CommitRefused, Store
from asfn.store.records import ExecutionQuery, FrameRow, Progress, Redrive, Segment
from tests.store.samples import (
    LARGE_TEXT,
    MACHINE,
    execution_arn,
    final,
    frame,
    machine_row,
    progress,
    row,
    segment,
    start,
    texts,
)

if TYPE_CHECKING:
    from asfn.store.records import Commit, EngineRow, ExecutionRow, ExecutionStatus


async def paths(store: Store, key: int) -> set[str]:
    return {frame.path for frame in await store.frames(key)}


async def read(store: Store, key: int) -> ExecutionRow:
    execution = await store.execution(execution_arn(f"order-{key}"))
    assert execution is not None
    return execution


# Starting


async def test_a_started_execution_reads_back_member_by_member(store: Store, engine: EngineRow) -> None:
    full = row(
        1 << 41,
        engine,
        type="EXPRESS",
        redrive_count=2,
        redriven_at=7.25,
        wake_at=None,
        input=Payload.parse('{"a":  [1, 2.0, "ü"]}'),
        started_at=1700000000.123,
    )
    assert await store.apply(engine, [start(1, engine), start(2, engine, name="other")]) == [None, None]
    assert await store.apply(engine, [type(start(1))(full)]) == [None]

    found = await store.execution(full.arn)

    assert found == full
    assert found is not None
    assert found.input.text == '{"a":  [1, 2.0, "ü"]}'


async def test_an_unknown_execution_is_none(store: Store) -> None:
    assert await store.execution(execution_arn("nobody")) is None


async def test_a_taken_arn_answers_with_the_row_that_holds_it(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine, name="a")])

    answers = await store.apply(engine, [start(2, engine, name="a", input=Payload(5)), start(3, engine, name="b")])

    assert answers == [row(1, engine, name="a"), None]
    assert await store.execution(execution_arn("a")) == row(1, engine, name="a")
    assert await store.execution(execution_arn("b")) == row(3, engine, name="b")


async def test_of_two_starts_of_one_arn_in_a_group_the_first_wins(store: Store, engine: EngineRow) -> None:
    answers = await store.apply(engine, [start(1, engine, name="a"), start(2, engine, name="a")])

    assert answers == [None, row(1, engine, name="a")]


async def test_a_start_submitted_twice_answers_with_its_own_row(store: Store, engine: EngineRow) -> None:
    assert await store.apply(engine, [start(1, engine)]) == [None]
    assert await store.apply(engine, [start(1, engine)]) == [row(1, engine)]


async def test_a_conflict_answers_with_the_row_as_it_stands_at_that_point_of_the_group(
    store: Store, engine: EngineRow
) -> None:
    await store.apply(engine, [start(1, engine, name="a")])

    again = start(2, engine, name="a")
    answers = await store.apply(engine, [again, progress(1, 1, 1, final=final("FAILED", None)), again])

    assert answers[0] is not None
    assert answers[2] is not None
    assert (answers[0].status, answers[2].status) == ("RUNNING", "FAILED")


async def test_progress_of_a_start_that_lost_writes_nothing(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine, name="a")])

    await store.apply(engine, [start(2, engine, name="a"), progress(2, 1, 1, frames=[frame("")])])

    assert await store.segments(2) == []
    assert await store.frames(2) == []


async def test_a_key_that_another_arn_holds_is_refused_and_nothing_of_the_group_is_written(
    store: Store, engine: EngineRow
) -> None:
    await store.apply(engine, [start(1, engine, name="a")])

    with pytest.raises(CommitRefused, match="execution key 1") as caught:
        await store.apply(engine, [start(2, engine, name="b"), start(1, engine, name="c")])

    assert caught.value.index == 1
    assert await store.execution(execution_arn("b")) is None
    assert await store.execution(execution_arn("c")) is None


async def test_changing_a_row_after_the_start_does_not_change_the_stored_one(store: Store, engine: EngineRow) -> None:
    commit = start(1, engine)
    await store.apply(engine, [commit])

    commit.row.status = "ABORTED"
    (await read(store, 1)).status = "FAILED"

    assert (await read(store, 1)).status == "RUNNING"


# Progress


async def test_frames_are_inserted_and_replaced_by_path(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine)])
    await store.apply(engine, [Progress(1, None, [frame("", body=1), frame("/0.0:P:0", "[1]", body=2)])])
    await store.apply(engine, [Progress(1, None, [frame("/0.0:P:0", "[2]", "3", body=4)])])

    frames = {item.path: item for item in await store.frames(1)}

    assert frames.keys() == {"", "/0.0:P:0"}
    assert frames[""].body == '{"body":1}'
    assert frames["/0.0:P:0"].body == '{"body":4}'
    assert texts(frames["/0.0:P:0"].texts) == ["[2]", "3"]


async def test_the_last_frame_of_a_path_in_a_group_stays(store: Store, engine: EngineRow) -> None:
    await store.apply(
        engine,
        [start(1, engine), Progress(1, None, [frame("", body=1)]), Progress(1, None, [frame("", body=2)])],
    )

    assert [item.body for item in await store.frames(1)] == ['{"body":2}']


TREE = (
    "",
    "/2.0:M:0",
    "/2.0:M:0/1.0:P:1",
    "/2.0:M:0/1.0:P:1/7.0:Q:0",
    "/2.0:M:01",
    "/2.0:M:0-x",
    "/2.0:M:0.",
    "/2.0:M:1",
)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(
    ("dropped", "kept"),
    [
        (["/2.0:M:0"], {"", "/2.0:M:01", "/2.0:M:0-x", "/2.0:M:0.", "/2.0:M:1"}),
        (["/2.0:M:0/1.0:P:1"], set(TREE) - {"/2.0:M:0/1.0:P:1", "/2.0:M:0/1.0:P:1/7.0:Q:0"}),
        (["/2.0:M:1", "/2.0:M:01"], set(TREE) - {"/2.0:M:1", "/2.0:M:01"}),
        (["/2.0"], set(TREE)),
        ([""], set()),
        ([], set(TREE)),
    ],
)
async def test_a_dropped_path_goes_with_everything_below_it_and_nothing_beside_it(
    store: Store, engine: EngineRow, dropped: list[str], kept: set[str], grouped: bool
) -> None:
    commits: list[Commit] = [
        start(1, engine),
        Progress(1, None, [frame(path) for path in TREE]),
        Progress(1, dropped=dropped),
    ]
    if grouped:
        await store.apply(engine, commits)
    else:
        for commit in commits:
            await store.apply(engine, [commit])

    assert await paths(store, 1) == kept


async def test_dropping_touches_no_other_execution(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine), start(2, engine)])
    await store.apply(engine, [Progress(1, None, [frame("")]), Progress(2, None, [frame("")])])

    await store.apply(engine, [Progress(1, dropped=[""])])

    assert (await paths(store, 1), await paths(store, 2)) == (set(), {""})


async def test_a_commit_drops_before_it_writes_frames(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine), Progress(1, None, [frame("/a:0"), frame("/a:0/b:0")])])

    await store.apply(engine, [Progress(1, None, [frame("/a:0", body=9)], dropped=["/a:0"])])

    assert [(item.path, item.body) for item in await store.frames(1)] == [("/a:0", '{"body":9}')]


async def test_frames_dropped_and_written_again_in_one_group_come_out_in_order(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine), Progress(1, None, [frame("/a:0"), frame("/b:0")])])

    await store.apply(
        engine,
        [
            Progress(1, None, [frame("/a:0/c:0"), frame("/d:0")]),
            Progress(1, None, [frame("/e:0")], dropped=["/a:0", "/d:0"]),
            Progress(1, None, [frame("/d:0", body=3)]),
        ],
    )

    assert await paths(store, 1) == {"/b:0", "/e:0", "/d:0"}


async def test_progress_of_an_unknown_execution_writes_nothing(store: Store, engine: EngineRow) -> None:
    assert await store.apply(engine, [progress(7, 1, 1, frames=[frame("")])]) == [None]

    assert await store.segments(7) == []
    assert await store.frames(7) == []


async def test_progress_of_an_execution_that_another_engine_owns_writes_nothing(
    store: Store, engine: EngineRow
) -> None:
    other = await store.register_engine(0.0, 30.0)
    await store.apply(engine, [start(1, other), start(2), start(3, engine)])

    await store.apply(
        engine,
        [progress(1, 1, 1, final=final()), progress(2, 1, 1, frames=[frame("")]), progress(3, 1, 1)],
    )

    assert (await read(store, 1)).status == "RUNNING"
    assert [await store.segments(key) for key in (1, 2)] == [[], []]
    assert await store.frames(2) == []
    assert len(await store.segments(3)) == 1


async def test_an_empty_group_answers_nothing(store: Store, engine: EngineRow) -> None:
    assert await store.apply(engine, []) == []


# History


async def test_segments_come_in_order_with_bodies_and_texts_to_the_letter(store: Store, engine: EngineRow) -> None:
    odd = '{ "a" : [1,  0.0, 1e2, 123456789012345678901234567890], "ü": "\\u00e9" }'
    await store.apply(engine, [start(1, engine), Progress(1, segment(1, 3, odd, '"Hello"'))])
    await store.apply(engine, [Progress(1, segment(4, 4, "false")), Progress(1, segment(5, 9))])

    segments = await store.segments(1)

    assert [(item.first_id, item.last_id, item.body) for item in segments] == [
        (1, 3, '[1,3,"ü"]'),
        (4, 4, '[4,4,"ü"]'),
        (5, 9, '[5,9,"ü"]'),
    ]
    assert [texts(item.texts) for item in segments] == [[odd, '"Hello"'], ["false"], []]
    assert segments[0].texts[1].value == "Hello"
    assert [await store.last_event_id(key) for key in (1, 2)] == [9, 0]


@pytest.mark.parametrize(
    ("after_id", "limit", "firsts"),
    [
        (0, 100, [1, 4, 5, 8]),
        (0, 2, [1, 4]),
        (1, 100, [1, 4, 5, 8]),
        (2, 1, [1]),
        (3, 100, [4, 5, 8]),
        (4, 1, [5]),
        (6, 100, [5, 8]),
        (7, 100, [8]),
        (8, 100, []),
        (0, 0, []),
    ],
)
async def test_segments_are_paged_by_event_id(
    store: Store, engine: EngineRow, after_id: int, limit: int, firsts: list[int]
) -> None:
    ids = [(1, 3), (4, 4), (5, 7), (8, 8)]
    await store.apply(engine, [start(1, engine), *(progress(1, first, last) for first, last in ids)])

    found = await store.segments(1, after_id=after_id, limit=limit)

    assert [item.first_id for item in found] == firsts


@pytest.mark.parametrize(("first_id", "last_id"), [(1, 2), (2, 3), (3, 4), (5, 5), (4, 3)])
async def test_a_segment_that_does_not_follow_the_last_event_is_refused(
    store: Store, engine: EngineRow, first_id: int, last_id: int
) -> None:
    await store.apply(engine, [start(1, engine), progress(1, 1, 3)])

    with pytest.raises(CommitRefused, match="do not follow event 3") as caught:
        await store.apply(engine, [start(2, engine), progress(1, first_id, last_id, final=final())])

    assert caught.value.index == 1
    assert await store.execution(execution_arn("order-2")) is None
    assert (await read(store, 1)).status == "RUNNING"
    assert [item.last_id for item in await store.segments(1)] == [3]


async def test_a_hole_between_two_segments_of_one_group_is_refused(store: Store, engine: EngineRow) -> None:
    with pytest.raises(CommitRefused, match="events 4 to 4 of execution 1 do not follow event 2"):
        await store.apply(engine, [start(1, engine), progress(1, 1, 2), progress(1, 4, 4)])


async def test_standpoints_are_the_frames_and_the_last_event_of_each_execution(store: Store, engine: EngineRow) -> None:
    large = Payload.parse(LARGE_TEXT)
    commits: list[Commit] = [start(key, engine) for key in (1, 2, 3)]
    commits.append(Progress(1, Segment(1, 2, "[]", []), [FrameRow("", "{}", [large]), FrameRow("/a:0", "{}", [large])]))
    commits.append(Progress(2, Segment(1, 5, "[]", []), [FrameRow("", '{"n":2}', [Payload(2)])]))
    await store.apply(engine, commits)
    await store.apply(engine, [progress(2, 6, 7)])

    found = await store.standpoints([1, 2, 3])

    assert {key: stand.last_event_id for key, stand in found.items()} == {1: 2, 2: 7, 3: 0}
    for key, stand in found.items():
        singly = {(frame.path, frame.body, *texts(frame.texts)) for frame in await store.frames(key)}
        assert {(frame.path, frame.body, *texts(frame.texts)) for frame in stand.frames} == singly
    assert await store.standpoints([]) == {}


async def test_a_large_payload_comes_back_to_the_letter_wherever_it_stood(store: Store, engine: EngineRow) -> None:
    large = Payload.parse(LARGE_TEXT)
    commits: list[Commit] = [
        start(1, engine, input=large),
        Progress(1, Segment(1, 2, "[]", [large, Payload(1), large]), [FrameRow("", "{}", [large])]),
    ]
    await store.apply(engine, commits)
    await store.apply(engine, [start(2, engine), progress(2, 1, 1, final=final(output=LARGE_TEXT))])

    assert (await read(store, 1)).input.text == LARGE_TEXT
    assert [texts(item.texts) for item in await store.segments(1)] == [[LARGE_TEXT, "1", LARGE_TEXT]]
    assert [texts(item.texts) for item in await store.frames(1)] == [[LARGE_TEXT]]
    finished = await read(store, 2)
    assert finished.output is not None
    assert finished.output.text == LARGE_TEXT


# The end


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "ABORTED"])
async def test_what_ends_badly_keeps_its_frames(store: Store, engine: EngineRow, status: ExecutionStatus) -> None:
    await store.apply(engine, [start(1, engine)])
    await store.apply(engine, [progress(1, 1, 2, frames=[frame(""), frame("/a:0")])])

    end = final(status, None, error="E", cause="why", failed_state="Pay")
    await store.apply(engine, [progress(1, 3, 4, frames=[frame("", body=2)], final=end)])

    expected = row(1, status=status, stopped_at=99.5, error="E", cause="why", failed_state="Pay")
    assert await read(store, 1) == expected
    assert {kept.path: kept.body for kept in await store.frames(1)} == {"": '{"body":2}', "/a:0": '{"body":1}'}
    assert [item.last_id for item in await store.segments(1)] == [2, 4]


async def test_what_succeeds_drops_its_frames(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine)])
    await store.apply(engine, [progress(1, 1, 2, frames=[frame(""), frame("/a:0")])])

    await store.apply(engine, [progress(1, 3, 4, frames=[frame("/b:0")], final=final())])

    assert (await read(store, 1)).status == "SUCCEEDED"
    assert await store.frames(1) == []


def redriven(row: ExecutionRow, engine: EngineRow, **changes: Any) -> Redrive:
    again = structs.replace(
        row,
        status="RUNNING",
        redrive_count=row.redrive_count + 1,
        redriven_at=200.5,
        redrive_tokens=(("token", 200.5),),
        owner=engine.id,
    )
    return Redrive(again, progress(row.key, 3, 3, frames=[frame("", body=3)], dropped=[""], **changes))


async def test_a_redrive_sets_an_ended_execution_going_again(store: Store, engine: EngineRow) -> None:
    end = final("FAILED", None, error="E", cause="why", failed_state="Pay")
    await store.apply(engine, [start(1, engine)])
    await store.apply(engine, [progress(1, 1, 2, frames=[frame(""), frame("/a:0")], final=end)])

    assert await store.apply(engine, [redriven(await read(store, 1), engine)]) == [None]

    again = await read(store, 1)
    expected = row(1, redrive_count=1, redriven_at=200.5, redrive_tokens=(("token", 200.5),), owner=engine.id)
    assert again == expected
    assert [(kept.path, kept.body) for kept in await store.frames(1)] == [("", '{"body":3}')]
    assert await store.last_event_id(1) == 3
    await store.apply(engine, [progress(1, 4, 5, final=final())])
    ended = await read(store, 1)
    assert (ended.status, ended.redrive_count) == ("SUCCEEDED", 1)


async def test_only_one_of_two_redrives_is_carried_out(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine), progress(1, 1, 2, final=final("ABORTED", None))])
    ended = await read(store, 1)

    answers = await store.apply(engine, [redriven(ended, engine), redriven(ended, engine)])

    assert answers[0] is None
    assert answers[1] is not None
    assert answers[1].status == "RUNNING"
    assert await store.last_event_id(1) == 3
    [again] = await store.apply(engine, [redriven(ended, engine)])
    assert again is not None
    assert again.redrive_count == 1


async def test_a_success_is_not_redriven(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine), progress(1, 1, 2, final=final())])
    [answer] = await store.apply(engine, [redriven(await read(store, 1), engine)])
    assert answer is not None
    assert answer.status == "SUCCEEDED"
    assert (await read(store, 1)).redrive_count == 0


async def test_a_redrive_of_what_is_not_there_is_refused(store: Store, engine: EngineRow) -> None:
    with pytest.raises(CommitRefused, match="cannot be redriven"):
        await store.apply(engine, [redriven(row(1, status="FAILED"), engine)])


async def test_an_end_a_redrive_and_another_end_fit_into_one_group(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine)])
    failed = row(1, status="FAILED")
    await store.apply(
        engine,
        [
            progress(1, 1, 2, final=final("FAILED", None, error="E")),
            redriven(failed, engine),
            progress(1, 4, 4, final=final("TIMED_OUT", None)),
        ],
    )
    ended = await read(store, 1)
    assert (ended.status, ended.error, ended.redrive_count) == ("TIMED_OUT", None, 1)
    assert await store.last_event_id(1) == 4


async def test_a_pause_stays_until_it_is_lifted_or_the_execution_ends(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine), start(2, engine)])
    await store.apply(engine, [Progress(1, paused=True), Progress(2, paused=True)])
    assert [(await read(store, key)).paused for key in (1, 2)] == [True, True]
    await store.apply(engine, [Progress(1, paused=False), progress(2, 1, 1, final=final())])
    assert [(await read(store, key)).paused for key in (1, 2)] == [False, False]


async def test_a_pause_and_the_end_in_one_group_leave_no_pause(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine)])
    await store.apply(engine, [Progress(1, paused=True), progress(1, 1, 1, final=final())])
    assert (await read(store, 1)).paused is False


async def test_a_final_status_is_written_once(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine), progress(1, 1, 1, final=final("SUCCEEDED"))])

    await store.apply(engine, [Progress(1, segment(2, 2), [frame("")], final=final("ABORTED", None))])

    ended = await read(store, 1)
    assert (ended.status, ended.output) == ("SUCCEEDED", Payload({"ok": True}))
    assert len(await store.segments(1)) == 1
    assert await store.frames(1) == []


async def test_what_follows_a_final_status_in_its_group_writes_nothing(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine)])

    await store.apply(engine, [progress(1, 1, 1, final=final("ABORTED", None)), progress(1, 2, 2, final=final())])

    assert (await read(store, 1)).status == "ABORTED"
    assert len(await store.segments(1)) == 1


async def test_an_execution_may_start_and_end_in_one_group(store: Store, engine: EngineRow) -> None:
    await store.apply(
        engine,
        [start(1, engine), progress(1, 1, 2, frames=[frame("")]), progress(1, 3, 3, final=final())],
    )

    ended = await read(store, 1)
    assert (ended.status, ended.owner, ended.stopped_at) == ("SUCCEEDED", None, 99.5)
    assert await store.frames(1) == []
    assert [item.last_id for item in await store.segments(1)] == [2, 3]


# Parking and ownership


async def test_a_parked_execution_has_no_owner_and_keeps_its_frames(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine)])
    await store.apply(engine, [Progress(1, segment(1, 1), [frame("")], parked=True, wake_at=500.0)])

    parked = await read(store, 1)
    assert (parked.status, parked.owner, parked.wake_at) == ("RUNNING", None, 500.0)
    assert await paths(store, 1) == {""}
    await store.apply(engine, [progress(1, 2, 2)])
    assert len(await store.segments(1)) == 1


async def test_starting_and_parking_in_one_group_is_as_good_as_apart(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine), Progress(1, parked=True, wake_at=8.0), progress(1, 1, 1)])

    parked = await read(store, 1)
    assert (parked.owner, parked.wake_at) == (None, 8.0)
    assert await store.segments(1) == []


async def test_engine_ids_are_never_given_twice(store: Store) -> None:
    first = await store.register_engine(0.0, 30.0)
    await store.retire_engine(first)
    second = await store.register_engine(5.0, 30.0)

    assert second.id > first.id
    assert (second.epoch, second.lease_until) == (1, 35.0)


async def test_an_engine_sees_the_others_and_not_itself(store: Store, engine: EngineRow) -> None:
    other = await store.register_engine(1.0, 30.0)

    assert await store.other_engines(engine) == [other]
    assert await store.other_engines(other) == [engine]


async def test_renewing_prolongs_the_lease(store: Store, engine: EngineRow) -> None:
    other = await store.register_engine(0.0, 30.0)
    await store.apply(engine, [start(1, engine)])

    await store.renew_engine(engine, 20.0, 30.0)

    assert engine.lease_until == 50.0
    assert await store.claim(other, 40.0) == []
    assert [item.key for item in await store.claim(other, 50.5)] == [1]


async def test_a_claim_takes_what_nobody_living_owns_oldest_first(store: Store, engine: EngineRow) -> None:
    dead = await store.register_engine(0.0, 1_000.0)
    expired = await store.register_engine(0.0, 30.0)
    retired = await store.register_engine(0.0, 1_000.0)
    claimer = await store.register_engine(0.0, 1_000.0)
    await store.renew_engine(engine, 0.0, 1_000.0)
    await store.apply(
        engine,
        [
            start(1, engine),
            start(2, dead, started_at=90.0),
            start(3, expired, started_at=80.0),
            start(4, retired, started_at=70.0),
            start(5, started_at=60.0),
            start(6, claimer),
            start(7, engine),
            progress(7, 1, 1, final=final()),
        ],
    )
    await store.retire_engine(retired)

    claimed = await store.claim(claimer, 31.0, dead=[dead.id])

    assert [item.key for item in claimed] == [5, 4, 3, 2]
    assert {(item.owner, item.wake_at) for item in claimed} == {(claimer.id, None)}
    assert [(await read(store, key)).owner for key in range(1, 8)] == [
        *(engine.id, claimer.id, claimer.id, claimer.id, claimer.id, claimer.id, None),
    ]
    assert await store.claim(claimer, 31.0, dead=[dead.id]) == []


async def test_a_lease_that_ends_now_has_not_ended_before_now(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine)])
    claimer = await store.register_engine(0.0, 100.0)

    assert await store.claim(claimer, 30.0) == []
    assert len(await store.claim(claimer, 30.1)) == 1


async def test_claimed_engines_are_fenced_and_can_write_no_more(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine)])
    claimer = await store.register_engine(0.0, 100.0)
    await store.claim(claimer, 10.0, dead=[engine.id])

    with pytest.raises(EngineFenced):
        await store.apply(engine, [start(2, engine), progress(1, 1, 1)])
    with pytest.raises(EngineFenced):
        await store.renew_engine(engine, 10.0, 30.0)
    with pytest.raises(EngineFenced):
        await store.claim(engine, 10.0)

    assert await store.execution(execution_arn("order-2")) is None
    assert await store.segments(1) == []
    await store.apply(claimer, [progress(1, 1, 1)])
    assert len(await store.segments(1)) == 1


async def test_an_engine_without_a_row_is_fenced(store: Store, engine: EngineRow) -> None:
    await store.retire_engine(engine)

    with pytest.raises(EngineFenced):
        await store.apply(engine, [start(1, engine)])
    with pytest.raises(EngineFenced):
        await store.renew_engine(engine, 1.0, 30.0)


async def test_a_claim_does_not_fence_the_claimer_whose_lease_has_ended(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine)])

    assert await store.claim(engine, 1_000.0, dead=[engine.id]) == []

    await store.renew_engine(engine, 1_000.0, 30.0)
    assert (await read(store, 1)).owner == engine.id


async def test_the_rows_of_fenced_engines_do_not_pile_up(store: Store, engine: EngineRow) -> None:
    claimer = await store.register_engine(0.0, 10_000.0)
    for _ in range(3):
        await store.register_engine(0.0, 30.0)

    await store.claim(claimer, 31.0)
    assert {item.epoch for item in await store.other_engines(claimer)} == {2}
    await store.claim(claimer, 32.0)

    assert await store.other_engines(claimer) == []


async def test_retiring_gives_up_running_executions_only(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine), start(2, engine), progress(2, 1, 1, final=final())])

    await store.retire_engine(engine)

    assert (await read(store, 1)).owner is None
    other = await store.register_engine(1.0, 30.0)
    assert [item.key for item in await store.claim(other, 1.0)] == [1]


# State machines and definitions


async def test_a_definition_is_never_changed(store: Store) -> None:
    await store.put_definition("d1", '{"StartAt": "A"}')
    await store.put_definition("d1", "something else")

    assert await store.definition("d1") == '{"StartAt": "A"}'
    assert await store.definition("d2") is None


async def test_state_machines_are_replaced_by_arn_listed_by_name_and_deleted(store: Store) -> None:
    for name in ("b", "a", "c"):
        await store.put_state_machine(machine_row(name))
    changed = machine_row("b", revision_id="r2")
    await store.put_state_machine(changed)
    await store.delete_state_machine(machine_row("c").arn)
    await store.delete_state_machine("arn:of:nobody")

    assert await store.state_machine(changed.arn) == changed
    assert await store.state_machine(machine_row("c").arn) is None
    assert await store.state_machines() == [machine_row("a"), changed]


async def test_deleting_a_state_machine_keeps_its_executions(store: Store, engine: EngineRow) -> None:
    await store.put_state_machine(machine_row())
    await store.apply(engine, [start(1, engine)])

    await store.delete_state_machine(MACHINE)

    assert (await read(store, 1)).state_machine_arn == MACHINE


# Lists


@pytest.fixture
async def listed(store: Store, engine: EngineRow) -> Store:
    """Executions 1 to 6: 4 of another machine, 2 and 5 failed, 5 and 6 started in one moment."""
    await store.apply(
        engine,
        [
            *(start(key, engine) for key in (1, 2, 3)),
            start(4, engine, state_machine_arn="arn:other"),
            start(5, engine, started_at=6.0),
            start(6, engine),
            *(progress(key, 1, 1, final=final("FAILED", None)) for key in (2, 5)),
            progress(3, 1, 1, final=final()),
        ],
    )
    return store


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        (ExecutionQuery(), [6, 5, 4, 3, 2, 1]),
        (ExecutionQuery(limit=2), [6, 5]),
        (ExecutionQuery(state_machine_arn=MACHINE), [6, 5, 3, 2, 1]),
        (ExecutionQuery(state_machine_arn=MACHINE, status="FAILED"), [5, 2]),
        (ExecutionQuery(status="RUNNING"), [6, 4, 1]),
        (ExecutionQuery(statuses=("FAILED", "SUCCEEDED")), [5, 3, 2]),
        (ExecutionQuery(status="FAILED", statuses=("SUCCEEDED",)), []),
        (ExecutionQuery(name="order-4"), [4]),
        (ExecutionQuery(name="order-4", state_machine_arn=MACHINE), []),
        (ExecutionQuery(before=(6.0, 6)), [5, 4, 3, 2, 1]),
        (ExecutionQuery(before=(6.0, 5), limit=2), [4, 3]),
        (ExecutionQuery(before=(3.0, 3), state_machine_arn=MACHINE, status="FAILED"), [2]),
        (ExecutionQuery(state_machine_arn="arn:nobody"), []),
    ],
)
async def test_lists_are_newest_first_and_filtered(listed: Store, query: ExecutionQuery, keys: list[int]) -> None:
    assert [item.key for item in await listed.executions(query)] == keys
