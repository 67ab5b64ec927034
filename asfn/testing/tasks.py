"""Scripted tasks: a Resolver that answers every Task from a script by state name.

    tasks = ScriptedTasks({"Pay": [fails("Card.Declined"), answers(7)], "Ship": [never_answers()]})
    engine = Engine(resolver=tasks, clock=clock)

Each attempt takes the next answer that is left for its state; an attempt that is submitted again after a crash
gets the answer it had. `calls` holds what the states asked for.
"""

from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from asfn._json import Payload
from asfn.errors import TaskFailed
from asfn.tasks.protocol import Done, Submitted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from asfn._json import Json
    from asfn.arn import TaskResource
    from asfn.tasks.protocol import Answer, Handler, TaskCall


class ScriptError(AssertionError):
    """A task was called that its script does not foresee. The test's fault, or the state machine's."""


@dataclass(frozen=True, slots=True)
class Scripted:
    """How one attempt of one Task goes. Made by `answers`, `fails`, `never_answers` and `submits`.

    outcome: the result, the failure, or None: no answer ever comes, so that a timeout ends the attempt.
    submitted: the first answer of a `.sync` or `.waitForTaskToken` task; the outcome comes when polled. Where a
        callback's script leaves it out, a good outcome comes after `{}`.
    condition: when set, only a call whose payload it accepts takes this answer.
    delay_seconds: loop time before the outcome.
    """

    outcome: Payload | TaskFailed | None
    submitted: Payload | None = None
    condition: Callable[[Json], bool] | None = None
    delay_seconds: float = 0

    def when(self, payload: Json | Callable[[Json], bool]) -> Scripted:
        """The same, only for a call with this payload, or one that the function accepts."""
        return replace(self, condition=payload if callable(payload) else partial(operator.eq, payload))

    def after(self, seconds: float) -> Scripted:
        """The same, `seconds` of loop time later."""
        return replace(self, delay_seconds=seconds)


def answers(value: Json | Payload) -> Scripted:
    """The attempt succeeds with this result. A parsed Payload keeps its text in the history."""
    return Scripted(value if isinstance(value, Payload) else Payload(value))


def fails(error: str | None = None, cause: str | None = None) -> Scripted:
    """The attempt fails with this error name and cause; without a name only States.ALL catches it."""
    return Scripted(TaskFailed(error, cause))


def never_answers() -> Scripted:
    """The attempt is never answered: TimeoutSeconds or HeartbeatSeconds has to end it."""
    return Scripted(None)


def submits(answer: Json | Payload, then: Scripted) -> Scripted:
    """The service accepts the job with `answer`, and the job ends as `then` says."""
    return replace(then, submitted=answer if isinstance(answer, Payload) else Payload(answer))


@dataclass
class ScriptedTasks:
    """A Resolver and Handler for all resources, which answers by the name of the calling state.

    scripts: state name -> its answers; a call takes the first one left whose condition accepts it.
    calls: every submission in order.   cancelled: the jobs that were cancelled, with their calls.
    complaints: the texts of all ScriptErrors raised, for a test whose engine hides the exception.
    """

    scripts: Mapping[str, Sequence[Scripted]] = field(default_factory=dict)
    calls: list[TaskCall] = field(default_factory=list, init=False)
    cancelled: list[tuple[TaskCall, Json]] = field(default_factory=list, init=False)
    complaints: list[str] = field(default_factory=list, init=False)
    _taken: dict[str, dict[int, str]] = field(default_factory=dict, init=False)

    def resolve(self, resource: TaskResource) -> Handler:
        """This object: any resource is answered."""
        return self

    def on_resume(self, call: TaskCall) -> Literal["run", "fail"]:
        """A call that a crash interrupted is made again, and gets the answer it had."""
        return "run"

    def left(self) -> dict[str, int]:
        """How many answers nobody has taken, by state name; empty when every script was used up."""
        counts = {name: len(script) - len(self._taken.get(name, ())) for name, script in self.scripts.items()}
        return {name: count for name, count in counts.items() if count}

    async def submit(self, call: TaskCall) -> Answer:
        """Answer as the state's script says; see Handler. Raises ScriptError when no answer fits."""
        self.calls.append(call)
        position = self._take(call)
        scripted = self.scripts[call.state_name][position]
        submitted = scripted.submitted
        if submitted is None and call.resource.pattern == "waitForTaskToken" and isinstance(scripted.outcome, Payload):
            submitted = Payload({})
        if submitted is not None:
            return Submitted(submitted, {"state": call.state_name, "position": position})
        return Done(await _outcome(scripted))

    async def poll(self, call: TaskCall, job: Json) -> Done | None:
        """The outcome of a submitted attempt; see Handler."""
        assert isinstance(job, dict)
        position = job["position"]
        assert isinstance(position, int)
        return Done(await _outcome(self.scripts[call.state_name][position]))

    async def cancel(self, call: TaskCall, job: Json) -> None:
        """Note that the job was cancelled; see Handler."""
        self.cancelled.append((call, job))

    def _take(self, call: TaskCall) -> int:
        """The position of the answer for this call in its state's script, which is used up by it."""
        script = self.scripts.get(call.state_name, ())
        taken = self._taken.setdefault(call.state_name, {})
        for position, key in taken.items():
            if key == call.idempotency_key:
                return position
        for position, scripted in enumerate(script):
            if position not in taken and (scripted.condition is None or scripted.condition(call.payload.value)):
                taken[position] = call.idempotency_key
                return position
        left = len(script) - len(taken)
        why = f"none of the {left} answers left fits" if left else f"its script of {len(script)} is used up"
        text = f"state {call.state_name!r} called {call.resource.text} (attempt {call.attempt}), but {why}"
        self.complaints.append(text)
        raise ScriptError(f"{text}: {call.payload!r}")


async def _outcome(scripted: Scripted) -> Payload:
    if scripted.delay_seconds:
        await asyncio.sleep(scripted.delay_seconds)
    if scripted.outcome is None:
        await asyncio.get_running_loop().create_future()
    if isinstance(scripted.outcome, TaskFailed):
        raise TaskFailed(scripted.outcome.error, scripted.outcome.cause)
    assert scripted.outcome is not None
    return scripted.outcome
