"""Structured logs: AWS's log entries and levels, what they hold of an execution's data, and records as JSON."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from asfn._json import Json, JsonObject, encode
from asfn.engine import Engine
from asfn.errors import ExecutionFailed
from asfn.observe import ExecutionContext, ExecutionLogs, JsonFormatter, LogSettings, is_logged, log_entry
from asfn.observe.logs import ENTRY_BYTES
from asfn.testing.loop import VirtualClock, run
from asfn.testing.tasks import ScriptedTasks, answers, fails
from tests.conformance.cases import DEFAULT_DIRECTORY, Case, load
from tests.conformance.compare import Matcher
from tests.conformance.normalise import Placeholders, decode_members
from tests.runtime.workflows import machine, task

LEVELS: list[Any] = ["ALL", "ERROR", "FATAL", "OFF"]


class Stream:
    """A logger of its own and what it printed."""

    def __init__(self, name: str, *filters: logging.Filter) -> None:
        self.text = io.StringIO()
        self.handler = logging.StreamHandler(self.text)
        self.handler.setFormatter(JsonFormatter())
        for filter in filters:
            self.handler.addFilter(filter)
        self.logger = logging.getLogger(name)
        self.logger.setLevel(logging.INFO)
        self.logger.addHandler(self.handler)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.getvalue().splitlines()]

    def close(self) -> None:
        self.logger.removeHandler(self.handler)


@pytest.fixture
def stream() -> Iterator[Stream]:
    stream = Stream("tests.logs", ExecutionContext())
    yield stream
    stream.close()


def logged(
    stream: Stream, definition: JsonObject, input: Json = None, *, type: Any = "STANDARD", tasks: Any = None, **to: Any
) -> list[dict[str, Any]]:
    """The lines of one execution."""

    async def main(clock: VirtualClock) -> None:
        observer = ExecutionLogs(stream.logger, **to)
        async with Engine(clock=clock, resolver=ScriptedTasks(tasks or {}), observers=[observer]) as engine:
            await engine.create_state_machine("m", definition, type=type)
            execution = await engine.start("m", {} if input is None else input, name="x")
            with suppress(ExecutionFailed):
                await execution.result()

    run(main)
    return stream.lines


# --- the recordings --------------------------------------------------------------------------------------------------


def recorded(kind: str) -> list[Case]:
    """The cases of a kind whose executions were logged on AWS. Skips where the recordings are not there."""
    folder = DEFAULT_DIRECTORY / "logs"
    if not folder.is_dir():
        pytest.skip("the recordings are not there: ../shared/conformance")
    return [case for case in load([folder]) if case.kind == kind]


def test_log_entries_are_those_recorded_on_aws() -> None:
    compared = Counter[bool]()
    for case in recorded("execution"):
        machine_ = case.data["state_machine"]
        configuration = machine_["loggingConfiguration"]
        placeholders = Placeholders.of(case.data)
        expected = placeholders.bind(case.expected).get("also_recorded", {}).get("logged_execution_events", [])
        if configuration["level"] == "ALL" and not expected:
            continue  # the log group was gone
        started = [case.data["input"]]
        lines = run(partial(play, machine_, case.data["definition"], configuration, started))
        assert Matcher(placeholders).difference(expected, lines, case.id) is None
        compared[bool(expected)] += 1
    assert compared[True] >= 8
    assert compared[False] >= 6


def test_log_entries_of_several_executions_are_those_recorded_on_aws() -> None:
    for case in recorded("api"):
        calls = [(step["operation"], step["params"]) for step in case.data["steps"]]
        [created] = [params for operation, params in calls if operation == "CreateStateMachine"]
        started = [json.loads(params["input"]) for operation, params in calls if operation == "StartExecution"]
        machine_ = {"name": created["name"], "role_arn": created["roleArn"]}

        lines = run(partial(play, machine_, created["definition"], created["loggingConfiguration"], started))

        placeholders = Placeholders.of(  # a case of this kind does not tell them
            {
                "placeholders": {
                    "bindings": {"snf_role_arn": created["roleArn"], "<ArnPart_0idx>": created["name"]},
                    "wildcards": [f"<ExecArnPart_{index}idx>" for index in range(len(started))],
                    "bare_wildcards": ["timestamp"],
                }
            }
        )
        expected = placeholders.bind(case.data["derived_observations"])["logged_execution_events"]
        assert Matcher(placeholders).difference(expected, lines, case.id) is None


async def play(
    machine_: dict[str, Any], definition: Any, configuration: dict[str, Any], started: list[Any], clock: VirtualClock
) -> list[Any]:
    """The log entries of executions that run one after the other, as the recorder would have kept them."""
    stream = Stream("tests.recorded")
    logs = ExecutionLogs(stream.logger, level="OFF", machines={machine_["name"]: LogSettings.of(configuration)})
    try:
        async with Engine(clock=clock, account="111111111111", observers=[logs]) as engine:
            await engine.create_state_machine(machine_["name"], json.dumps(definition), role_arn=machine_["role_arn"])
            for input in started:
                execution = await engine.start(machine_["name"], input_text=json.dumps(input))
                with suppress(ExecutionFailed):
                    await execution.result()
    finally:
        stream.close()
    return [decode_members(line) for line in stream.lines]


# --- entries ---------------------------------------------------------------------------------------------------------


def test_an_entry_has_aws_members_in_aws_order_all_numbers_as_texts(stream: Stream) -> None:
    [first, *_] = logged(stream, machine(("A", {"Type": "Pass", "End": True})), {"a": 1}, include_execution_data=True)

    assert list(first.items()) == [
        ("id", "1"),
        ("type", "ExecutionStarted"),
        ("details", {"input": '{"a":1}', "inputDetails": {"truncated": False}, "roleArn": first["details"]["roleArn"]}),
        ("previous_event_id", "0"),
        ("event_timestamp", "1735689600000"),
        ("execution_arn", "arn:aws:states:us-east-1:123456789012:execution:m:x"),
        ("redrive_count", "0"),
    ]


def test_without_execution_data_no_payload_reaches_a_log(stream: Stream) -> None:
    secret = "s3cret"
    definition = machine(
        ("A", {"Type": "Pass", "Assign": {"kept.$": "$.a"}, "Next": "B"}),
        ("B", task("b", "C", Parameters={"said.$": "$.a"})),
        ("C", {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage", "Parameters": {"MessageBody.$": "$"}}),
    )
    definition["States"]["C"]["End"] = True  # type: ignore[index, call-overload]
    tasks = {"B": [answers({"back": secret})], "C": [answers({"id": secret})]}

    lines = logged(stream, definition, {"a": secret}, tasks=tasks)

    assert secret not in stream.text.getvalue()
    by_type = {line["type"]: line["details"] for line in lines}
    assert by_type["PassStateExited"] == {"name": "A"}
    assert by_type["TaskScheduled"] == {"resourceType": "sqs", "resource": "sendMessage", "region": "us-east-1"}
    assert by_type["ExecutionSucceeded"] == {}
    stream.text.seek(0)
    logged(stream, definition, {"a": secret}, tasks=tasks, include_execution_data=True)
    assert secret in stream.text.getvalue()


@pytest.mark.parametrize(
    ("type", "least"),
    [
        ("ExecutionStarted", "ALL"), ("PassStateEntered", "ALL"), ("TaskStateExited", "ALL"), ("TaskScheduled", "ALL"),
        ("LambdaFunctionSucceeded", "ALL"), ("ExecutionSucceeded", "ALL"), ("MapIterationStarted", "ALL"),
        ("FailStateEntered", "ERROR"), ("TaskFailed", "ERROR"), ("LambdaFunctionTimedOut", "ERROR"),
        ("MapIterationAborted", "ERROR"), ("TaskStateAborted", "ERROR"), ("EvaluationFailed", "ERROR"),
        ("LambdaFunctionScheduleFailed", "ERROR"), ("MapRunFailed", "ERROR"),
        ("ExecutionFailed", "FATAL"), ("ExecutionAborted", "FATAL"), ("ExecutionTimedOut", "FATAL"),
    ],
)  # fmt: skip
def test_a_type_is_logged_from_its_level_on(type: str, least: str) -> None:
    assert [is_logged(type, level) for level in LEVELS] == [
        LEVELS.index(level) <= LEVELS.index(least) and level != "OFF" for level in LEVELS
    ]


def test_settings_read_an_aws_configuration_and_refuse_unknown_levels() -> None:
    assert LogSettings.of({}) == LogSettings("OFF", False)
    assert LogSettings.of({"level": "ERROR", "includeExecutionData": True}) == LogSettings("ERROR", True)
    with pytest.raises(ValueError, match="log level 'error': use one of ALL, ERROR, FATAL, OFF"):
        ExecutionLogs(level="error")  # type: ignore[arg-type]


@pytest.mark.parametrize("filler", ["x", '"', "ä", "\u0001"])
@pytest.mark.parametrize("member", ["input", "output", "parameters"])
def test_an_entry_that_is_too_large_has_its_data_cut_and_says_so(member: str, filler: str) -> None:
    details: JsonObject = {"name": "A", member: filler * 300_000, f"{member}Details": {"truncated": False}}
    if member == "parameters":
        del details["parametersDetails"]
    event: JsonObject = {"id": 2, "previousEventId": 1, "timestamp": 1.5, "type": "T", "xEventDetails": details}

    entry: Any = log_entry(event, "arn", include_execution_data=True)

    size = len(encode(encode(entry)).encode())
    assert ENTRY_BYTES * 0.98 < size <= ENTRY_BYTES
    assert entry["details"][member] == filler * len(entry["details"][member])
    assert entry["details"]["name"] == "A"
    assert entry["details"].get("parametersDetails") is None
    if member != "parameters":
        assert entry["details"][f"{member}Details"] == {"truncated": True}
    small: Any = log_entry(event, "arn", include_execution_data=False)
    assert small["details"] == {"name": "A"}


def test_variables_of_an_entry_that_is_too_large_go_as_a_whole() -> None:
    details: JsonObject = {
        "name": "A",
        "output": "y" * 300_000,
        "outputDetails": {"truncated": False},
        "assignedVariables": {"v": "x" * 300_000},
        "assignedVariablesDetails": {"truncated": False},
    }
    event: JsonObject = {
        "id": 2,
        "previousEventId": 1,
        "timestamp": 1.5,
        "type": "T",
        "stateExitedEventDetails": details,
    }

    entry: Any = log_entry(event, "arn", include_execution_data=True)

    assert entry["details"]["assignedVariables"] == {}
    assert entry["details"]["assignedVariablesDetails"] == {"truncated": True}
    assert len(encode(encode(entry)).encode()) <= ENTRY_BYTES


def test_express_executions_are_logged_too(stream: Stream) -> None:
    definition = machine(("A", {"Type": "Pass", "End": True}))
    lines = logged(stream, definition, type="EXPRESS")
    assert [line["type"] for line in lines] == [
        "ExecutionStarted",
        "PassStateEntered",
        "PassStateExited",
        "ExecutionSucceeded",
    ]


# --- records ---------------------------------------------------------------------------------------------------------


def test_records_name_execution_and_state_and_failures_are_errors(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asfn.executions")

    async def main(clock: VirtualClock) -> None:
        tasks = ScriptedTasks({"A": [fails("No", "because")]})
        async with Engine(clock=clock, resolver=tasks, observers=[ExecutionLogs()]) as engine:
            await engine.create_state_machine("m", machine(("A", task("a"))))
            with suppress(ExecutionFailed):
                await (await engine.start("m", name="x")).result()

    run(main)
    records: list[Any] = [record for record in caplog.records if record.name == "asfn.executions"]
    assert [(record.levelname, record.getMessage()) for record in records] == [
        ("INFO", "x ExecutionStarted"),
        ("INFO", "x:A TaskStateEntered"),
        ("INFO", "x LambdaFunctionScheduled"),
        ("INFO", "x LambdaFunctionStarted"),
        ("ERROR", "x LambdaFunctionFailed"),
        ("ERROR", "x ExecutionFailed"),
    ]
    entered = records[1]
    assert (entered.state, entered.event_id, entered.event_type) == ("A", 2, "TaskStateEntered")
    assert entered.execution_arn.endswith(":execution:m:x")
    assert entered.state_machine_arn.endswith(":stateMachine:m")
    assert records[0].state is None


def test_a_logger_that_is_not_enabled_costs_no_entry(stream: Stream) -> None:
    stream.logger.setLevel(logging.ERROR)
    lines = logged(stream, machine(("A", {"Type": "Fail", "Error": "No"})))
    assert [line["type"] for line in lines] == ["FailStateEntered", "ExecutionFailed"]


def test_what_functions_log_gets_their_execution_and_state(stream: Stream) -> None:
    async def main(clock: VirtualClock) -> None:
        engine = Engine(clock=clock, observers=[ExecutionLogs(stream.logger, level="OFF")])

        @engine.function("loop")
        async def loop(event: Json) -> None:
            await asyncio.sleep(1)
            stream.logger.info("on the loop")

        @engine.function("thread")
        def thread(event: Json) -> None:
            try:
                raise KeyError("k")
            except KeyError:
                stream.logger.exception("in a %s", "thread")

        async with engine:
            await engine.create_state_machine("m", machine(("A", task("loop", "B")), ("B", task("thread"))))
            await (await engine.start("m", name="x")).result()
            stream.logger.info("outside \ud800")

    run(main)
    first, second, third = stream.lines
    members = ("message", "level", "logger", "state", "attempt", "execution_name")
    assert [first[name] for name in members] == ["on the loop", "INFO", "tests.logs", "A", 0, "x"]
    assert [second[name] for name in members] == ["in a thread", "ERROR", "tests.logs", "B", 0, "x"]
    assert "KeyError: 'k'" in second["exception"]
    assert third["message"] == "outside \\ud800"
    assert "execution_arn" not in third
    assert first["timestamp"].endswith("Z")
