"""What must hold after a soak: of every execution that anybody meant to start, of every call, and of the file."""

from __future__ import annotations

import asyncio
import math
import re
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from asfn._json import JsonObject, encode
from asfn.engine import Engine
from asfn.errors import ExecutionFailed
from asfn.runtime.history import shapes
from asfn.runtime.liveness import has_died
from asfn.store.doctor import examine
from asfn.store.records import ExecutionQuery, ExecutionRow
from asfn.store.sqlite import SqliteStore
from asfn.testing.loop import VirtualClock, run
from tests.processes.mixed_load import (
    KINDS,
    STOP_ERROR,
    Functions,
    Kind,
    Notes,
    kind_of,
    name_of,
    number_of,
    read_notes,
    register_machines,
)
from tests.processes.soak_worker import Place

SHOWN: Final = 10  # findings of one kind
PAGE: Final = 1_000
Shape = Counter[tuple[str, str | None]]


@dataclass
class Verdict:
    """What was found, and what was counted."""

    findings: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    figures: dict[str, float] = field(default_factory=dict)

    def add(self, kind: str, text: str) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= SHOWN:
            self.findings.append(f"{kind}: {text}")


@dataclass(frozen=True)
class Fates:
    """What happened to processes, by their ids. deaths: when they were killed.   frozen: from when to when."""

    deaths: dict[int, float] = field(default_factory=dict)
    frozen: dict[int, tuple[float, float]] = field(default_factory=dict)

    def may_call_again(self, earlier: tuple[float, int], later: tuple[float, int]) -> bool:
        """Whether the process of a call could not know of another one's call of the same key, and need not."""
        (before, pid), (at, caller) = earlier, later
        dead = self.deaths.get(pid, math.inf) <= at
        taken_over = self.frozen.get(pid, (math.inf, math.inf))[0] <= at
        return dead or taken_over or self.was_frozen_at(caller, before)

    def was_frozen_at(self, pid: int, moment: float) -> bool:
        began, ended = self.frozen.get(pid, (math.inf, math.inf))
        return began <= moment <= ended


async def check(place: Place, fates: Fates) -> Verdict:
    """Read everything a soak has left."""
    verdict = Verdict()
    ledger = read_notes(place.ledger)
    calls = Calls.read(place)
    shapes_of_kinds = await asyncio.to_thread(undisturbed_shapes, place)
    seen: set[int] = set()
    late: list[float] = []
    spans = Spans()
    commits = 0
    async for row, segments in finished(place):
        n = number_of(row.name)
        if n in seen:
            verdict.add("twice", f"{row.name} is there twice")
        seen.add(n)
        commits += len(segments)
        history = [event for segment in segments for event in segment]
        check_execution(verdict, row, history, calls, fates, shapes_of_kinds)
        spans.add(row, history)
        if row.stopped_at is not None and not kind_of(n).outside:
            late.append(row.stopped_at - row.started_at - kind_of(n).waits_seconds)
    meant = {note["n"] for note in ledger if note["what"] == "intent"}
    for n in sorted(meant - seen):
        verdict.add("lost", f"{name_of(n)} was meant to start and is not there")
    for n in sorted(seen - meant):
        verdict.add("unknown", f"nobody meant to start {name_of(n)}")
    check_ledger(verdict, ledger, fates)
    spans.check(verdict)
    calls.check(verdict, fates)
    check_logs(verdict, place, fates)
    check_file(verdict, place)
    count_up(verdict, ledger, calls, len(seen), commits, late)
    return verdict


async def finished(place: Place) -> AsyncIterator[tuple[ExecutionRow, list[list[JsonObject]]]]:
    """Every execution in the file with its history, commit by commit."""
    store = SqliteStore(place.database)
    await store.open()
    try:
        before: tuple[float, int] | None = None
        while page := await store.executions(ExecutionQuery(limit=PAGE, before=before)):
            for row in page:
                segments = await store.segments(row.key, limit=100_000)
                yield row, [shapes(segment) for segment in segments]
            before = (page[-1].started_at, page[-1].key)
    finally:
        await store.close()


# --- one execution ---------------------------------------------------------------------------------------------------


def check_execution(
    verdict: Verdict,
    row: ExecutionRow,
    history: list[JsonObject],
    calls: Calls,
    fates: Fates,
    references: dict[str, Shape],
) -> None:
    """Its end, its history, and the calls that were made for it."""
    n = number_of(row.name)
    kind = kind_of(n)
    if row.state_machine_arn.rpartition(":")[2] != kind.name:
        verdict.add("mixed up", f"{row.name} ran {row.state_machine_arn}")
        return
    end: Any = row.error
    if row.status == "SUCCEEDED":
        end = row.output.value if row.output is not None else None
    if (row.status, end) != (kind.status, kind.end(n)):
        verdict.add("wrong end", f"{row.name} ({kind.name}) is {row.status} with {encode(end)[:200]}")
    if [event["id"] for event in history] != list(range(1, len(history) + 1)):
        verdict.add("gap", f"{row.name} ({kind.name}) has the events {[event['id'] for event in history]}")
    ends = [event["type"] for event in history if str(event["type"]) in ENDS]
    if ends != [ENDED[kind.status]] or history[-1]["type"] != ENDED[kind.status]:
        verdict.add("ends", f"{row.name} ({kind.name}) has the ends {ends}")
    shape, wanted = shape_of(history), references[kind.name]
    more, fewer = shape - wanted, wanted - shape
    if kind.fixed and (more or any(type_ not in kind.optional for type_, _ in fewer)):
        verdict.add("other events", f"{row.name} ({kind.name}) has {dict(more)} more and {dict(fewer)} fewer")
    calls.check_exits(verdict, row.name, history, fates)
    keys = calls.of_job.get(row.name, set())
    if kind.calls is not None and len(keys) != kind.calls:
        verdict.add("keys", f"{row.name} ({kind.name}) was called with {len(keys)} keys: {sorted(keys)}")


ENDED: Final = {
    "SUCCEEDED": "ExecutionSucceeded",
    "FAILED": "ExecutionFailed",
    "ABORTED": "ExecutionAborted",
    "TIMED_OUT": "ExecutionTimedOut",
}
ENDS: Final = frozenset(ENDED.values())


def shape_of(history: list[JsonObject]) -> Shape:
    """How often each event came, of each state."""
    names: Shape = Counter()
    for event in history:
        details: Any = event.get("stateEnteredEventDetails") or event.get("stateExitedEventDetails") or {}
        names[str(event["type"]), details.get("name")] += 1
    return names


def undisturbed_shapes(place: Place) -> dict[str, Shape]:
    """The events of one execution of each kind that nobody disturbs, in memory and in virtual time."""
    found: dict[str, Shape] = {}

    async def main(clock: VirtualClock) -> None:
        notes, tokens = Notes(place.directory / "undisturbed.calls"), Notes(place.directory / "undisturbed.tokens")
        engine = Engine(clock=clock)
        Functions(notes, tokens, 0).register(engine)
        async with engine:
            await register_machines(engine)
            for kind in KINDS:
                found[kind.name] = shape_of(await one_undisturbed(engine, kind, place))
        notes.close()
        tokens.close()

    run(main)
    return found


async def one_undisturbed(engine: Engine, kind: Kind, place: Place) -> list[JsonObject]:
    n = next(n for n in range(1_000) if kind_of(n) is kind)
    execution = await engine.start(kind.name, kind.input(n), name=name_of(n))
    if kind.stopped:
        await asyncio.sleep(1)
        await execution.stop(STOP_ERROR, f"job {n}")
    elif kind.name == "callback":
        await asyncio.sleep(1)
        [note] = [note for note in read_notes(place.directory / "undisturbed.tokens") if note["n"] == n]
        await engine.tasks.succeed(note["token"], {"answer": n})
    elif not kind.fixed:
        await execution.stop()
        return []
    try:
        status, end = "SUCCEEDED", await execution.result()
    except ExecutionFailed as failed:
        status, end = failed.status, failed.error
    assert (status, end) == (kind.status, kind.end(n)), kind.name
    return await execution.history()


class Spans:
    """From when to when executions of kinds with a limit had begun and not ended."""

    def __init__(self) -> None:
        self._moments: dict[str, list[tuple[float, int]]] = defaultdict(list)

    def add(self, row: ExecutionRow, history: list[JsonObject]) -> None:
        kind = kind_of(number_of(row.name))
        if kind.at_once is not None and row.stopped_at is not None:
            self._moments[kind.name] += [(float(str(history[1]["timestamp"])), 1), (row.stopped_at, -1)]

    def check(self, verdict: Verdict) -> None:
        """Never more of a kind at once than its limit says."""
        for kind in KINDS:
            now = most = 0
            for _, step in sorted(self._moments[kind.name]):
                now += step
                most = max(most, now)
            if kind.at_once is not None and most > kind.at_once:
                verdict.add("too many", f"{most} executions of {kind.name} at once; no more than {kind.at_once} may be")


# --- calls -----------------------------------------------------------------------------------------------------------


@dataclass
class Calls:
    """The calls of functions that were noted.

    of_key: when each began, and in which process, by idempotency key.   of_job: the keys of a job.
    last: when, and by which process, a job's function was called last for a state.
    """

    of_key: dict[str, list[tuple[float, int]]]
    of_job: dict[str, set[str]]
    last: dict[tuple[str, str], tuple[float, int]]

    @classmethod
    def read(cls, place: Place) -> Calls:
        of_key: dict[str, list[tuple[float, int]]] = defaultdict(list)
        of_job: dict[str, set[str]] = defaultdict(set)
        last: dict[tuple[str, str], tuple[float, int]] = {}
        for note in read_notes(place.calls):
            of_key[note["key"]].append((note["at"], note["pid"]))
            of_job[note["job"]].add(note["key"])
            last[note["job"], note["state"]] = (note["at"], note["pid"])
        return cls(of_key, of_job, last)

    def repeats(self) -> int:
        return sum(len(begun) - 1 for begun in self.of_key.values())

    def check(self, verdict: Verdict, fates: Fates) -> None:
        """A key is called again only when the process that called it before is gone."""
        for key, begun in self.of_key.items():
            for earlier, later in pairwise(begun):
                if not fates.may_call_again(earlier, later):
                    verdict.add("double call", f"{key} by {later[1]}, while {earlier[1]} lived")

    def check_exits(self, verdict: Verdict, job: str, history: list[JsonObject], fates: Fates) -> None:
        """Nothing is called for a state that has been left for good."""
        exits: dict[str, float] = {}
        for event in history:
            details: Any = event.get("stateExitedEventDetails")
            if details is not None:
                exits[details["name"]] = float(str(event["timestamp"]))
        for name, left_at in exits.items():
            at, pid = self.last.get((job, name), (0.0, 0))
            if at > left_at and not fates.was_frozen_at(pid, left_at):
                verdict.add("late call", f"{job}: {name} was called after it was left")


# --- the rest --------------------------------------------------------------------------------------------------------


def check_ledger(verdict: Verdict, ledger: list[dict[str, Any]], fates: Fates) -> None:
    """What clients were told is what came of their jobs."""
    for note in ledger:
        if note["what"] == "ended":
            kind = kind_of(note["n"])
            if (note["status"], note["end"]) != (kind.status, encode(kind.end(note["n"]))):
                verdict.add("wrong answer", f"{name_of(note['n'])} ({kind.name}) was told {note}")
        elif note["what"] == "parked" and note["error"] and note["pid"] not in fates.frozen:
            verdict.add("fault", f"{name_of(note['n'])} ({kind_of(note['n']).name}) stopped: {note['error']}")


_COMPLAINT: Final = re.compile(
    r"^\S+ \S+ (?P<pid>\d+) (WARNING|ERROR|CRITICAL) .*|^\w*(Error|Exception|Warning)\b.*", re.MULTILINE
)


def check_logs(verdict: Verdict, place: Place, fates: Fates) -> None:
    """Workers have nothing to complain of, but for those that were frozen, and of a machine with too much to do."""
    for path in sorted(place.directory.glob("worker-*.log")):
        for found in _COMPLAINT.finditer(path.read_text()):
            if " asfn.vigil " in found.group() or (found["pid"] and int(found["pid"]) in fates.frozen):
                continue
            verdict.add("complaint", f"{path.name}: {found.group()[:300]}")


def check_file(verdict: Verdict, place: Place) -> None:
    """The file is sound, nothing in it is unfinished, and nothing that died has left anything."""
    path, now = str(place.database), time.time()
    report = examine(
        path,
        has_died=lambda id_, lease_until: has_died(path, id_, lease_until, now),
        events=lambda segment: len(shapes(segment)),
    )
    for finding in report.findings:
        verdict.add("doctor", f"{finding.kind}: {finding.message}")
    if report.running:
        verdict.add("running", f"{report.running} executions are still running")
    with closing(sqlite3.connect(place.database)) as connection:
        for table, condition in (
            ("inbox", ""),
            ("activity_tasks", ""),
            ("tokens", "WHERE state = 'open'"),
        ):
            [(count,)] = connection.execute(f"SELECT count(*) FROM {table} {condition}")
            if count:
                verdict.add("left over", f"{count} rows in {table}")
    for lock in place.directory.glob("soak.db.engine-*.lock"):
        verdict.add("left over", lock.name)


def count_up(
    verdict: Verdict, ledger: list[dict[str, Any]], calls: Calls, executions: int, commits: int, late: list[float]
) -> None:
    what = Counter(note["what"] for note in ledger)
    moments = [note["at"] for note in ledger] or [0.0]
    late.sort()
    verdict.figures = {
        "executions": executions,
        "started again after a kill": what["intent"] - len({n["n"] for n in ledger if n["what"] == "intent"}),
        "taken over or gone on with": what["resumed"],
        "calls": len(calls.of_key) + calls.repeats(),
        "calls repeated after a kill": calls.repeats(),
        "commits of executions per second": round(commits / max(1.0, max(moments) - min(moments))),
        "seconds over the shortest possible, p50": round(late[len(late) // 2], 2) if late else 0,
        "seconds over the shortest possible, p99": round(late[len(late) * 99 // 100], 2) if late else 0,
        "seconds over the shortest possible, most": round(late[-1], 2) if late else 0,
    }
