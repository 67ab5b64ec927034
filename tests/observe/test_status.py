"""AWS's status change event."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from asfn._json import Json, JsonObject
from asfn.engine import Engine
from asfn.errors import ExecutionFailed
from asfn.observe import StatusEvents
from asfn.testing.loop import VirtualClock, run
from tests.runtime.workflows import machine

ARN = "arn:aws:states:eu-west-1:210987654321:execution:m:x"


def sent(
    definition: JsonObject, input: Json = None, *, type: Any = "STANDARD", stop: bool = False, **to: Any
) -> list[Any]:
    """The events of one execution."""
    events: list[Any] = []

    async def send(event: JsonObject) -> None:
        events.append(event)

    async def main(clock: VirtualClock) -> None:
        engine = Engine(clock=clock, region="eu-west-1", account="210987654321", observers=[StatusEvents(send, **to)])
        async with engine:
            await engine.create_state_machine("m", definition, type=type)
            execution = await engine.start("m", {} if input is None else input, name="x")
            if stop:
                await execution.stop()
            with suppress(ExecutionFailed):
                await execution.result()

    run(main)
    return events


def test_start_and_end_are_aws_events() -> None:
    wait: JsonObject = {"Type": "Wait", "Seconds": 2.0, "Next": "B"}
    first, second = sent(machine(("A", wait), ("B", {"Type": "Pass", "Result": [1], "End": True})), {"a": 1})

    assert first.pop("id") != second.pop("id")
    assert first == {
        "version": "0",
        "detail-type": "Step Functions Execution Status Change",
        "source": "aws.states",
        "account": "210987654321",
        "time": "2025-01-01T00:00:00Z",
        "region": "eu-west-1",
        "resources": [ARN],
        "detail": {
            "executionArn": ARN,
            "stateMachineArn": "arn:aws:states:eu-west-1:210987654321:stateMachine:m",
            "name": "x",
            "status": "RUNNING",
            "startDate": 1735689600000,
            "stopDate": None,
            "input": '{"a":1}',
            "output": None,
            "inputDetails": {"included": True},
            "outputDetails": None,
            "stateMachineVersionArn": None,
            "stateMachineAliasArn": None,
            "redriveCount": 0,
            "redriveDate": None,
            "redriveStatus": "NOT_REDRIVABLE",
            "redriveStatusReason": "Execution is RUNNING and cannot be redriven",
            "error": None,
            "cause": None,
        },
    }
    assert second["time"] == "2025-01-01T00:00:02Z"
    assert {name: value for name, value in second["detail"].items() if first["detail"][name] != value} == {
        "status": "SUCCEEDED",
        "stopDate": 1735689602000,
        "output": "[1]",
        "outputDetails": {"included": True},
        "redriveStatusReason": "Execution is SUCCEEDED and cannot be redriven",
    }


def test_failures_can_be_redriven_and_name_their_error() -> None:
    _, failed = sent(machine(("A", {"Type": "Fail", "Error": "No", "Cause": "because"})))
    _, stopped = sent(machine(("A", {"Type": "Wait", "Seconds": 9, "End": True})), stop=True)
    _, late = sent(machine(("A", {"Type": "Wait", "Seconds": 9, "End": True}), TimeoutSeconds=3))

    members = ("status", "error", "cause", "output", "outputDetails", "redriveStatus", "redriveStatusReason")
    details = [[event["detail"][name] for name in members] for event in (failed, stopped, late)]
    assert details == [
        ["FAILED", "No", "because", None, None, "REDRIVABLE", None],
        ["ABORTED", None, None, None, None, "REDRIVABLE", None],
        ["TIMED_OUT", None, None, None, None, "REDRIVABLE", None],
    ]


def test_a_redrive_sends_the_start_again_with_its_date_and_count() -> None:
    events: list[Any] = []

    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock, observers=[StatusEvents(events.append)]) as engine:
            await engine.create_state_machine("m", machine(("A", {"Type": "Fail", "Error": "No"})))
            execution = await engine.start("m")
            for _ in range(2):
                with suppress(ExecutionFailed):
                    await execution.result()
                await clock.sleep_until(clock.now() + 60)
                if len(events) < 3:
                    await execution.redrive()

    run(main)
    members = ("status", "redriveCount", "redriveDate", "startDate", "stopDate", "error")
    assert [[event["detail"][name] for name in members] for event in events] == [
        ["RUNNING", 0, None, 1735689600000, None, None],
        ["FAILED", 0, None, 1735689600000, 1735689600000, "No"],
        ["RUNNING", 1, 1735689660000, 1735689600000, None, None],
        ["FAILED", 1, 1735689660000, 1735689600000, 1735689660000, "No"],
    ]
    assert [event["time"][-6:] for event in events] == ["00:00Z", "00:00Z", "01:00Z", "01:00Z"]


@pytest.mark.parametrize(("characters", "included"), [(125_000, True), (127_500, False)])
def test_data_that_is_too_large_when_escaped_is_left_out(characters: int, included: bool) -> None:
    _, end = sent(machine(("A", {"Type": "Pass", "End": True})), '"' * (characters // 2))

    for member in ("input", "output"):
        assert end["detail"][f"{member}Details"] == {"included": included}
        assert (end["detail"][member] is not None) == included


def test_data_is_left_out_on_request() -> None:
    definition = machine(("A", {"Type": "Fail", "Error": "No", "Cause": "s3cret"}))
    events = sent(definition, {"a": "s3cret"}, include_execution_data=False)
    assert "s3cret" not in str(events)
    assert events[1]["detail"]["inputDetails"] == {"included": False}


def test_express_executions_send_nothing() -> None:
    assert sent(machine(("A", {"Type": "Pass", "End": True})), type="EXPRESS") == []
