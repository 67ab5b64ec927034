"""`asfn list`, `asfn show` and `asfn history`."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from asfn import Engine
from tests.cli.program import asfn, environment, start

FLOW = {
    "StartAt": "A",
    "States": {
        "A": {"Type": "Pass", "Next": "C"},
        "C": {"Type": "Choice", "Choices": [{"Variable": "$.ok", "BooleanEquals": True, "Next": "S"}], "Default": "F"},
        "S": {"Type": "Succeed"},
        "F": {"Type": "Fail", "Error": "Bad", "Cause": "of \u001b[31mcourse"},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with flows.db, in which order-1 succeeded and order-2 and other failed."""
    path = tmp_path_factory.mktemp("executions")
    (path / "flow.json").write_text(json.dumps(FLOW))
    (path / "copy.json").write_text(json.dumps(FLOW))
    for file, name, ok in (("flow", "order-1", True), ("flow", "order-2", False), ("copy", "other", False)):
        words = ("run", f"{file}.json", "--db", "flows.db", "--name", name, "-i", json.dumps({"ok": ok}))
        assert asfn(*words, cwd=path).returncode == (0 if ok else 1)
    return path


def test_list_shows_the_newest_first(folder: Path) -> None:
    done = asfn("list", "--db", "flows.db", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows = [line.split() for line in done.stdout.splitlines()]
    assert head[:2] == ["NAME", "STATUS"]
    assert [(row[0], row[1], row[2], row[-1]) for row in rows[:2]] == [
        ("other", "FAILED", "copy", "Bad"),
        ("order-2", "FAILED", "flow", "Bad"),
    ]
    assert rows[2][:3] == ["order-1", "SUCCEEDED", "flow"]


def test_list_can_be_narrowed_and_printed_as_json(folder: Path) -> None:
    done = asfn("list", "--db", "flows.db", "--status", "failed", "--machine", "flow", "--json", cwd=folder)
    [found] = json.loads(done.stdout)
    assert (found["name"], found["status"], found["error"]) == ("order-2", "FAILED", "Bad")
    assert found["stopped_at"] >= found["started_at"] > 1e9
    done = asfn("list", "--db", "flows.db", "--limit", "1", cwd=folder)
    assert len(done.stdout.splitlines()) == 2
    assert "--limit" in done.stderr


def test_the_environment_can_name_the_database(folder: Path) -> None:
    done = asfn("list", cwd=folder, env=environment(ASFN_DB="sqlite:///flows.db"))
    assert "order-1" in done.stdout


def test_show_prints_what_came_in_and_what_came_of_it(folder: Path) -> None:
    done = asfn("show", "order-2", "--db", "flows.db", cwd=folder)
    shown = {line[:14].strip(): line[14:] for line in done.stdout.splitlines()}
    assert shown["status"] == "FAILED"
    assert shown["input"] == '{"ok": false}'
    assert shown["failed in"] == "F"
    assert shown["error"] == "Bad"
    assert shown["cause"] == "of \\x1b[31mcourse"
    [as_json] = [json.loads(asfn("show", "order-1", "--db", "flows.db", "--json", cwd=folder).stdout)]
    assert (as_json["status"], as_json["output"], as_json["standing_in"]) == ("SUCCEEDED", {"ok": True}, [])


def test_an_execution_is_found_by_its_arn_or_the_beginning_of_its_name(folder: Path) -> None:
    arn = json.loads(asfn("show", "oth", "--db", "flows.db", "--json", cwd=folder).stdout)["arn"]
    assert json.loads(asfn("show", arn, "--db", "flows.db", "--json", cwd=folder).stdout)["name"] == "other"
    done = asfn("show", "o", "--db", "flows.db", cwd=folder)
    assert done.returncode == 2
    assert "may be one of other, order-2, order-1" in done.stderr


def test_history_is_a_table_of_events(folder: Path) -> None:
    done = asfn("history", "order-1", "--db", "flows.db", cwd=folder)
    types = [line.split()[3] for line in done.stdout.splitlines()[1:]]
    assert types == [
        "ExecutionStarted",
        "PassStateEntered",
        "PassStateExited",
        "ChoiceStateEntered",
        "ChoiceStateExited",
        "SucceedStateEntered",
        "SucceedStateExited",
        "ExecutionSucceeded",
    ]
    assert 'input={"ok": true}' in done.stdout


def test_history_as_json_has_the_shapes_of_get_execution_history(folder: Path) -> None:
    events = json.loads(asfn("history", "order-2", "--db", "flows.db", "--json", cwd=folder).stdout)
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["executionFailedEventDetails"] == {"error": "Bad", "cause": "of \u001b[31mcourse"}


@pytest.mark.real_time
def test_looking_neither_claims_nor_resumes_what_is_parked(tmp_path: Path) -> None:
    flow = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 1, "End": True}}}
    (tmp_path / "flow.json").write_text(json.dumps(flow))
    process = start("run", "flow.json", "--db", "flows.db", "--name", "w", cwd=tmp_path)
    assert process.stderr is not None
    for line in process.stderr:
        if "waiting" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    before = json.loads(asfn("history", "w", "--db", "flows.db", "--json", cwd=tmp_path).stdout)
    shown = asfn("show", "w", "--db", "flows.db", cwd=tmp_path)
    assert "W (Wait, waiting for" in shown.stdout
    assert "RUNNING" in asfn("list", "--db", "flows.db", cwd=tmp_path).stdout
    after = json.loads(asfn("history", "w", "--db", "flows.db", "--json", cwd=tmp_path).stdout)
    assert before == after
    assert after[-1]["type"] == "WaitStateEntered"
    assert asfn("resume", "--db", "flows.db", "--quiet", cwd=tmp_path).returncode == 0


@pytest.mark.real_time
def test_an_execution_can_be_looked_at_while_another_process_runs_it_and_resume_leaves_it(tmp_path: Path) -> None:
    flow = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 6, "End": True}}}
    (tmp_path / "flow.json").write_text(json.dumps(flow))
    process = start("run", "flow.json", "--db", "flows.db", "--name", "w", cwd=tmp_path)
    assert process.stderr is not None
    for line in process.stderr:
        if "waiting" in line:
            break
    assert "WaitStateEntered" in asfn("history", "w", "--db", "flows.db", cwd=tmp_path).stdout
    resumed = asfn("resume", "--db", "flows.db", cwd=tmp_path)
    assert resumed.returncode == 2
    assert "another process runs it" in resumed.stderr
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "{}\n")


def test_executions_are_found_by_the_attributes_they_were_started_with(tmp_path: Path) -> None:
    async def start_some() -> None:
        async with Engine(f"sqlite:///{tmp_path}/flows.db") as engine:
            await engine.create_state_machine("flow", FLOW)
            for name, customer in (("a", "7"), ("b", "8=8")):
                execution = await engine.start("flow", {"ok": True}, name=name, attributes={"customer": customer})
                await execution.result()

    asyncio.run(start_some())
    found = asfn("list", "--db", "flows.db", "--attribute", "customer=8=8", "--json", cwd=tmp_path)
    assert [(item["name"], item["attributes"]) for item in json.loads(found.stdout)] == [("b", {"customer": "8=8"})]
    shown = asfn("show", "a", "--db", "flows.db", cwd=tmp_path)
    assert "attributes    customer=7" in shown.stdout.splitlines()
    none = asfn("list", "--db", "flows.db", "--attribute", "customer=7", "--attribute", "x=", cwd=tmp_path)
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "no executions in flows.db that fit\n")


def test_attributes_that_cannot_be_asked_for_are_refused(folder: Path) -> None:
    for words, said in (
        (("--attribute", "customer"), "write NAME=VALUE"),
        (("--attribute", "=7"), "write NAME=VALUE"),
        (("--attribute", "a=1", "--attribute", "a=2"), "two are asked for"),
    ):
        done = asfn("list", "--db", "flows.db", *words, cwd=folder)
        assert done.returncode == 2
        assert said in done.stderr
