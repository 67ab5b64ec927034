"""Runs a plan: lines of processes on one store, clients that start executions and meddle with them, until all is over.

The last process comes when all others have died or left; nothing happens to it, so that everything must end in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from asfn.engine import Engine
from asfn.errors import ExecutionAlreadyExists, ExecutionFailed, ExecutionNotRedrivable
from asfn.limits import Limits
from asfn.runtime.history import shapes
from asfn.store.doctor import examine
from asfn.store.memory import MemoryStore
from asfn.store.records import ExecutionQuery, Progress, Start
from asfn.store.sqlite import SqliteStore
from asfn.testing.faults import FaultyStore
from asfn.testing.loop import VirtualClock, run
from tests.grow.reading import Broken
from tests.simulation.plan import LifePlan
from tests.simulation.process import Process, watch_tasks
from tests.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asfn._json import JsonObject
    from asfn.store.protocol import Store
    from asfn.store.records import Archive, Commit, EngineRow, ExecutionRow
    from tests.simulation.plan import Meddling, Plan, StartPlan
    from tests.simulation.world import Made

    Sabotage = Callable[[Store], Store]

MOST_EVENTS: Final = 3_000
_LIMITS: Final = Limits(history_events=MOST_EVENTS)
_LAST: Final = LifePlan(0.0, float("inf"), "none", ())

logging.getLogger("asfn").addHandler(logging.NullHandler())  # what goes wrong here is meant to


@dataclass(frozen=True)
class End:
    """An execution, when all was over. history: in GetExecutionHistory's shapes.   followed: what a client read."""

    archive: Archive
    history: list[JsonObject]
    calls: list[Made]
    followed: list[JsonObject] | None

    @property
    def row(self) -> ExecutionRow:
        return self.archive.row


@dataclass(frozen=True)
class Ran:
    """What came of a plan. left: what the store still holds that nobody needs."""

    ends: dict[str, End]
    counts: Counter[str]
    left: list[str] = field(default_factory=list)


class _Store(FaultyStore):
    """Tells the world of what was written."""

    def __init__(self, store: Store, world: World, **faults: Any) -> None:  # Any: FaultyStore's own options
        super().__init__(store, **faults)
        self._world = world

    async def _write(self, engine: EngineRow, commits: Sequence[Commit]) -> list[ExecutionRow | None]:
        answers = await super()._write(engine, commits)
        counts = self._world.counts
        for commit in commits:
            counts["commits"] += 1
            if isinstance(commit, Start):
                counts["queued"] += commit.row.queued
            elif isinstance(commit, Progress):
                counts["parked"] += commit.parked
                if commit.final is not None:
                    self._world.changed()
        return answers

    async def post(self, message: Any) -> Any:
        self._world.counts["messages"] += 1
        return await super().post(message)

    async def wake(self, *args: Any, **options: Any) -> Any:
        rows = await super().wake(*args, **options)
        self._world.counts["woken"] += len(rows)
        return rows


def play(plan: Plan, sabotage: Sabotage | None = None, story: list[str] | None = None) -> Ran:
    """Run a plan to its end. story: gets a line for whatever happens.

    sabotage: wraps every process's store, to see whether that is noticed.

    Raises Broken, Deadlock, and whatever an engine raises that it should not.
    """
    memory = MemoryStore()
    with TemporaryDirectory(ignore_cleanup_errors=True) if plan.on_file else nullcontext() as folder:

        async def main(clock: VirtualClock) -> Ran:
            path = str(Path(folder) / "world.db") if folder else None
            return await _Play(plan, clock, memory, path, sabotage, story).main()

        try:
            return run(main, seed=plan.schedule)
        except BaseException:
            if story is not None:
                story += run(_standing(memory))
            raise


async def _standing(store: Store) -> list[str]:
    """How the executions of a store stand, for a reader."""
    lines = []
    for row in await store.executions(ExecutionQuery()):
        lines.append(
            f"{row.name}: {row.status}, owner {row.owner}, wake_at {row.wake_at}, queued {row.queued}, "
            f"paused {row.paused}, redrives {row.redrive_count}"
        )
        archive = await store.archive(row.arn)
        assert archive is not None
        lines += [f"    frame {frame.path!r} {frame.body[:160]}" for frame in archive.frames]
        lines += [f"    token {token}" for token in archive.tokens if token.state == "open" or token.outcome]
        lines += [f"    message {message}" for message in archive.messages]
    return lines


class _Play:
    def __init__(
        self,
        plan: Plan,
        clock: VirtualClock,
        memory: MemoryStore,
        path: str | None,
        sabotage: Sabotage | None,
        story: list[str] | None,
    ) -> None:
        self.plan = plan
        self.clock = clock
        self.path = path
        self.sabotage = sabotage
        self.memory = memory
        self.world = World(plan, clock, self.connect(), story)
        self.followed: dict[str, list[JsonObject]] = {}
        self.numbers = 0
        self.ending = False  # nothing is asked any more

    def connect(self) -> Store:
        """What a process sees of the one store there is."""
        if self.path is None:
            return self.memory
        return SqliteStore(self.path, off_loop=self.clock.off_loop)

    async def main(self) -> Ran:
        loop = asyncio.get_running_loop()
        watch_tasks(loop)
        loop.set_exception_handler(self.world.hear)
        await self.world.store.open()
        try:
            return await self.all_of_it()
        finally:
            await self.world.close()
            await self.world.store.close()

    async def all_of_it(self) -> Ran:
        world = self.world
        world.hire()
        clients = [world.outside(self.client(start)) for start in self.plan.starts]
        lines = [world.outside(self.line(index, lives)) for index, lives in enumerate(self.plan.lives)]
        await world.until(lambda: _over(lines) or _over(clients))
        self.ending = _over(clients)
        world.dismiss()
        await world.until(lambda: _over(lines))
        if lines:
            await asyncio.sleep(self.plan.settings.lease_seconds + 1)
        last = world.outside(self.life("the last process", _LAST))
        await world.until(lambda: (world.anybody and _over(clients)) or last.done())
        if not _over(clients):
            raise Broken("the last process ended by itself")
        world.dismiss()
        await world.until(last.done)
        return await self.result()

    # --- processes -------------------------------------------------------------------------------------------------

    async def line(self, index: int, lives: Sequence[LifePlan]) -> None:
        """Processes one after the other."""
        for life in lives:
            await asyncio.sleep(life.after)
            if not self.ending:
                await self.life(f"process {index}.{self.number()}", life)

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    async def life(self, name: str, life: LifePlan) -> None:
        """One process from its beginning to its end."""
        world = self.world
        process = self.process(name, life)
        world.processes.append(process)
        world.tell(f"{name} comes ({life})")
        timer: asyncio.TimerHandle | None = None
        if life.seconds < float("inf"):
            timer = self.clock.call_at(self.clock.now() + life.seconds, process.leave)
        try:
            how = await process.live(self.furnish, world.changed)
        finally:
            if timer is not None:
                timer.cancel()
            world.processes.remove(process)
        world.counts[f"process {how.split(':')[0]}"] += 1
        world.tell(f"{name} {how}")
        if how == "died":
            await world.find_lost_work()

    def process(self, name: str, life: LifePlan) -> Process:
        plan, faults = self.plan, {}
        process: Process
        first = life.commits[0] if life.commits else 0
        if life.fault in ("crash_before", "crash_after"):
            faults[life.fault] = first
        elif life.fault == "fence":
            faults["fence_at"] = first
        elif life.fault == "refuse":
            faults["refuse"] = life.commits
        elif life.fault in ("cancel", "leave"):
            faults["at"] = {first: lambda: process.cancel() if life.fault == "cancel" else process.leave()}
        inner = self.connect()
        store = _Store(self.sabotage(inner) if self.sabotage is not None else inner, self.world, **faults)
        troubled = life.fault in ("fence", "refuse") or len(plan.lives) > 1
        process = Process(name, self.engine(store, name), store, troubled)
        return process

    def engine(self, store: Store, name: str) -> Engine:
        settings = self.plan.settings
        return Engine(
            store,
            clock=self.clock,
            resolver=self.world,
            limits=_LIMITS,
            random=Random(f"{self.plan.seed} {name}"),
            lease_seconds=settings.lease_seconds,
            drain_seconds=settings.drain_seconds,
            commit=settings.commit,
            park_seconds=settings.park_seconds,
            max_concurrent_executions=settings.engine_limit,
        )

    async def furnish(self, engine: Engine) -> None:
        """What a program does first: its state machines and activities."""
        limit = self.plan.settings.machine_limit
        for workload in self.plan.workloads:
            if await engine.store.state_machine(engine.arns.state_machine(workload.name)) is None:
                await engine.create_state_machine(workload.name, workload.definition, max_concurrent_executions=limit)
            for arn in workload.activities:
                await engine.activities.create(arn)

    # --- clients ---------------------------------------------------------------------------------------------------

    async def client(self, start: StartPlan) -> None:
        """Everything that is asked of one execution from outside; returns when nothing more is."""
        world = self.world
        arn = world.arn(start.machine, start.name)
        await asyncio.sleep(start.at)
        await self.start(start)
        world.tell(f"{start.name} is started")
        watching = [world.outside(self.follow(arn))] if start.follows else []
        if start.waits:
            watching.append(world.outside(self.wait(arn)))
        for step in start.meddling:
            await asyncio.sleep(step.after)
            await self.meddle(arn, step)
        row = await self.end_of(arn)
        for _ in range(start.redrives):
            if row.status == "SUCCEEDED":
                break
            await self.redrive(arn, row)
            row = await self.end_of(arn)
        world.tell(f"{start.name} is {row.status}")
        await world.until(lambda: _over(watching))

    async def start(self, start: StartPlan) -> None:
        workload = self.plan.workloads[start.machine]
        with suppress(ExecutionAlreadyExists):  # started, and ended, before anybody could say so
            await self.world.through(
                lambda engine: engine.start(workload.name, workload.input, name=start.name, priority=start.priority)
            )

    async def end_of(self, arn: str) -> ExecutionRow:
        """The row of an execution once it has ended."""
        while True:
            change = self.world.change()
            row = await self.world.store.execution(arn)
            if row is None:
                raise Broken(f"{arn} was started and is not in the store")
            if row.status != "RUNNING":
                return row
            await change

    async def meddle(self, arn: str, step: Meddling) -> None:
        world = self.world
        if step.what != "pause":
            world.paused.pop(arn, None)

        async def meddle(engine: Engine) -> None:
            execution = await engine.execution(arn)
            if step.what == "stop":
                await execution.stop("Stopped", "by a client")
            else:
                await (execution.pause() if step.what == "pause" else execution.resume())

        world.tell(f"{step.what} {arn.rpartition(':')[2]}")
        await world.through(meddle)
        world.counts[f"told to {step.what}"] += 1
        row = await world.store.execution(arn)
        assert row is not None
        world.tell(f"{step.what} {arn.rpartition(':')[2]} was done: {row.status}{', paused' if row.paused else ''}")
        if row.status != "RUNNING":
            return
        if step.what == "stop":
            raise Broken(f"{arn} was stopped and is RUNNING")
        if row.paused != (step.what == "pause"):
            raise Broken(f"{arn} was told to {step.what}, and its row says paused={row.paused}")
        if step.what == "pause":
            world.paused[arn] = self.clock.now()

    async def redrive(self, arn: str, row: ExecutionRow) -> None:
        """Redrive once, also when the process dies that was asked."""
        before = row.redrive_count

        async def redrive(engine: Engine) -> None:
            now = await self.world.store.execution(arn)
            assert now is not None
            if now.redrive_count == before:
                await (await engine.execution(arn)).redrive()

        self.world.tell(f"redrive {arn.rpartition(':')[2]}")
        with suppress(ExecutionNotRedrivable):  # carried out by a process that could not say so, and ended since
            await self.world.through(redrive)
        self.world.counts["redrives"] += 1

    async def follow(self, arn: str) -> None:
        """Read the events as they come, from whatever process lives."""
        events = self.followed.setdefault(arn, [])

        async def read(engine: Engine) -> None:
            async for event in (await engine.execution(arn)).events(after=len(events)):
                events.append(event)

        await self.world.through(read)
        self.world.counts["followed"] += 1

    async def wait(self, arn: str) -> None:
        """Wait for the result; what comes is what the store says."""

        async def wait(engine: Engine) -> tuple[str, Any]:
            try:
                return "SUCCEEDED", await (await engine.execution(arn)).result()
            except ExecutionFailed as error:
                return error.status, (error.error, error.cause)

        told = await self.world.through(wait)
        row = await self.world.store.execution(arn)
        assert row is not None
        kept = (row.status, row.output.value if row.output is not None else (row.error, row.cause))
        if kept != told and not row.redrive_count:
            raise Broken(f"{arn} was told to end with {told}, and ended with {kept}")
        self.world.counts["waited for"] += 1

    # --- the end ---------------------------------------------------------------------------------------------------

    async def result(self) -> Ran:
        world = self.world
        ends = {}
        for start in self.plan.starts:
            arn = world.arn(start.machine, start.name)
            archive = await world.store.archive(arn)
            assert archive is not None
            history = [event for segment in archive.segments for event in shapes(segment)]
            calls = [made for made in world.calls if made.key.startswith(f"{arn}/")]
            ends[start.name] = End(archive, history, calls, self.followed.get(arn))
        left = await self.left()
        return Ran(ends, world.counts, left)

    async def left(self) -> list[str]:
        store = self.world.store
        found = []
        if await store.parked_count():
            found.append("parked executions")
        if await store.queued_count():
            found.append("queued executions")
        if await store.token_news():
            found.append("news of tokens")
        arns = [arn for workload in self.plan.workloads for arn in workload.activities]
        if await store.waiting_activity_tasks(arns):
            found.append("work for activities")
        if self.path is not None:
            report = examine(self.path, has_died=lambda id, lease_until: False, events=lambda it: len(shapes(it)))
            found += [finding.message for finding in report.findings]
        return found


def _over(tasks: Sequence[asyncio.Task[None]]) -> bool:
    return all(task.done() for task in tasks)
