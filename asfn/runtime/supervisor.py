"""Keeps the executions of one engine: starts, claims, resumes, drains and parks them, and renews the engine's lease."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from asfn.errors import AsfnError, EngineClosed, EngineFenced, ExecutionNotRedrivable, StoreError
from asfn.runtime.admission import Admission
from asfn.runtime.clock import fulfil
from asfn.runtime.execution import Run
from asfn.runtime.journal import Barrier, SilentJournal
from asfn.runtime.liveness import forget, is_dead, locked_ids
from asfn.runtime.lookout import ring_all
from asfn.runtime.messages import foretell
from asfn.runtime.observed import Watch
from asfn.runtime.outfit import Outfit
from asfn.runtime.parking import Parking
from asfn.store.engines import first_key
from asfn.store.protocol import CommitRefused
from asfn.store.records import ExecutionRow, Start

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from asfn.plan.states import CompiledMachine
    from asfn.runtime.interpreter import Collaborators
    from asfn.runtime.machines import Machines
    from asfn.runtime.observers import Observers
    from asfn.runtime.redrive import Detour
    from asfn.store.protocol import Store
    from asfn.store.records import EngineRow, FrameRow, Message
    from asfn.store.writer import Writer

logger = logging.getLogger("asfn.supervisor")

_READ_AT_ONCE: Final = 100  # executions whose frames are in memory before they run
_CLAIMED_AT_ONCE: Final = 1_000
_STARTING_BYTES: Final = 64 * 1024 * 1024  # inputs of starts that are not written yet


class Policy(NamedTuple):
    """How an engine keeps its executions; the options of `Engine` say more of each.

    park_seconds: how long a wait must be to be parked.   max_concurrent_executions: how many may be live.
    takes_over: whether what nobody runs is run here.   stores_express: whether Express executions are durable.
    """

    park_seconds: float
    max_concurrent_executions: int | None
    takes_over: bool
    stores_express: bool


class Supervisor:
    """The executions that run in one engine. Everything here happens on the engine's loop."""

    def __init__(
        self,
        store: Store,
        engine: EngineRow,
        writer: Writer,
        machines: Machines,
        observers: Observers,
        shared: Collaborators,
        policy: Policy,
    ) -> None:
        self._store = store
        self._engine = engine
        self._writer = writer
        self._machines = machines
        self._clock = shared.clock
        self._calls = shared.calls
        self._inbox = shared.inbox
        self._policy = policy
        self._runs: dict[str, Run] = {}
        self._broken: dict[str, Run] = {}  # stopped by an error of ours or of the set-up; resumable
        self._keys = itertools.count(first_key(engine.id))
        self._idle: list[asyncio.Future[None]] = []
        self._unread: dict[str, ExecutionRow] = {}  # owned, and not read back: the store refused
        self._awaited: dict[str, list[asyncio.Future[None]]] = {}  # by ARN: who waits until it begins here
        self._starting_bytes = 0
        self._parking = Parking(
            store=store,
            engine=engine,
            writer=writer,
            clock=shared.clock,
            seconds=policy.park_seconds if policy.takes_over else math.inf,
            wakes=policy.takes_over,
            resume=self.resume,
            let_go=self._gone,
            failed=self._not_parked,
        )
        self._outfit = Outfit(shared, writer, observers, self._parking, self._ended, policy.stores_express)
        self._admission = Admission(
            store=store,
            engine=engine,
            writer=writer,
            clock=shared.clock,
            limit=policy.max_concurrent_executions,
            others=policy.takes_over,
            live=lambda: len(self._runs),
            begin=self.resume,
            moved=self._parking.moved,
        )

    @property
    def engine_id(self) -> int:
        return self._engine.id

    @property
    def engine(self) -> EngineRow:
        return self._engine

    def by_key(self, keys: Container[int]) -> dict[int, Run]:
        """Those of these executions that this engine has, also those that an error stopped, by their keys."""
        runs = itertools.chain(self._runs.values(), self._broken.values())
        return {run.row.key: run for run in runs if run.row.key in keys}

    def next_key(self) -> int:
        """A key for a new execution, never used before in this file."""
        return next(self._keys)

    def running(self, arn: str) -> Run | None:
        """The run of an execution, also of one that an error stopped and that nobody has resumed since."""
        return self._runs.get(arn) or self._broken.get(arn)

    def begun(self, arn: str) -> asyncio.Future[None]:
        """A future that is done when an execution begins to run here; a cancelled one is forgotten."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaited.setdefault(arn, []).append(future)
        future.add_done_callback(partial(self._not_awaited, arn))
        return future

    def _not_awaited(self, arn: str, future: asyncio.Future[None]) -> None:
        waiting = self._awaited.get(arn)
        if waiting is not None and future in waiting:
            waiting.remove(future)
            if not waiting:
                del self._awaited[arn]

    @property
    def count(self) -> int:
        """How many executions are running."""
        return len(self._runs)

    # --- starts ----------------------------------------------------------------------------------------------------

    async def start(
        self, row: ExecutionRow, machine: CompiledMachine, machine_limit: int | None = None
    ) -> Run | ExecutionRow | None:
        """Make a new execution durable, then run it, or None when it is queued; it never waits for its turn.

        The row that holds its ARN already, when there is one. machine_limit: how many of its state machine may run.
        """
        if row.type == "EXPRESS" and not self._policy.stores_express:
            return self._start_express(row, machine)
        await self._room_for_start()
        if self._admission.must_queue(row.state_machine_arn, machine_limit):
            row.owner, row.queued, row.wake_at = None, True, self._outfit.deadline_at(row, machine)
        self._starting_bytes += row.input.size_bytes
        starting = Barrier()
        self._writer.hand_over(Start(row), starting)
        try:
            await starting.wait()
        except asyncio.CancelledError:  # the caller goes away, the execution does not
            starting.then(partial(self._started_unseen, row, machine))
            raise
        except BaseException:
            self._start_over(row)
            raise
        return self._started(row, machine, starting.answer)

    async def _room_for_start(self) -> None:
        """Wait while more is queued for the writer than it should be."""
        if self._writer.full:
            await self._writer.room()
        while self._starting_bytes > _STARTING_BYTES:
            await self._writer.flush()

    def _started(
        self, row: ExecutionRow, machine: CompiledMachine, existing: ExecutionRow | None
    ) -> Run | ExecutionRow | None:
        try:
            if existing is not None:
                return existing
            if self._calls.closing:
                raise EngineClosed(
                    f"the engine was left: {row.arn} is durable and begins when the database is opened next"
                )
            if row.queued:
                self._admission.queued(row)
                return None
            return self._launch(row, machine, None)
        finally:
            self._start_over(row)

    def _started_unseen(self, row: ExecutionRow, machine: CompiledMachine, starting: Barrier) -> None:
        if starting.error is not None or self._calls.closing:
            self._start_over(row)
        else:
            self._started(row, machine, starting.answer)

    def _start_over(self, row: ExecutionRow) -> None:
        self._starting_bytes -= row.input.size_bytes
        if not row.queued:
            self._admission.placed()

    def _start_express(self, row: ExecutionRow, machine: CompiledMachine) -> Run:
        if not self._admission.must_hold():
            return self._launch(row, machine, None)
        run, watch = self._outfit.run(row, machine, None, 0)
        run.hold(partial(self._set_going, run, watch, resumed=False))
        self._admission.hold(run)
        return run

    # --- resume ----------------------------------------------------------------------------------------------------

    async def resume(self, rows: Sequence[ExecutionRow]) -> None:
        """Go on with executions that this engine has claimed, each from where its frames stand."""
        asked = await self._asked(rows)
        for first in range(0, len(rows), _READ_AT_ONCE):
            await self._resume_some(rows[first : first + _READ_AT_ONCE], asked)
        if asked:
            ring_all()

    async def _resume_some(self, rows: Sequence[ExecutionRow], asked: dict[int, list[Message]]) -> None:
        try:
            stand = await self._store.standpoints([row.key for row in rows])
        except AsfnError:  # one of them cannot be read: which one shows below
            stand = {}
        for row in rows:
            try:
                plan = await self._machines.plan(row.digest)
                if row.key not in stand:
                    stand |= await self._store.standpoints([row.key])
            except AsfnError as error:
                logger.error("%s cannot be resumed and is left as it is: %s", row.arn, error)
                if isinstance(error, StoreError):
                    self._unread[row.arn] = row
                continue
            try:
                run = self._launch(row, plan.machine, stand[row.key].frames, stand[row.key].last_event_id)
                for message in asked.get(row.key, ()):
                    foretell(run, message)
            except Exception:  # rows that cannot be read back: ours to mend, and no reason to keep the others waiting
                logger.exception("%s cannot be resumed and is left as it is", row.arn)

    async def _asked(self, rows: Sequence[ExecutionRow]) -> dict[int, list[Message]]:
        """What executions were asked for while nobody ran them, by their keys."""
        asked: dict[int, list[Message]] = {}
        try:
            for message in await self._store.messages(self._engine) if rows else ():
                asked.setdefault(message.execution, []).append(message)
        except StoreError as error:  # they are read again as soon as the executions run
            logger.warning("what executions were asked for cannot be read: %s", error)
        return asked

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
        run, watch = self._outfit.run(row, plan.machine, frames, last_id)
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

    def _launch(
        self, row: ExecutionRow, machine: CompiledMachine, frames: Sequence[FrameRow] | None, last_id: int = 0
    ) -> Run:
        run, watch = self._outfit.run(row, machine, frames, last_id)
        self._set_going(run, watch, resumed=last_id > 0)
        return run

    def _set_going(self, run: Run, watch: Watch | None, resumed: bool) -> None:
        if not self._runs:
            self._inbox.need()  # another process may ask something of them
        self._runs[run.row.arn] = run
        self._broken.pop(run.row.arn, None)
        self._parking.moved()
        for begun in self._awaited.pop(run.row.arn, ()):
            fulfil(begun, None)
        if watch is not None:
            watch.begun(resumed=resumed)
        run.start()

    def _ended(self, run: Run) -> None:
        if self._runs.get(run.row.arn) is run:
            stored = not isinstance(run.interpreter.journal, SilentJournal)
            if run.error is not None and not isinstance(run.error, EngineFenced) and stored:
                self._broken[run.row.arn] = run
            self._gone(run)

    def _gone(self, run: Run) -> None:
        """An execution does not run here any more: it has ended, was stopped by an error, or is being parked."""
        del self._runs[run.row.arn]
        self._admission.ended(run.row.state_machine_arn)
        if not self._runs:
            idle, self._idle = self._idle, []
            for future in idle:
                fulfil(future, None)

    def _not_parked(self, run: Run) -> None:
        if not isinstance(run.error, EngineFenced | EngineClosed):
            logger.error("%s stopped and can be resumed: %s", run.row.arn, run.error)
            self._broken[run.row.arn] = run

    async def join(self) -> None:
        """Return when no execution is running here, and none is parked or queued that an engine would go on with."""
        while not self._calls.closing:
            if self._runs:
                future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._idle.append(future)
                await future
                continue
            turn = self._parking.turn()
            if not await self._expects_runs():
                return
            await turn

    async def _expects_runs(self) -> bool:
        if self._runs or self._parking.busy or self._admission.busy:
            return True
        if not self._policy.takes_over:
            return self._admission.queues
        return bool(await self._store.queued_count(at_most=1) or await self._store.parked_count(at_most=1))

    def dismiss(self) -> None:
        """The engine is being left: nothing new is begun."""
        self._calls.closing = True

    async def drain(self, seconds: float) -> None:
        """Let the handler calls in flight end and their results become durable, at most for `seconds`; then park all.

        No new call, sleep or job is begun meanwhile. Executions that only wait are parked at once: their rows hold all.
        """
        self._calls.closing = True
        await self._parking.close()
        await self._admission.close()
        try:
            await self._calls.settled(self._clock.now() + seconds)
        finally:  # a cancellation cuts the wait short, not the rest
            for run in self._runs.values():
                run.checkpoint()
            await self._writer.flush()
            tasks = [task for run in list(self._runs.values()) if (task := run.abandon()) is not None]
            if tasks:
                await asyncio.wait(tasks)
            await self._calls.drain()

    async def abandon(self) -> None:
        """Another engine took over: cancel everything, write nothing. Returns when all is quiet."""
        self._calls.closing = True
        self._inbox.clear()
        await self._parking.close()
        await self._admission.close()
        tasks = []
        for run in list(self._runs.values()):
            task = run.abandon(EngineFenced(f"another engine took over {run.row.arn}, and goes on with it"))
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
            await asyncio.sleep(lease_seconds / 3)  # not by the date, which may jump
            try:
                await self._store.renew_engine(self._engine, self._clock.now(), lease_seconds)
                await self.begin(database_path)
                await self._resume_refused()
            except EngineFenced:
                logger.error("another engine took over the executions of this one; it stops running them")
                return
            except AsfnError as error:
                logger.warning("the lease could not be renewed, trying again: %s", error)

    async def _resume_refused(self) -> None:
        """Go on with executions that stopped because the store refused a write (a full disk): it may be well again."""
        refused = [
            run.row.arn
            for run in self._broken.values()
            if isinstance(run.error, StoreError) and not isinstance(run.error, CommitRefused)
        ]
        unread, self._unread = self._unread, {}
        for arn in [*refused, *unread]:
            row = await self._store.execution(arn)
            if row is not None and row.status == "RUNNING" and row.owner == self._engine.id:
                await self.resume([row])

    async def begin(self, database_path: str | None) -> None:
        """Go on with what nobody runs and what is due, unless this engine leaves that to others."""
        if self._policy.takes_over:
            await self.claim(database_path)
            if database_path is not None:
                await self._clear_away(database_path)

    async def _clear_away(self, database_path: str) -> None:
        """Remove the lock files of engines that were killed after others had taken over from them: they have no row."""
        locked = locked_ids(database_path)  # first: an engine has its row before its lock
        rows = {self._engine.id, *(row.id for row in await self._store.other_engines(self._engine))}
        for engine_id in locked:
            if engine_id not in rows and is_dead(database_path, engine_id):
                forget(database_path, engine_id)

    async def claim(self, database_path: str | None) -> None:
        """Take over the executions that nobody runs, and those of engines whose process is gone; resume them."""
        dead = [
            other.id
            for other in await self._store.other_engines(self._engine)
            if database_path is not None and is_dead(database_path, other.id)
        ]
        rows = await self._store.claim(self._engine, self._clock.now(), dead=dead, limit=_CLAIMED_AT_ONCE)
        for engine_id in dead:
            assert database_path is not None
            forget(database_path, engine_id)
        await self.resume([row for row in rows if row.arn not in self._runs])
        while len(rows) == _CLAIMED_AT_ONCE:
            await self._writer.room()
            rows = await self._store.claim(self._engine, self._clock.now(), limit=_CLAIMED_AT_ONCE)
            await self.resume([row for row in rows if row.arn not in self._runs])
        await self.look()

    async def wake(self, keys: Sequence[int]) -> None:
        """Go on here with those of these executions that nobody has, parked, queued or left behind.

        They run here when this returns, unless another engine was faster, or they have ended. One that is being parked
        is awaited. Raises StoreError, EngineFenced, EngineClosed.
        """
        await self._parking.take(keys)

    def expects_news(self) -> bool:
        """Whether what other processes write may concern executions that nobody has: they may park some, and die."""
        return self._policy.takes_over or self._admission.queues

    async def look(self) -> None:
        """Others may have written: see what is due, and what may begin."""
        self._parking.look()
        await self._admission.look()
        self._parking.moved()

    async def take_over_from(self, owner: int) -> None:
        """Claim what an engine ran if it has died; nothing happens while it lives."""
        path: str | None = getattr(self._store, "path", None)
        rows = {row.id: row for row in await self._store.other_engines(self._engine)}
        died = path is not None and is_dead(path, owner)
        if died or owner not in rows or rows[owner].lease_until < self._clock.now():
            await self.claim(path)
