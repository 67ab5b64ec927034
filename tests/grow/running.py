"""Runs a grown machine on virtual time under one schedule, and says how it ended."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final, Literal

from asfn.engine import Engine
from asfn.errors import ExecutionFailed
from asfn.limits import Limits
from asfn.store.memory import MemoryStore
from asfn.store.records import ExecutionQuery
from asfn.store.sqlite import SqliteStore
from asfn.testing.faults import FaultyStore
from asfn.testing.loop import VirtualClock, run
from tests.grow.reading import Broken
from tests.grow.tasks import GrownTasks

if TYPE_CHECKING:
    from asfn._json import JsonObject
    from asfn.runtime.handle import ExecutionInfo
    from asfn.store.protocol import Store
    from tests.grow.machines import Grown

MOST_EVENTS: Final = 3_000
_LIMITS: Final = Limits(history_events=MOST_EVENTS)
_ID: Final = "event id #"
_PAUSE_SECONDS: Final = 100.0  # longer than a lease, so that what a dead engine owned may be taken over

logging.getLogger("asfn").addHandler(logging.NullHandler())  # a fault is reported as the machine's own


@dataclass(frozen=True, slots=True)
class Ran:
    """How an execution ended. history: empty for an Express execution.   calls: how many task attempts there were."""

    info: ExecutionInfo
    history: list[JsonObject]
    calls: int

    @property
    def tied(self) -> bool:
        """Whether the end may depend on the schedule after all.

        The limit of the history may have ended it, or a caught cause, which names an event by its id, is data now.
        """
        if len(self.history) >= MOST_EVENTS:
            return True
        return any(event["type"] != "ExecutionFailed" and _ID in json.dumps(event) for event in self.history) or (
            not self.history and _ID in (self.info.output_text or "")
        )

    def end(self) -> tuple[object, ...]:
        """What may not depend on the schedule. A cause names an event by its id, which does."""
        info = self.info
        cause = re.sub(f"{_ID}[0-9]+", _ID, info.cause) if info.cause is not None else None
        return info.status, info.output_text, info.error, cause, info.state


def run_grown(grown: Grown, schedule: int | None, *, commit: Literal["default", "awaited"] = "default") -> Ran:
    """Run to the end. schedule: seed of the order in which ready tasks run; None for asyncio's own order.

    Raises whatever stops the execution without ending it, and Deadlock when it never ends.
    """

    async def main(clock: VirtualClock) -> Ran:
        return await _lived(grown, MemoryStore(), clock, commit, outside=True)

    return run(main, seed=schedule)


def run_on_file(grown: Grown, path: str) -> Ran:
    """Run to the end with an SQLite file as the store."""

    async def main(clock: VirtualClock) -> Ran:
        return await _lived(grown, SqliteStore(path, off_loop=clock.off_loop), clock, outside=True)

    return run(main)


def run_crashed(grown: Grown, schedule: int | None, crash_after: int) -> tuple[Ran, int]:
    """Run until the process dies behind a commit, then to the end in another one; and how many deaths there were.

    A machine that has ended by then did not die.
    """
    store = MemoryStore()

    async def first(clock: VirtualClock) -> tuple[Ran | None, float]:
        faulty = FaultyStore(store, crash_after=crash_after)
        living = asyncio.create_task(_lived(grown, faulty, clock))
        crash = asyncio.create_task(faulty.crashed.wait())
        await asyncio.wait({living, crash}, return_when=asyncio.FIRST_COMPLETED)
        if not faulty.crashed.is_set():
            crash.cancel()
            return living.result(), clock.now()
        await store.close()
        return None, clock.now()

    async def second(clock: VirtualClock) -> Ran:
        await store.open()
        ran = await _lived(grown, store, clock)
        await store.open()
        for row in await store.executions(ExecutionQuery()):
            if row.status == "SUCCEEDED" and await store.frames(row.key):  # a failed one keeps its rows to be redriven
                raise Broken(f"rows of frames are left of {row.arn}")
        return ran

    ran, over_at = run(first, seed=schedule)
    if ran is not None:
        return ran, 0
    return run(second, seed=schedule, start_at=over_at + _PAUSE_SECONDS), 1


async def _lived(
    grown: Grown,
    store: Store,
    clock: VirtualClock,
    commit: Literal["default", "awaited"] = "default",
    *,
    outside: bool = False,
) -> Ran:
    """One process: it starts the execution, or goes on with it, and stays until the end.

    outside: somebody outside of the engine answers callbacks.
    """
    tasks = GrownTasks(grown.scripts, grown.seed, clock)
    engine = Engine(
        store,
        clock=clock,
        resolver=tasks,
        limits=_LIMITS,
        random=Random(grown.seed),
        drain_seconds=0,
        commit=commit,
    )
    if outside:
        tasks.tokens = engine.tasks
    async with engine:
        await engine.create_state_machine("grown", grown.definition, type=grown.type)
        arn = engine.arns.execution("grown", "x")
        if await store.execution(arn) is None:
            execution = await engine.start("grown", grown.input, name="x")
        else:
            execution = await engine.execution(arn)
        with suppress(ExecutionFailed):
            await execution.result()
        history = await execution.history() if grown.type == "STANDARD" else []
        for answering in tasks.outside:
            answering.cancel()
        for answering in tasks.outside:
            if answering.done() and not answering.cancelled():
                answering.result()  # a fault of the engine is no secret
        return Ran(await execution.describe(), history, len(tasks.calls))
