"""Spans of executions, states and handler calls through OpenTelemetry.

Times are the engine's own. Nothing of an execution's data is in a span, and of a failure the error's name alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asfn.observe.metrics import MISSING
from asfn.runtime.observers import Observer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, TracerProvider
    from opentelemetry.util.types import AttributeValue

    from asfn._json import Payload
    from asfn.arn import TaskResource
    from asfn.plan.effects import Failure
    from asfn.runtime.handle import ExecutionInfo
    from asfn.runtime.observers import CallEnd, StateVisit
    from asfn.tasks.protocol import TaskCall

    Attributes = dict[str, AttributeValue]


class _Trace:
    """The open spans of one execution. began_at: of its own one."""

    __slots__ = ("began_at", "span", "states")

    def __init__(self, span: Span, began_at: float) -> None:
        self.span = span
        self.began_at = began_at
        self.states: dict[StateVisit, Span] = {}


class Spans(Observer):
    """A span for each execution, for each visit of a state in it, and for each call of a handler in that.

    The span of an execution is a child of the span that was current at its start or redrive; the span of a call is
    current in the function behind it. What an engine leaves unfinished ends marked asfn.parked; the engine that goes on
    with it does so in a trace of its own, marked asfn.resumed.
    tracer_provider: the global one by default. Raises ImportError when opentelemetry is missing.
    """

    def __init__(self, *, tracer_provider: TracerProvider | None = None) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.context import Context
        except ImportError as error:
            raise ImportError(MISSING) from error
        self._api = trace
        self._nowhere = Context()
        self._tracer = trace.get_tracer("asfn", tracer_provider=tracer_provider)
        self._traces: dict[str, _Trace] = {}
        self._calls: dict[int, tuple[TaskCall, Span]] = {}  # by identity; the call is kept, so that its id is its own

    # --- executions ------------------------------------------------------------------------------------------------

    def status_changed(self, execution: ExecutionInfo) -> None:
        """Begin or end the execution's span."""
        if execution.status == "RUNNING":
            self._begin(execution, execution.redriven_at or execution.started_at, resumed=False)
            return
        found = self._traces.pop(execution.arn, None)
        if found is not None:
            assert execution.stopped_at is not None
            found.span.set_attribute("asfn.execution.status", execution.status)
            if execution.status != "SUCCEEDED":
                self._set_error(found.span, execution.error or execution.status)
            found.span.end(_nanoseconds(execution.stopped_at))

    def execution_resumed(self, execution: ExecutionInfo, at: float) -> None:
        """Begin a span for the rest of the execution."""
        self._begin(execution, at, resumed=True)

    def execution_parked(self, execution: ExecutionInfo, error: BaseException | None, at: float) -> None:
        """End the spans of what is left unfinished, the innermost first."""
        found = self._traces.pop(execution.arn, None)
        if found is None:
            return
        for span in (*reversed(found.states.values()), found.span):
            span.set_attribute("asfn.parked", True)
            if error is not None:
                self._set_error(span, type(error).__name__)
            span.end(_nanoseconds(at))

    def _begin(self, execution: ExecutionInfo, at: float, *, resumed: bool) -> None:
        attributes: Attributes = {
            "aws.step_functions.state_machine.arn": execution.state_machine_arn,
            "asfn.execution.arn": execution.arn,
            "asfn.execution.name": execution.name,
            "asfn.execution.type": execution.type,
            "asfn.execution.redrive_count": execution.redrive_count,
            "asfn.resumed": resumed,
            **{f"asfn.execution.attribute.{name}": value for name, value in execution.attributes.items()},
        }
        # No context: the span that is current where the execution is started.
        context = self._nowhere if resumed else None
        name = f"execution {execution.state_machine_arn.rpartition(':')[2]}"
        self._traces[execution.arn] = _Trace(self._start(name, context, attributes, at), at)

    # --- states ----------------------------------------------------------------------------------------------------

    def state_entered(self, visit: StateVisit) -> None:
        """Begin the state's span, inside that of the Parallel or Map whose branch it is in."""
        found = self._traces.get(visit.execution.arn)
        if found is None:
            return
        above = found.states.get(visit.parent, found.span) if visit.parent is not None else found.span
        attributes: Attributes = {
            "asfn.execution.arn": visit.execution.arn,
            "asfn.state.name": visit.name,
            "asfn.state.type": visit.kind,
            "asfn.state.event_id": visit.event_id,
            "asfn.resumed": visit.resumed,
        }
        if visit.index is not None:
            attributes["asfn.state.index"] = visit.index
        context = self._api.set_span_in_context(above, self._nowhere)
        began_at = max(visit.entered_at, found.began_at)  # one that is gone on with began in an earlier trace
        found.states[visit] = self._start(f"state {visit.name}", context, attributes, began_at)

    def state_exited(self, visit: StateVisit, output: Payload, at: float) -> None:
        """End the state's span."""
        self._end(visit, "exited" if visit.failure is None else "caught", visit.failure, at)

    def state_failed(self, visit: StateVisit, failure: Failure, at: float) -> None:
        """End the state's span with an error."""
        self._end(visit, "failed", failure, at)

    def state_aborted(self, visit: StateVisit, at: float) -> None:
        """End the state's span."""
        self._end(visit, "aborted", None, at)

    def state_retried(self, visit: StateVisit, failure: Failure, wake_at: float, at: float) -> None:
        """Note the retry in the state's span."""
        span = self._state(visit)
        if span is not None:
            attributes: Attributes = {
                "error.type": failure.error or "unknown",
                "asfn.state.attempt": visit.attempt,
                "asfn.retry.seconds": wake_at - at,
            }
            span.add_event("retry", attributes, _nanoseconds(at))

    def _state(self, visit: StateVisit) -> Span | None:
        found = self._traces.get(visit.execution.arn)
        return found.states.get(visit) if found is not None else None

    def _end(self, visit: StateVisit, outcome: str, failure: Failure | None, at: float) -> None:
        span = self._state(visit)
        if span is None:
            return
        del self._traces[visit.execution.arn].states[visit]
        span.set_attribute("asfn.state.outcome", outcome)
        span.set_attribute("asfn.state.attempts", visit.attempt + 1)
        if failure is not None:
            self._set_error(span, failure.error or "unknown", is_error=outcome == "failed")
        span.end(_nanoseconds(at))

    # --- calls -----------------------------------------------------------------------------------------------------

    def task_called(self, visit: StateVisit, call: TaskCall, at: float) -> AbstractContextManager[object] | None:
        """Begin the call's span and make it current in the handler."""
        state = self._state(visit)
        if state is None:
            return None
        attributes: Attributes = {
            "asfn.execution.arn": call.execution_arn,
            "asfn.state.name": call.state_name,
            "asfn.task.resource": call.resource.text,
            "asfn.task.attempt": call.attempt,
        }
        context = self._api.set_span_in_context(state, self._nowhere)
        span = self._start(f"task {_called(call.resource)}", context, attributes, at)
        self._calls[id(call)] = call, span
        return self._api.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False)

    def task_ended(self, visit: StateVisit, call: TaskCall, end: CallEnd, at: float) -> None:
        """End the call's span."""
        known = self._calls.pop(id(call), None)
        if known is not None:
            span = known[1]
            span.set_attribute("asfn.task.outcome", end.what)
            if end.what in ("failed", "fault"):
                self._set_error(span, end.error or "unknown")
            span.end(_nanoseconds(at))

    def _start(self, name: str, context: Context | None, attributes: Attributes, at: float) -> Span:
        return self._tracer.start_span(name, context=context, attributes=attributes, start_time=_nanoseconds(at))

    def _set_error(self, span: Span, name: str, *, is_error: bool = True) -> None:
        span.set_attribute("error.type", name)
        if is_error:
            span.set_status(self._api.StatusCode.ERROR, name)


def _called(resource: TaskResource) -> str:
    """`lambda:invoke`, `aws-sdk:s3:getObject`, or the name of a function."""
    return f"{resource.service}:{resource.resource}" if resource.family == "service" else resource.action


def _nanoseconds(at: float) -> int:
    return round(at * 1e9)
