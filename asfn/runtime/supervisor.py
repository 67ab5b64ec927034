"""Keeps the executions of one engine: starts, claims, resumes, drains and parks them, and renews the engine's lease."""

from __future__ import annotations

import asyncio
import itertools
import logging
from functools import partial
from typing import TYPE_CHECKING

from asfn.errors import AsfnError, EngineClosed, EngineFenced, ExecutionNotRedrivable, StoreError
from asfn.plan.scope import ExecutionFacts
from asfn.runtime.clock import fulfil
from asfn.runtime.execution import Run
from asfn.runtime.interpreter import Interpreter
from asfn.runtime.journal import Journal, SilentJournal
from asfn.runtime.liveness import forget, is_dead
from asfn.runtime.observed import ObservedJournal, ObservedSilentJournal, Watch
from asfn.store.engines import first_key
from asfn.store.protocol import CommitRefused
from asfn.store.records import ExecutionRow, Start

if TYPE_CHECKING:
    from random import Random

    from asfn.limits import Limits
    from asfn.plan.states import CompiledMachine
    from asfn.runtime.calls import Calls
    from asfn.runtime.clock import Clock
    from asfn.runtime.inbox import Inbox
    from asfn.runtime.machines import Machines
    from asfn.runtime.observers import Observers
    from asfn.runtime.redrive import Detour
    from asfn.store.protocol import Store
    from asfn.store.records import EngineRow
    from asfn.store.writer import Writer
    from asfn.tasks.protocol import Resolver

logger = logging.getLogger("asfn.supervisor")


class Supervisor:
    """The executions that run in one engine. Everything here happens on the engine's loop."""

    def __init__(
        self,
        *,
        store: Store,
        engine: EngineRow,
        writer: Writer,
        machines: Machines,
        clock: Clock,
        calls: Calls,
        inbox: Inbox,
        resolver: Resolver,
        limits: Limits,
        rng: Random,
        region: str,
        every_transition: bool,
        observers: Observers,
    ) -> None:
        self._store = store
        self._engine = engine
        self._writer = writer
        self._machines = machines
        self._clock = clock
        self._calls = calls
        self._inbox = inbox
        self._resolver = resolver
        self._limits = limits
        self._rng = rng
        self._region = region
        self._every_transition = every_transition
        self._observers = observers
        self._runs: dict[str, Run] = {}
        self._broken: dict[str, Run] = {}  # stopped by an error of ours or of the set-up; resumable
        self._keys = itertools.count(first_key(engine.id))
        self._idle: list[asyncio.Future[None]] = []

    @property
    def engine_id(self) -> int:
        return self._engine.id

    def next_key(self) -> int:
        """A key for a new execution, never used before in this file."""
        return next(self._keys)

    def running(self, arn: str) -> Run | None:
        """The run of an execution, also of one that an error stopped and that nobody has resumed since."""
        return self._runs.get(arn) or self._broken.get(arn)

    @property
    def count(self) -> int:
        """How many executions are running."""
        return len(self._runs)

    async def start(self, row: ExecutionRow, machine: CompiledMachine) -> Run | ExecutionRow:
        """Make a new execution durable, then run it. The row that holds its ARN already, when there is one."""
        if row.type == "EXPRESS":
            return self._launch(row, machine, None)
        if self._writer.full:
            await self._writer.room()
        starting = self._writer.submit(Start(row))
        try:
            existing = await asyncio.shield(starting)
        except asyncio.CancelledError:  # the caller goes away, the execution does not
            starting.add_done_callback(partial(self._launch_unseen, row, machine))
            raise
        if existing is not None:
            return existing
        if self._calls.closing:
            raise EngineClosed(f"the engine was left: {row.arn} is durable and begins when the database is opened next")
        return self._launch(row, machine, None)

    def _launch_unseen(
        self, row: ExecutionRow, machine: CompiledMachine, starting: asyncio.Future[ExecutionRow | None]
    ) -> None:
        if starting.cancelled() or starting.exception() is not None or self._calls.closing:
            return
        if starting.result() is None:
            self._launch(row, machine, None)

    async def resume(self, rows: list[ExecutionRow]) -> None:
        """Go on with executions that this engine has claimed, each from where its frames stand."""
        for row in rows:
            try:
                plan = await self._machines.plan(row.digest)
                frames = await self._store.frames(row.key)
                last_id = await self._store.last_event_id(row.key)
            except AsfnError as error:
                logger.error("%s cannot be resumed and is left as it is: %s", row.arn, error)
                continue
            try:
                self._launch(row, plan.machine, frames, last_id)
            except Exception:  # rows that cannot be read back: ours to mend, and no reason to keep the others waiting
                logger.exception("%s cannot be resumed and is left as it is", row.arn)

    async def redrive(self, row: ExecutionRow, detour: Detour | None) -> None:
        """Make it durable that an ended execution runs again, as `row` says, and run it.

        Raises ExecutionNotRedrivable when its frames were not kept, or somebody else was faster.
        """
        plan = await self._machines.plan(row.digest)
        frames = await self._store.frames(row.key)
        if not frames and (detour is None or detour.state is None):
            raise ExecutionNotRedrivable(
                f"nothing was kept of where {row.arn} stood when it ended: give a state to go on from"
            )
        last_id = await self._store.last_event_id(row.key)
        run, watch = self._prepare(row, plan.machine, frames, last_id)
        redriving = run.redrive(detour)
        redriving.add_done_callback(partial(self._launch_redriven, run, watch))  # also when the caller goes away
        existing = await asyncio.shield(redriving)
        if existing is not None:
            raise ExecutionNotRedrivable(f"Execution is {existing.status} and cannot be redriven")
        if self._calls.closing:
            raise EngineClosed(f"the engine was left: {row.arn} goes on when the database is opened next")

    def _launch_redriven(self, run: Run, watch: Watch | None, redriving: asyncio.Future[ExecutionRow | None]) -> None:
        if redriving.cancelled() or redriving.exception() is not None or self._calls.closing:
            return
        if redriving.result() is None:
            self._set_going(run, watch, resumed=False)

    def _launch(self, row: ExecutionRow, machine: CompiledMachine, frames: object, last_id: int = 0) -> Run:
        run, watch = self._prepare(row, machine, frames, last_id)
        self._set_going(run, watch, resumed=last_id > 0)
        return run

    def _set_going(self, run: Run, watch: Watch | None, resumed: bool) -> None:
        self._runs[run.row.arn] = run
        self._broken.pop(run.row.arn, None)
        if watch is not None:
            watch.begun(resumed=resumed)
        run.start()

    def _prepare(
        self, row: ExecutionRow, machine: CompiledMachine, frames: object, last_id: int
    ) -> tuple[Run, Watch | None]:
        express = row.type == "EXPRESS"
        watch = Watch(row, self._observers, self._clock) if self._observers else None
        journal = self._journal(row, last_id, watch)
        seconds = machine.timeout_seconds or (
            self._limits.express_seconds if express else self._limits.execution_seconds
        )
        facts = ExecutionFacts(
            row.arn,
            row.name,
            row.role_arn,
            row.started_at,
            row.input,
            row.state_machine_arn,
            row.state_machine_arn.rpartition(":")[2],
            express=express,
            redrive_count=row.redrive_count,
            redriven_at=row.redriven_at,
        )
        kind = Interpreter if watch is None or not self._observers.watches_states else watch.interpreter
        interpreter = kind(
            facts=facts,
            journal=journal,
            clock=self._clock,
            calls=self._calls,
            inbox=self._inbox,
            resolver=self._resolver,
            limits=self._limits,
            rng=self._rng,
            region=self._region,
            deadline_at=_deadline_at(row, seconds, self._limits),
            every_transition=self._every_transition,
        )
        on_end = self._ended if watch is None else partial(self._ended_watched, watch)
        return Run(row, machine, interpreter, on_end, frames), watch  # type: ignore[arg-type]

    def _journal(self, row: ExecutionRow, last_id: int, watch: Watch | None) -> Journal:
        express = row.type == "EXPRESS"
        limit = 0 if express else self._limits.history_events
        if watch is not None and self._observers.wants("events_committed"):
            observed = ObservedSilentJournal if express else ObservedJournal
            return observed(watch, row.key, self._writer, limit, last_id)
        return (SilentJournal if express else Journal)(row.key, self._writer, limit, last_id)

    def _ended_watched(self, watch: Watch, run: Run) -> None:
        watch.over(run.final, run.error)
        self._ended(run)

    def _ended(self, run: Run) -> None:
        if self._runs.get(run.row.arn) is run:
            del self._runs[run.row.arn]
            if run.error is not None and not isinstance(run.error, EngineFenced) and run.row.type == "STANDARD":
                self._broken[run.row.arn] = run
        if not self._runs:
            idle, self._idle = self._idle, []
            for future in idle:
                fulfil(future, None)

    async def join(self) -> None:
        """Return when no execution is running."""
        while self._runs:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(future)
            await future

    async def drain(self, seconds: float) -> None:
        """Let the handler calls in flight end and their results become durable, at most for `seconds`; then park all.

        No new call, sleep or job is begun meanwhile. Executions that only wait are parked at once: their rows hold all.
        """
        self._calls.closing = True
        try:
            await self._calls.settled(self._clock.now() + seconds)
        finally:  # a cancellation cuts the wait short, not the rest
            for run in self._runs.values():
                run.checkpoint()
            await self._writer.flush()
            tasks = [task for run in list(self._runs.values()) if (task := run.park()) is not None]
            if tasks:
                await asyncio.wait(tasks)
            await self._calls.drain()

    async def abandon(self) -> None:
        """Another engine took over: cancel everything, write nothing. Returns when all is quiet."""
        self._calls.closing = True
        self._inbox.clear()
        tasks = []
        for run in list(self._runs.values()):
            task = run.park(EngineFenced(f"another engine took over {run.row.arn}, and goes on with it"))
            if task is not None:
                tasks.append(task)
        if tasks:
            await asyncio.wait(tasks)
        await self._calls.drain()

    async def watch_over(self, database_path: str | None, lease_seconds: float) -> None:
        """Renew the lease, take over from engines that died, and go on with what the store had refused, until
        cancelled or fenced.
        """
        while True:
            await self._clock.sleep_until(self._clock.now() + lease_seconds / 3)
            try:
                await self._store.renew_engine(self._engine, self._clock.now(), lease_seconds)
                await self.claim(database_path)
                await self._resume_refused()
            except EngineFenced:
                logger.error("another engine took over the executions of this one; it stops running them")
                return
            except AsfnError as error:
                logger.warning("the lease could not be renewed, trying again: %s", error)

    async def _resume_refused(self) -> None:
        """Go on with executions that stopped because the store refused a write (a full disk): it may be well again."""
        for run in list(self._broken.values()):
            if not isinstance(run.error, StoreError) or isinstance(run.error, CommitRefused):
                continue
            row = await self._store.execution(run.row.arn)
            if row is not None and row.status == "RUNNING" and row.owner == self._engine.id:
                await self.resume([row])

    async def claim(self, database_path: str | None) -> None:
        """Take over the executions that nobody runs, and those of engines whose process is gone; resume them."""
        dead = [
            other.id
            for other in await self._store.other_engines(self._engine)
            if database_path is not None and is_dead(database_path, other.id)
        ]
        rows = await self._store.claim(self._engine, self._clock.now(), dead=dead)
        for engine_id in dead:
            assert database_path is not None
            forget(database_path, engine_id)
        await self.resume([row for row in rows if row.arn not in self._runs])


def _deadline_at(row: ExecutionRow, seconds: float, limits: Limits) -> float:
    """When an execution must have ended: TimeoutSeconds starts again with a redrive, the longest open time does not."""
    if row.redriven_at is None:
        return row.started_at + seconds
    return min(row.redriven_at + seconds, row.started_at + limits.execution_seconds)
