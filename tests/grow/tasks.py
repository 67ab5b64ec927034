"""The world that a grown machine runs in: tasks whose every answer follows from the call's idempotency key.

So an attempt gets the same answer whatever the schedule, in a Map, in a retry, and after a crash. Delays are fractions
that two calls never share: between branches that begin with a task nothing happens at the same instant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Literal

from asfn._json import Json, Payload
from asfn.errors import InvalidOutput, TaskDoesNotExist, TaskFailed, TaskTimedOut
from asfn.tasks.protocol import Answer, Done, Submitted
from tests.grow.shapes import Shape, sample

if TYPE_CHECKING:
    from asfn.arn import TaskResource
    from asfn.runtime.clock import Clock
    from asfn.runtime.tokens import TaskTokens
    from asfn.tasks.protocol import Handler, TaskCall


@dataclass(frozen=True, slots=True)
class Script:
    """How the tasks of one state answer. The three chances are those of one attempt.

    never: no answer at all; only of states with a timeout.   huge: an answer beyond the size limit.
    submits: a job is submitted first and then polled.   callback: the answer comes by the task's token.
    """

    shape: Shape
    errors: tuple[str | None, ...] = ()
    fails: float = 0.0
    never: float = 0.0
    huge: float = 0.0
    most_seconds: float = 5.0
    submits: bool = False
    callback: bool = False


@dataclass
class GrownTasks:
    """Resolver and Handler of every Task of a grown machine. seed: of all answers.

    tokens: answers callbacks from outside; without it their jobs are polled, as after a crash nobody else would answer.
    """

    scripts: Mapping[str, Script]
    seed: int
    clock: Clock
    tokens: TaskTokens | None = None
    calls: list[TaskCall] = field(default_factory=list)
    outside: set[asyncio.Task[None]] = field(default_factory=set)

    def resolve(self, resource: TaskResource) -> Handler:
        return self

    def on_resume(self, call: TaskCall) -> Literal["run", "fail"]:
        return "run"

    async def submit(self, call: TaskCall) -> Answer:
        self.calls.append(call)
        script, rng = self._drawn(call)
        seconds = 0.001 + rng.random() * script.most_seconds
        if script.callback and self.tokens is not None and call.token is not None:
            self.outside.add(asyncio.create_task(self._answer(self.tokens, call.token, script, rng, seconds)))
            return Done(Payload({}))
        if script.submits or (script.callback and call.token is not None):
            return Submitted(Payload({"job": call.state_name}), {"ends": self.clock.now() + seconds})
        if rng.random() < 0.2:
            call.heartbeat()
        await asyncio.sleep(seconds)
        return await self._end(script, rng)

    async def poll(self, call: TaskCall, job: Json) -> Done | None:
        assert isinstance(job, dict)
        ends = job["ends"]
        assert isinstance(ends, float)
        if self.clock.now() < ends:
            await self.clock.sleep_until(ends)
        script, rng = self._drawn(call)
        rng.random()
        return await self._end(script, rng)

    async def cancel(self, call: TaskCall, job: Json) -> None:
        await asyncio.sleep(0)

    async def _answer(self, tokens: TaskTokens, token: str, script: Script, rng: Random, seconds: float) -> None:
        """Somebody outside, who holds the token of a task; the task may have ended before he answers."""
        await asyncio.sleep(seconds)
        with suppress(TaskTimedOut, TaskDoesNotExist):
            try:
                done = await self._end(script, rng)
                await tokens.succeed(token, output_text=done.value.text)
            except TaskFailed as error:
                await tokens.fail(token, error.error, error.cause)
            except InvalidOutput:
                await tokens.fail(token, "Custom Error", "too large")

    def _drawn(self, call: TaskCall) -> tuple[Script, Random]:
        place = call.idempotency_key.removeprefix(call.execution_arn)  # an Express ARN is another in every run
        return self.scripts[call.state_name], Random(f"{self.seed} {place}")

    @staticmethod
    async def _end(script: Script, rng: Random) -> Done:
        chance = rng.random()
        if chance < script.never:
            await asyncio.get_running_loop().create_future()
        if chance < script.never + script.fails:
            error = rng.choice(script.errors)
            raise TaskFailed(error, rng.choice((None, "a cause", '{"json": true}')))
        if chance > 1 - script.huge:
            return Done(Payload("x" * 270_000))
        return Done(Payload(sample(rng, script.shape)))
