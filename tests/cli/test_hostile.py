"""Whatever is handed to the program: one clear message, an exit code, no traceback, nothing half-written."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.program import asfn, environment

GOOD = '{"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}}'
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:work"
TASK = {"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": FUNCTION, "End": True}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.json").write_text(GOOD)
    (tmp_path / "task.json").write_text(json.dumps(TASK))
    return tmp_path


def assert_refused(done: subprocess.CompletedProcess[str], *said: str, code: int = 2) -> None:
    """The program said so on stderr in a few lines, and left with this code."""
    assert "Traceback" not in done.stderr
    assert "a fault in asfn" not in done.stderr
    assert done.returncode == code, done.stderr
    for text in said:
        assert text in done.stdout + done.stderr
    assert 1 <= len(done.stderr.splitlines()) <= 6
    assert len(done.stderr) < 3000


CONTENTS: dict[str, bytes] = {
    "truncated": b'{"StartAt": "A", "States": {"A": {"Type": "Pa',
    "brackets": b"[" * 10_000_000,
    "braces": b'{"a":' * 2_000_000,
    "binary": bytes(random.Random(7).randrange(256) for _ in range(5000)),
    "nul": b"\0" * 100,
    "empty": b"",
    "utf16": '{"StartAt": 1}'.encode("utf-16"),
    "list": b"[1, 2]",
    "number": b"1e999",
    "aliases": b"a: &a [x, x]\n"
    + b"".join(b"b%d: &b%d [*%s, *%s]\n" % (n, n, p, p) for n, p in [(1, b"a"), (2, b"b1")]),
}


def test_validate_tells_of_every_file_that_is_no_definition(folder: Path) -> None:
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    done = asfn("validate", *CONTENTS, cwd=folder)
    assert_refused(done, f"{len(CONTENTS)} files", code=1)
    lines = done.stdout.splitlines()
    assert list(dict.fromkeys(line.split(":")[0] for line in lines)) == list(CONTENTS)
    assert all("ERROR" in line and len(line) < 500 for line in lines)


@pytest.mark.parametrize("name", ["truncated", "brackets", "binary", "aliases"])
def test_run_refuses_a_file_that_is_no_definition_before_anything_is_opened(folder: Path, name: str) -> None:
    (folder / "x.json").write_bytes(CONTENTS[name])
    assert_refused(asfn("run", "x.json", "--db", "x.db", cwd=folder), "x.json has", "nothing was run")
    assert not (folder / "x.db").exists()


WAIT = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 1, "End": True}}}
FAIL = {"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "e", "Cause": "c"}}}
EVERYTHING = {
    "Comment": "c",
    "StartAt": "T",
    "TimeoutSeconds": 5,
    "Version": "1.0",
    "QueryLanguage": "JSONPath",
    "States": {
        "T": {
            "Type": "Task",
            "Comment": "c",
            "Resource": FUNCTION,
            "InputPath": "$",
            "Parameters": {},
            "ResultSelector": {},
            "ResultPath": "$",
            "OutputPath": "$",
            "Assign": {},
            "TimeoutSeconds": 3,
            "HeartbeatSeconds": 1,
            "Retry": [{"ErrorEquals": ["X"], "IntervalSeconds": 1, "MaxAttempts": 1, "BackoffRate": 2}],
            "Catch": [{"ErrorEquals": ["X"], "ResultPath": "$", "Next": "C"}],
            "Next": "C",
        },
        "C": {"Type": "Choice", "Choices": [{"Variable": "$.a", "NumericEquals": 1, "Next": "P"}], "Default": "M"},
        "P": {"Type": "Parallel", "Branches": [WAIT], "Next": "M"},
        "M": {"Type": "Map", "ItemsPath": "$", "MaxConcurrency": 1, "ItemProcessor": FAIL, "End": True},
    },
}


def test_a_value_of_the_wrong_type_in_any_field_is_a_finding(folder: Path) -> None:
    names = []
    for number, (path, value) in enumerate(wrongly_typed(EVERYTHING)):
        names.append(f"w{number}.json")
        (folder / names[-1]).write_text(json.dumps(replaced(EVERYTHING, path, value)))
    done = asfn("validate", *names, "--format", "json", cwd=folder)
    assert (done.returncode, done.stderr) == (1, "")
    reports = json.loads(done.stdout)
    assert len(reports) == len(names) > 200
    silent = [report["file"] for report in reports if not report["diagnostics"]]
    assert len(silent) < len(names) / 4  # some fields take any value, such as Parameters


def wrongly_typed(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], object]]:
    """Every place of a definition with the values of other types to put there."""
    others = [other for other in (None, True, -7, "", [[]], {"": {}}) if type(other) is not type(value)]
    found: list[tuple[tuple[str | int, ...], object]] = [(path, other) for other in others if path]
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        found += wrongly_typed(member, (*path, key))
    return found


def replaced(value: object, path: tuple[str | int, ...], new: object) -> object:
    if not path:
        return new
    first, *rest = path
    copy = dict(value) if isinstance(value, dict) else list(value)  # type: ignore[call-overload]
    copy[first] = replaced(copy[first], tuple(rest), new)
    return copy


@pytest.mark.parametrize("command", ["validate", "run"])
def test_what_is_no_readable_file_is_named(folder: Path, command: str) -> None:
    (folder / "dir").mkdir()
    assert_refused(asfn(command, "missing.json", cwd=folder), "missing.json cannot be read: No such file or directory")
    assert_refused(asfn(command, "dir", cwd=folder), "dir cannot be read: Is a directory")
    assert_refused(asfn(command, "/dev/zero", cwd=folder), "/dev/zero is larger than")
    assert_refused(asfn(command, "good.json/x", cwd=folder), "good.json/x cannot be read: Not a directory")
    assert_refused(asfn(command, b"a\xff.json".decode(errors="surrogateescape"), cwd=folder), "a\\udcff.json")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{", "the input is not valid JSON"),
        ("", "the input is not valid JSON"),
        ("NaN", "the input is not valid JSON"),
        ('{"a": 1} x', "the input is not valid JSON"),
        ("[" * 100_000, "the input is not valid JSON"),
        ("@missing.json", "the input in missing.json cannot be read: No such file"),
        ("@.", "the input in . cannot be read: Is a directory"),
        ("@/dev/zero", "the input in /dev/zero is larger than"),
    ],
)
def test_input_that_is_no_json_is_refused_before_anything_is_opened(folder: Path, given: str, said: str) -> None:
    assert_refused(asfn("run", "good.json", "--db", "x.db", "--input", given, cwd=folder), said)
    assert not (folder / "x.db").exists()


def test_input_on_stdin_may_be_anything(folder: Path) -> None:
    assert_refused(asfn("run", "good.json", "-i", "-", cwd=folder, stdin=b"\xff\xfe"), "stdin is not UTF-8")
    big = '"' + "x" * 300_000 + '"'
    assert_refused(asfn("run", "good.json", "-i", "-", cwd=folder, stdin=big), "Invalid State Machine Execution Input")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("missing", "there is no module 'missing'"),
        ("a b", "write MODULE or MODULE:ATTR"),
        (":x", "write MODULE or MODULE:ATTR"),
        ("fine:", "write MODULE or MODULE:ATTR"),
        ("fine.py", "without .py"),
        ("fine:nothing", "fine has no 'nothing'"),
        ("fine:NUMBERS", "is not a name with a function"),
        ("fine:work", "was called with the engine"),
        ("fine:three", "was called with the engine"),
        ("fine:TOO_MANY", "cannot answer a Task"),
        ("fine:BAD_NAME", "is neither a Lambda function's name nor an ARN"),
        ("fine:engine", "is an Engine of its own"),
        ("empty", "holds no public functions"),
        ("raises", "importing raises failed: RuntimeError: boom"),
        ("leaves", "importing leaves failed: SystemExit: 3"),
        ("broken", "importing broken failed: SyntaxError"),
        ("needs", "importing needs failed: ModuleNotFoundError: No module named 'something_else'"),
    ],
)
def test_functions_that_cannot_be_had_are_refused_before_anything_is_opened(folder: Path, spec: str, said: str) -> None:
    (folder / "fine.py").write_text(
        "from asfn import Engine\n"
        "def work(event, ctx): return event\n"
        "def three(a, b, c): return a\n"
        "NUMBERS = {'work': 1}\nTOO_MANY = {'work': three}\nBAD_NAME = {'a b': work}\nengine = Engine()\n"
    )
    (folder / "empty.py").write_text("import os\nX = 1\n")
    (folder / "raises.py").write_text("raise RuntimeError('boom')\n")
    (folder / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    (folder / "broken.py").write_text("def x(:\n")
    (folder / "needs.py").write_text("import something_else\n")
    assert_refused(asfn("run", "task.json", "--functions", spec, "--db", "x.db", cwd=folder), said)
    assert not (folder / "x.db").exists()


def test_an_unknown_function_is_named_with_its_nearest_neighbours(folder: Path) -> None:
    (folder / "fine.py").write_text("def wrk(event): return event\n")
    assert_refused(asfn("run", "task.json", "-f", "fine", cwd=folder), FUNCTION, "'wrk'", "--functions")


@pytest.mark.parametrize("command", [("run", "good.json"), ("list",), ("show", "x"), ("history", "x"), ("resume",)])
def test_a_database_that_cannot_be_used_is_refused_and_left_alone(folder: Path, command: tuple[str, ...]) -> None:
    (folder / "no.db").write_bytes(b"this is no database" * 100)
    foreign = folder / "foreign.db"
    make = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('create table t (x)'); c.commit()"
    subprocess.run([sys.executable, "-c", make, foreign], check=True)
    before = (folder / "no.db").read_bytes(), foreign.read_bytes()
    assert_refused(asfn(*command, "--db", "no.db", cwd=folder), "no.db is not an SQLite database")
    assert_refused(asfn(*command, "--db", "foreign.db", cwd=folder), "is a database of another application")
    assert ((folder / "no.db").read_bytes(), foreign.read_bytes()) == before


@pytest.mark.parametrize(
    ("database", "said"), [("dir", "dir is a folder"), ("postgres://x/y", "give the path of a file"), ("", "--db")]
)
def test_what_cannot_be_a_database_is_refused(folder: Path, database: str, said: str) -> None:
    (folder / "dir").mkdir()
    assert_refused(asfn("run", "good.json", "--db", database, cwd=folder), said)


def test_a_database_that_is_not_there_is_not_made_by_looking(folder: Path) -> None:
    (folder / "blank.db").touch()
    for command in (("history", "x"), ("resume",)):
        assert_refused(asfn(*command, "--db", "new.db", cwd=folder), "there is no database new.db")
        assert_refused(asfn(*command, "--db", "blank.db", cwd=folder), "blank.db is empty")
    assert not (folder / "new.db").exists()
    assert (folder / "blank.db").stat().st_size == 0
    assert_refused(asfn("run", "good.json", "--db", "no/where.db", cwd=folder), "there is no folder no")


@pytest.mark.parametrize("name", ["", "x" * 81, "a:b"])
def test_a_name_that_aws_would_refuse_is_refused(folder: Path, name: str) -> None:
    assert_refused(asfn("run", "good.json", "--name", name, cwd=folder), "Invalid Name")


@pytest.mark.parametrize("words", [(), ("nonsense",), ("run",), ("list",), ("validate",), ("run", "x", "--what")])
def test_wrong_usage_exits_with_2(folder: Path, words: tuple[str, ...]) -> None:
    done = asfn(*words, cwd=folder)
    assert done.returncode == 2
    assert "Usage:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "words", [("validate", "bad.json"), ("validate", "bad.json", "--format", "json"), ("run", "good.json"), ("--help",)]
)
def test_a_full_disk_behind_stdout_is_told(folder: Path, words: tuple[str, ...]) -> None:
    (folder / "bad.json").write_text("{}")
    with open("/dev/full", "w") as full:
        done = asfn(*words, cwd=folder, stdout=full)
    assert_refused(done, "No space left on device")


def test_a_full_disk_under_the_database_is_told_and_the_database_stays_whole(folder: Path) -> None:
    big = json.dumps({"text": "x" * 100_000})
    passes = {f"S{n}": {"Type": "Pass", "Result": [n, "y" * 50_000], "Next": f"S{n + 1}"} for n in range(20)}
    flow = {"StartAt": "S0", "States": {**passes, "S20": {"Type": "Succeed"}}}
    (folder / "flow.json").write_text(json.dumps(flow))
    (folder / "in.json").write_text(big)
    assert asfn("run", "good.json", "--db", "x.db", "--name", "first", cwd=folder).returncode == 0

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    done = asfn("run", "flow.json", "--db", "x.db", "-i", "@in.json", "--view", "none", cwd=folder, preexec_fn=limit)
    assert_refused(done, "x.db")
    listed = asfn("list", "--db", "x.db", "--json", cwd=folder)
    assert listed.returncode == 0
    assert "first" in [found["name"] for found in json.loads(listed.stdout)]


def test_a_reader_that_goes_away_ends_the_program_quietly(folder: Path) -> None:
    passes = {f"S{n}": {"Type": "Pass", "Next": f"S{n + 1}"} for n in range(1500)}
    (folder / "flow.json").write_text(json.dumps({"StartAt": "S0", "States": {**passes, "S1500": {"Type": "Succeed"}}}))
    ran = asfn("run", "flow.json", "--db", "x.db", "--name", "n", "--view", "none", cwd=folder)
    assert ran.returncode == 0, ran.stderr
    for words in (("history", "n", "--db", "x.db"), ("history", "n", "--db", "x.db", "--json")):
        process = subprocess.Popen(
            [sys.executable, "-m", "asfn", *words],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        with process.stderr:
            said = process.stderr.read()
        assert process.wait(timeout=30) == 2
        assert said == "asfn: whoever read the output has gone; the rest of it was not written\n"


def test_closed_streams_are_no_fault(folder: Path) -> None:
    command = f'"{sys.executable}" -m asfn run good.json --db x.db --name n <&- >&- 2>&-'
    done = subprocess.run(["/bin/sh", "-c", command], cwd=folder, env=environment(), check=False, timeout=60)
    assert done.returncode == 0
    assert "SUCCEEDED" in asfn("list", "--db", "x.db", cwd=folder).stdout


def test_a_watcher_that_goes_away_does_not_stop_the_execution(folder: Path) -> None:
    flow = {
        "StartAt": "W",
        "States": {"W": {"Type": "Wait", "Seconds": 1, "Next": "A"}, "A": {"Type": "Pass", "End": True}},
    }
    (folder / "flow.json").write_text(json.dumps(flow))
    command = f'"{sys.executable}" -m asfn run flow.json --db x.db --name n 2>&1 >out.json | head -1'
    subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, env=environment(), check=True, capture_output=True, timeout=60
    )
    assert (folder / "out.json").read_text() == "{}\n"
    assert "SUCCEEDED" in asfn("list", "--db", "x.db", cwd=folder).stdout
