"""The doctor: a sound file is sound, every kind of harm is found, and repair loses nothing."""

from __future__ import annotations

import hashlib
import math
import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from asfn._json import Payload
from asfn.errors import StoreError
from asfn.store.codec import GzipCodec
from asfn.store.doctor import Report, examine, repair
from asfn.store.records import ActivityTaskRow, Progress, Segment, TokenChanges, TokenRow
from asfn.store.sqlite import SqliteStore
from asfn.store.sqlite_file import MIGRATIONS, SqliteFile
from tests.store.samples import LARGE_TEXT, final, frame, machine_row, start

if TYPE_CHECKING:
    from pathlib import Path

DEFINITION = '{"StartAt": "A"}'
DIGEST = hashlib.sha256(DEFINITION.encode()).hexdigest()
LARGE = Payload.parse(LARGE_TEXT)


def events(segment: Segment) -> int:
    """The samples' way of saying how many events a segment holds."""
    return len(msgspec.json.decode(segment.body))


def of(key: int, first_id: int, last_id: int, **members: Any) -> Progress:
    body = msgspec.json.encode(list(range(first_id, last_id + 1))).decode()
    return Progress(key, Segment(first_id, last_id, body, [LARGE, Payload(1)]), **members)


async def fill(path: Path, codec: Any = None) -> None:
    """One execution of each status, with all that one may have, and no engine. Any: a codec."""
    store = SqliteStore(path, codec=codec)
    await store.open()
    engine = await store.register_engine(0.0, 30.0)
    await store.put_definition(DIGEST, DEFINITION)
    row = machine_row()
    row.digest = DIGEST
    await store.put_state_machine(row)
    for key, status in ((1, "RUNNING"), (2, "SUCCEEDED"), (3, "FAILED")):
        tokens = TokenChanges(
            opened=[TokenRow(f"t{key}", key, "", 1.0)], queued=[ActivityTaskRow(f"t{key}", "a", key, "{}", 1.0)]
        )
        await store.apply(engine, [start(key, engine, input=LARGE, digest=DIGEST, attributes={"a": "1"})])
        await store.apply(engine, [of(key, 1, 2, frames=[frame("", LARGE_TEXT)], tokens=tokens)])
        if status != "RUNNING":
            end = final(status, LARGE_TEXT)  # type: ignore[arg-type]  # a final status
            closed = TokenChanges(closed=[(f"t{key}", 5.0)])
            await store.apply(engine, [of(key, 3, 3, final=end, tokens=closed)])
    await store.retire_engine(engine)
    await store.close()


def harm(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def look(path: Path, *, dead: bool = True, codec: Any = None) -> Report:
    return examine(str(path), has_died=lambda id_, lease_until: dead, codec=codec, events=events)


def told(report: Report) -> list[str]:
    return [f"{finding.kind}: {finding.message}" for finding in report.findings]


@pytest.mark.parametrize("codec", [None, GzipCodec()])
async def test_a_sound_file_is_sound(path: Path, codec: Any) -> None:
    await fill(path, codec)
    before = path.read_bytes()  # noqa: ASYNC240

    report = look(path, codec=codec)

    assert told(report) == []
    assert (report.version, report.current, report.executions, report.running) == (len(MIGRATIONS), True, 3, 1)
    assert path.read_bytes() == before  # noqa: ASYNC240


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("DELETE FROM segments WHERE execution = 2 AND first_id = 1", "history: .*events 3 to 3 do not follow event 0"),
        ("UPDATE segments SET body = '[1]' WHERE execution = 1", "history: .*events 1 to 2 are 1 events"),
        ("UPDATE segments SET body = '[' WHERE execution = 1", "payload: .*events 1 to 2 cannot be read"),
        ("UPDATE segments SET texts = '[7]' WHERE execution = 1", "payload: .*events 1 to 2 cannot be read"),
        ("DELETE FROM segments WHERE execution = 2", "history: .* is SUCCEEDED and has no history"),
        ("DELETE FROM frames WHERE execution = 1", "frames: .* nothing says where it stands"),
        ("UPDATE frames SET body = 'x' WHERE execution = 1", "payload: .*the frame '' cannot be read"),
        ("UPDATE payloads SET text = '\"other\"' WHERE execution = 2", "payload: .* is not what its digest says"),
        ("UPDATE payloads SET text = '{' WHERE execution = 2", "payload: .*cannot be read"),
        ("UPDATE executions SET stopped_at = NULL WHERE key = 2", "status: .* is SUCCEEDED, and its stop date says"),
        ("UPDATE executions SET stopped_at = 1 WHERE key = 1", "status: .* is RUNNING, and its stop date says"),
        ("UPDATE executions SET input_digest = 'no' WHERE key = 1", "payload: .*its input or its output is missing"),
        ("UPDATE executions SET output_digest = 'no' WHERE key = 2", "payload: .*its input or its output is missing"),
        ("UPDATE executions SET output = '{' WHERE key = 2", "payload: .*its input, output, error or cause cannot be"),
        ("UPDATE definitions SET text = 'other'", "definition: .* is not what its digest says"),
        ("UPDATE state_machines SET digest = 'no'", "definition: the definition no is missing, of state machine"),
        ("UPDATE executions SET digest = 'no'", "definition: the definition no is missing, of executions of"),
    ],
)
async def test_harm_that_cannot_be_mended_is_found_and_stays(path: Path, statement: str, finding: str) -> None:
    await fill(path)
    harm(path, statement)

    report = look(path)
    assert report.findings
    assert not any(item.repairable for item in report.findings)
    [message, *_] = told(report)
    assert re.search(finding, message), message
    repair(str(path), report, has_died=lambda *_: True)
    assert told(look(path)) == told(report)


async def test_a_missing_payload_is_found_wherever_it_is_missed(path: Path) -> None:
    await fill(path)
    harm(path, "DELETE FROM payloads WHERE execution = 1")

    assert [line.partition(": ")[2].partition(": ")[2].partition(" (")[0] for line in told(look(path))] == [
        "its input or its output is missing",
        "a payload of events 1 to 2 is missing",
        "a payload of the frame '' is missing",
    ]


ORPHANS = {
    "segments": "INSERT INTO segments VALUES (77, 1, 1, '[1]', NULL)",
    "payloads": "INSERT INTO payloads VALUES (77, 'd', '{}')",
    "frames": "INSERT INTO frames VALUES (77, '', '1', NULL)",
    "tokens": "INSERT INTO tokens (token, execution, path, state, created_at) VALUES ('t', 77, '', 'open', 1)",
    "activity_tasks": "INSERT INTO activity_tasks VALUES (NULL, 'a', 't', 77, '{}', 1, NULL, NULL)",
    "inbox": "INSERT INTO inbox VALUES (NULL, 77, 'stop', '{}', 1)",
    "attributes": "INSERT INTO attributes VALUES ('a', '1', 1, 77)",
}
MENDED = {
    **{f"orphan {table}": (sql, "orphan: there is no execution 77, and") for table, sql in ORPHANS.items()},
    "left frames": ("INSERT INTO frames VALUES (2, '', '1', NULL)", "left-over: .* is SUCCEEDED and still has frames"),
    "left token": ("UPDATE tokens SET state = 'open' WHERE execution = 3", "left-over: .* has unsettled task tokens"),
    "left outcome": ("UPDATE tokens SET outcome = '1' WHERE execution = 2", "left-over: .* has unsettled task tokens"),
    "left work": (
        "INSERT INTO activity_tasks VALUES (NULL, 'a', 't2', 2, '{}', 1, NULL, NULL)",
        "left-over: .* still has work for activities",
    ),
    "left message": ("INSERT INTO inbox VALUES (NULL, 2, 'stop', '{}', 1)", "left-over: .* still has messages"),
    "parked and ended": ("UPDATE executions SET wake_at = 5 WHERE key = 2", "parked: .* is parked and is SUCCEEDED"),
    "queued and ended": ("UPDATE executions SET place = 0 WHERE key = 2", "queued: .* is queued and is SUCCEEDED"),
    "queued and begun": ("UPDATE executions SET place = 0 WHERE key = 1", "queued: .* is queued and has begun"),
    "lost owner": ("UPDATE executions SET owner = 9 WHERE key = 1", "owner: .* belongs to engine 9"),
    "owner of what ended": ("UPDATE executions SET owner = 9 WHERE key = 2", "owner: .* belongs to engine 9"),
    "dead engine": ("INSERT INTO engines VALUES (9, 1, 5, 0)", "engine: engine 9 died; its 0 unfinished executions"),
}


@pytest.mark.parametrize("name", MENDED)
async def test_what_can_be_mended_is_found_and_mended(path: Path, name: str) -> None:
    statement, finding = MENDED[name]
    await fill(path)
    harm(path, statement)

    report = look(path)
    [message] = told(report)
    assert re.search(finding, message), message
    assert [item.repairable for item in report.findings] == [True]
    repair(str(path), report, has_died=lambda *_: True)

    assert told(look(path)) == []
    store = SqliteStore(path)
    await store.open()
    while await store.sweep(100):
        pass
    engine = await store.register_engine(100.0, 30.0)
    assert [row.key for row in await store.claim(engine, 100.0)] == [1]
    assert [item.last_id for item in await store.segments(2)] == [2, 3]
    assert [item.path for item in await store.frames(3)] == [""]  # kept for a redrive
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        for table in ORPHANS:
            assert connection.execute(f"SELECT count(*) FROM {table} WHERE execution = 77").fetchone() == (0,)


TOKEN = "INSERT INTO tokens (token, execution, path, state, outcome, created_at, settled_at) VALUES ('t', 1, '', \
'completed', '1', 1, 30)"
WORK = "INSERT INTO activity_tasks VALUES (NULL, 'a', 't', 1, '{}', 1, 'w', 30)"
MESSAGE = "INSERT INTO inbox VALUES (NULL, 1, 'stop', '{}', 30)"
LIMIT = "UPDATE state_machines SET max_concurrent_executions = 3"


@pytest.mark.parametrize(
    ("statements", "finding", "after"),
    [
        ([MESSAGE, "UPDATE executions SET wake_at = 31 WHERE key = 1"], "parked: .* would sleep through", (None, 0.0)),
        ([TOKEN, "UPDATE executions SET wake_at = 9e999 WHERE key = 1"], "parked: .* would sleep through", (None, 0.0)),
        ([WORK, "UPDATE executions SET wake_at = 31 WHERE key = 1"], "parked: .* would sleep through", (None, 0.0)),
        (["UPDATE executions SET wake_at = 31, place = 0 WHERE key = 1"], "queued: .* is queued and", (None, None)),
        ([MESSAGE, TOKEN, "UPDATE executions SET wake_at = 30 WHERE key = 1"], None, (None, 30.0)),
        (["UPDATE executions SET wake_at = 9e999 WHERE key = 1"], None, (None, math.inf)),
        ([LIMIT], "limit: .*order-1 does not count", (None, None)),
    ],
)
async def test_waiting_that_would_never_end_is_found_and_mended(
    path: Path, statements: list[str], finding: str | None, after: tuple[object, ...]
) -> None:
    await fill(path)
    harm(path, *statements)

    report = look(path)
    assert [bool(re.search(finding or "", message)) for message in told(report)] == [True] * (finding is not None)
    repair(str(path), report, has_died=lambda *_: True)

    assert told(look(path)) == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT place, wake_at FROM executions WHERE key = 1").fetchone() == after


async def test_what_an_engine_owns_is_neither_parked_nor_queued(path: Path) -> None:
    await fill(path)
    harm(path, "INSERT INTO engines VALUES (9, 1, 5, 0)", "UPDATE executions SET owner = 9, wake_at = 7 WHERE key = 1")

    report = look(path, dead=False)
    assert [message.rpartition("order-1")[2] for message in told(report)] == [" is parked and belongs to engine 9"]
    repair(str(path), report, has_died=lambda *_: False)

    assert told(look(path, dead=False)) == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT owner, wake_at FROM executions WHERE key = 1").fetchone() == (9, None)


async def test_executions_of_a_dead_engine_are_given_up_and_those_of_a_living_one_are_not(path: Path) -> None:
    await fill(path)
    harm(path, "INSERT INTO engines VALUES (9, 1, 5, 0)", "UPDATE executions SET owner = 9 WHERE key = 1")

    assert told(look(path, dead=False)) == []
    report = look(path)
    assert told(report) == ["engine: engine 9 died; its 1 unfinished executions go on when an engine opens the file"]
    repair(str(path), report, has_died=lambda *_: False)  # it came back to life meanwhile
    assert told(look(path, dead=False)) == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT owner FROM executions WHERE key = 1").fetchone() == (9,)


async def test_an_engine_that_was_taken_over_is_no_finding(path: Path) -> None:
    await fill(path)
    harm(path, "INSERT INTO engines VALUES (9, 2, 5, 0)")
    assert told(look(path)) == []


async def test_executions_that_are_being_purged_are_no_orphans(path: Path) -> None:
    await fill(path)
    store = SqliteStore(path)
    await store.open()
    assert await store.bury([2], 1_000.0) == 1
    assert told(look(path)) == []
    await store.close()


async def test_damage_of_sqlites_own_structures_is_a_finding(path: Path) -> None:
    await fill(path)
    with closing(sqlite3.connect(path)) as connection:
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'segments'").fetchall()
    with open(path, "rb+") as file:  # noqa: ASYNC230
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)

    report = look(path)

    assert any(finding.kind == "damage" for finding in report.findings)
    assert not any(finding.repairable for finding in report.findings)


async def test_many_findings_of_a_kind_are_counted_and_some_are_listed(path: Path) -> None:
    await fill(path)
    harm(path, *(f"INSERT INTO payloads VALUES ({key}, 'd', '{{}}')" for key in range(100, 150)))

    report = look(path)

    assert report.counts == {"orphan": 50}
    assert len(report.findings) == 20
    assert len(report.orphans) == 50


async def test_of_an_older_file_sqlites_part_alone_is_checked(path: Path) -> None:
    file = SqliteFile(path, migrations=MIGRATIONS[:1])
    await file.open()
    await file.close()

    report = look(path)

    assert (report.version, report.current, report.findings) == (1, False, [])
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


async def test_what_is_not_ours_to_judge_is_refused(path: Path) -> None:
    await fill(path, GzipCodec())
    with pytest.raises(StoreError, match="was written with the codec 'gzip', not without one"):
        look(path)
    harm(path, "PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="newer asfn"):
        look(path)
    harm(path, "PRAGMA application_id = 7")
    with pytest.raises(StoreError, match="another application"):
        look(path)
    with pytest.raises(StoreError, match="cannot be opened"):
        look(path.with_name("missing.db"))
    assert not path.with_name("missing.db").exists()
