"""The store in this process's memory: the same contract as a file, for tests and for programs that need no
durability.

No I/O and no encoding. Rows of executions are copied on the way in and out; frames and segments are never
changed by anybody once they were given here, and are kept as they are.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import chain, islice
from operator import attrgetter
from typing import TYPE_CHECKING

from msgspec.structs import replace

from asfn.errors import EngineFenced
from asfn.store.engines import call_roll
from asfn.store.group import Standing, finish, lies_at_or_below, plan_group, redrive, wanted
from asfn.store.memory_housekeeping import MemoryHousekeeping
from asfn.store.records import EngineRow, Standpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asfn.store.group import Group
    from asfn.store.records import Commit, ExecutionQuery, ExecutionRow, FrameRow, Segment, StateMachineRow


class MemoryStore(MemoryHousekeeping):
    """State in dicts; the contract is `asfn.store.protocol.Store`. Closing keeps everything: it may be
    opened again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last_engine = 0
        self._engines: dict[int, EngineRow] = {}
        self._definitions: dict[str, str] = {}
        self._state_machines: dict[str, StateMachineRow] = {}
        self._keys: dict[str, int] = {}
        self._frames: dict[int, dict[str, FrameRow]] = {}
        self._segments: dict[int, list[Segment]] = {}

    async def open(self) -> None:
        """Nothing to connect."""

    async def close(self) -> None:
        """Nothing to disconnect."""

    async def register_engine(self, now: float, lease_seconds: float) -> EngineRow:
        """A new engine row with an id never used before in this store, epoch 1."""
        self._last_engine += 1
        row = EngineRow(self._last_engine, 1, now + lease_seconds)
        self._engines[row.id] = replace(row)
        return row

    async def renew_engine(self, engine: EngineRow, now: float, lease_seconds: float) -> None:
        """Prolong the lease, in the row and in `engine`. Raises EngineFenced."""
        self._check_epoch(engine)
        engine.lease_until = self._engines[engine.id].lease_until = now + lease_seconds

    async def retire_engine(self, engine: EngineRow) -> None:
        """Set every execution the engine owns free and delete its row."""
        self._changes += 1
        for row in self._rows(list(self._roster.owned(engine.id))):
            self._assign(row, None)
        self._engines.pop(engine.id, None)

    async def other_engines(self, engine: EngineRow) -> list[EngineRow]:
        """The rows of all other engines, those taken over included until a later claim removes them."""
        return [replace(row) for row in self._engines.values() if row.id != engine.id]

    async def claim(
        self, engine: EngineRow, now: float, *, dead: Sequence[int] = (), limit: int = 1_000
    ) -> list[ExecutionRow]:
        """Take over what nobody living owns, oldest first. Raises EngineFenced."""
        self._check_epoch(engine)
        self._changes += 1
        roll = call_roll(self._engines.values(), engine.id, now, dead)
        for id_ in roll.fence:
            self._engines[id_].epoch += 1
        for id_ in roll.remove:
            del self._engines[id_]
        gone = [owner for owner in self._roster.owners() if owner not in roll.living]
        keys = list(islice(chain.from_iterable(map(self._roster.owned, gone)), limit))
        return self._take_over(engine, sorted(self._rows(keys), key=_age))

    async def wake(
        self, engine: EngineRow, now: float, *, keys: Sequence[int] | None = None, limit: int = 1_000
    ) -> list[ExecutionRow]:
        """Take over parked executions that are due, or those of these keys that nobody owns. Raises EngineFenced."""
        self._check_epoch(engine)
        self._changes += 1
        if keys is None:
            return self._take_over(engine, self._rows(self._roster.due(now, limit)))
        rows = self._rows([key for key in dict.fromkeys(keys) if key in self._executions])
        free = [row for row in rows if row.status == "RUNNING" and row.owner is None]
        return self._take_over(engine, sorted(free, key=_age))

    async def next_wake(self) -> float | None:
        """The earliest wake_at of a parked execution; None when none is parked."""
        return self._roster.next_wake()

    async def admit(self, engine: EngineRow, now: float, *, limit: int) -> list[ExecutionRow]:
        """Take over queued executions whose state machine has room. Raises EngineFenced."""
        self._check_epoch(engine)
        self._changes += 1
        rooms = [(arn, self._most(arn)) for arn in self._roster.machines()]
        return self._take_over(engine, self._rows(self._roster.admissible(rooms, limit)))

    async def pause_queued(self, key: int, paused: bool) -> bool:
        """Note whether a queued execution begins paused; False when it is not queued."""
        row = self._executions.get(key)
        if row is None or not row.queued:
            return False
        self._changes += 1
        row.paused = paused
        return True

    async def queued_count(self, *, at_most: int | None = None) -> int:
        """How many executions are queued, counted up to `at_most`."""
        count = self._roster.queued_count()
        return count if at_most is None else min(count, at_most)

    async def parked_count(self, *, at_most: int | None = None) -> int:
        """How many executions are parked, counted up to `at_most`."""
        count = self._roster.parked_count()
        return count if at_most is None else min(count, at_most)

    def _most(self, arn: str) -> int | None:
        machine = self._state_machines.get(arn)
        return machine.max_concurrent_executions if machine is not None else None

    def _rows(self, keys: Iterable[int]) -> list[ExecutionRow]:
        return [self._executions[key] for key in keys]

    def _assign(self, row: ExecutionRow, owner: int | None) -> None:
        self._roster.leave(row)
        row.owner, row.wake_at, row.queued = owner, None, False
        self._roster.enter(row)

    def _take_over(self, engine: EngineRow, rows: Sequence[ExecutionRow]) -> list[ExecutionRow]:
        for row in rows:
            self._assign(row, engine.id)
        return [row.copy() for row in rows]

    async def apply(self, engine: EngineRow, commits: Sequence[Commit]) -> list[ExecutionRow | None]:
        """Make all changes, or none. Raises EngineFenced, CommitRefused; then nothing was changed."""
        self._check_epoch(engine)
        self._changes += 1
        starts, keys = wanted(commits)
        held = {self._keys.get(row.arn) for row in starts} | {row.key for row in starts}
        holders = [self._executions[key] for key in held if key in self._executions]
        standings = {key: self._standing(key) for key in keys if key in self._executions}
        group = plan_group(engine.id, commits, standings, holders)
        self._write(group)
        return group.answers

    async def put_definition(self, digest: str, text: str) -> None:
        """Keep a definition's text under its digest; one that is there already is left as it is."""
        self._definitions.setdefault(digest, text)
        self._unused.pop(digest, None)

    async def definition(self, digest: str) -> str | None:
        """The text of a definition, None when there is none."""
        return self._definitions.get(digest)

    async def put_state_machine(self, row: StateMachineRow) -> None:
        """Insert or replace by ARN."""
        self._changes += 1
        self._state_machines[row.arn] = replace(row)

    async def delete_state_machine(self, arn: str) -> None:
        """Delete the registration; definitions and executions stay."""
        self._state_machines.pop(arn, None)

    async def state_machine(self, arn: str) -> StateMachineRow | None:
        """The registration of an ARN, None when there is none."""
        row = self._state_machines.get(arn)
        return replace(row) if row is not None else None

    async def state_machines(self) -> list[StateMachineRow]:
        """All registrations, by name."""
        return [replace(row) for row in sorted(self._state_machines.values(), key=attrgetter("name", "arn"))]

    async def execution(self, arn: str) -> ExecutionRow | None:
        """The execution of an ARN, None when there is none."""
        key = self._keys.get(arn)
        return self._executions[key].copy() if key is not None else None

    async def executions(self, query: ExecutionQuery) -> list[ExecutionRow]:
        """The executions that match every given member of the query, newest start first."""
        rows = [row for row in self._executions.values() if _matches(row, query)]
        rows.sort(key=attrgetter("started_at", "key"), reverse=True)
        return [row.copy() for row in rows[: query.limit]]

    async def frames(self, key: int) -> list[FrameRow]:
        """All live frames of an execution, in no order."""
        return list(self._frames.get(key, {}).values())

    async def last_event_id(self, key: int) -> int:
        """The id of the last committed event of an execution, 0 when there is none."""
        segments = self._segments.get(key)
        return segments[-1].last_id if segments else 0

    async def standpoints(self, keys: Sequence[int]) -> dict[int, Standpoint]:
        """Where each of these executions stands, by key."""
        return {key: Standpoint(await self.frames(key), await self.last_event_id(key)) for key in keys}

    async def segments(self, key: int, *, after_id: int = 0, limit: int = 100) -> list[Segment]:
        """The segments that hold events with an id above after_id, in order, at most `limit` of them."""
        segments = self._segments.get(key, [])
        first = bisect_right(segments, after_id, key=attrgetter("last_id"))
        return segments[first : first + limit]

    def _check_epoch(self, engine: EngineRow) -> None:
        row = self._engines.get(engine.id)
        if row is None or row.epoch != engine.epoch:
            raise EngineFenced(
                f"another engine took over the executions of engine {engine.id} in this program's memory: "
                "nothing was written; register a new engine"
            )

    def _standing(self, key: int) -> Standing:
        row = self._executions[key]
        segments = self._segments.get(key)
        return Standing(row.status, row.owner, segments[-1].last_id if segments else 0)

    def _write(self, group: Group) -> None:
        for row in group.starts:
            self._executions[row.key] = row
            self._keys[row.arn] = row.key
            self._roster.enter(row)
        for row in group.redrives:
            stored = self._executions[row.key]
            self._roster.leave(stored)  # it may have ended in this very group
            redrive(stored, row)
            self._roster.enter(stored)
        for key, segment in group.segments:
            self._segments.setdefault(key, []).append(segment)
        for key, top in group.drops:
            frames = self._frames.pop(key, {})
            kept = {path: frame for path, frame in frames.items() if not lies_at_or_below(path, top)}
            if kept:
                self._frames[key] = kept
        for key, changed in group.frames.items():
            if changed:
                self._frames.setdefault(key, {}).update(changed)
        for tokens in group.tokens:
            self._change_tokens(tokens)
        for key, final in group.finals:
            row = self._executions[key]
            self._roster.leave(row)
            finish(row, final)
            self._forget_messages([key])
        for key, wake_at in group.parks:
            row = self._executions[key]
            self._roster.leave(row)
            row.owner = None
            row.wake_at = wake_at if wake_at is None or not self._has_news(key) else 0.0
            self._roster.enter(row)
        for key, paused in group.pauses:
            self._executions[key].paused = paused


_age = attrgetter("started_at", "key")


def _matches(row: ExecutionRow, query: ExecutionQuery) -> bool:
    return (
        query.state_machine_arn in (None, row.state_machine_arn)
        and query.status in (None, row.status)
        and query.name in (None, row.name)
        and (not query.statuses or row.status in query.statuses)
        and query.attributes.items() <= row.attributes.items()
        and (query.before is None or (row.started_at, row.key) < query.before)
    )
