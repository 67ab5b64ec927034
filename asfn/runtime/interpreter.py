"""The interpreter of one execution: `advance` runs pure states, `perform` does what they ask for, `settle` goes on.

The same loop, `run_frame`, serves the root, a Parallel branch and a Map iteration. A failure is a value; an exception
out of here is a fault of ours or of the engine's set-up, and leaves the execution resumable. Link rules of events:
history.md section 3, cited as "rule n". Fan-outs are in `fan_out.py`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from asfn._json import JsonError, Payload
from asfn.errors import StateFailed, TaskFailed, UnroutedResource
from asfn.plan.dataflow import variables_size
from asfn.plan.effects import AwaitJob, AwaitToken, CallTask, Failure, FanOut, SleepUntil, Success, Transition
from asfn.plan.scope import Scope
from asfn.runtime.calls import Heartbeat
from asfn.runtime.clock import fulfil
from asfn.runtime.fan_out import keep_children, leave_children, run_fan_out, start_fan_out
from asfn.runtime.frames import Frame
from asfn.runtime.history import ENTERED, EXITED, error_details, scheduled_details, task_details, task_event
from asfn.runtime.inbox import TIMED_OUT
from asfn.runtime.tokens import new_token, read_outcome
from asfn.store.records import ActivityTaskRow, TokenRow
from asfn.tasks.activity import ActivityQueue
from asfn.tasks.protocol import Done, Submitted, TaskCall

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from asfn.arn import TaskResource
    from asfn.limits import Limits
    from asfn.plan.effects import Effect, Outcome, Step
    from asfn.plan.scope import ExecutionFacts
    from asfn.plan.states import CompiledMachine, CompiledState
    from asfn.runtime.calls import Answered, Calls, Late
    from asfn.runtime.clock import Clock
    from asfn.runtime.inbox import Inbox, Waiting
    from asfn.runtime.journal import Journal
    from asfn.tasks.protocol import Answer, Handler, Resolver

logger = logging.getLogger("asfn.interpreter")

# A loop of pure states lets others run this often, and commits this often (DESIGN section 5).
TRANSITIONS_PER_TURN: Final = 64
EVENTS_PER_COMMIT: Final = 256
_POLL_SECONDS: Final = 1.0


class Queued(NamedTuple):
    """A Task's activity was looked up, and its work can be queued if it exists."""

    exists: bool


class Taken(NamedTuple):
    """A worker has taken an activity's work, at a moment."""

    worker_name: str | None
    at: float


News: TypeAlias = Submitted | Done | Queued | Taken
"""What may come of an effect that has not ended: Done is the answer of a call whose result comes by its token."""


class Interpreter:
    """Runs the frames of one execution. Its collaborators are the engine's; it owns nothing but frames.

    every_transition: take a barrier after each transition (`commit="awaited"`).
    deadline_at: when the execution as a whole must have ended.   stopping: set when it is ended from outside.
    paused: what is in flight ends and is recorded, no state is entered and no task called.
    """

    __slots__ = (
        "_resumed",
        "calls",
        "clock",
        "deadline_at",
        "every_transition",
        "facts",
        "inbox",
        "journal",
        "limits",
        "paused",
        "region",
        "resolver",
        "rng",
        "stopping",
    )

    def __init__(
        self,
        *,
        facts: ExecutionFacts,
        journal: Journal,
        clock: Clock,
        calls: Calls,
        inbox: Inbox,
        resolver: Resolver,
        limits: Limits,
        rng: Random,
        region: str,
        deadline_at: float,
        every_transition: bool = False,
    ) -> None:
        self.facts = facts
        self.journal = journal
        self.clock = clock
        self.calls = calls
        self.inbox = inbox
        self.resolver = resolver
        self.limits = limits
        self.rng = rng
        self.region = region
        self.deadline_at = deadline_at
        self.every_transition = every_transition
        self.stopping = False
        self.paused = False
        self._resumed: list[asyncio.Future[None]] = []

    def root_frame(self, machine: CompiledMachine, last_id: int) -> Frame:
        """The outermost frame, before its first state. The first Entered links to 0 (rule 1)."""
        return Frame(machine, Scope(self.facts, self.facts.input, self.rng), last_id)

    # --- the loop --------------------------------------------------------------------------------------------------

    async def run_frame(self, frame: Frame) -> None:
        """Run a frame, new or restored, until it has an outcome."""
        while frame.outcome is None:
            effect = frame.effect
            if self.paused and (effect is None or isinstance(effect, CallTask)):
                await self.until_resumed()
                continue
            if effect is None:
                self.advance(frame)
                if frame.effect is None and frame.outcome is None:
                    await self.take_turns()
                continue
            if isinstance(effect, FanOut):
                outcome: Outcome | News = await self._fan_out(frame, effect)
            else:
                try:
                    await self.journal.barrier()  # nothing happens outside before this line
                    if self.calls.closing:
                        await self.calls.gate()
                    outcome = await self._perform(frame, effect)
                except asyncio.CancelledError:
                    if self._given_up(frame):
                        self.cancel_jobs(frame)
                    raise
            self._settle(frame, effect, outcome)

    async def _fan_out(self, frame: Frame, effect: FanOut) -> Outcome:
        try:
            return await run_fan_out(self, frame, effect)
        except StateFailed as error:  # the history is full
            return self.failure_of(frame, frame.state, error)

    async def until_resumed(self) -> None:
        """Return when the execution is not paused; what was recorded does not wait for that to be durable."""
        if not self.paused:
            return
        self.journal.flush()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._resumed.append(future)
        await future

    def resume(self) -> None:
        """Go on after a pause."""
        self.paused = False
        resumed, self._resumed = self._resumed, []
        for future in resumed:
            fulfil(future, None)

    async def take_turns(self) -> None:
        """Let others run; first a barrier, when much has been recorded."""
        if self.every_transition or self.journal.events_waiting >= EVENTS_PER_COMMIT:
            await self.journal.barrier()
        await asyncio.sleep(0)

    def advance(self, frame: Frame) -> None:
        """Run pure states until one asks for an effect, the frame ends, or its turn is over. Never waits."""
        self.journal.touch(frame)
        scope = frame.scope
        for _ in range(1 if self.every_transition else TRANSITIONS_PER_TURN):
            state = frame.state
            scope.now = self.clock.now()
            try:
                if not frame.entered:
                    self._enter(frame, state, scope)
                if state.resource is not None and state.resource.pattern:  # a `.sync` job may be ended by a token too
                    scope.token = new_token()
                step = state.begin(scope)
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
            self._leave(frame, state, step.output, step.assigned)
            frame.state = frame.machine.states[step.next]
            scope = frame.scope
            scope.input = step.output
            frame.entered = False
            if scope.attempt:
                scope.attempt = 0
                scope.retries = {}
            scope.token = None
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
            self._check_size(output, state.name)
        if assigned:
            self._assign(scope, state, assigned)
        frame.last_id = self.journal.record(
            EXITED[state.kind], frame.last_id, scope.now, state.name, output, None, assigned
        )

    def _assign(self, scope: Scope, state: CompiledState, assigned: Mapping[str, Payload]) -> None:
        for payload in assigned.values():
            self._check_size(payload, state.name, self.limits.variable_bytes)
        if variables_size(assigned) > self.limits.variable_bytes:
            raise self._too_large(state.name)
        variables = {**scope.variables, **assigned}
        outer = scope.parent
        total = variables_size(variables)
        while outer is not None:
            total += variables_size(outer.variables)
            outer = outer.parent
        if total > self.limits.variables_bytes:
            raise self._too_large(state.name)
        scope.variables = variables

    def _check_size(self, payload: Payload, name: str, limit: int | None = None) -> None:
        if limit is None:
            limit = self.limits.payload_bytes
        try:
            text = payload.text
        except JsonError as error:  # [U] what a value that JSON cannot hold does on AWS
            raise StateFailed("States.Runtime", str(error)) from None
        if len(text) * 4 > limit and payload.size_bytes > limit:  # UTF-8 takes at most four bytes a character
            raise self._too_large(name)

    @staticmethod
    def _too_large(name: str) -> StateFailed:
        return StateFailed(
            "States.DataLimitExceeded",
            f"The state/task '{name}' returned a result with a size exceeding the maximum number of bytes "
            "service limit.",
            prefixed=False,
        )

    def _open(self, frame: Frame, state: CompiledState, effect: Effect) -> None:
        """Record that an effect begins; `run_frame` performs it after the barrier."""
        scope = frame.scope
        if isinstance(effect, FanOut):
            start_fan_out(self, frame, state, effect)
        elif isinstance(effect, CallTask):
            resource = state.resource
            assert resource is not None
            if effect.payload is not scope.input:
                self._check_size(effect.payload, state.name)
            # What goes into a queue is scheduled when its activity is known to exist.
            if resource.family != "activity" or not isinstance(self.resolver.resolve(resource), ActivityQueue):
                self._schedule(frame, resource, effect)
                frame.last_id = self.journal.record(
                    task_event(resource, "Started"), frame.last_id, scope.now, extra=task_details(resource)
                )
        frame.effect = effect
        frame.restored = False

    def _schedule(self, frame: Frame, resource: TaskResource, call: CallTask) -> None:
        """Record that a task is scheduled; its token, if it has one, is known with the same barrier."""
        if call.token is not None:
            if resource.pattern.startswith("sync") and call.token not in call.payload.text:
                call.token = None  # it goes to nobody
            else:
                self._open_token(frame, resource, call)
        frame.last_id = self.journal.record(
            task_event(resource, "Scheduled"),
            frame.last_id,
            frame.scope.now,
            payload=call.payload,
            extra=scheduled_details(resource, call, self.region),
        )

    def _open_token(self, frame: Frame, resource: TaskResource, call: CallTask) -> None:
        token, key, now = call.token, self.journal.key, frame.scope.now
        assert token is not None
        queued = resource.family == "activity"
        work = ActivityTaskRow(token, resource.text, key, call.payload.text, now) if queued else None
        self.journal.open_token(TokenRow(token, key, frame.path, now), work)
        self.inbox.expect(token)

    # --- failures --------------------------------------------------------------------------------------------------

    def _fail(self, frame: Frame, state: CompiledState, error: StateFailed) -> bool:
        """A field could not be evaluated: Retry and Catch where AWS offers them, or the frame's failure."""
        try:
            failure = self.failure_of(frame, state, error)
            return self.recover(frame, state, failure)
        except StateFailed as again:  # a catcher's own Assign or Output, or the history is full
            failure = Failure(again.error, self._cause(frame, state, again), "runtime", state=state.name)
            if again.evaluation:
                failure = self.failure_of(frame, state, again)
            frame.outcome = failure
            return False

    def failure_of(self, frame: Frame, state: CompiledState, error: StateFailed) -> Failure:
        """The failure of a field, with AWS's prefix and a JSONata error's EvaluationFailed event (rules 13, 14)."""
        cause = self._cause(frame, state, error)
        if not error.evaluation:
            kind = "limit" if error.error == "States.DataLimitExceeded" else "runtime"
            return Failure(error.error, cause, kind, state=state.name)  # type: ignore[arg-type]
        failure = Failure(error.error, cause, "evaluation", error.location, state.name)
        extra = {"state": state.name, **error_details(failure)}
        if error.location is not None:
            extra["location"] = error.location
        previous = frame.entered_id if error.evaluated else frame.entered_previous
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
        step: Step = state.recover(frame.scope, failure) if state.recover is not None else failure
        fans_out = state.kind in ("Parallel", "Map")
        if fans_out and not failure.terminal and not isinstance(step, SleepUntil):
            frame.last_id = self.journal.record(f"{state.kind}StateFailed", frame.last_id, frame.scope.now)
        return self._take(frame, state, step)

    # --- effects ---------------------------------------------------------------------------------------------------

    async def _perform(self, frame: Frame, effect: CallTask | AwaitJob | AwaitToken | SleepUntil) -> Outcome | News:
        if isinstance(effect, SleepUntil):
            await self.clock.sleep_until(effect.at)
            return Success(frame.scope.input)
        waiting: Waiting | None = None
        if frame.token is not None:
            waiting = self.inbox.expect(frame.token)
            if frame.restored:
                await self.inbox.look_up(waiting)
        if isinstance(effect, AwaitToken):
            assert waiting is not None
            return await self._await_token(frame, effect, waiting)
        if waiting is not None and waiting.outcome is not None:  # answered while nobody ran: no call
            return self._ended(frame, waiting.outcome)
        return await self._perform_call(frame, effect, waiting)

    async def _perform_call(self, frame: Frame, effect: CallTask | AwaitJob, waiting: Waiting | None) -> Outcome | News:
        call, job = (effect.call, effect.job) if isinstance(effect, AwaitJob) else (effect, None)
        heartbeat = Heartbeat(call.heartbeat_seconds) if call.heartbeat_seconds is not None else None
        handler, task_call = self._task_call(frame, call, heartbeat)
        if isinstance(handler, ActivityQueue):
            return Queued(await self.inbox.has_activity(task_call.resource.text))
        if call.timeout_at is not None and call.timeout_at <= self.clock.now():  # passed while nobody ran: no call
            return await self._late(frame, "timeout", waiting)
        if frame.restored and isinstance(effect, CallTask) and self.resolver.on_resume(task_call) == "fail":
            return Failure("States.TaskFailed", "The call was interrupted by a crash and is not to be repeated.")
        name = self._call_name(frame)
        if waiting is not None:
            waiting.heartbeat = heartbeat
        answer: Answer | Late | Answered
        try:
            if isinstance(effect, AwaitJob):
                work = _poll(handler, task_call, job, self.clock)
                answer = await self.calls.supervise(work, name, call.timeout_at, heartbeat, waiting)
            else:
                answer = await self.calls.submission(handler.submit(task_call), name, call.timeout_at, heartbeat)
        except TaskFailed as error:
            return self._task_failure(error)
        if answer == "answered":
            assert waiting is not None
            assert waiting.outcome is not None
            return self._ended(frame, waiting.outcome)
        if isinstance(answer, str):
            return await self._late(frame, answer, waiting)
        if isinstance(effect, CallTask) and task_call.resource.pattern == "waitForTaskToken":
            return answer  # the result is whatever its token brings
        return answer if isinstance(answer, Submitted) else Success(answer.value)

    async def _late(self, frame: Frame, late: Late, waiting: Waiting | None) -> Outcome:
        """A clock has run out: the task's failure, unless its token was answered before."""
        if waiting is None:
            return self._ended(frame, TIMED_OUT[late])
        await self.inbox.time_out(waiting, late)
        assert waiting.outcome is not None
        return self._ended(frame, waiting.outcome)

    async def _await_token(self, frame: Frame, effect: AwaitToken, waiting: Waiting) -> Outcome | News:
        """What comes first of an answer and the task's clocks; for queued work, of a worker that takes it."""
        call = effect.call
        if effect.queued:
            assert frame.state.resource is not None
            self.inbox.offer(frame.state.resource.text)
            await self.inbox.taken(waiting)
            if waiting.taken is not None:
                return Taken(*waiting.taken)
        heartbeat = Heartbeat(call.heartbeat_seconds) if call.heartbeat_seconds is not None else None
        return self._ended(frame, await self.inbox.outcome(waiting, call.timeout_at, heartbeat))

    def _ended(self, frame: Frame, text: str) -> Outcome:
        """What a token's outcome means for its task. A clock cancels the job behind it, an answer does not [U]."""
        kind, rest = read_outcome(text)
        if kind == "success":
            assert rest[0] is not None
            return Success(Payload.parse(rest[0]))
        if kind == "failure":
            return self._task_failure(TaskFailed(*rest))
        self.cancel_jobs(frame)
        return Failure("States.Timeout", None, kind)  # type: ignore[arg-type]  # "timeout" or "heartbeat"

    def expect_token(self, token: str | None) -> None:
        """A restored frame waits for this token."""
        if token is not None:
            self.journal.open_tokens.add(token)
            self.inbox.expect(token)

    def close_token(self, token: str | None) -> None:
        """Nobody waits for this token any more; with the next barrier no answer counts."""
        if token is not None:
            self.journal.close_token(token, self.clock.now())
            self.inbox.forget(token)

    def forget_token(self, token: str | None) -> None:
        """A restored frame waits for this token no more; it has been closed before."""
        if token is not None:
            self.journal.open_tokens.discard(token)
            self.inbox.forget(token)

    def forget_tokens(self) -> None:
        """The execution ends, and its last barrier closes all its tokens."""
        for token in self.journal.open_tokens:
            self.inbox.forget(token)

    def _task_call(self, frame: Frame, call: CallTask, heartbeat: Heartbeat | None) -> tuple[Handler, TaskCall]:
        """Who answers, and what is asked. Raises UnroutedResource."""
        state = frame.state
        assert state.resource is not None
        task_call = TaskCall(
            resource=state.resource,
            payload=call.payload,
            execution_arn=self.facts.arn,
            execution_name=self.facts.name,
            state_machine_arn=self.facts.machine_arn,
            state_name=state.name,
            attempt=frame.scope.attempt,
            idempotency_key=self._idempotency_key(frame),
            deadline_at=call.timeout_at,
            heartbeat_seconds=call.heartbeat_seconds,
            role_arn=call.role_arn,
            token=call.token,
            heartbeat=heartbeat.beat if heartbeat is not None else _no_heartbeat,
        )
        return self.resolver.resolve(state.resource), task_call

    def _call_name(self, frame: Frame) -> str:
        return f"{self.facts.name}:{frame.state.name}"

    def cancel_jobs(self, frame: Frame) -> None:
        """Cancel the submitted jobs that a frame and its children wait for, best effort: nobody waits for that."""
        effect = frame.effect
        if frame.outcome is not None:
            return
        if isinstance(effect, AwaitJob):
            try:
                handler, task_call = self._task_call(frame, effect.call, None)
            except UnroutedResource as error:
                logger.warning("a job of %s cannot be cancelled: %s", self.facts.arn, error)
            else:
                self.calls.spawn(handler.cancel(task_call, effect.job), f"cancel {self._call_name(frame)}")
        if frame.children is not None:
            for child in frame.children.frames:
                if child is not None and child.outcome is None:
                    self.cancel_jobs(child)

    def _given_up(self, frame: Frame) -> bool:
        """Whether a cancelled frame is done with: its execution was ended, or a sibling failed. Not so when parked."""
        above = frame.parent
        while not self.stopping and above is not None:
            if above.children is not None and above.children.stopped:
                return True
            above = above.parent
        return self.stopping

    def _task_failure(self, error: TaskFailed) -> Failure:
        """A handler's failure, its texts cut to AWS's lengths (asl.md section 9). States.Runtime stays terminal."""
        name = error.error[: self.limits.error_characters] if error.error is not None else None
        cause = error.cause[: self.limits.cause_characters] if error.cause is not None else None
        return Failure(name, cause, "runtime" if name == "States.Runtime" else "task")

    def _idempotency_key(self, frame: Frame) -> str:
        """The same after a crash, another for every attempt, redrive and child (DESIGN section 5)."""
        redrives = self.facts.redrive_count or 0
        return f"{self.facts.arn}/{redrives}{frame.path}/{frame.step}.{frame.scope.attempt}"

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
            elif isinstance(outcome, Queued):
                assert isinstance(effect, CallTask)
                self._queued(frame, state, effect, outcome)
            elif isinstance(outcome, Taken):
                assert isinstance(effect, AwaitToken)
                self._taken(frame, effect.call, outcome)
            elif isinstance(outcome, Submitted | Done):
                assert isinstance(effect, CallTask)
                self._submitted(frame, state, effect, outcome)
            elif isinstance(outcome, Failure):
                if not isinstance(effect, FanOut):
                    self._record_failure(frame, state, outcome)
                self.recover(frame, state, outcome)
            else:
                if not isinstance(effect, FanOut):
                    self._record_success(frame, state, outcome)
                    if self._refuse_result(frame, state, outcome):
                        return
                assert state.settle is not None
                self._take(frame, state, state.settle(scope, outcome.output))
        except StateFailed as error:
            self._fail(frame, state, error)

    def _wake(self, frame: Frame, state: CompiledState, effect: SleepUntil) -> None:
        scope = frame.scope
        if effect.then == "begin":
            assert effect.retrier is not None
            scope.attempt += 1
            scope.retries = {**scope.retries, effect.retrier: scope.retries.get(effect.retrier, 0) + 1}
        else:
            assert state.settle is not None
            self._take(frame, state, state.settle(scope, scope.input))

    def _submitted(self, frame: Frame, state: CompiledState, effect: CallTask, submitted: Submitted | Done) -> None:
        assert state.resource is not None
        if (
            state.resource.family == "service"
        ):  # there is no such event of a function; its handler may submit a job still
            frame.last_id = self.journal.record(
                task_event(state.resource, "Submitted"),
                frame.last_id,
                frame.scope.now,
                payload=submitted.answer if isinstance(submitted, Submitted) else submitted.value,
                extra=task_details(state.resource),
            )
        frame.effect = AwaitJob(effect, submitted.job) if isinstance(submitted, Submitted) else AwaitToken(effect)

    def _queued(self, frame: Frame, state: CompiledState, call: CallTask, queued: Queued) -> None:
        """Put work into its activity's queue, with a token; its clocks begin when a worker takes it [A] asl.md 7.2."""
        assert state.resource is not None
        if not queued.exists:
            raise StateFailed("States.Runtime", f"The activity {state.resource.text} does not exist.")
        waits = CallTask(
            call.payload, call.timeout_seconds, None, call.heartbeat_seconds, call.role_arn, token=new_token()
        )
        self._schedule(frame, state.resource, waits)
        frame.effect = AwaitToken(waits, queued=True)

    def _taken(self, frame: Frame, call: CallTask, taken: Taken) -> None:
        assert call.token is not None
        extra = {"workerName": taken.worker_name} if taken.worker_name is not None else None
        frame.last_id = self.journal.record("ActivityStarted", frame.last_id, frame.scope.now, extra=extra)
        self.journal.note_work(call.token)
        if call.timeout_seconds is not None:
            call = CallTask(
                call.payload,
                call.timeout_seconds,
                taken.at + call.timeout_seconds,
                call.heartbeat_seconds,
                call.role_arn,
                call.token,
            )
        frame.effect = AwaitToken(call)

    def _record_success(self, frame: Frame, state: CompiledState, outcome: Success) -> None:
        assert state.resource is not None
        if self._result_too_large(state, outcome):
            return
        frame.last_id = self.journal.record(
            task_event(state.resource, "Succeeded"),
            frame.last_id,
            frame.scope.now,
            payload=outcome.output,
            extra=task_details(state.resource),
        )

    def _record_failure(self, frame: Frame, state: CompiledState, failure: Failure) -> None:
        assert state.resource is not None
        what = "TimedOut" if failure.kind in ("timeout", "heartbeat") else "Failed"
        frame.last_id = self.journal.record(
            task_event(state.resource, what),
            frame.last_id,
            frame.scope.now,
            extra=task_details(state.resource, error_details(failure)) or {},
        )

    def _result_too_large(self, state: CompiledState, outcome: Success) -> bool:
        return outcome.output.size_bytes > self.limits.payload_bytes

    def _refuse_result(self, frame: Frame, state: CompiledState, outcome: Success) -> bool:
        """A task result over the limit is an ordinary task failure, by the recording (asl.md 7.10)."""
        if not self._result_too_large(state, outcome):
            return False
        resource = state.resource
        assert resource is not None
        name = resource.text if resource.family != "service" else resource.service
        kind = "limit" if self.limits.data_limit_is_terminal else "task"
        failure = Failure("States.DataLimitExceeded", self._too_large(name).cause, kind)  # type: ignore[arg-type]
        self._record_failure(frame, state, failure)
        self.recover(frame, state, failure)
        return True


def _no_heartbeat() -> None:
    """A task without HeartbeatSeconds may beat all the same."""


async def _poll(handler: Handler, call: TaskCall, job: object, clock: Clock) -> Answer:
    """Ask for the end of a submitted job until there is one."""
    while True:
        done = await handler.poll(call, job)  # type: ignore[arg-type]
        if done is not None:
            return done
        await clock.sleep_until(clock.now() + _POLL_SECONDS)
