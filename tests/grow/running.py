"""Runs a grown machine on virtual time under one schedule, and says how it ended."""

from __future__ import annotations

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
from asfn.testing.loop import VirtualClock, run
from tests.grow.tasks import GrownTasks

if TYPE_CHECKING:
    from asfn._json import JsonObject
    from asfn.runtime.handle import ExecutionInfo
    from tests.grow.machines import Grown

MOST_EVENTS: Final = 3_000
_LIMITS: Final = Limits(history_events=MOST_EVENTS)
_ID: Final = "event id #"
_TEN_YEARS: Final = 3650 * 86_400.0

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
        tasks = GrownTasks(grown.scripts, grown.seed, clock)
        engine = Engine(
            clock=clock,
            resolver=tasks,
            limits=_LIMITS,
            random=Random(grown.seed),
            lease_seconds=_TEN_YEARS,
            drain_seconds=0,
            commit=commit,
        )
        async with engine:
            await engine.create_state_machine("grown", grown.definition, type=grown.type)
            execution = await engine.start("grown", grown.input, name="x")
            with suppress(ExecutionFailed):
                await execution.result()
            history = await execution.history() if grown.type == "STANDARD" else []
            return Ran(await execution.describe(), history, len(tasks.calls))

    return run(main, seed=schedule)
