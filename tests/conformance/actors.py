"""Who answered from outside while a case was recorded: holders of task tokens, and activity workers.

They do through the engine's public calls what the recording says came of each attempt: a result, a failure, or nothing
until a clock has run out. Where the state has HeartbeatSeconds they beat ten times first, as the recorded helpers did.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from asfn._json import Payload
from asfn.errors import TaskFailed, TaskTimedOut
from asfn.tasks.activity import QUEUE
from asfn.tasks.protocol import Done, Submitted
from asfn.testing import ScriptedTasks
from tests.conformance.script import attempt_of

if TYPE_CHECKING:
    from asfn.arn import TaskResource
    from asfn.engine import Engine
    from asfn.tasks.protocol import Answer, Handler, TaskCall
    from asfn.testing import Scripted, VirtualClock
    from tests.conformance.cases import Case
    from tests.conformance.script import Texts

_HEARTBEATS: Final = 10


@dataclass
class OutsideTasks(ScriptedTasks):
    """Scripted tasks, whose callbacks and activities are left to whoever stands outside.

    opened: the calls that gave a token away, with what is to come of it.
    """

    opened: asyncio.Queue[tuple[TaskCall, Scripted]] = field(default_factory=asyncio.Queue, init=False)

    def resolve(self, resource: TaskResource) -> Handler:
        """An activity's work waits for its workers; all else is answered here."""
        return QUEUE if resource.family == "activity" else self

    async def submit(self, call: TaskCall) -> Answer:
        """As the script says; the outcome of a callback is given to its token."""
        answer = await super().submit(call)
        if call.resource.pattern != "waitForTaskToken" or not isinstance(answer, Submitted):
            return answer
        assert isinstance(answer.job, dict)
        self.opened.put_nowait((call, self.scripts[call.state_name][answer.job["position"]]))  # type: ignore[index]
        return Done(answer.answer)


@dataclass(frozen=True)
class Shift:
    """One attempt that a worker took. beat_seconds: between its signs of life, None when the state asks for none."""

    worker_name: str | None
    input: Any  # Any: recorded JSON
    outcome: Scripted
    beat_seconds: float | None


def shifts(case: Case, texts: Texts) -> dict[str, list[Shift]]:
    """What the workers of each activity took, in the order of the recording. An activity that is missing here did not
    exist, or nothing was ever scheduled for it.
    """
    history = case.expected.get("history") or []
    started = {event["previousEventId"] for event in history if event["type"] == "ActivityStarted"}
    scheduled = [event["id"] for event in history if event["type"] == "ActivityScheduled"]
    all_taken = not history or started == set(scheduled)
    found: dict[str, list[Shift]] = {}
    for attempts in (case.data.get("tasks") or {}).values():
        for attempt in attempts:
            if ":activity:" not in attempt["resource"]:
                continue
            taken = found.setdefault(attempt["resource"], [])
            ended = not (attempt.get("outcome") or {"timeout": True}).get("timeout")
            if all_taken or ended or "workerName" in attempt:
                beat = _beat_seconds(attempt.get("heartbeatInSeconds"), attempt.get("timeoutInSeconds"))
                taken.append(Shift(attempt.get("workerName"), attempt.get("input"), attempt_of(attempt, texts), beat))
    return found


async def act(engine: Engine, clock: VirtualClock, tasks: OutsideTasks, work: dict[str, list[Shift]]) -> None:
    """Do what was done from outside, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for arn, taken in work.items():
            group.create_task(_worker(engine, clock, arn, list(taken), group))
        while True:
            call, scripted = await tasks.opened.get()
            assert call.token is not None
            left = call.deadline_at - clock.now() if call.deadline_at is not None else None
            beat = _beat_seconds(call.heartbeat_seconds, left)
            group.create_task(_answer(engine, clock, call.token, scripted, beat))


async def _worker(
    engine: Engine, clock: VirtualClock, arn: str, expected: list[Shift], group: asyncio.TaskGroup
) -> None:
    """Poll as often as the recorded worker got something; work with another input than expected counts in order."""
    while expected:
        task = await engine.activities.poll(arn, expected[0].worker_name)
        if task is None:
            continue
        shift = next((item for item in expected if item.input == task.input), expected[0])
        expected.remove(shift)
        group.create_task(_answer(engine, clock, task.token, shift.outcome, shift.beat_seconds))


def _beat_seconds(heartbeat_seconds: float | None, timeout_seconds: float | None) -> float | None:
    """Often enough for both clocks, with time left for the answer."""
    if heartbeat_seconds is None:
        return None
    return min(heartbeat_seconds, (timeout_seconds or math.inf) / _HEARTBEATS) / 2


async def _answer(
    engine: Engine, clock: VirtualClock, token: str, scripted: Scripted, beat_seconds: float | None
) -> None:
    if scripted.outcome is None:
        return
    with suppress(TaskTimedOut):  # a sibling's failure may have been quicker
        for _ in range(_HEARTBEATS if beat_seconds is not None else 0):
            assert beat_seconds is not None
            await clock.sleep_until(clock.now() + beat_seconds)
            await engine.tasks.heartbeat(token)
        if isinstance(scripted.outcome, Payload):
            await engine.tasks.succeed(token, output_text=scripted.outcome.text)
        else:
            assert isinstance(scripted.outcome, TaskFailed)
            await engine.tasks.fail(token, scripted.outcome.error, scripted.outcome.cause)
