"""`asfn test-state`: stages for people, AWS's answer for programs, and exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.program import asfn

if TYPE_CHECKING:
    from pathlib import Path

MACHINE: dict[str, Any] = {
    "StartAt": "Sort",
    "States": {
        "Sort": {
            "Type": "Choice",
            "Choices": [
                {"Variable": "$.value", "NumericEquals": 0, "Next": "Later"},
                {"Not": {"Variable": "$.type", "StringEquals": "Private"}, "Next": "Pay"},
            ],
            "Default": "Later",
        },
        "Pay": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "InputPath": "$.order",
            "Parameters": {"FunctionName": "pay", "Payload": {"id.$": "$.id"}},
            "ResultSelector": {"ok.$": "$.Payload.ok"},
            "ResultPath": "$.paid",
            "Retry": [{"ErrorEquals": ["Busy"], "IntervalSeconds": 3, "MaxAttempts": 2}],
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Later"}],
            "Next": "Later",
        },
        "Later": {"Type": "Wait", "Seconds": 86400, "Next": "Sum"},
        "Sum": {
            "Type": "Pass",
            "QueryLanguage": "JSONata",
            "Output": {"sum": "{% $states.input.a + 1 %}"},
            "End": True,
        },
    },
}
FUNCTIONS = """
def pay(event):
    print("this is no result")
    return {"ok": event["id"] == 7}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "m.asl.json").write_text(json.dumps(MACHINE))
    (tmp_path / "tasks.py").write_text(FUNCTIONS)
    return tmp_path


def squeezed(text: str) -> list[str]:
    """The lines with each run of blanks as one."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_each_stage_is_shown_with_its_path_and_what_that_gave(folder: Path) -> None:
    done = asfn(
        "test-state",
        "m.asl.json",
        "--state",
        "Pay",
        "-i",
        '{"order": {"id": 7}}',
        "--mock",
        '{"Payload": {"ok": true}}',
        cwd=folder,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert squeezed(done.stdout) == [
        "Pay Task, JSONPath",
        "",
        'input {"order": {"id": 7}}',
        'InputPath {"id":7}',
        "$.order",
        'Parameters {"FunctionName":"pay","Payload":{"id":7}}',
        "/Payload/id.$ $.id = 7",
        'result {"Payload": {"ok": true}}',
        'ResultSelector {"ok":true}',
        "/ok.$ $.Payload.ok = true",
        'ResultPath {"order":{"id":7},"paid":{"ok":true}}',
        "$.paid",
        "",
        "SUCCEEDED -> Later",
        'output {"order":{"id":7},"paid":{"ok":true}}',
    ]


def test_choice_rules_tell_what_they_saw_and_which_one_won(folder: Path) -> None:
    done = asfn("test-state", "m.asl.json", "--state", "Sort", "-i", '{"value": 1, "type": "Public"}', cwd=folder)
    assert done.returncode == 0
    assert squeezed(done.stdout)[3:] == [
        "Choices[0] false -> Later",
        "false $.value NumericEquals 0",
        "$.value = 1",
        "Choices[1] true -> Pay",
        "true Not",
        'false $.type StringEquals "Private"',
        '$.type = "Public"',
        "Default not taken -> Later",
        "",
        "SUCCEEDED -> Pay",
        'output {"value": 1, "type": "Public"}',
    ]


def test_expressions_stand_beside_their_values(folder: Path) -> None:
    done = asfn("test-state", "m.asl.json", "--state", "Sum", "-i", '{"a": 41}', cwd=folder)
    assert "/sum {% $states.input.a + 1 %} = 42" in squeezed(done.stdout)


@pytest.mark.parametrize(
    ("options", "code", "lines"),
    [
        (["--mock-error", "Busy"], 1, ["RETRIABLE", "error Busy", "Retry[0] tries again after 3.00 s, retry 1 of 2"]),
        (
            ["--mock-error", "Busy", "--mock-cause", "too many", "--retry-count", "2"],
            0,
            [
                "CAUGHT_ERROR -> Later",
                "error Busy: too many",
                "Retry[0] matches, and its 2 attempts are used up",
                "Catch[0] takes the error",
                'output {"order":{"id":7},"error":{"Error":"Busy","Cause":"too many"}}',
            ],
        ),
        (
            ["--mock-error", "States.Runtime"],
            1,
            ["FAILED", "error States.Runtime", "Retry, Catch cannot take this error, whatever they name"],
        ),
    ],
)
def test_a_mocked_error_shows_who_takes_it(folder: Path, options: list[str], code: int, lines: list[str]) -> None:
    done = asfn("test-state", "m.asl.json", "--state", "Pay", "-i", '{"order": {"id": 7}}', *options, cwd=folder)
    assert done.returncode == code
    told = squeezed(done.stdout)
    assert told[told.index(lines[0]) :] == lines


def test_a_wait_is_not_waited_for(folder: Path) -> None:
    done = asfn("test-state", "m.asl.json", "--state", "Later", cwd=folder)
    assert done.returncode == 0
    assert any(line.startswith("wait until") and line.endswith("(1 d 0 h)") for line in squeezed(done.stdout))


def test_a_task_without_a_mock_calls_a_python_function(folder: Path) -> None:
    done = asfn(
        "test-state",
        "m.asl.json",
        "--state",
        "Pay",
        "-i",
        '{"order": {"id": 7}}',
        "-f",
        "tasks",
        "--json",
        "--level",
        "INFO",
        cwd=folder,
    )
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    assert (answer["status"], answer["nextState"]) == ("SUCCEEDED", "Later")
    assert json.loads(answer["output"])["paid"] == {"ok": True}
    assert "this is no result" in done.stderr


def test_json_is_the_answer_of_awss_call(folder: Path) -> None:
    done = asfn("test-state", "m.asl.json", "--state", "Sum", "-i", '{"a": 1}', "--json", cwd=folder)
    assert json.loads(done.stdout) == {
        "inspectionData": {"input": '{"a": 1}'},
        "output": '{"sum":2}',
        "status": "SUCCEEDED",
    }


def test_a_file_may_hold_a_single_state_and_options_files(tmp_path: Path) -> None:
    (tmp_path / "state.yaml").write_text("Type: Pass\nParameters: {x.$: $v.a}\nEnd: true\n")
    (tmp_path / "vars.json").write_text('{"v": {"a": 5}}')
    done = asfn("test-state", "state.yaml", "--variables", "@vars.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "/x.$ $v.a = 5" in squeezed(done.stdout)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "m.asl.json holds a state machine: name one of its states with --state (Sort, Pay, Later, Sum)"),
        (["--state", "Nope"], "State not found in definition"),
        (["--state", "Sort", "--mock", "{}"], "State type 'Choice' is not supported when a mock is specified"),
        (["--state", "Pay", "--mock", "{"], "the mocked result is not valid JSON"),
        (["--state", "Pay", "--mock", '{"StatusCode": "x"}'], "Field 'StatusCode' must be a number"),
        (["--state", "Pay", "--mock", "@nowhere.json"], "the mocked result in nowhere.json cannot be read"),
    ],
)
def test_what_cannot_be_tested_is_refused_in_one_line(folder: Path, options: list[str], complaint: str) -> None:
    done = asfn("test-state", "m.asl.json", *options, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_findings_of_a_bad_definition_are_listed(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"Type": "Pass", "Ende": true}')
    done = asfn("test-state", "bad.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "Ende" in done.stderr
    assert "the definition has errors; nothing was run" in done.stderr.splitlines()[-1]
