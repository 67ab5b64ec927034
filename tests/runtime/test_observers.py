"""Observers: what they are told, in which order, and that nothing they do disturbs an execution."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from itertools import count
from typing import Any

import pytest
from msgspec.structs import replace

from asfn._json import Json, JsonObject
from asfn.engine import Engine
from asfn.errors import ExecutionFailed, TaskFailed
from asfn.runtime.handle import Execution, ExecutionInfo
from asfn.runtime.history import shapes
from asfn.runtime.interpreter import Interpreter
from asfn.runtime.journal import Journal
from asfn.runtime.observers import Observer, StateVisit
from asfn.store.memory import MemoryStore
from asfn.store.records import ExecutionQuery
from asfn.tasks.protocol import TaskCall
from asfn.testing.faults import FaultyStore
from asfn.testing.loop import VirtualClock, run
from asfn.testing.tasks import ScriptedTasks, answers, fails, never_answers
from tests.observe.recorder import Recorder
from tests.runtime.lives import PAUSE_SECONDS, Tasks, Workflow
from tests.runtime.workflows import RETRY, WORKFLOWS, each, machine, parallel, task

NAP: JsonObject = {"Type": "Wait", "Seconds": 1_000, "End": True}
LOOP: JsonObject = {"Variable": "$.a", "IsNull": True, "Next": "A"}


async def ended(execution: Execution) -> ExecutionInfo:
    with suppress(ExecutionFailed):
        await execution.result()
    return await execution.describe()


def observed(definition: JsonObject, input: Json = None, type: Any = "STANDARD", **tasks: Any) -> Recorder:
    """What an observer is told of one execution. tasks: the script by state name."""

    async def main(clock: VirtualClock) -> Recorder:
        recorder = Recorder()
        engine = Engine(clock=clock, resolver=ScriptedTasks(tasks), observers=[recorder])
        async with engine:
            await engine.create_state_machine("m", definition, type=type)
            info = await ended(await engine.start("m", {} if input is None else input))
        assert recorder.infos[-1] == replace(info, redrive_status=None, redrive_status_reason=None)
        assert recorder.open == []
        return recorder

    return run(main)


# --- what is told ----------------------------------------------------------------------------------------------------


def test_an_execution_is_told_of_from_its_start_to_its_end() -> None:
    definition = machine(("A", {"Type": "Pass", "Next": "B"}), ("B", task("b")))

    recorder = observed(definition, B=[answers(7)])

    assert recorder.told == [
        ("status", "RUNNING"),
        ("entered", "A"),
        ("exited", "A"),
        ("entered", "B"),
        ("called", "B"),
        ("done", "B"),
        ("left", "B"),
        ("exited", "B"),
        ("status", "SUCCEEDED"),
    ]


def test_a_retried_and_then_caught_task_is_one_visit() -> None:
    definition = machine(
        ("A", task("a", Retry=RETRY, Catch=[{"ErrorEquals": ["Bad"], "Next": "B"}])), ("B", {"Type": "Succeed"})
    )

    recorder = observed(definition, A=[fails("Flaky"), fails("Flaky"), fails("Bad")])

    assert [item for item in recorder.told if item[1] == "A" and item[0] not in ("called", "left")] == [
        ("entered", "A"),
        ("failed", "A"),
        ("retried Flaky after 0", "A"),
        ("failed", "A"),
        ("retried Flaky after 1", "A"),
        ("failed", "A"),
        ("caught Bad", "A"),
    ]


def test_a_failure_nobody_catches_is_told_from_the_inside_out() -> None:
    definition = machine(
        ("Both", parallel(machine(("Bad", task("bad"))), machine(("Long", NAP)), machine(("Late", task("late")))))
    )

    recorder = observed(definition, Bad=[fails("No").after(5)], Late=[never_answers()])

    ends = [item for item in recorder.told if item[0].startswith(("failed N", "aborted", "status", "cancelled"))]
    assert ends[:2] == [("status", "RUNNING"), ("failed No", "Bad")]
    assert sorted(ends[2:5]) == [("aborted", "Late"), ("aborted", "Long"), ("cancelled", "Late")]
    assert ends[5:] == [("failed No", "Both"), ("status", "FAILED")]


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ({"Type": "Fail", "Error": "No"}, "No"),
        ({"Type": "Pass", "InputPath": "$.missing", "End": True}, "States.Runtime"),
        ({"Type": "Pass", "OutputPath": "$.missing", "End": True}, "States.Runtime"),
        ({"Type": "Wait", "SecondsPath": "$.missing", "End": True}, "States.Runtime"),
        ({"Type": "Choice", "InputPath": "$.no", "Choices": [LOOP], "Default": "Z"}, "States.Runtime"),
        (
            {"Type": "Map", "ItemsPath": "$.no", "ItemProcessor": machine(("I", NAP)), "End": True},
            "States.ReferencePathConflict",
        ),
        (
            {"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $x %}", "End": True},
            "States.QueryEvaluationError",
        ),
    ],
)
def test_a_state_whose_own_fields_fail_is_told_as_failed_once(state: JsonObject, error: str) -> None:
    end: list[tuple[str, JsonObject]] = [("Z", {"Type": "Succeed"})] if state["Type"] == "Choice" else []
    recorder = observed(machine(("A", state), *end), {"a": 1})

    assert recorder.told == [("status", "RUNNING"), ("entered", "A"), (f"failed {error}", "A"), ("status", "FAILED")]


def test_a_catcher_whose_own_fields_fail_leaves_one_failed_visit() -> None:
    catch: Json = [{"ErrorEquals": ["States.ALL"], "Assign": {"x.$": "$.missing"}, "Next": "B"}]
    definition = machine(("A", task("a", Catch=catch)), ("B", {"Type": "Succeed"}))

    recorder = observed(definition, A=[fails("Bad")])

    assert recorder.told[-2:] == [("failed States.Runtime", "A"), ("status", "FAILED")]


def test_stop_and_timeout_abort_what_is_open() -> None:
    timed = observed(machine(("A", each(machine(("B", NAP)))), TimeoutSeconds=10), [1, 2])
    assert Counter(timed.told[-4:-1]) == Counter([("aborted", "A"), ("aborted", "B"), ("aborted", "B")])
    assert timed.told[-1] == ("status", "TIMED_OUT")

    async def main(clock: VirtualClock) -> None:
        recorder = Recorder()
        async with Engine(clock=clock, observers=[recorder]) as engine:
            await engine.create_state_machine("m", machine(("A", NAP)))
            execution = await engine.start("m")
            await clock.sleep_until(clock.now() + 1)
            await execution.stop("Why", "because")
        assert recorder.told[-2:] == [("aborted", "A"), ("status", "ABORTED")]
        assert (recorder.infos[-1].error, recorder.infos[-1].cause) == ("Why", "because")

    run(main)


def test_committed_events_are_the_history_also_of_an_execution_that_stores_none() -> None:
    definition = machine(("A", {"Type": "Pass", "Next": "B"}), ("B", task("b")))

    standard = observed(definition, B=[answers(7)])
    express = observed(definition, B=[answers(7)], type="EXPRESS")

    [one], [other] = standard.events.values(), express.events.values()
    assert [event["type"] for event in one] == [event["type"] for event in other]
    assert [event["id"] for event in other] == list(range(1, len(other) + 1))
    assert standard.told == express.told


@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.name)
def test_every_visit_ends_once_and_the_committed_events_are_the_history(workflow: Workflow, seed: int | None) -> None:
    async def main(clock: VirtualClock) -> None:
        recorder = Recorder()
        tasks = Tasks(workflow.script, clock)
        async with Engine(clock=clock, resolver=tasks, observers=[recorder]) as engine:
            await engine.create_state_machine("machine", workflow.definition)
            execution = await engine.start("machine", workflow.input, name="x")
            await ended(execution)
            history = await execution.history()
        assert recorder.events == {execution.arn: history}
        assert (recorder.open, recorder.calls) == ([], [])
        assert recorder.entered == [event["id"] for event in history if str(event["type"]).endswith("StateEntered")]
        assert recorder.exits == Counter(
            str(event["stateExitedEventDetails"]["name"])  # type: ignore[index, call-overload]
            for event in history
            if "stateExitedEventDetails" in event
        )
        assert sum(hook == "called" for hook, _ in recorder.told) == len(tasks.calls)

    run(main, seed=seed)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.name)
def test_leaving_and_resuming_goes_on_with_the_open_visits(workflow: Workflow) -> None:
    store = MemoryStore()

    async def first(clock: VirtualClock) -> Recorder:
        recorder = Recorder()
        tasks = Tasks(workflow.script, clock)
        async with Engine(store, clock=clock, resolver=tasks, observers=[recorder], drain_seconds=0) as engine:
            await engine.create_state_machine("machine", workflow.definition)
            await engine.start("machine", workflow.input, name="x")
            await clock.sleep_until(clock.now() + 0.7)
        return recorder

    async def second(clock: VirtualClock) -> tuple[Recorder, list[JsonObject]]:
        recorder = Recorder()
        tasks = Tasks(workflow.script, clock)
        async with Engine(store, clock=clock, resolver=tasks, observers=[recorder]) as engine:
            await engine.join()
            [info] = await engine.list_executions()
            history = await (await engine.execution(info.arn)).history()
        return recorder, history

    before = run(first)
    assert before.told[0] == ("status", "RUNNING")
    assert before.told[-1] == ("parked", "NoneType")
    assert before.calls == []
    after, history = run(second, start_at=1735689600.0 + PAUSE_SECONDS)
    assert after.told[0] == ("resumed", "x")
    assert after.told[-1][0] == "status"
    assert after.resumed != []
    [arn] = after.events
    assert before.events[arn] + after.events[arn] == history
    entered = [event["id"] for event in history if str(event["type"]).endswith("StateEntered")]
    assert sorted({*before.entered, *after.entered}) == entered
    assert {visit.event_id for visit in after.resumed} <= set(before.entered)


def test_an_execution_that_a_fault_stops_is_told_as_parked_with_the_error() -> None:
    class Gone(ScriptedTasks):
        def resolve(self, resource: Any) -> Any:
            if self.calls:
                raise RuntimeError("lost")
            return super().resolve(resource)

    async def main(clock: VirtualClock) -> None:
        recorder = Recorder()
        tasks = Gone({"A": [answers(1)], "B": [answers(1)]})
        async with Engine(clock=clock, resolver=tasks, observers=[recorder]) as engine:
            await engine.create_state_machine("m", machine(("A", task("a", "B")), ("B", task("b"))))
            execution = await engine.start("m")
            with pytest.raises(RuntimeError, match="lost"):
                await execution.result()
            assert recorder.told[-1] == ("parked", "RuntimeError")

    run(main)


# --- nothing is disturbed --------------------------------------------------------------------------------------------


HOOKS = [name for name in vars(Observer) if not name.startswith("_")]


def _raise(self: Observer, *_: object) -> None:
    raise ValueError("the secret is 42")


async def _raise_later(self: Observer, *_: object) -> None:
    await asyncio.sleep(1)
    raise ValueError("the secret is 42")


# Observers that raise wherever they can, at once and later, with a secret in the text.
Hostile = type("Hostile", (Observer,), dict.fromkeys(HOOKS, _raise))
HostileLater = type("HostileLater", (Hostile,), dict.fromkeys({*HOOKS} - {"task_called"}, _raise_later))


class HostileContext(Observer):
    """Gives context managers that raise."""

    def __init__(self, where: str) -> None:
        self._where = where

    def task_called(self, visit: StateVisit, call: TaskCall, at: float) -> AbstractContextManager[None]:
        observer = self

        class Manager(AbstractContextManager[None]):
            def __enter__(self) -> None:
                if observer._where == "enter":
                    raise asyncio.CancelledError

            def __exit__(self, *_: object) -> bool:
                if observer._where == "exit":
                    raise ValueError("the secret is 42")
                return True

        return Manager()


@pytest.mark.parametrize("workflow", WORKFLOWS[:4], ids=lambda workflow: workflow.name)
@pytest.mark.parametrize(
    "hostile",
    [Hostile(), HostileLater(), HostileContext("enter"), HostileContext("exit"), HostileContext("nowhere")],
    ids=["raises", "raises later", "raises on entering", "raises on leaving", "swallows"],
)
def test_an_observer_that_raises_changes_nothing_and_its_text_is_not_logged(
    workflow: Workflow, hostile: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(clock: VirtualClock, observers: Sequence[Observer]) -> tuple[ExecutionInfo, list[JsonObject]]:
        tasks = Tasks(workflow.script, clock)
        async with Engine(clock=clock, resolver=tasks, observers=observers, drain_seconds=1e9) as engine:
            await engine.create_state_machine("machine", workflow.definition)
            execution = await engine.start("machine", workflow.input, name="x")
            return await ended(execution), await execution.history()

    recorder = Recorder()
    assert run(lambda clock: main(clock, [hostile, recorder])) == run(lambda clock: main(clock, []))
    assert recorder.told[-1][0] == "status"
    said = [record.getMessage() for record in caplog.records if record.name == "asfn.observers"]
    assert "42" not in caplog.text
    if not isinstance(hostile, HostileContext):
        assert all("raised ValueError at test_observers.py" in text for text in said)
        assert any(text.startswith(f"status_changed of observer {type(hostile).__name__} raised") for text in said)


def test_slow_asynchronous_hooks_hold_nothing_up_and_keep_their_order() -> None:
    done: list[tuple[str, float]] = []

    class Slow(Observer):
        async def status_changed(self, execution: ExecutionInfo) -> None:
            await asyncio.sleep(100 if execution.status == "RUNNING" else 1)
            done.append((f"{execution.name} {execution.status}", clock_of[0].now() - began[0]))

    clock_of: list[VirtualClock] = []
    began: list[float] = []

    async def main(clock: VirtualClock) -> None:
        clock_of.append(clock)
        began.append(clock.now())
        async with Engine(clock=clock, observers=[Slow()], drain_seconds=500) as engine:
            await engine.create_state_machine("m", machine(("A", {"Type": "Pass", "End": True})))
            for name in ("a", "b"):
                await (await engine.start("m", name=name)).result()
            assert clock.now() == began[0]

    run(main)
    assert sorted(done) == [("a RUNNING", 100), ("a SUCCEEDED", 101), ("b RUNNING", 100), ("b SUCCEEDED", 101)]


def test_leaving_the_engine_cancels_hooks_that_never_end() -> None:
    ends: list[str] = []

    class Stuck(Observer):
        async def status_changed(self, execution: ExecutionInfo) -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ends.append(execution.status)

    async def main(clock: VirtualClock) -> None:
        began = clock.now()
        async with Engine(clock=clock, observers=[Stuck()], drain_seconds=7) as engine:
            await engine.create_state_machine("m", machine(("A", {"Type": "Pass", "End": True})))
            await (await engine.start("m")).result()
        assert clock.now() - began == pytest.approx(7)

    run(main)
    assert ends == ["RUNNING"]  # the second one had not begun


def test_a_hook_that_is_cancelled_from_inside_does_not_take_the_next_ones_with_it() -> None:
    seen: list[str] = []

    class Cancelled(Observer):
        async def status_changed(self, execution: ExecutionInfo) -> None:
            seen.append(execution.status)
            raise asyncio.CancelledError

    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock, observers=[Cancelled()]) as engine:
            await engine.create_state_machine("m", machine(("A", {"Type": "Pass", "End": True})))
            await (await engine.start("m")).result()

    run(main)
    assert seen == ["RUNNING", "SUCCEEDED"]


def test_calls_beyond_the_bound_are_dropped_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("asfn.runtime.observers.WAITING_CALLS", 3)
    seen: list[str] = []

    class Slow(Observer):
        async def status_changed(self, execution: ExecutionInfo) -> None:
            await asyncio.sleep(10)
            seen.append(execution.status)

    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock, observers=[Slow()], drain_seconds=100) as engine:
            await engine.create_state_machine("m", machine(("A", {"Type": "Pass", "End": True})))
            for _ in range(5):
                await (await engine.start("m")).result()
            await clock.sleep_until(clock.now() + 50)
            await (await engine.start("m")).result()

    run(main)
    assert len(seen) == 5  # three of the first ten, and both of the last execution
    assert sum("further ones are dropped" in record.getMessage() for record in caplog.records) == 1


# --- registering -----------------------------------------------------------------------------------------------------


def test_on_status_change_takes_plain_and_asynchronous_functions() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = Engine(clock=clock)
        seen: list[tuple[str, str, Json]] = []

        @engine.on_status_change
        def plain(execution: ExecutionInfo) -> None:
            seen.append(("plain", execution.status, execution.output))

        @engine.on_status_change
        async def later(execution: ExecutionInfo) -> None:
            await asyncio.sleep(0)
            seen.append(("later", execution.status, execution.output))

        async with engine:
            await engine.create_state_machine("m", machine(("A", {"Type": "Pass", "Result": 7, "End": True})))
            await (await engine.start("m")).result()
        assert sorted(seen, key=lambda item: item[0]) == [
            ("later", "RUNNING", None),
            ("later", "SUCCEEDED", 7),
            ("plain", "RUNNING", None),
            ("plain", "SUCCEEDED", 7),
        ]
        plain(await _any_info())
        assert len(seen) == 5

    async def _any_info() -> ExecutionInfo:
        async with Engine() as engine:
            await engine.create_state_machine("m", machine(("A", {"Type": "Pass", "End": True})))
            return await (await engine.start("m")).describe()

    run(main)


def test_a_status_hook_may_use_the_engine() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = Engine(clock=clock)

        @engine.on_status_change
        async def follow(execution: ExecutionInfo) -> None:
            if execution.status == "FAILED":
                await engine.start("cleanup", {"failed": execution.name}, name="after")

        async with engine:
            await engine.create_state_machine("m", machine(("A", {"Type": "Fail", "Error": "No"})))
            await engine.create_state_machine("cleanup", machine(("A", {"Type": "Pass", "End": True})))
            await ended(await engine.start("m", name="x"))
            await clock.sleep_until(clock.now() + 1)
            [found] = await engine.list_executions(name="after")
            assert found.input == {"failed": "x"}

    run(main)


def test_an_observer_added_later_is_told_of_what_is_started_from_then_on() -> None:
    async def main(clock: VirtualClock) -> None:
        recorder = Recorder()
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", machine(("A", {"Type": "Wait", "Seconds": 5, "End": True})))
            early = await engine.start("m", name="early")
            engine.observe(recorder)
            late = await engine.start("m", name="late")
            await early.result()
            await late.result()
        assert {info.name for info in recorder.infos} == {"late"}
        assert recorder.told[0] == ("status", "RUNNING")

    run(main)


def test_what_is_no_observer_is_refused() -> None:
    with pytest.raises(TypeError, match="is not an asfn Observer"):
        Engine(observers=[print])  # type: ignore[list-item]


def test_an_execution_that_nobody_observes_runs_the_plain_classes() -> None:
    class Events(Observer):
        def events_committed(self, execution: ExecutionInfo, events: Sequence[JsonObject]) -> None: ...

    async def kinds(*observers: Observer) -> tuple[type, type]:
        async with Engine(observers=observers) as engine:
            await engine.create_state_machine("m", machine(("A", NAP)))
            execution = await engine.start("m")
            found = engine.running(execution.arn)
            assert found is not None
            return type(found.interpreter), type(found.interpreter.journal)

    async def main() -> None:
        assert await kinds() == (Interpreter, Journal)
        engine = Engine()
        engine.on_status_change(lambda execution: None)
        status = engine._observers
        assert not status.watches_states
        assert not status.wants("events_committed")
        interpreter, journal = await kinds(Events())
        assert (interpreter, journal is Journal) == (Interpreter, False)

    run(main())


def test_contexts_of_observers_reach_functions_on_the_loop_and_in_threads() -> None:
    from contextvars import ContextVar

    here: ContextVar[str] = ContextVar("here", default="nowhere")

    class Context(Observer):
        def task_called(self, visit: StateVisit, call: TaskCall, at: float) -> AbstractContextManager[None]:
            class Manager(AbstractContextManager[None]):
                def __enter__(self) -> None:
                    self.token = here.set(visit.name)

                def __exit__(self, *_: object) -> None:
                    here.reset(self.token)

            return Manager()

    async def main(clock: VirtualClock) -> None:
        engine = Engine(clock=clock, observers=[Context()])

        @engine.function("loop")
        async def loop(event: Json) -> str:
            await asyncio.sleep(1)
            return here.get()

        @engine.function("thread")
        def thread(event: Json) -> str:
            return here.get()

        async with engine:
            branches = parallel(machine(("A", task("loop"))), machine(("B", task("thread"))))
            await engine.create_state_machine("m", machine(("Both", branches)))
            assert await (await engine.start("m")).result() == ["A", "B"]
        assert here.get() == "nowhere"

    run(main)


def test_a_fault_of_a_function_is_told_as_a_failure_of_the_call() -> None:
    async def main(clock: VirtualClock) -> None:
        recorder = Recorder()
        engine = Engine(clock=clock, observers=[recorder])

        @engine.function("a")
        async def a(event: Json) -> None:
            raise TaskFailed("Mine", "text")

        async with engine:
            await engine.create_state_machine("m", machine(("A", task("a"))))
            info = await ended(await engine.start("m"))
        assert ("failed", "A") in recorder.told
        assert info.error == "Mine"

    run(main)


def test_observers_log_nothing_when_nothing_goes_wrong(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "asfn.observers")
    observed(machine(("A", task("a"))), A=[answers(1)])
    assert [record for record in caplog.records if record.name == "asfn.observers"] == []


@pytest.mark.parametrize("kind", ["crash_before", "crash_after"])
@pytest.mark.parametrize("workflow", [WORKFLOWS[0], WORKFLOWS[6]], ids=lambda workflow: workflow.name)
def test_events_are_told_only_when_they_are_durable_whatever_commit_a_crash_falls_on(
    workflow: Workflow, kind: str
) -> None:
    for crash in count(1):
        store = MemoryStore()
        died, first, between = run(partial(_life, workflow, FaultyStore(store, **{kind: crash})))  # type: ignore[arg-type]
        told = [event for events in first.events.values() for event in events]
        assert told == between[: len(told)]
        if not died:
            break
        start_at = 1735689600.0 + PAUSE_SECONDS
        _, second, durable = run(partial(_life, workflow, FaultyStore(store)), start_at=start_at)
        again = [event for events in second.events.values() for event in events]
        assert between + again == durable  # what was durable at the crash and not told yet is never told
        assert (again == []) == (between == durable)
        assert second.open == []
    assert crash > 5


async def _life(workflow: Workflow, store: FaultyStore, clock: VirtualClock) -> tuple[bool, Recorder, list[JsonObject]]:
    """One process: whether it died, what was told in it, and what is durable after it."""
    recorder = Recorder()
    working = asyncio.create_task(_live(workflow, store, clock, recorder))
    crashed = asyncio.create_task(store.crashed.wait())
    await asyncio.wait({working, crashed}, return_when=asyncio.FIRST_COMPLETED)
    died = store.crashed.is_set()
    crashed.cancel()
    rows = await store.store.executions(ExecutionQuery())
    segments = await store.store.segments(rows[0].key, limit=10_000) if rows else []
    return died, recorder, [event for segment in segments for event in shapes(segment)]


async def _live(workflow: Workflow, store: Any, clock: VirtualClock, recorder: Recorder) -> None:
    tasks = Tasks(workflow.script, clock)
    async with Engine(store, clock=clock, resolver=tasks, observers=[recorder]) as engine:
        await engine.create_state_machine("machine", workflow.definition)
        if not await engine.list_executions():
            await engine.start("machine", workflow.input, name="x")
        await engine.join()


def test_nothing_asfn_logs_by_itself_holds_what_functions_raise(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "asfn")

    async def main(clock: VirtualClock) -> None:
        engine = Engine(clock=clock, observers=[Hostile(), HostileLater()])

        @engine.function("fails")
        async def fails(event: Json) -> None:
            raise ValueError("the secret is 42")

        @engine.function("late")
        async def late(event: Json) -> None:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                raise TaskFailed("Late", "the secret is 42") from None

        async with engine:
            caught: Json = [{"ErrorEquals": ["States.ALL"], "ResultPath": None, "Next": "B"}]
            definition = machine(
                ("A", task("fails", "B", Catch=caught)),
                ("B", task("late", "C", TimeoutSeconds=5, Catch=[{"ErrorEquals": ["States.ALL"], "Next": "C"}])),
                ("C", {"Type": "Fail", "Cause": "the secret is 42"}),
            )
            await engine.create_state_machine("m", definition)
            info = await ended(await engine.start("m", {"secret": 42}, name="x"))
        assert info.cause == "the secret is 42"

    run(main)
    assert "handler x:B raised TaskFailed Late after its deadline" in caplog.text
    assert "42" not in caplog.text
