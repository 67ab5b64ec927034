"""OpenTelemetry: how spans nest, what they say, and that the counters add up; through the SDK, in memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from asfn._json import Json, JsonObject
from asfn.engine import Engine
from asfn.errors import ExecutionFailed, TaskFailed
from asfn.observe import Metrics, Spans, Telemetry
from asfn.store.memory import MemoryStore
from asfn.testing.loop import DEFAULT_START_AT, VirtualClock, run
from asfn.testing.tasks import ScriptedTasks, answers, fails, never_answers, submits
from tests.runtime.lives import Tasks, Workflow
from tests.runtime.workflows import RETRY, WORKFLOWS, each, machine, parallel, task

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:m"
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:"


class Sdk:
    """An SDK in memory."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.tracer_provider.get_tracer("tests")
        self._reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self._reader])
        self.telemetry = Telemetry(tracer_provider=self.tracer_provider, meter_provider=self.meter_provider)

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """The finished spans whose name begins so, in the order of their start."""
        found = [span for span in self._exporter.get_finished_spans() if span.name.startswith(name)]
        return sorted(found, key=lambda span: (span.start_time or 0, span.context.span_id if not span.parent else 0))

    def span(self, name: str) -> ReadableSpan:
        [span] = self.spans(name)
        return span

    def metrics(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        """By name, in small letters as the SDK may have it: dimensions and value; of a histogram its count and sum."""
        found: dict[str, list[tuple[dict[str, Any], Any]]] = {}
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        value: Any = point.value if hasattr(point, "value") else (point.count, point.sum)
                        found.setdefault(metric.name.lower(), []).append((dict(point.attributes or {}), value))
        return found


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def inside(span: ReadableSpan, other: ReadableSpan) -> bool:
    """Whether `span` is a child of `other`, in the same trace."""
    parent = span.parent
    return parent is not None and (parent.span_id, parent.trace_id) == (other.context.span_id, other.context.trace_id)


def seconds(span: ReadableSpan) -> tuple[float, float]:
    """Start and end on the virtual clock, from the beginning."""
    assert span.start_time is not None
    assert span.end_time is not None
    return round(span.start_time / 1e9 - DEFAULT_START_AT, 3), round(span.end_time / 1e9 - DEFAULT_START_AT, 3)


def observed(definition: JsonObject, input: Json = None, *, type: Any = "STANDARD", **tasks: Any) -> Sdk:
    sdk = Sdk()

    async def main(clock: VirtualClock) -> None:
        engine = Engine(clock=clock, resolver=ScriptedTasks(tasks), observers=[sdk.telemetry])
        async with engine:
            await engine.create_state_machine("m", definition, type=type)
            execution = await engine.start("m", {} if input is None else input, name="x", attributes={"customer": "7"})
            with suppress(ExecutionFailed):
                await execution.result()

    run(main)
    return sdk


# --- spans -----------------------------------------------------------------------------------------------------------


def test_states_are_inside_their_execution_and_calls_inside_their_state() -> None:
    sdk = observed(machine(("A", task("a", "B")), ("B", {"Type": "Wait", "Seconds": 5, "End": True})), A=[answers(1)])

    execution, state, call, wait = (sdk.span(name) for name in ("execution m", "state A", "task a", "state B"))
    assert execution.parent is None
    assert inside(state, execution)
    assert inside(wait, execution)
    assert inside(call, state)
    assert seconds(wait) == (0, 5)
    assert seconds(execution) == (0, 5)
    assert attributes(execution) == {
        "aws.step_functions.state_machine.arn": MACHINE,
        "asfn.execution.arn": "arn:aws:states:us-east-1:123456789012:execution:m:x",
        "asfn.execution.name": "x",
        "asfn.execution.type": "STANDARD",
        "asfn.execution.status": "SUCCEEDED",
        "asfn.execution.redrive_count": 0,
        "asfn.execution.attribute.customer": "7",
        "asfn.resumed": False,
    }
    assert attributes(call)["asfn.task.resource"] == FUNCTION + "a"
    assert attributes(call)["asfn.task.outcome"] == "done"
    assert attributes(state)["asfn.state.type"] == "Task"
    assert {span.status.status_code for span in sdk.spans()} == {trace.StatusCode.UNSET}


def test_branches_and_iterations_are_inside_their_state() -> None:
    items = each(machine(("In", task("in"))), ItemsPath="$.items")
    sdk = observed(
        machine(
            ("Both", parallel(machine(("Map", items)), machine(("Nap", {"Type": "Wait", "Seconds": 1, "End": True}))))
        ),
        {"items": [1, 2]},
        In=[answers(1), answers(2)],
    )

    both, map_ = sdk.span("state Both"), sdk.span("state Map")
    assert inside(map_, both)
    assert inside(sdk.span("state Nap"), both)
    inner = sdk.spans("state In")
    assert [inside(span, map_) for span in inner] == [True, True]
    assert sorted(attributes(span)["asfn.state.index"] for span in inner) == [0, 1]


def test_retries_are_events_of_the_state_and_each_call_has_a_span() -> None:
    sdk = observed(machine(("A", task("a", Retry=RETRY))), A=[fails("Flaky", "s3cret"), answers(1)])

    state = sdk.span("state A")
    [retry] = state.events
    assert retry.name == "retry"
    assert dict(retry.attributes or {}) == {"error.type": "Flaky", "asfn.state.attempt": 0, "asfn.retry.seconds": 2.0}
    assert attributes(state)["asfn.state.attempts"] == 2
    assert state.status.status_code == trace.StatusCode.UNSET
    first, second = sdk.spans("task a")
    assert [attributes(span)["asfn.task.outcome"] for span in (first, second)] == ["failed", "done"]
    assert (first.status.status_code, first.status.description) == (trace.StatusCode.ERROR, "Flaky")
    assert [attributes(span)["asfn.task.attempt"] for span in (first, second)] == [0, 1]


def test_failures_mark_what_failed_and_not_what_was_caught_or_cut_off() -> None:
    branches = parallel(
        machine(("Bad", task("bad"))),
        machine(("Long", task("long"))),
        Catch=[{"ErrorEquals": ["No"], "Next": "End"}],
        next="End",
    )
    sdk = observed(
        machine(("Both", branches), ("End", {"Type": "Fail", "Error": "Over", "Cause": "s3cret"})),
        Bad=[fails("No", "s3cret").after(3)],
        Long=[never_answers()],
    )

    outcomes = {span.name: attributes(span)["asfn.state.outcome"] for span in sdk.spans("state")}
    assert outcomes == {
        "state Both": "caught",
        "state Bad": "failed",
        "state Long": "aborted",
        "state End": "failed",
    }
    errors = {span.name for span in sdk.spans() if span.status.status_code == trace.StatusCode.ERROR}
    assert errors == {"state Bad", "task bad", "state End", "execution m"}
    assert attributes(sdk.span("state Both"))["error.type"] == "No"
    assert attributes(sdk.span("task long"))["asfn.task.outcome"] == "cancelled"
    assert sdk.span("execution m").status.description == "Over"
    assert "s3cret" not in str([span.to_json() for span in sdk.spans()])


def test_an_execution_is_inside_the_span_it_was_started_in() -> None:
    sdk = Sdk()

    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock, observers=[sdk.telemetry]) as engine:
            await engine.create_state_machine("m", machine(("A", {"Type": "Pass", "End": True})))
            with sdk.tracer.start_as_current_span("request"):
                execution = await engine.start("m")
            await execution.result()

    run(main)
    assert inside(sdk.span("execution m"), sdk.span("request"))


def test_spans_made_in_functions_are_inside_their_call() -> None:
    sdk = Sdk()

    async def main(clock: VirtualClock) -> None:
        engine = Engine(clock=clock, observers=[sdk.telemetry])

        @engine.function("loop")
        async def loop(event: Json) -> None:
            with sdk.tracer.start_as_current_span("own loop"):
                await asyncio.sleep(1)

        @engine.function("thread")
        def thread(event: Json) -> None:
            with sdk.tracer.start_as_current_span("own thread"):
                raise TaskFailed("No")

        async with engine:
            both = parallel(machine(("A", task("loop"))), machine(("B", task("thread"))))
            await engine.create_state_machine("m", machine(("Both", both)))
            with suppress(ExecutionFailed):
                await (await engine.start("m")).result()
        assert not trace.get_current_span().get_span_context().is_valid

    run(main)
    assert inside(sdk.span("own loop"), sdk.span("task loop"))
    assert inside(sdk.span("own thread"), sdk.span("task thread"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.name)
def test_every_span_ends_within_the_one_around_it(workflow: Workflow) -> None:
    sdk = Sdk()

    async def main(clock: VirtualClock) -> None:
        tasks = Tasks(workflow.script, clock)
        async with Engine(clock=clock, resolver=tasks, observers=[sdk.telemetry]) as engine:
            await engine.create_state_machine("machine", workflow.definition)
            execution = await engine.start("machine", workflow.input, name="x")
            with suppress(ExecutionFailed):
                await execution.result()
            entered = sum(str(event["type"]).endswith("StateEntered") for event in await execution.history())
        assert len(sdk.spans("state ")) == entered
        assert len(sdk.spans("task ")) == len(tasks.calls)

    run(main, seed=1)
    spans = {span.context.span_id: span for span in sdk.spans()}
    assert len({span.context.trace_id for span in spans.values()}) == 1
    for span in spans.values():
        if span.parent is not None:
            around = spans[span.parent.span_id]
            assert seconds(around)[0] <= seconds(span)[0] <= seconds(span)[1]
            assert seconds(span)[1] <= seconds(around)[1] or span.name.startswith("task ")
    assert (sdk.telemetry._traces, sdk.telemetry._calls, sdk.telemetry._tasks) == ({}, {}, {})


def test_what_is_left_and_resumed_has_ended_spans_in_both_engines() -> None:
    store, first, second = MemoryStore(), Sdk(), Sdk()
    definition = machine(("A", {"Type": "Wait", "Seconds": 60, "Next": "B"}), ("B", task("b")))

    async def leave(clock: VirtualClock) -> None:
        async with Engine(store, clock=clock, observers=[first.telemetry], resolver=ScriptedTasks({})) as engine:
            await engine.create_state_machine("m", definition)
            await engine.start("m", name="x")
            await clock.sleep_until(clock.now() + 10)

    async def resume(clock: VirtualClock) -> None:
        tasks = ScriptedTasks({"B": [answers(1)]})
        async with Engine(store, clock=clock, observers=[second.telemetry], resolver=tasks) as engine:
            await engine.join()

    run(leave)
    run(resume, start_at=DEFAULT_START_AT + 50)
    assert [attributes(span).get("asfn.parked") for span in first.spans()] == [True, True]
    assert seconds(first.span("execution m")) == (0, 10)
    execution, state = second.span("execution m"), second.span("state A")
    assert attributes(execution)["asfn.resumed"] is True
    assert attributes(state)["asfn.resumed"] is True
    assert execution.parent is None
    assert inside(state, execution)
    assert seconds(execution) == seconds(state) == (50, 60)
    assert attributes(second.span("state B"))["asfn.resumed"] is False
    assert dict(first.metrics())["openexecutioncount"][0][1] == 0
    assert dict(second.metrics())["openexecutioncount"][0][1] == 0


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_executions_are_counted_and_measured_under_aws_names() -> None:
    sdk = Sdk()

    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock, observers=[sdk.telemetry]) as engine:
            nap: JsonObject = {"Type": "Wait", "SecondsPath": "$.s", "Next": "F"}
            choice: JsonObject = {
                "Type": "Choice",
                "Choices": [{"Variable": "$.ok", "BooleanEquals": True, "Next": "S"}],
                "Default": "Z",
            }
            states = (("A", nap), ("F", choice), ("S", {"Type": "Succeed"}), ("Z", {"Type": "Fail"}))
            await engine.create_state_machine("m", machine(*states, TimeoutSeconds=60))  # type: ignore[arg-type]
            for index, (s, ok) in enumerate([(2, True), (4, True), (1, False), (100, True), (50, True)]):
                execution = await engine.start("m", {"s": s, "ok": ok}, name=f"x{index}")
                if s == 50:
                    await execution.stop()
                with suppress(ExecutionFailed):
                    await execution.result()
            await engine.start("m", {"s": 50, "ok": True})
            assert sdk.metrics()["openexecutioncount"] == [({"StateMachineArn": MACHINE}, 1)]

    run(main)
    found = sdk.metrics()
    assert {name: values[0][1] for name, values in found.items()} == {
        "executionsstarted": 6,
        "executionssucceeded": 2,
        "executionsfailed": 1,
        "executionstimedout": 1,
        "executionsaborted": 1,
        "executiontime": (5, 67_000.0),
        "openexecutioncount": 0,
    }
    assert all(values[0][0] == {"StateMachineArn": MACHINE} for values in found.values())


def test_tasks_are_counted_and_measured_by_family_and_resource() -> None:
    job = "arn:aws:states:::batch:submitJob.sync"
    sdk = observed(
        machine(
            ("A", task("a", "B", Retry=RETRY)),
            ("B", {"Type": "Task", "Resource": job, "Parameters": {}, "Next": "C"}),
            ("C", task("c", TimeoutSeconds=9)),
        ),
        A=[fails("Flaky").after(1), answers(1).after(3)],
        B=[submits({}, answers(1).after(10))],
        C=[never_answers()],
    )

    found = {name: {tuple(d.values()): v for d, v in values} for name, values in sdk.metrics().items()}
    a, c = (FUNCTION + "a",), (FUNCTION + "c",)
    assert found["lambdafunctionsscheduled"] == {a: 2, c: 1}
    assert found["lambdafunctionsstarted"] == {a: 2, c: 1}
    assert found["lambdafunctionsfailed"] == {a: 1}
    assert found["lambdafunctionssucceeded"] == {a: 1}
    assert found["lambdafunctionstimedout"] == {c: 1}
    assert found["lambdafunctiontime"] == {a: (2, 4_000.0), c: (1, 9_000.0)}
    assert found["lambdafunctionruntime"] == {a: (2, 4_000.0), c: (1, 9_000.0)}
    assert found["lambdafunctionscheduletime"] == {a: (2, 0.0), c: (1, 0.0)}
    assert found["serviceintegrationssucceeded"] == {(job,): 1}
    [(count, milliseconds)] = found["serviceintegrationtime"].values()
    assert count == 1
    assert milliseconds >= 10_000
    dimensions = [name for name, _ in sdk.metrics()["serviceintegrationsstarted"][0][0].items()]
    assert dimensions == ["ServiceIntegrationResourceArn"]


def test_a_task_scheduled_before_a_resume_is_counted_and_not_measured() -> None:
    store, sdk = MemoryStore(), Sdk()

    async def leave(clock: VirtualClock) -> None:
        tasks = ScriptedTasks({"A": [never_answers()]})
        async with Engine(store, clock=clock, resolver=tasks, drain_seconds=0) as engine:
            await engine.create_state_machine("m", machine(("A", task("a"))))
            await engine.start("m")
            await clock.sleep_until(clock.now() + 1)

    async def resume(clock: VirtualClock) -> None:
        tasks = ScriptedTasks({"A": [answers(1)]})
        async with Engine(store, clock=clock, resolver=tasks, observers=[sdk.telemetry]) as engine:
            await engine.join()

    run(leave)
    run(resume, start_at=DEFAULT_START_AT + 50)
    found = sdk.metrics()
    assert found["lambdafunctionssucceeded"] == [({"LambdaFunctionArn": "unknown"}, 1)]
    assert "lambdafunctiontime" not in found
    assert "executionsstarted" not in found


def test_a_redriven_execution_has_a_new_span_and_counts_as_redriven() -> None:
    sdk = Sdk()

    async def main(clock: VirtualClock) -> None:
        tasks = ScriptedTasks({"A": [fails("No"), answers(1)]})
        async with Engine(clock=clock, resolver=tasks, observers=[sdk.telemetry]) as engine:
            await engine.create_state_machine("m", machine(("A", task("a"))))
            execution = await engine.start("m")
            with suppress(ExecutionFailed):
                await execution.result()
            await clock.sleep_until(clock.now() + 60)
            with sdk.tracer.start_as_current_span("redrive"):
                await execution.redrive()
            assert await execution.result() == 1

    run(main)
    first, second = sdk.spans("execution m")
    assert [attributes(span)["asfn.execution.redrive_count"] for span in (first, second)] == [0, 1]
    assert [attributes(span)["asfn.execution.status"] for span in (first, second)] == ["FAILED", "SUCCEEDED"]
    assert seconds(second) == (60, 60)
    assert inside(second, sdk.span("redrive"))
    again = sdk.spans("state A")[1]
    assert seconds(again) == (60, 60)
    assert inside(again, second)
    found = {name: values[0][1] for name, values in sdk.metrics().items() if name.endswith(("ed", "en", "count"))}
    assert {name: value for name, value in found.items() if not name.startswith("lambda")} == {
        "executionsstarted": 1,
        "executionsfailed": 1,
        "executionsredriven": 1,
        "executionssucceeded": 1,
        "redrivenexecutionssucceeded": 1,
        "openexecutioncount": 0,
    }


# --- asking for it ---------------------------------------------------------------------------------------------------


def test_spans_and_metrics_can_be_had_by_themselves() -> None:
    sdk = Sdk()

    async def main(clock: VirtualClock) -> None:
        metrics = Metrics(meter_provider=sdk.meter_provider)
        async with Engine(clock=clock, observers=[metrics]) as engine:
            assert not engine._observers.watches_states
            await engine.create_state_machine("m", machine(("A", {"Type": "Pass", "End": True})))
            await (await engine.start("m")).result()
        assert sdk.spans() == []
        spans = Spans(tracer_provider=sdk.tracer_provider)
        async with Engine(clock=clock, observers=[spans]) as engine:
            assert not engine._observers.wants("events_committed")
            await engine.create_state_machine("m", machine(("A", {"Type": "Pass", "End": True})))
            await (await engine.start("m")).result()

    run(main)
    assert Counter(span.name for span in sdk.spans()) == {"execution m": 1, "state A": 1}
    assert sdk.metrics()["executionsstarted"][0][1] == 1


def test_without_opentelemetry_the_error_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from asfn.observe import ExecutionLogs, Metrics, Spans, Telemetry\n"
        "for kind in (Telemetry, Spans, Metrics):\n"
        "    try: kind()\n"
        "    except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ['Telemetry needs the package opentelemetry-api: pip install "asfn[otel]"'] * 3


def test_observing_does_not_load_opentelemetry_unless_it_is_asked_for() -> None:
    program = "import sys, asfn.observe; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
