"""`asfn run` and `asfn resume`: results, inputs, functions, names, databases, Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.program import asfn, environment, start
from tests.lambda_server import LambdaServer, returns

TASK = "arn:aws:lambda:us-east-1:123456789012:function:"


def machine(**states: dict[str, object]) -> str:
    return json.dumps({"StartAt": next(iter(states)), "States": states})


def task(name: str, **more: object) -> dict[str, object]:
    return {"Type": "Task", "Resource": TASK + name, **(more or {"End": True})}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a definition of one task, and a module of functions that answers it."""
    (tmp_path / "one.asl.json").write_text(machine(A=task("double")))
    (tmp_path / "functions.py").write_text(
        "from asfn import TaskFailed\n"
        "def double(event):\n    print('working')\n    return {'twice': event['n'] * 2}\n"
        "def _private(event): return None\n"
        "async def charge_card(event, ctx): raise TaskFailed('Card.Declined', 'no')\n"
        "FUNCTIONS = {'double': double}\n"
        "class Box:\n    def double(self, event): return {'boxed': event['n']}\n"
        "box = Box()\n"
        "def register(engine):\n    engine.register('double', lambda event: {'registered': event['n']})\n"
        "async def register_later(engine):\n    register(engine)\n"
    )
    return tmp_path


def test_the_result_alone_is_on_stdout_and_what_happened_on_stderr(folder: Path) -> None:
    done = asfn("run", "one.asl.json", "--functions", "functions", "--input", '{"n": 4}', cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"twice": 8}
    assert done.stdout.count("\n") == 1
    assert "A: entered" in done.stderr
    assert "A: left after" in done.stderr
    assert "working" in done.stderr


@pytest.mark.parametrize(
    ("spec", "output"),
    [
        ("functions:FUNCTIONS", {"twice": 2}),
        ("functions:box", {"boxed": 1}),
        ("functions:register", {"registered": 1}),
        ("functions:register_later", {"registered": 1}),
    ],
)
def test_functions_come_from_a_dict_an_object_or_a_function_that_registers(
    folder: Path, spec: str, output: object
) -> None:
    done = asfn("run", "one.asl.json", "-f", spec, "-i", '{"n": 1}', cwd=folder)
    assert json.loads(done.stdout) == output, done.stderr


def test_an_underscore_in_a_function_s_name_answers_a_hyphen_too(folder: Path) -> None:
    (folder / "card.json").write_text(machine(A=task("charge-card")))
    done = asfn("run", "card.json", "-f", "functions", cwd=folder)
    assert done.returncode == 1
    assert "Card.Declined: no" in done.stderr


def test_input_comes_from_a_file_or_from_stdin(folder: Path) -> None:
    (folder / "in.json").write_text('\ufeff{"n": 21}')
    done = asfn("run", "one.asl.json", "-f", "functions", "--input", "@in.json", cwd=folder)
    assert json.loads(done.stdout) == {"twice": 42}
    done = asfn("run", "one.asl.json", "-f", "functions", "--input", "-", cwd=folder, stdin='{"n": 5}')
    assert json.loads(done.stdout) == {"twice": 10}


def test_a_failed_execution_exits_with_1_names_state_and_error_and_can_be_looked_at(folder: Path) -> None:
    (folder / "card.json").write_text(machine(Pay=task("charge_card")))
    done = asfn("run", "card.json", "-f", "functions", "--db", "flows.db", "--name", "x-1", cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    message, command = done.stderr.splitlines()[-2:]
    assert message == "asfn: the execution FAILED in state Pay: Card.Declined: no"
    looked = subprocess.run(
        shlex.split(command), cwd=folder, env=environment(), capture_output=True, text=True, check=True, timeout=60
    )
    assert "ExecutionFailed" in looked.stdout


def test_without_a_database_a_succeeded_execution_leaves_nothing_and_a_failed_one_can_be_looked_at(
    folder: Path,
) -> None:
    (folder / "card.json").write_text(machine(Pay=task("charge_card")))
    temporary = folder / "tmp"
    temporary.mkdir()
    here = {"env": environment(TMPDIR=str(temporary))}
    assert asfn("run", "one.asl.json", "-f", "functions", "-i", '{"n": 1}', cwd=folder, **here).returncode == 0
    assert list(temporary.iterdir()) == []
    assert asfn("run", "one.asl.json", cwd=folder, **here).returncode == 2
    assert list(temporary.iterdir()) == []
    assert asfn("run", "card.json", "-f", "functions", cwd=folder, **here).returncode == 1
    [kept] = temporary.iterdir()
    done = asfn("list", "--db", kept / "run.db", cwd=folder)
    assert "FAILED" in done.stdout


def test_a_task_that_nobody_answers_is_refused_with_what_to_do(folder: Path) -> None:
    done = asfn("run", "one.asl.json", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert TASK + "double" in done.stderr
    assert "--functions" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_changed_definition_is_run_under_the_same_name(folder: Path) -> None:
    flow = folder / "flow.json"
    for result in (1, 2):
        flow.write_text(machine(A={"Type": "Pass", "Result": result, "End": True}))
        done = asfn("run", flow, "--db", "flows.db", cwd=folder)
        assert done.stdout == f"{result}\n"


def test_a_name_that_is_taken_is_refused(folder: Path) -> None:
    words = ("run", "one.asl.json", "-f", "functions", "--db", "flows.db", "--name", "n", "-i", '{"n": 1}')
    assert asfn(*words, cwd=folder).returncode == 0
    done = asfn(*words, cwd=folder)
    assert done.returncode == 2
    assert "Execution Already Exists" in done.stderr


def test_the_view_can_be_switched_off(folder: Path) -> None:
    (folder / "pass.json").write_text(machine(A={"Type": "Pass", "End": True}))
    done = asfn("run", "pass.json", "--view", "none", cwd=folder)
    assert (done.stdout, done.stderr) == ("{}\n", "")


@pytest.mark.real_time
def test_ctrl_c_parks_and_the_printed_command_goes_on(folder: Path) -> None:
    (folder / "flow.json").write_text(
        machine(A=task("double", Next="W"), W={"Type": "Wait", "Seconds": 2, "End": True})
    )
    process = start("run", "flow.json", "-f", "functions", "-i", '{"n": 3}', "--db", "my flows.db", cwd=folder)
    assert process.stderr is not None
    for line in process.stderr:
        if "W: entered, waiting" in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert "is parked in my flows.db. To go on:" in err
    command = shlex.split(err.splitlines()[-1])
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=True
    )
    [answer] = [json.loads(line) for line in done.stdout.splitlines()]
    assert (answer["status"], answer["output"]) == ("SUCCEEDED", {"twice": 6})
    assert "working" not in done.stderr  # the task that had ended is not run again
    history = json.loads(asfn("history", answer["name"], "--db", "my flows.db", "--json", cwd=folder).stdout)
    assert [event["type"] for event in history].count("WaitStateEntered") == 1


@pytest.mark.real_time
def test_a_blocking_function_does_not_hold_the_program_after_a_second_ctrl_c(folder: Path) -> None:
    (folder / "slow.py").write_text("import time\ndef double(event):\n    time.sleep(30)\n")
    process = start("run", "one.asl.json", "-f", "slow", "--db", "flows.db", cwd=folder)
    assert process.stderr is not None
    for line in process.stderr:
        if "A: entered" in line:
            break
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    for line in process.stderr:
        if "parking" in line:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert time.monotonic() - began < 25  # the function would have held it for thirty
    assert "resume --db flows.db" in err


@pytest.mark.real_time
def test_after_a_kill_resume_finishes_what_was_running(folder: Path) -> None:
    (folder / "flow.json").write_text(machine(W={"Type": "Wait", "Seconds": 1, "Next": "A"}, A=task("double")))
    process = start("run", "flow.json", "-f", "functions", "-i", '{"n": 3}', "--db", "flows.db", cwd=folder)
    assert process.stderr is not None
    for line in process.stderr:
        if "W: entered" in line:
            break
    process.kill()
    process.communicate(timeout=20)
    done = asfn("resume", "--db", "flows.db", "-f", "functions", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"] == {"twice": 6}


@pytest.mark.real_time
def test_resume_says_what_cannot_go_on_and_leaves_it_resumable(folder: Path) -> None:
    (folder / "flow.json").write_text(machine(W={"Type": "Wait", "Seconds": 1, "Next": "A"}, A=task("double")))
    process = start("run", "flow.json", "-f", "functions", "-i", '{"n": 3}', "--db", "flows.db", cwd=folder)
    assert process.stderr is not None
    for line in process.stderr:
        if "W: entered" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    stuck = asfn("resume", "--db", "flows.db", cwd=folder)
    assert stuck.returncode == 2
    assert TASK + "double" in stuck.stderr
    assert "Traceback" not in stuck.stderr
    done = asfn("resume", "--db", "flows.db", "-f", "functions", cwd=folder)
    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "SUCCEEDED")


def test_resume_with_nothing_unfinished_says_so(folder: Path) -> None:
    asfn("run", "one.asl.json", "-f", "functions", "-i", '{"n": 1}', "--db", "flows.db", cwd=folder)
    done = asfn("resume", "--db", "flows.db", cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "nothing is unfinished in flows.db\n")


async def test_tasks_can_be_answered_by_what_speaks_lambda_s_protocol(folder: Path) -> None:
    invoke = {"FunctionName": "double", "Payload.$": "$"}
    (folder / "flow.json").write_text(
        machine(
            A=task("double", Next="B"),
            B={"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": invoke, "End": True},
        )
    )
    async with LambdaServer() as server:
        server.function("double", returns({"n": 2}), returns({"n": 4}))
        words = ("run", "flow.json", "--lambda-endpoint", server.url, "-i", '{"n": 1}')
        done = await asyncio.to_thread(asfn, *words, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["Payload"] == {"n": 4}
        assert [request.event for request in server.requests] == [{"n": 1}, {"n": 2}]
        assert server.access_keys == ["local", "local"]


async def test_a_python_function_wins_over_lambda(folder: Path) -> None:
    async with LambdaServer() as server:
        words = ("run", "one.asl.json", "-f", "functions", "--lambda-endpoint", server.url, "-i", '{"n": 1}')
        done = await asyncio.to_thread(asfn, *words, cwd=folder)
    assert json.loads(done.stdout) == {"twice": 2}
    assert server.requests == []
