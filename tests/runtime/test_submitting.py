"""Handlers that answer with a job: which events that leaves."""

from __future__ import annotations

from asfn._json import Payload
from asfn.engine import Engine
from asfn.testing.loop import VirtualClock, run
from asfn.testing.tasks import ScriptedTasks, answers, submits
from tests.runtime.workflows import machine, task


def test_the_job_of_a_function_leaves_no_event_of_its_own() -> None:
    async def main(clock: VirtualClock) -> list[str]:
        tasks = ScriptedTasks({"Work": [submits(Payload({"job": 1}), then=answers({"done": True}).after(3))]})
        async with Engine(clock=clock, resolver=tasks) as engine:
            await engine.create_state_machine("machine", machine(("Work", task("work"))))
            execution = await engine.start("machine")
            assert await execution.result() == {"done": True}
            return [str(event["type"]) for event in await execution.history()]

    assert run(main) == [
        "ExecutionStarted",
        "TaskStateEntered",
        "LambdaFunctionScheduled",
        "LambdaFunctionStarted",
        "LambdaFunctionSucceeded",
        "TaskStateExited",
        "ExecutionSucceeded",
    ]
