from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from asfn.testing import run
from tests.conformance.__main__ import main
from tests.conformance.cases import Case, load, states_in
from tests.conformance.lambdas import why_not_played
from tests.conformance.normalise import Placeholders
from tests.conformance.run import TookTooLong, at_most, judge
from tests.conformance.script import Texts, scripts_of

if TYPE_CHECKING:
    from pathlib import Path

ROLE = "arn:aws:iam::111111111111:role/role"
FUNCTION = "arn:aws:lambda:us-east-1:111111111111:function:f"


def a_case(**members: Any) -> Case:
    """A recorded run of one Pass state, changed by the given members."""
    data: dict[str, Any] = {
        "id": "made/by_hand::test_pass",
        "kind": "execution",
        "type": "STANDARD",
        "aws_validated": True,
        "definition": {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}},
        "input": ["x", 1],
        "state_machine": {"name": "machine", "role_arn": ROLE},
        "tasks": {},
        "placeholders": {"bindings": {"a_role": ROLE}, "bare_wildcards": ["timestamp"]},
        "expected": {
            "status": "SUCCEEDED",
            "output": ["x", 1],
            "history": [
                _event(1, 0, "ExecutionStarted", "executionStarted", input='["x",  1]', roleArn="a_role"),
                _event(2, 0, "PassStateEntered", "stateEntered", name="A", input='["x",  1]'),
                _event(3, 2, "PassStateExited", "stateExited", name="A", output='["x",  1]'),
                _event(4, 3, "ExecutionSucceeded", "executionSucceeded", output='["x",  1]'),
            ],
        },
    }
    return Case(data["id"], "made", members.get("kind", "execution"), {**data, **members})


def _event(id: int, previous: int, type: str, wrapper: str, **details: Any) -> dict[str, Any]:
    data = "input" if "input" in details else "output"
    details[f"{data}Details"] = {"truncated": False}
    return {
        "id": id,
        "previousEventId": previous,
        "type": type,
        "timestamp": "timestamp",
        f"{wrapper}EventDetails": details,
    }


def a_task_case(tasks: dict[str, Any], **expected: Any) -> Case:
    definition = {
        "StartAt": "T",
        "States": {"T": {"Type": "Task", "Resource": FUNCTION, "TimeoutSeconds": 5, "End": True}},
    }
    return a_case(definition=definition, tasks=tasks, expected=expected, input={})


def test_a_run_that_goes_as_recorded_passes() -> None:
    verdict = judge(a_case())
    assert (verdict.status, verdict.why) == ("passed", "")


@pytest.mark.parametrize(
    ("expected", "why"),
    [
        ({"status": "FAILED"}, 'execution.status: expected "FAILED", got "SUCCEEDED"'),
        ({"output": ["x", 2]}, "execution.output[1]: expected 2, got 1"),
        ({"output": ["x", 1.0]}, "execution.output[1]: expected 1.0, got 1"),
        ({"error": "Boom"}, 'execution.error: expected "Boom", got nothing'),
    ],
)
def test_another_end_than_recorded_fails(expected: dict[str, Any], why: str) -> None:
    case = a_case()
    assert judge(a_case(expected={**case.expected, **expected})).why == why


def test_another_history_than_recorded_fails_and_says_where() -> None:
    history = a_case().expected["history"]
    history[2]["stateExitedEventDetails"]["name"] = "B"
    verdict = judge(a_case(expected={"status": "SUCCEEDED", "history": history}))
    assert verdict.status == "failed"
    assert verdict.why == 'history[2] PassStateExited.stateExitedEventDetails.name: expected "B", got "A"'


def test_scripted_outcomes_reach_the_state_machine() -> None:
    attempt = {"resource": FUNCTION, "input": {}, "outcome": {"output": {"a": 1}}}
    assert judge(a_task_case({"T": [attempt]}, status="SUCCEEDED", output={"a": 1})).why == ""
    failure = {**attempt, "outcome": {"error": "Boom", "cause": "why"}}
    assert judge(a_task_case({"T": [failure]}, status="FAILED", error="Boom", cause="why")).why == ""
    silence = {**attempt, "outcome": {"timeout": True}}
    assert judge(a_task_case({"T": [silence]}, status="FAILED", error="States.Timeout")).why == ""


ACTIVITY = "arn:aws:states:us-east-1:111111111111:activity:sign"


def an_activity_case(attempts: list[dict[str, Any]], **expected: Any) -> Case:
    state = {"Type": "Task", "Resource": ACTIVITY, "TimeoutSeconds": 60, "HeartbeatSeconds": 5, "End": True}
    definition = {"StartAt": "T", "States": {"T": state}}
    tasks = {"T": [{"resource": ACTIVITY, "input": {}, **attempt} for attempt in attempts]}
    return a_case(definition=definition, tasks=tasks, expected=expected, input={})


def test_recorded_workers_take_an_activitys_work_and_answer_it() -> None:
    attempt = {"workerName": "w", "timeoutInSeconds": 60, "heartbeatInSeconds": 5, "outcome": {"output": {"a": 1}}}
    assert judge(an_activity_case([attempt], status="SUCCEEDED", output={"a": 1})).why == ""
    failure = {**attempt, "outcome": {"error": "Boom", "cause": "why"}}
    assert judge(an_activity_case([failure], status="FAILED", error="Boom", cause="why")).why == ""
    silence = {**attempt, "outcome": {"timeout": True}}
    assert judge(an_activity_case([silence], status="FAILED", error="States.Timeout")).why == ""


def test_an_activity_for_which_nothing_was_scheduled_did_not_exist() -> None:
    cause = (
        "An error occurred while executing the state 'T' (entered at the event id #2). "
        f"The activity {ACTIVITY} does not exist."
    )
    assert judge(an_activity_case([], status="FAILED", error="States.Runtime", cause=cause)).why == ""


def test_the_outcome_of_a_callback_is_given_to_its_token() -> None:
    resource = "arn:aws:states:::sqs:sendMessage.waitForTaskToken"
    state = {"Type": "Task", "Resource": resource, "HeartbeatSeconds": 5, "End": True}
    state["Parameters"] = {"QueueUrl": "q", "MessageBody": {"Token.$": "$$.Task.Token"}}
    attempt = {"resource": resource, "submitted": {"MessageId": "m"}, "outcome": {"output": "done"}}
    case = a_case(
        definition={"StartAt": "T", "States": {"T": state}},
        tasks={"T": [attempt]},
        expected={"status": "SUCCEEDED", "output": "done"},
        input={},
    )
    assert judge(case).why == ""


def test_a_task_without_a_recorded_outcome_fails_the_case() -> None:
    verdict = judge(a_task_case({"T": []}, status="SUCCEEDED", output={}))
    assert verdict.status == "failed"
    assert "its script of 0 is used up" in verdict.why


def test_an_execution_that_cannot_end_fails_the_case() -> None:
    definition = {"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": FUNCTION, "End": True}}}
    attempt = {"resource": FUNCTION, "input": {}, "outcome": {"timeout": True}}
    case = a_case(definition=definition, tasks={"T": [attempt]}, expected={"status": "SUCCEEDED"})
    verdict = judge(case)
    assert verdict.status == "failed"
    assert "TIMED_OUT" in verdict.why  # after a year, the longest an execution may take


def test_a_refused_definition_fails_the_case() -> None:
    verdict = judge(a_case(definition={"StartAt": "A"}))
    assert verdict.status == "failed"
    assert verdict.why.startswith("the definition was refused:")


def test_a_stopped_execution_is_stopped_while_it_waits() -> None:
    definition = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 60, "End": True}}}
    history = [
        _event(1, 0, "ExecutionStarted", "executionStarted", input={}, roleArn=ROLE),
        _event(2, 0, "WaitStateEntered", "stateEntered", name="W", input={}),
        {"id": 3, "previousEventId": 0, "type": "ExecutionAborted",
         "executionAbortedEventDetails": {"error": "Manual", "cause": "by hand"}},
    ]  # fmt: skip
    expected = {"status": "ABORTED", "error": "Manual", "cause": "by hand", "history": history}
    assert judge(a_case(definition=definition, input={}, expected=expected)).why == ""


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"kind": "api"}, "the AWS API is a later issue"),
        ({"kind": "other"}, "cases of kind other are unknown here"),
        ({"expected": {"history": [{"type": "ExecutionStarted"}]}}, "the recording stops before the execution ends"),
    ],
)
def test_what_cannot_be_judged_is_skipped_with_its_reason(members: dict[str, Any], reason: str) -> None:
    verdict = judge(a_case(**members))
    assert (verdict.status, verdict.why) == ("skipped", reason)


def a_state_case(definition: Any, request: dict[str, Any], expected: dict[str, Any], **members: Any) -> Case:
    """A recorded TestState call."""
    return a_case(kind="test_state", definition=definition, request=request, expected=expected, **members)


def test_a_tested_state_is_compared_member_by_member() -> None:
    good = {"response": {"output": {"a": 1}, "status": "SUCCEEDED"}}
    definition = {"Type": "Pass", "End": True}
    assert judge(a_state_case(definition, {"input": '{"a": 1}'}, good)).why == ""
    verdict = judge(a_state_case(definition, {"input": '{"a": 2}'}, good))
    assert (verdict.status, verdict.why) == ("failed", "TestState.response.output.a: expected 1, got 2")


def test_a_refused_test_is_compared_by_code_and_message() -> None:
    message = "State type 'Pass' is not supported when a mock is specified"
    refused = {"error": {"code": "ValidationException", "message": message, "operation": "TestState"}}
    assert judge(a_state_case({"Type": "Pass", "End": True}, {"mock": {"result": "1"}}, refused)).why == ""


def test_a_tested_task_without_a_mock_calls_the_described_function_or_is_skipped() -> None:
    definition = {"Type": "Task", "Resource": FUNCTION, "End": True}
    request = {"input": '{"a": 1}', "roleArn": ROLE}
    expected = {"response": {"output": {"a": 1}, "status": "SUCCEEDED"}}
    echo = {"name": "f", "arn": FUNCTION, "behaviour": "returns its event unchanged"}
    assert judge(a_state_case(definition, request, expected, lambdas=[echo])).why == ""
    verdict = judge(a_state_case(definition, request, expected))
    assert (verdict.status, "no function is described" in verdict.why) == ("skipped", True)


@pytest.mark.parametrize(
    ("behaviour", "status", "end"),
    [
        ("returns its event unchanged", "SUCCEEDED", {"output": ["x", 1]}),
        ('ignores its event and returns the object {"a": 1}', "SUCCEEDED", {"output": {"a": 1}}),
        ('always raises a plain Python Exception with the message "no"', "FAILED", {"error": "Exception"}),
    ],
)
def test_functions_without_recorded_outcomes_are_played_from_words(
    behaviour: str, status: str, end: dict[str, Any]
) -> None:
    definition = {"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": FUNCTION, "End": True}}}
    lambdas = [{"name": "f", "arn": FUNCTION, "behaviour": behaviour}]
    case = a_case(definition=definition, lambdas=lambdas, expected={"status": status, **end})
    del case.data["tasks"]
    verdict = judge(case)
    if status == "FAILED":
        assert verdict.why == (
            'execution.cause: expected nothing, got "{\\"errorMessage\\": \\"no\\", \\"errorType\\": '
            '\\"Exception\\", \\"requestId\\": \\"\\", \\"stackTrace\\": []}"'
        )
    else:
        assert verdict.why == ""


def test_words_that_no_rule_knows_are_a_reason_to_skip() -> None:
    definition = {"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": FUNCTION, "End": True}}}
    lambdas = [{"name": "f", "arn": FUNCTION, "behaviour": "paints the house"}]
    reason = why_not_played(a_case(definition=definition, lambdas=lambdas))
    assert reason == "no task outcomes were recorded, and 'paints the house' is not played from words"


def test_results_are_scripted_with_the_text_the_history_shows() -> None:
    attempt = {"resource": FUNCTION, "input": {}, "outcome": {"output": [1, 2]}}
    expected = {"status": "SUCCEEDED", "history": [{"details": {"output": "[1,  2]"}}]}
    case = a_task_case({"T": [attempt]}, **expected)
    outcome = scripts_of(case, Texts(expected), Placeholders.of({}))["T"][0].outcome
    assert getattr(outcome, "text", None) == "[1,  2]"


def test_the_text_of_a_result_goes_before_other_texts_of_the_same_value() -> None:
    entered = {"stateEnteredEventDetails": {"input": "[1,2]"}}
    succeeded = {"lambdaFunctionSucceededEventDetails": {"output": "[1, 2]"}}
    texts = Texts({"history": [entered, succeeded]})
    assert texts.of([1, 2]) == "[1, 2]"
    assert texts.of([1, 2.0]) is None


@pytest.mark.real_time
def test_a_case_that_does_not_end_is_left_after_its_real_seconds() -> None:
    async def spin() -> None:
        loop = asyncio.get_running_loop()

        def again() -> None:
            loop.call_soon(again)

        again()
        await loop.create_future()

    def spin_for_a_while() -> None:
        with at_most(0.05):
            run(spin())

    with pytest.raises(TookTooLong):
        spin_for_a_while()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_seed_changes_no_verdict(seed: int) -> None:
    assert judge(a_case(), seed).status == "passed"


def test_a_validation_case_compares_every_word() -> None:
    definition = {"States": {"A": {"Type": "Pass", "End": True}}}
    entry = {
        "severity": "ERROR",
        "code": "SCHEMA_VALIDATION_FAILED",
        "message": "These fields are required: [StartAt]",
        "location": "/",
    }
    response = {"diagnostics": [entry], "result": "FAIL", "truncated": False}
    request = {"type": "STANDARD"}
    good = a_case(kind="validation", definition=definition, request=request, expected={"response": response})
    assert judge(good).why == ""
    other = {**response, "diagnostics": [{**entry, "location": "/States"}]}
    bad = a_case(kind="validation", definition=definition, request=request, expected={"response": other})
    assert judge(bad).why == 'validation.response.diagnostics[0].location: expected "/States", got "/"'


def test_a_refusal_by_create_is_compared_word_for_word() -> None:
    message = "Invalid State Machine Definition: 'SCHEMA_VALIDATION_FAILED: These fields are required: [StartAt] at /'"
    error = {"code": "InvalidDefinition", "message": message, "operation": "CreateStateMachine"}
    definition = {"States": {"A": {"Type": "Pass", "End": True}}}
    assert judge(a_case(kind="validation", definition=definition, expected={"error": error})).why == ""
    taken = a_case(kind="validation", expected={"error": error})
    assert judge(taken).why.startswith("validation.error: expected")


def test_nested_states_are_all_found() -> None:
    inner = {"StartAt": "I", "States": {"I": {"Type": "Pass"}}}
    definition = {
        "States": {
            "P": {"Type": "Parallel", "Branches": [inner]},
            "M": {"Type": "Map", "ItemProcessor": {"States": {"N": {"Type": "Map", "Iterator": inner}}}},
        }
    }
    assert [state["Type"] for state in states_in(definition)] == ["Parallel", "Pass", "Map", "Map", "Pass"]


# --- the command ---------------------------------------------------------------------------------------------------


def _write(directory: Path, *cases: Case) -> Path:
    for number, case in enumerate(cases):
        path = directory / "made" / f"case-{number}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(case.data), encoding="utf-8")
    return directory


def test_the_command_counts_and_writes_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = a_case(id="made/bad", expected={"status": "FAILED"})
    unconfirmed = a_case(id="made/doubtful", aws_validated=False, expected={"status": "FAILED"})
    skipped = a_case(id="made/api", kind="api")
    out = tmp_path / "report.json"
    status = main([str(_write(tmp_path, a_case(), bad, unconfirmed, skipped)), "--json", str(out)])
    assert status == 1
    report = json.loads(out.read_text(encoding="utf-8"))
    assert {key: report[key] for key in ("passed", "failed", "skipped", "topics")} == {
        "passed": 1,
        "failed": 1,
        "skipped": 1,
        "topics": {"made": {"passed": 1, "failed": 1, "skipped": 1}},
    }
    assert report["failures"] == [{"id": "made/bad", "why": 'execution.status: expected "FAILED", got "SUCCEEDED"'}]
    assert report["skips"] == [{"id": "made/api", "why": "the AWS API is a later issue"}]
    assert [entry["id"] for entry in report["unconfirmed"]] == ["made/doubtful"]
    printed = capsys.readouterr().out
    assert "FAILED made/bad" in printed
    assert "the AWS API is a later issue" in printed


def test_the_command_succeeds_when_nothing_that_is_judged_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unconfirmed = a_case(id="made/doubtful", aws_validated=False, expected={"status": "FAILED"})
    directory = str(_write(tmp_path, a_case(), unconfirmed))
    assert main([directory]) == 0
    assert main([directory, "--topic", "made", "--kind", "execution"]) == 0
    assert "failed" in capsys.readouterr().out


def test_the_command_says_when_there_is_nothing_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "absent")]) == 2
    assert main([str(_write(tmp_path, a_case())), "--topic", "other"]) == 2
    (tmp_path / "made" / "bad.json").write_text("{}", encoding="utf-8")
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines()[1] == "no case fits"


def test_cases_are_loaded_by_topic_from_any_directory(tmp_path: Path) -> None:
    cases = load([_write(tmp_path, a_case(), a_case(id="made/other"))])
    assert [(case.id, case.topic, case.kind) for case in cases] == [
        ("made/by_hand::test_pass", "made", "execution"),
        ("made/other", "made", "execution"),
    ]
