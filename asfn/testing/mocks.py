"""Mocks by state name: what a Task gets instead of the work behind its Resource.

    asfn.mock("Charge").raises("Bank.Busy", times=2).returns({"id": 1})

A call is answered by the mock of its state, else by the test case its execution was started with (`mock_config.py`),
else by the function or route registered for its Resource; what none of them answers stops the test.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from asfn._json import Payload, check_finite
from asfn.arn import name_of
from asfn.errors import TaskFailed, UnroutedResource
from asfn.tasks.protocol import Done, Submitted
from asfn.testing.tasks import ScriptError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from asfn._json import Json
    from asfn.arn import TaskResource
    from asfn.tasks.protocol import Answer, Handler, Resolver, TaskCall
    from asfn.testing.mock_config import MockedResponse

    Outcome = Callable[[TaskCall], Awaitable[Payload]]

_JOB = "asfn.testing.mock"


@dataclass(slots=True)
class _Turn:
    """One entry of a sequence. times: None is once, or for ever when nothing follows."""

    outcome: Outcome
    times: int | None
    token: Payload | None = None
    delay_seconds: float = 0


@dataclass
class Mock:
    """The answers to the calls of one state, taken one after the other; made by `VirtualEngine.mock`.

    The last answer is given for ever, unless it has `times`. calls: every call, in order.
    """

    state: str
    machine: str | None = None
    calls: list[TaskCall] = field(default_factory=list)
    _turns: list[_Turn] = field(default_factory=list)
    _taken: dict[str, _Turn] = field(default_factory=dict)

    @property
    def payloads(self) -> list[Json]:
        """What the calls were given: the state's Parameters or Arguments, or its input."""
        return [call.payload.value for call in self.calls]

    def returns(self, value: Json, *, times: int | None = None) -> Mock:
        """The next call, or the next `times` calls, succeed with this result of the Task.

        It is the result as the integration gives it: for `lambda:invoke` an object with the member Payload. Raises
        JsonError for what is not JSON.
        """
        check_finite(value)
        payload = Payload.parse(Payload(value).text)  # a copy, so that the test may go on using its own
        return self._add(partial(_give, payload), times)

    def raises(self, error: str | None = None, cause: str | None = None, *, times: int | None = None) -> Mock:
        """The next call, or the next `times` calls, fail with this error name and cause."""
        return self._add(partial(_fail, error, cause), times)

    def runs(self, function: Callable[[Any], Any], *, times: int | None = None) -> Mock:  # Any: the test's own JSON
        """The next calls succeed with what `function(payload)` returns; it may be async, and may raise TaskFailed."""
        return self._add(partial(_run, function), times)

    def never_answers(self, *, times: int | None = None) -> Mock:
        """The next calls are never answered: a timeout has to end them."""
        return self._add(_wait, times)

    def opens_token(self, answer: Json = None, *, times: int | None = None) -> Mock:
        """The next calls of a `.waitForTaskToken` Task are accepted, and wait for whoever has the token.

        answer: what the service says to the request itself, `{}` by default.
        """
        payload = Payload({} if answer is None else answer)
        self._add(partial(_give, payload), times)
        self._turns[-1].token = payload
        return self

    def after(self, seconds: float) -> Mock:
        """The answer added last comes that much virtual time after the call."""
        if not self._turns:
            raise ValueError("after() belongs behind an answer: mock(...).returns(...).after(5)")
        self._turns[-1].delay_seconds = seconds
        return self

    def _add(self, outcome: Outcome, times: int | None) -> Mock:
        if times is not None and times < 1:
            raise ValueError(f"times has to be 1 or more, not {times!r}")
        self._turns.append(_Turn(outcome, times))
        return self

    def fits(self, call: TaskCall) -> bool:
        """Whether the call is one of this state (of this state machine, where one was named)."""
        return self.state == call.state_name and self.machine in (None, name_of(call.state_machine_arn))

    def take(self, call: TaskCall) -> _Turn:
        """The answer for a call, which is used up by it; a call that a crash interrupted gets the one it had.

        Raises ScriptError when none is left.
        """
        turn = self._taken.get(call.idempotency_key)
        if turn is None:
            self.calls.append(call)
            turn = self._taken[call.idempotency_key] = self._turn(len(self._taken))
        return turn

    def _turn(self, number: int) -> _Turn:
        for turn in self._turns:
            times = turn.times if turn.times is not None else 1
            if number < times or (turn is self._turns[-1] and turn.times is None):
                return turn
            number -= times
        if not self._turns:
            raise ScriptError(f"the mock of state {self.state!r} has no answer: add .returns(...) or .raises(...)")
        raise ScriptError(f"the mock of state {self.state!r} was called {number + 1} times more than it has answers")


@dataclass
class _Case:
    """What one execution was started with (`machine#TestCase`), and how far each of its states is."""

    source: str
    responses: Mapping[str, MockedResponse]
    keys: dict[str, dict[str, int]] = field(default_factory=dict)

    def turn(self, call: TaskCall) -> _Turn | None:
        """The answer for a call. One counter per state and execution, retries and loops included [A] SFN Local."""
        response = self.responses.get(call.state_name)
        if response is None:
            return None
        keys = self.keys.setdefault(call.state_name, {})
        invocation = keys.setdefault(call.idempotency_key, len(keys))
        outcome = response.outcome(invocation)
        if outcome is None:  # [D] the execution fails then
            cause = f"{self.source}: /MockedResponses/{response.name} has no response for invocation {invocation}"
            return _Turn(partial(_fail, "States.Runtime", f"{cause} of state '{call.state_name}'"), 1)
        if isinstance(outcome, TaskFailed):
            return _Turn(partial(_fail, outcome.error, outcome.cause), 1)
        return _Turn(partial(_give, outcome), 1)


class Mocks:
    """A Resolver and Handler of every Resource, in front of the one that would answer otherwise."""

    def __init__(self) -> None:
        self.fallback: Resolver | None = None
        self._mocks: list[Mock] = []
        self._cases: dict[tuple[str, str], _Case] = {}
        self._users: dict[str, set[str]] = {}
        self._tokens: dict[tuple[str, str], deque[str]] = {}
        self._waiting: dict[tuple[str, str], deque[asyncio.Future[str]]] = {}

    def mock(self, state: str, machine: str | None) -> Mock:
        """A new mock, which replaces an earlier one for the same state and machine."""
        mock = Mock(state, machine)
        self._mocks = [other for other in self._mocks if (other.state, other.machine) != (state, machine)]
        self._mocks.append(mock)
        self._mocks.sort(key=lambda mock: mock.machine is None)  # one for a machine goes before one for all
        return mock

    def use(self, machine_arn: str, execution_name: str, source: str, case: Mapping[str, MockedResponse]) -> None:
        """Let an execution that is about to start take its answers from a test case."""
        self._cases[machine_arn, execution_name] = _Case(source, case)

    def drop(self, machine_arn: str, execution_name: str) -> None:
        """Forget the test case of an execution that was not started."""
        self._cases.pop((machine_arn, execution_name), None)

    def learn(self, resource: str, state: str) -> None:
        """A state of this name has this Resource: a mock of the state takes an activity's work from its workers."""
        self._users.setdefault(resource, set()).add(state)

    # --- tokens ----------------------------------------------------------------------------------------------------

    def token(self, execution_arn: str, state: str) -> asyncio.Future[str]:
        """The next task token that the state opens, or has opened; each is given to one waiter only."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        opened = self._tokens.get((execution_arn, state))
        if opened:
            future.set_result(opened.popleft())
        else:
            self._waiting.setdefault((execution_arn, state), deque()).append(future)
        return future

    def _opened(self, call: TaskCall, token: str) -> None:
        waiting = self._waiting.get((call.execution_arn, call.state_name), deque())
        while waiting:
            future = waiting.popleft()
            if not future.done():
                future.set_result(token)
                return
        self._tokens.setdefault((call.execution_arn, call.state_name), deque()).append(token)

    # --- Resolver and Handler --------------------------------------------------------------------------------------

    def resolve(self, resource: TaskResource) -> Handler:
        """This object: which state calls is known only when it does.

        An activity goes to the workers that poll it, unless a state that it works for is mocked.
        """
        if resource.family == "activity" and self.fallback is not None:
            mocked = {mock.state for mock in self._mocks}.union(*(case.responses for case in self._cases.values()))
            if not mocked & self._users.get(resource.text, set()):
                return self.fallback.resolve(resource)
        return self

    def on_resume(self, call: TaskCall) -> Literal["run", "fail"]:
        """A mocked call is made again, and gets the answer it had."""
        mocked = any(mock.fits(call) for mock in self._mocks) or self._case(call) is not None
        return "run" if mocked or self.fallback is None else self.fallback.on_resume(call)

    async def submit(self, call: TaskCall) -> Answer:
        """Answer from the mock, the test case, or the registered handler; see Handler.

        Raises ScriptError for a mock that has no answer left, and UnroutedResource when nothing answers.
        """
        waits = call.resource.pattern == "waitForTaskToken"
        if waits and call.token is not None:
            self._opened(call, call.token)
        turn = self._turn(call)
        if turn is None:
            return await self._real(call, waits)
        if turn.token is None and call.resource.pattern:  # `.sync`, or a token that the mock itself answers
            return Submitted(Payload({}), {_JOB: call.state_name})
        return Done(await _outcome(turn, call))

    async def poll(self, call: TaskCall, job: Json) -> Done | None:
        """The end of a mocked job, or of the handler's own; see Handler."""
        if isinstance(job, dict) and _JOB in job:
            turn = self._turn(call)
            if turn is None:
                raise ScriptError(f"state {call.state_name!r} waits for a mocked job, and its mock is gone")
            return Done(await _outcome(turn, call))
        return await self._handler(call).poll(call, job)

    async def cancel(self, call: TaskCall, job: Json) -> None:
        """Nothing for a mocked job; see Handler."""
        if not (isinstance(job, dict) and _JOB in job):
            await self._handler(call).cancel(call, job)

    def _case(self, call: TaskCall) -> _Case | None:
        case = self._cases.get((call.state_machine_arn, call.execution_name))
        return case if case is not None and call.state_name in case.responses else None

    def _turn(self, call: TaskCall) -> _Turn | None:
        for mock in self._mocks:
            if mock.fits(call):
                return mock.take(call)
        case = self._case(call)
        return case.turn(call) if case is not None else None

    async def _real(self, call: TaskCall, waits: bool) -> Answer:
        try:
            handler = self._handler(call)
        except UnroutedResource:
            if waits:  # whoever has the token answers: the test
                return Done(Payload({}))
            raise
        return await handler.submit(call)

    def _handler(self, call: TaskCall) -> Handler:
        """The registered handler. Raises UnroutedResource, with the mocks that are there and a hint."""
        why = "nothing is registered"
        if self.fallback is not None:
            try:
                handler = self.fallback.resolve(call.resource)
                choose = getattr(handler, "choose", None)  # of lambda:invoke: the function is named in the payload
                if choose is None or choose(call) is not None:
                    return handler
                why = f"no function is registered for what {call.resource.text} is to invoke"
            except UnroutedResource as error:
                why = str(error)
        names = sorted({mock.state for mock in self._mocks})
        near = get_close_matches(call.state_name, names, n=1) or names
        mocked = f"mocked are {', '.join(map(repr, near))}" if names else "no state is mocked"
        raise UnroutedResource(
            f"state {call.state_name!r} is not mocked ({mocked}; use asfn.mock({call.state_name!r})), and {why}"
        )


async def _outcome(turn: _Turn, call: TaskCall) -> Payload:
    if turn.delay_seconds:
        await asyncio.sleep(turn.delay_seconds)
    return await turn.outcome(call)


async def _give(payload: Payload, call: TaskCall) -> Payload:
    return payload


async def _fail(error: str | None, cause: str | None, call: TaskCall) -> Payload:
    raise TaskFailed(error, cause)


async def _wait(call: TaskCall) -> Payload:
    future: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()
    return await future


async def _run(function: Callable[[Any], Any], call: TaskCall) -> Payload:
    value = function(call.payload.value)
    if inspect.isawaitable(value):
        value = await value
    check_finite(value)
    return Payload.parse(Payload(value).text)
