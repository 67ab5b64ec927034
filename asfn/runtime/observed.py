"""Executions that somebody observes: a journal, an interpreter and a handler that tell the engine's observers.

Chosen when an execution is launched in an engine that has observers, and only as far as these ask for; every other
execution runs the plain classes and pays nothing. Nothing here decides anything about an execution.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from asfn.errors import TaskFailed
from asfn.plan.effects import Failure, FanOut, SleepUntil
from asfn.runtime.handle import ExecutionInfo
from asfn.runtime.history import OpenSegment, shapes
from asfn.runtime.interpreter import Interpreter
from asfn.runtime.journal import Journal, SilentJournal
from asfn.runtime.observers import CallEnd, StateVisit
from asfn.tasks.activity import ActivityQueue
from asfn.tasks.protocol import Submitted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asfn._json import Json, Payload
    from asfn.errors import StateFailed
    from asfn.plan.effects import Effect, Step
    from asfn.plan.scope import Scope
    from asfn.plan.states import CompiledState
    from asfn.runtime.clock import Clock
    from asfn.runtime.frames import Frame
    from asfn.runtime.journal import Barrier
    from asfn.runtime.observers import Observers
    from asfn.store.records import ExecutionRow, Final, Segment
    from asfn.tasks.protocol import Answer, Done, Handler, TaskCall


class Watch:
    """What the observers of an engine have been told about one execution that it runs."""

    __slots__ = ("_clock", "_row", "_visits", "execution", "observers")

    def __init__(self, row: ExecutionRow, observers: Observers, clock: Clock) -> None:
        self.execution = ExecutionInfo.of(row)
        self.observers = observers
        self._row = row
        self._clock = clock
        self._visits: dict[str, StateVisit] = {}  # the open ones by path

    def interpreter(self, *arguments: Any) -> Interpreter:  # Any: the arguments of Interpreter
        """An interpreter that tells of states and tasks."""
        return ObservedInterpreter(self, *arguments)

    def tell(self, hook: str, *arguments: object) -> None:
        self.observers.tell(hook, self.execution.arn, *arguments)

    # --- the execution ---------------------------------------------------------------------------------------------

    def begun(self, resumed: bool) -> None:
        if resumed:
            self.tell("execution_resumed", self.execution, self._clock.now())
        else:
            self.tell("status_changed", self.execution)

    def over(self, final: Final | None, error: BaseException | None) -> None:
        """The engine has done with the execution: it has ended durably, or is left where it stands."""
        if final is None or error is not None:
            self.tell("execution_parked", self.execution, error, self._clock.now())
            return
        for visit in self._visits.values():
            self.tell("state_aborted", visit, final.stopped_at)
        row = self._row.copy()
        row.status, row.stopped_at, row.output = final.status, final.stopped_at, final.output
        row.error, row.cause, row.failed_state = final.error, final.cause, final.failed_state
        self.tell("status_changed", ExecutionInfo.of(row))

    def committed(self, segment: Segment) -> None:
        self.tell("events_committed", self.execution, shapes(segment))

    # --- states ----------------------------------------------------------------------------------------------------

    def visit(self, frame: Frame) -> StateVisit:
        """The open visit of a frame; one that began before this engine ran the execution is told of now."""
        visit = self._visits.get(frame.path)
        return visit if visit is not None else self.entered(frame, resumed=True)

    def entered(self, frame: Frame, *, resumed: bool = False) -> StateVisit:
        scope, above = frame.scope, frame.parent
        visit = self._visits[frame.path] = StateVisit(
            execution=self.execution,
            name=frame.state.name,
            kind=frame.state.kind,
            path=frame.path,
            step=frame.step,
            index=frame.index if above is not None else None,
            event_id=frame.entered_id,
            entered_at=scope.entered_at,
            input=scope.input,
            parent=self.visit(above) if above is not None else None,
            attempt=scope.attempt,
            resumed=resumed,
        )
        self.tell("state_entered", visit)
        return visit

    def exited(self, frame: Frame, output: Payload) -> None:
        visit = self.visit(frame)
        del self._visits[frame.path]
        self.tell("state_exited", visit, output, frame.scope.now)

    def failed(self, frame: Frame, failure: Failure) -> None:
        """The frame has ended with a failure; told once."""
        visit = self._visits.pop(frame.path, None)
        if visit is not None:
            visit.failure = None
            self.tell("state_failed", visit, failure, frame.scope.now)

    def retried(self, frame: Frame, failure: Failure, wake_at: float) -> None:
        visit = self.visit(frame)
        visit.failure = None
        visit.attempt = frame.scope.attempt
        self.tell("state_retried", visit, failure, wake_at, frame.scope.now)

    def aborted_below(self, path: str) -> None:
        """A fan-out has failed: the visits that its children still had open are cut off, the innermost first."""
        cut = [key for key in self._visits if key.startswith(path + "/")]
        for key in reversed(cut):
            self.tell("state_aborted", self._visits.pop(key), self._clock.now())


class ObservedInterpreter(Interpreter):
    """Tells of states and tasks."""

    takes_plainly = False

    __slots__ = ("watch",)

    def __init__(self, watch: Watch, *arguments: Any) -> None:  # Any: the arguments of Interpreter
        super().__init__(*arguments)
        self.watch = watch

    def _enter(self, frame: Frame, state: CompiledState, scope: Scope) -> None:
        super()._enter(frame, state, scope)
        self.watch.entered(frame)

    def _leave(
        self, frame: Frame, state: CompiledState, output: Payload, assigned: Mapping[str, Payload] | None
    ) -> None:
        super()._leave(frame, state, output, assigned)
        self.watch.exited(frame, output)

    def _take(self, frame: Frame, state: CompiledState, step: Step) -> bool:
        moved = super()._take(frame, state, step)
        if isinstance(frame.outcome, Failure):
            self.watch.failed(frame, frame.outcome)
        return moved

    def recover(self, frame: Frame, state: CompiledState, failure: Failure) -> bool:
        self.watch.visit(frame).failure = failure
        moved = super().recover(frame, state, failure)
        effect = frame.effect
        if isinstance(effect, SleepUntil) and effect.then == "begin":
            self.watch.retried(frame, failure, effect.at)
        return moved

    def _give_up(self, frame: Frame, state: CompiledState, error: StateFailed) -> bool:
        moved = super()._give_up(frame, state, error)
        if isinstance(frame.outcome, Failure):
            self.watch.failed(frame, frame.outcome)
        return moved

    async def run_frame(self, frame: Frame, rested: bool = False) -> None:
        if frame.entered and frame.outcome is None:  # restored: its visit goes on here
            self.watch.visit(frame)
        await super().run_frame(frame, rested)

    def _settle(self, frame: Frame, effect: Effect, outcome: Any) -> None:  # Any: an outcome, or news of a task
        if isinstance(effect, FanOut) and isinstance(outcome, Failure):
            self.watch.aborted_below(frame.fan_out_path)
        super()._settle(frame, effect, outcome)

    def _wake(self, frame: Frame, state: CompiledState, effect: SleepUntil) -> None:
        super()._wake(frame, state, effect)
        if effect.then == "begin":
            self.watch.visit(frame).attempt = frame.scope.attempt

    def handler(self, frame: Frame) -> Handler:
        handler = super().handler(frame)
        if isinstance(handler, ActivityQueue):  # a queue is never called
            return handler
        return _ObservedHandler(handler, self, frame)


class _ObservedHandler:
    """A handler whose calls are told of."""

    __slots__ = ("_frame", "_handler", "_interpreter")

    def __init__(self, handler: Handler, interpreter: ObservedInterpreter, frame: Frame) -> None:
        self._handler = handler
        self._interpreter = interpreter
        self._frame = frame

    async def submit(self, call: TaskCall) -> Answer:
        """Call the handler inside the contexts that observers give."""
        watch, now = self._interpreter.watch, self._interpreter.clock.now
        visit = watch.visit(self._frame)
        contexts = watch.observers.contexts(visit, call, now())
        end = CallEnd("fault")
        try:
            answer = await self._handler.submit(call)
            end = CallEnd("submitted" if isinstance(answer, Submitted) else "done")
            return answer
        except TaskFailed as error:
            end = CallEnd("failed", error.error, error.cause)
            raise
        except asyncio.CancelledError:
            end = CallEnd("cancelled")
            raise
        finally:
            watch.tell("task_ended", visit, call, end, now())
            watch.observers.leave(contexts)

    async def poll(self, call: TaskCall, job: Json) -> Done | None:
        return await self._handler.poll(call, job)

    async def cancel(self, call: TaskCall, job: Json) -> None:
        await self._handler.cancel(call, job)


class ObservedJournal(Journal):
    """Tells of events once they are durable."""

    __slots__ = ("_observed",)

    def __init__(self, watch: Watch, *arguments: Any) -> None:  # Any: the arguments of Journal
        super().__init__(*arguments)
        self._observed = watch

    def committed(self, barrier: Barrier | None, segment: Segment | None) -> None:
        super().committed(barrier, segment)
        if segment is not None:  # not at once: what an observer does is not to stand between a commit and its waiters
            asyncio.get_running_loop().call_soon(self._observed.committed, segment)


class ObservedSilentJournal(SilentJournal):
    """Tells of the events of an Express execution, which are stored nowhere."""

    __slots__ = ("_observed",)

    def __init__(self, watch: Watch, *arguments: Any) -> None:  # Any: the arguments of Journal
        super().__init__(*arguments)
        self._observed = watch

    def record(
        self,
        type: str,
        previous: int,
        at: float,
        name: str | None = None,
        payload: Payload | None = None,
        extra: Mapping[str, Json] | None = None,
        assigned: Mapping[str, Payload] | None = None,
    ) -> int:
        id = super().record(type, previous, at, name, payload, extra, assigned)
        if self._segment is None:
            self._segment = OpenSegment(id)
        self._segment.add(type, previous, at, name, payload, extra, assigned)
        return id

    async def barrier(self) -> bool:
        self.flush()
        return False

    def flush(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            self._observed.committed(segment.close())

    def finish(self, final: Final) -> Barrier | None:
        self.flush()
        return None
