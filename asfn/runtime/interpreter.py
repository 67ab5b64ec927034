"""The interpreter of one execution: `advance` runs pure states, `perform` does what they ask for, `settle` goes on.

The same loop, `run_frame`, serves the root, a Parallel branch and a Map iteration. A failure is a value; an exception
out of here is a fault of ours or of the engine's set-up, and leaves the execution resumable. Link rules of events:
history.md section 3, cited as "rule n". What effects do outside is in `performing.py`, fan-outs are in `fan_out.py`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from asfn._json import JsonError, Payload
from asfn.errors import StateFailed
from asfn.plan.dataflow import variables_size
from asfn.plan.effects import AwaitToken, CallTask, Failure, FanOut, SleepUntil, Success, Transition
from asfn.plan.scope import Scope
from asfn.runtime.clock import fulfil
from asfn.runtime.fan_out import keep_children, leave_children, run_fan_out, start_fan_out
from asfn.runtime.frames import Frame
from asfn.runtime.history import ENTERED, EXITED, error_details
from asfn.runtime.performing import (
    cancel_jobs,
    open_task,
    perform,
    record_failure,
    record_success,
    take_news,
)
from asfn.runtime.tokens import new_token

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from asfn.limits import Limits
    from asfn.plan.effects import Effect, Outcome, Step
    from asfn.plan.scope import ExecutionFacts
    from asfn.plan.states import CompiledMachine, CompiledState
    from asfn.runtime.calls import Calls
    from asfn.runtime.clock import Clock
    from asfn.runtime.execution import Run
    from asfn.runtime.inbox import Inbox
    from asfn.runtime.journal import Journal
    from asfn.runtime.performing import News
    from asfn.tasks.protocol import Handler, Resolver

# A loop of pure states lets others run this often, and commits this often (DESIGN section 5).
TRANSITIONS_PER_TURN: Final = 64
EVENTS_PER_COMMIT: Final = 256

TRANSITIONS_PER_INSTANT: Final = 1024
"""How many transitions an Express execution makes while a clock stands still; then it waits for a second. A real clock
never stands still. Such many transitions take longer than a second on AWS [U].
"""


class Collaborators(NamedTuple):
    """What the interpreters of one engine share. every_transition: a barrier after each (`commit="awaited"`)."""

    clock: Clock
    calls: Calls
    inbox: Inbox
    resolver: Resolver
    limits: Limits
    rng: Random
    region: str
    every_transition: bool = False


class Interpreter:
    """Runs the frames of one execution. Its collaborators are the engine's; it owns nothing but frames.

    deadline_at: when the execution as a whole must have ended.   stopping: set when it is ended from outside.
    paused: what is in flight ends and is recorded, no state is entered and no task called.
    host: whom to tell of waits, when the execution may be parked.
    """

    takes_plainly: ClassVar[bool] = True  # whether nobody is to be told of each step

    __slots__ = (
        "_instant",
        "_resumed",
        "_shared",
        "_transitions",
        "clock",
        "deadline_at",
        "every_transition",
        "facts",
        "host",
        "journal",
        "limits",
        "paused",
        "stopping",
    )

    def __init__(self, shared: Collaborators, facts: ExecutionFacts, journal: Journal, deadline_at: float) -> None:
        self.facts = facts
        self.journal = journal
        self.deadline_at = deadline_at
        self.clock = shared.clock
        self.limits = shared.limits
        self.every_transition = shared.every_transition
        self.stopping = False
        self.paused = False
        self.host: Run | None = None
        self._shared = shared
        self._instant = 0.0
        self._transitions = 0
        self._resumed: list[tuple[asyncio.Future[None], Frame | None]] | None = None

    @property
    def calls(self) -> Calls:
        return self._shared.calls

    @property
    def inbox(self) -> Inbox:
        return self._shared.inbox

    @property
    def resolver(self) -> Resolver:
        return self._shared.resolver

    @property
    def rng(self) -> Random:
        return self._shared.rng

    @property
    def region(self) -> str:
        return self._shared.region

    def root_frame(self, machine: CompiledMachine, last_id: int) -> Frame:
        """The outermost frame, before its first state. The first Entered links to 0 (rule 1)."""
        facts = self.facts
        return Frame(machine, Scope(facts, facts.input, self._shared.rng), last_id)

    # --- the loop --------------------------------------------------------------------------------------------------

    async def run_frame(self, frame: Frame, rested: bool = False) -> None:
        """Run a frame, new or restored, until it has an outcome, or until its execution is parked.

        It returns as well when the outermost frame sleeps, once that is durable: a sleeper holds no coroutine. rested:
        it has slept, and goes on.
        """
        while frame.outcome is None:
            effect = frame.effect
            if rested and isinstance(effect, SleepUntil):
                rested = False
                self._settle(frame, effect, Success(frame.scope.input))
                continue
            if self.paused and (effect is None or isinstance(effect, CallTask)):
                await self.until_resumed(frame)
                continue
            if effect is None:
                self.advance(frame)
                if frame.effect is None and frame.outcome is None:
                    await self.take_turns()
                continue
            if isinstance(effect, FanOut):
                outcome: Outcome | News = await self._fan_out(frame, effect)
            else:
                if self.host is not None and isinstance(effect, SleepUntil | AwaitToken) and self._parks(frame, effect):
                    return
                try:
                    await self.journal.barrier()  # nothing happens outside before this line
                    if self.calls.closing:
                        await self.calls.gate()
                    if isinstance(effect, SleepUntil):  # without a coroutine in between: of these there may be many
                        if frame.parent is None and effect.at > self.clock.now():
                            return
                        await self.clock.sleep_until(effect.at)
                        outcome = Success(frame.scope.input)
                    else:
                        outcome = await perform(self, frame, effect)
                except asyncio.CancelledError:
                    if self._given_up(frame):
                        cancel_jobs(self, frame)
                    raise
            self._settle(frame, effect, outcome)

    def _parks(self, frame: Frame, effect: SleepUntil | AwaitToken) -> bool:
        """Whether the execution is let go, in one commit with the beginning of a wait; else that is looked at later."""
        host = self.host
        assert host is not None
        if frame.parent is None and isinstance(effect, SleepUntil):
            if not host.may_wait_parked(effect.at):
                return False
            if not frame.restored and host.park(effect.at):  # one that was taken back early stays for a while
                return True
        host.waits()
        return False

    async def _fan_out(self, frame: Frame, effect: FanOut) -> Outcome:
        try:
            return await run_fan_out(self, frame, effect)
        except StateFailed as error:  # the history is full
            return self.failure_of(frame, frame.state, error)

    async def until_resumed(self, frame: Frame | None = None) -> None:
        """Return when the execution is not paused; what was recorded does not wait for that to be durable.

        frame: that is held back; None when it is children that are not started.
        """
        if not self.paused:
            return
        self.journal.flush()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._resumed is None:
            self._resumed = []
        self._resumed.append((future, frame))
        if self.host is not None:
            self.host.waits()
        await future

    def held_frames(self) -> set[Frame]:
        """Those that a pause holds back before a state or a call."""
        return {frame for _, frame in self._resumed or () if frame is not None}

    def resume(self) -> None:
        """Go on after a pause."""
        self.paused = False
        resumed, self._resumed = self._resumed, None
        for future, _ in resumed or ():
            fulfil(future, None)

    async def take_turns(self) -> None:
        """Let others run; first a barrier, when much has been recorded."""
        commits = self.every_transition or self.journal.events_waiting >= EVENTS_PER_COMMIT
        if not (commits and await self.journal.barrier()):
            await asyncio.sleep(0)
        if self.facts.express:
            await self._let_time_pass()

    async def _let_time_pass(self) -> None:
        """Bound what an Express execution does in one instant: on virtual time its five minutes would never pass, and
        no quota on events ends it.
        """
        now = self.clock.now()
        if now != self._instant:
            self._instant, self._transitions = now, 0
        self._transitions += 1 if self.every_transition else TRANSITIONS_PER_TURN
        if self._transitions >= TRANSITIONS_PER_INSTANT:
            await self.clock.sleep_until(now + 1.0)

    def advance(self, frame: Frame) -> None:
        """Run pure states until one asks for an effect, the frame ends, or its turn is over. Never waits.

        A plain transition is taken here, without the calls of `_take` and `_leave`: it is most of what there is to do.
        """
        journal, scope, now = self.journal, frame.scope, self.clock.now
        journal.touch(frame)
        limit = self.limits.payload_bytes
        for _ in range(1 if self.every_transition else TRANSITIONS_PER_TURN):
            state = frame.state
            scope.now = now()
            try:
                if not frame.entered:
                    self._enter(frame, state, scope)
                if state.takes_token:
                    scope.token = new_token(scope.now)
                step = state.begin(scope)
                if type(step) is Transition and not step.assigned and self.takes_plainly:
                    output = step.output
                    if output is not scope.input and not output.is_within(limit):
                        self.check_size(output, state.name)
                    frame.last_id = journal.record(EXITED[state.kind], frame.last_id, scope.now, state.name, output)
                    _move(frame, step.next, output)
                    continue
                moved = self._take(frame, state, step)
            except StateFailed as error:
                moved = self._fail(frame, state, error)
            if not moved:
                return

    def _enter(self, frame: Frame, state: CompiledState, scope: Scope) -> None:
        scope.state_name = state.name
        scope.entered_at = scope.now
        scope.counts_retries = state.counts_retries
        frame.step += 1
        previous = frame.last_id
        frame.entered_previous = previous
        frame.entered_id = frame.last_id = self.journal.record(
            ENTERED[state.kind], previous, scope.now, state.name, scope.input
        )
        frame.entered = True

    # --- steps -----------------------------------------------------------------------------------------------------

    def _take(self, frame: Frame, state: CompiledState, step: Step) -> bool:
        """Apply a step of the state the frame stands in. True when the frame has moved to a next state."""
        if isinstance(step, Transition):
            output = step.output
            self._leave(frame, state, output, step.assigned)
            _move(frame, step.next, output)
            return True
        if isinstance(step, Success):
            self._leave(frame, state, step.output, step.assigned)
            frame.outcome = step
        elif isinstance(step, Failure):
            if step.state is None:
                step.state = state.name
            frame.outcome = step
        else:
            self._open(frame, state, step)
        return False

    def _leave(
        self, frame: Frame, state: CompiledState, output: Payload, assigned: Mapping[str, Payload] | None
    ) -> None:
        scope = frame.scope
        if output is not scope.input:
            self.check_size(output, state.name)
        if assigned:
            self._assign(scope, state, assigned)
        frame.last_id = self.journal.record(
            EXITED[state.kind], frame.last_id, scope.now, state.name, output, None, assigned
        )

    def _assign(self, scope: Scope, state: CompiledState, assigned: Mapping[str, Payload]) -> None:
        for payload in assigned.values():
            self.check_size(payload, state.name, self.limits.variable_bytes)
        if variables_size(assigned) > self.limits.variable_bytes:
            raise self.too_large(state.name)
        variables = {**scope.variables, **assigned}
        outer = scope.parent
        total = variables_size(variables)
        while outer is not None:
            total += variables_size(outer.variables)
            outer = outer.parent
        if total > self.limits.variables_bytes:
            raise self.too_large(state.name)
        scope.variables = variables

    def check_size(self, payload: Payload, name: str, limit: int | None = None) -> None:
        """Raise StateFailed when a payload is larger than AWS lets it be, or cannot be written as JSON."""
        if limit is None:
            limit = self.limits.payload_bytes
        if payload.is_within(limit):
            return
        try:
            size_bytes = payload.size_bytes
        except JsonError as error:  # [U] what a value that JSON cannot hold does on AWS
            raise StateFailed("States.Runtime", str(error)) from None
        if size_bytes > limit:
            raise self.too_large(name)

    @staticmethod
    def too_large(name: str) -> StateFailed:
        """What AWS says of a payload over the limit. name: of the state, or of whoever gave a Task's result."""
        return StateFailed(
            "States.DataLimitExceeded",
            f"The state/task '{name}' returned a result with a size exceeding the maximum number of bytes "
            "service limit.",
            prefixed=False,
        )

    def _open(self, frame: Frame, state: CompiledState, effect: Effect) -> None:
        """Record that an effect begins; `run_frame` performs it after the barrier."""
        if isinstance(effect, FanOut):
            start_fan_out(self, frame, state, effect)
        elif isinstance(effect, CallTask):
            open_task(self, frame, state, effect)
        frame.effect = effect
        frame.restored = False

    # --- failures --------------------------------------------------------------------------------------------------

    def _fail(self, frame: Frame, state: CompiledState, error: StateFailed) -> bool:
        """A field could not be evaluated: Retry and Catch where AWS offers them, or the frame's failure."""
        try:
            failure = self.failure_of(frame, state, error)
        except StateFailed as full:
            return self._give_up(frame, state, full)
        return self._recover(frame, state, failure)

    def _recover(self, frame: Frame, state: CompiledState, failure: Failure) -> bool:
        """The same as `recover`. What a catcher's own fields fail with is not offered to the state again [U]."""
        try:
            return self.recover(frame, state, failure)
        except StateFailed as error:  # a catcher's Assign or Output, or the history is full
            return self._give_up(frame, state, error)

    def _give_up(self, frame: Frame, state: CompiledState, error: StateFailed) -> bool:
        failure = Failure(error.error, self._cause(frame, state, error), "runtime", state=state.name)
        if error.evaluation:
            try:
                failure = self.failure_of(frame, state, error)
            except StateFailed as full:
                return self._give_up(frame, state, full)
        frame.outcome = failure
        return False

    def failure_of(self, frame: Frame, state: CompiledState, error: StateFailed) -> Failure:
        """The failure of a field, with AWS's prefix and a JSONata error's EvaluationFailed event (rules 13, 14).

        That links to the last event before the step that failed. Entering a state and evaluating its fields is one step
        [A]; what comes after its work, and a further attempt, is a step of its own [U]. Texts are cut to AWS's lengths.
        """
        cause = self._cause(frame, state, error)[: self.limits.cause_characters]
        if not error.evaluation:
            kind = "limit" if error.error == "States.DataLimitExceeded" else "runtime"
            return Failure(error.error, cause, kind, state=state.name)  # type: ignore[arg-type]
        failure = Failure(error.error, cause, "evaluation", error.location, state.name)
        extra = {"state": state.name, **error_details(failure)}
        if error.location is not None:
            extra["location"] = error.location[: self.limits.error_characters]  # of the same length as a name [M]
        enters = frame.last_id == frame.entered_id and not error.evaluated
        previous = frame.entered_previous if enters else frame.last_id
        frame.last_id = self.journal.record("EvaluationFailed", previous, frame.scope.now, extra=extra)
        return failure

    @staticmethod
    def _cause(frame: Frame, state: CompiledState, error: StateFailed) -> str:
        if not error.prefixed:
            return error.cause
        return (
            f"An error occurred while executing the state '{state.name}' "
            f"(entered at the event id #{frame.entered_id}). {error.cause}"
        )

    def recover(self, frame: Frame, state: CompiledState, failure: Failure) -> bool:
        """Retry, catch, or fail the frame. True when the frame has moved to a catcher's state."""
        fails = state.kind in ("Parallel", "Map") and not failure.terminal
        try:
            step: Step = state.recover(frame.scope, failure) if state.recover is not None else failure
            fails = fails and not isinstance(step, SleepUntil)
        finally:  # also when a catcher's own field fails: that comes after it [U]
            if fails:
                frame.last_id = self.journal.record(f"{state.kind}StateFailed", frame.last_id, frame.scope.now)
        return self._take(frame, state, step)

    # --- effects ---------------------------------------------------------------------------------------------------

    def handler(self, frame: Frame) -> Handler:
        """Who answers the Task that a frame stands in. Raises UnroutedResource."""
        assert frame.state.resource is not None
        return self.resolver.resolve(frame.state.resource)

    def expect_token(self, token: str | None) -> None:
        """A restored frame waits for this token."""
        if token is not None:
            self.journal.expect_token(token)
            self.inbox.expect(token)

    def close_token(self, token: str | None) -> None:
        """Nobody waits for this token any more; with the next barrier no answer counts."""
        if token is not None:
            self.journal.close_token(token, self.clock.now())
            self.inbox.forget(token)

    def forget_token(self, token: str | None) -> None:
        """A restored frame waits for this token no more; it has been closed before."""
        if token is not None:
            self.journal.forget_token(token)
            self.inbox.forget(token)

    def forget_tokens(self) -> None:
        """The execution ends, and its last barrier closes all its tokens."""
        for token in self.journal.open_tokens:
            self.inbox.forget(token)

    def _given_up(self, frame: Frame) -> bool:
        """Whether a cancelled frame is done with: its execution was ended, or a sibling failed. Not so when parked."""
        above = frame.parent
        while not self.stopping and above is not None:
            if above.children is not None and above.children.stopped:
                return True
            above = above.parent
        return self.stopping

    def _settle(self, frame: Frame, effect: Effect, outcome: Outcome | News) -> None:
        """Take what came of the frame's effect to the state's next step."""
        self.journal.touch(frame)
        token = frame.token
        fan_out_path = frame.fan_out_path if isinstance(effect, FanOut) else ""
        frame.scope.now = self.clock.now()
        frame.effect = None
        frame.restored = False
        self._settled(frame, effect, outcome)
        if isinstance(effect, FanOut):
            if isinstance(frame.outcome, Failure):
                keep_children(self, frame, effect)
            else:
                leave_children(self, frame, fan_out_path)
        if token is not None and frame.token != token:  # the task has ended, or is tried again with a new one
            self.close_token(token)

    def _settled(self, frame: Frame, effect: Effect, outcome: Outcome | News) -> None:
        state, scope = frame.state, frame.scope
        try:
            if isinstance(effect, SleepUntil):
                self._wake(frame, state, effect)
            elif isinstance(outcome, Failure):
                if not isinstance(effect, FanOut):
                    record_failure(self, frame, state, outcome)
                self._recover(frame, state, outcome)
            elif isinstance(outcome, Success):
                refused = record_success(self, frame, state, outcome) if not isinstance(effect, FanOut) else None
                if refused is not None:
                    self._recover(frame, state, refused)
                    return
                assert state.settle is not None
                self._take(frame, state, state.settle(scope, outcome.output))
            else:
                take_news(self, frame, state, effect, outcome)
        except StateFailed as error:
            self._fail(frame, state, error)

    def _wake(self, frame: Frame, state: CompiledState, effect: SleepUntil) -> None:
        scope = frame.scope
        if effect.then == "begin":
            assert effect.retrier is not None
            scope.attempt += 1
            scope.retries = {**scope.retries, effect.retrier: scope.retries.get(effect.retrier, 0) + 1}
        else:
            frame.entered_previous = frame.entered_id  # leaving is no part of the step that entered
            assert state.settle is not None
            self._take(frame, state, state.settle(scope, scope.input))


def _move(frame: Frame, name: str, input: Payload) -> None:
    """Let a frame stand before its next state."""
    scope = frame.scope
    frame.state = frame.machine.states[name]
    frame.entered = False
    scope.input = input
    scope.token = None
    if scope.attempt:
        scope.attempt = 0
        scope.retries = {}
