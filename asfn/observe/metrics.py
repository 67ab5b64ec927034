"""Counters and times of executions and tasks through OpenTelemetry, under the names of AWS's metrics.

Names and dimensions: history.md section 8. Nothing of an execution's data is in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from asfn.runtime.observers import Observer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.metrics import Counter, Histogram, MeterProvider
    from opentelemetry.util.types import AttributeValue

    from asfn._json import JsonObject
    from asfn.runtime.handle import ExecutionInfo

    Dimensions = dict[str, AttributeValue]

MISSING: Final = 'Telemetry needs the package opentelemetry-api: pip install "asfn[otel]"'

# What a status counts as; RUNNING is a start. The names of redriven executions are not certain [U].
_STATUS_COUNTERS: Final = {
    "RUNNING": "ExecutionsStarted",
    "SUCCEEDED": "ExecutionsSucceeded",
    "FAILED": "ExecutionsFailed",
    "TIMED_OUT": "ExecutionsTimedOut",
    "ABORTED": "ExecutionsAborted",
}
_REDRIVEN_COUNTERS: Final = {
    "RUNNING": "ExecutionsRedriven",
    **{status: f"Redriven{name}" for status, name in _STATUS_COUNTERS.items() if status != "RUNNING"},
}


class _Family(NamedTuple):
    """A family of task events. plural: of its counters.   singular: of its times.   dimension: of both."""

    plural: str
    singular: str
    dimension: str


_FAMILIES: Final = {
    "LambdaFunction": _Family("LambdaFunctions", "LambdaFunction", "LambdaFunctionArn"),
    "Activity": _Family("Activities", "Activity", "ActivityArn"),
    "Task": _Family("ServiceIntegrations", "ServiceIntegration", "ServiceIntegrationResourceArn"),
}
# What becomes of a task, by the end of its event's type; Submitted counts as nothing.
_STEPS: Final = {
    "Scheduled": "Scheduled",
    "Started": "Started",
    "Submitted": None,
    "Succeeded": "Succeeded",
    "Failed": "Failed",
    "ScheduleFailed": "Failed",
    "StartFailed": "Failed",
    "SubmitFailed": "Failed",
    "TimedOut": "TimedOut",
}
_TASK_EVENTS: Final = {
    f"{prefix}{suffix}": (family, step) for prefix, family in _FAMILIES.items() for suffix, step in _STEPS.items()
}


class _Task(NamedTuple):
    """A task on its way. started_at: when a worker or the service had it."""

    dimensions: Dimensions
    scheduled_at: float
    started_at: float | None


class Metrics(Observer):
    """Counts statuses and task events, and measures in milliseconds what lies between them.

    ExecutionsStarted, ...Succeeded, ...Failed, ...TimedOut, ...Aborted, ...Redriven, ExecutionTime and
    OpenExecutionCount by StateMachineArn; the end of a redriven execution counts as RedrivenExecutionsSucceeded and so
    on as well. For each family of tasks its Scheduled, Started, Succeeded, Failed and TimedOut and its
    ScheduleTime, RunTime and Time. Tasks are counted when their events are durable. A task that was scheduled before
    a resume is counted, with the resource "unknown", and not measured.
    meter_provider: the global one by default. Raises ImportError when opentelemetry is missing.
    """

    def __init__(self, *, meter_provider: MeterProvider | None = None) -> None:
        try:
            from opentelemetry import metrics
        except ImportError as error:
            raise ImportError(MISSING) from error
        self._meter = metrics.get_meter("asfn", meter_provider=meter_provider)
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._tasks: dict[str, dict[int, _Task]] = {}  # by execution, then by the id of the task's last event
        self._open = self._meter.create_up_down_counter(
            "OpenExecutionCount", "{execution}", "Executions that this engine is running."
        )

    def status_changed(self, execution: ExecutionInfo) -> None:
        """Count a start or an end, and measure the execution."""
        machine = _machine(execution)
        if execution.redrive_count:
            self._count(_REDRIVEN_COUNTERS[execution.status], machine)
        if execution.status != "RUNNING" or not execution.redrive_count:
            self._count(_STATUS_COUNTERS[execution.status], machine)
        self._open.add(1 if execution.status == "RUNNING" else -1, machine)
        if execution.stopped_at is not None:
            self._measure("ExecutionTime", execution.started_at, execution.stopped_at, machine)
            self._tasks.pop(execution.arn, None)

    def execution_resumed(self, execution: ExecutionInfo, at: float) -> None:
        """It is open here now."""
        self._open.add(1, _machine(execution))

    def execution_parked(self, execution: ExecutionInfo, error: BaseException | None, at: float) -> None:
        """It is not open here any more."""
        self._open.add(-1, _machine(execution))
        self._tasks.pop(execution.arn, None)

    def events_committed(self, execution: ExecutionInfo, events: Sequence[JsonObject]) -> None:
        """Count and measure the tasks."""
        for event in events:
            if event["type"] in _TASK_EVENTS:
                self._task_event(self._tasks.setdefault(execution.arn, {}), event)

    def _task_event(self, tasks: dict[int, _Task], event: JsonObject) -> None:
        family, step = _TASK_EVENTS[str(event["type"])]
        id_, previous, at = event["id"], event["previousEventId"], event["timestamp"]
        assert isinstance(id_, int)
        assert isinstance(previous, int)
        assert isinstance(at, int | float)
        if step == "Scheduled":
            tasks[id_] = _Task({family.dimension: _resource(event)}, at, None)
            self._count(f"{family.plural}Scheduled", tasks[id_].dimensions)
            return
        task = tasks.pop(previous, None)  # each event of a task links to the one before it (history.md section 3)
        dimensions: Dimensions = task.dimensions if task is not None else {family.dimension: "unknown"}
        if step is not None:
            self._count(f"{family.plural}{step}", dimensions)
        if task is None:
            return
        if step == "Started":
            self._measure(f"{family.singular}ScheduleTime", task.scheduled_at, at, dimensions)
            tasks[id_] = task._replace(started_at=at)
        elif step is None:
            tasks[id_] = task
        else:
            if task.started_at is not None:
                self._measure(f"{family.singular}RunTime", task.started_at, at, dimensions)
            self._measure(f"{family.singular}Time", task.scheduled_at, at, dimensions)

    def _count(self, name: str, dimensions: Dimensions) -> None:
        counter = self._counters.get(name)
        if counter is None:
            counter = self._counters[name] = self._meter.create_counter(name)
        counter.add(1, dimensions)

    def _measure(self, name: str, since: float, until: float, dimensions: Dimensions) -> None:
        histogram = self._histograms.get(name)
        if histogram is None:
            histogram = self._histograms[name] = self._meter.create_histogram(name, unit="ms")
        histogram.record(max(until - since, 0.0) * 1000, dimensions)


def _machine(execution: ExecutionInfo) -> Dimensions:
    return {"StateMachineArn": execution.state_machine_arn}


def _resource(event: JsonObject) -> str:
    """The ARN that a Scheduled event names."""
    for name, details in event.items():
        if name.endswith("EventDetails") and isinstance(details, dict):
            resource = str(details.get("resource"))
            return f"arn:aws:states:::{details['resourceType']}:{resource}" if "resourceType" in details else resource
    return "unknown"
