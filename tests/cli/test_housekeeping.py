"""`asfn purge`, `export`, `import`, `doctor` and `backup`, as a user calls them."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.program import asfn, environment, start

PASS = {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}
WAIT = {"StartAt": "W", "States": {"W": {"Type": "Wait", "SecondsPath": "$.seconds", "End": True}}}
SECRET = "correct horse battery staple"


def run_one(folder: Path, name: str, file: str = "pass", database: str = "flows.db", **variables: str) -> None:
    words = ("run", f"{file}.json", "--db", database, "--name", name, "-i", json.dumps({"word": SECRET}))
    assert asfn(*words, cwd=folder, env=environment(**variables)).returncode == 0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each test gets a copy of."""
    path = tmp_path_factory.mktemp("housekeeping")
    for file, definition in (("pass", PASS), ("other", PASS), ("wait", WAIT)):
        (path / f"{file}.json").write_text(json.dumps(definition))
    run_one(path, "order-1")
    run_one(path, "order-2", "other")
    return path


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    """A folder with flows.db, in which order-1 and order-2 succeeded."""
    return shutil.copytree(model, tmp_path, dirs_exist_ok=True)


def listed(folder: Path, database: str = "flows.db") -> set[str]:
    return {item["name"] for item in json.loads(asfn("list", "--db", database, "--json", cwd=folder).stdout)}


# purge


def test_purge_deletes_what_is_old_and_a_dry_run_only_counts_it(folder: Path) -> None:
    done = asfn("purge", "--db", "flows.db", "--older-than", "1d", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "0 executions deleted\n")
    done = asfn("purge", "--db", "flows.db", "--older-than", "0s", "--dry-run", cwd=folder)
    assert done.stdout == "2 executions to delete\n"
    assert listed(folder) == {"order-1", "order-2"}
    done = asfn("purge", "--db", "flows.db", "--older-than", "0s", "--machine", "other", cwd=folder)
    assert done.stdout == "1 execution deleted\n"
    assert listed(folder) == {"order-1"}
    assert asfn("purge", "--db", "flows.db", cwd=folder).stdout == "0 executions deleted\n"  # 90 days
    assert asfn("doctor", "--db", "flows.db", cwd=folder).returncode == 0
    with closing(sqlite3.connect(folder / "flows.db")) as connection:
        for table in ("segments", "payloads", "frames", "purged"):
            assert connection.execute(f"SELECT count(*) FROM {table} WHERE execution <> 0").fetchone()[0] <= 2


@pytest.mark.parametrize("age", ["90", "d", "-1d", "1y", "", "1d1h"])
def test_an_age_that_is_none_is_refused(folder: Path, age: str) -> None:
    done = asfn("purge", "--db", "flows.db", "--older-than", age, cwd=folder)
    assert done.returncode == 2
    assert "write a number and w, d, h, m or s, as in 90d or 12h" in done.stderr


def test_an_unknown_state_machine_is_refused(folder: Path) -> None:
    done = asfn("purge", "--db", "flows.db", "--machine", "nobody", cwd=folder)
    assert (done.returncode, done.stderr) == (2, "asfn: the state machine 'nobody' has no executions here\n")


# export and import


def test_an_execution_moves_from_one_file_to_another(folder: Path) -> None:
    done = asfn("export", "order-1", "--db", "flows.db", "-o", "order-1.json", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "")
    document = json.loads((folder / "order-1.json").read_text())
    assert (document["format"], document["version"]) == ("asfn-execution", 1)
    assert document["history"] == json.loads(
        asfn("history", "order-1", "--db", "flows.db", "--json", cwd=folder).stdout
    )

    done = asfn("import", "order-1.json", "--db", "new.db", cwd=folder)
    assert (done.returncode, done.stdout.strip()) == (0, document["execution"]["arn"])
    assert listed(folder, "new.db") == {"order-1"}
    assert asfn("doctor", "--db", "new.db", cwd=folder).returncode == 0
    for command in ("show", "history"):
        words = (command, "order-1", "--json")
        there = asfn(*words, "--db", "new.db", cwd=folder).stdout
        assert there == asfn(*words, "--db", "flows.db", cwd=folder).stdout

    done = asfn("import", "order-1.json", "--db", "new.db", cwd=folder)
    assert done.returncode == 2
    assert "Execution Already Exists" in done.stderr


def test_export_and_import_work_through_pipes(folder: Path) -> None:
    exported = asfn("export", "order-2", "--db", "flows.db", cwd=folder).stdout
    assert asfn("import", "-", "--db", "new.db", cwd=folder, stdin=exported).returncode == 0
    assert listed(folder, "new.db") == {"order-2"}


@pytest.mark.parametrize("text", ["", "{", "{}", "[1]"])
def test_what_is_no_export_is_refused(folder: Path, text: str) -> None:
    done = asfn("import", "-", "--db", "new.db", cwd=folder, stdin=text)
    assert done.returncode == 2
    assert "is not JSON" in done.stderr or "not an execution that asfn exported" in done.stderr


@pytest.mark.real_time
def test_an_unfinished_execution_goes_on_where_it_was_imported(folder: Path) -> None:
    process = start("run", "wait.json", "--db", "a.db", "--name", "w", "-i", '{"seconds": 3}', cwd=folder)
    assert process.stderr is not None
    for line in process.stderr:
        if "waiting" in line:
            break
    done = asfn("export", "w", "--db", "a.db", cwd=folder)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    imported = asfn("import", "-", "--db", "b.db", cwd=folder, stdin=done.stdout)
    assert "it is unfinished, and goes on when an engine opens this database" in imported.stderr
    resumed = asfn("resume", "--db", "b.db", "--quiet", cwd=folder)
    assert json.loads(resumed.stdout)["output"] == {"seconds": 3}
    assert asfn("doctor", "--db", "b.db", cwd=folder).returncode == 0


# doctor


def test_doctor_calls_a_sound_file_sound(folder: Path) -> None:
    done = asfn("doctor", "--db", "flows.db", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "flows.db is sound: 2 executions, 0 of them unfinished\n"
    [report] = [json.loads(asfn("doctor", "--db", "flows.db", "--json", cwd=folder).stdout)]
    assert (report["executions"], report["findings"], report["current"]) == (2, [], True)


def test_doctor_finds_and_repairs(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "flows.db", isolation_level=None)) as connection:
        connection.execute("INSERT INTO payloads VALUES (77, 'd', '{}')")
    before = (folder / "flows.db").read_bytes()
    done = asfn("doctor", "--db", "flows.db", cwd=folder)
    assert done.returncode == 1
    assert done.stdout == "orphan: there is no execution 77, and payloads of it (--repair mends this)\n"
    assert (folder / "flows.db").read_bytes() == before
    done = asfn("doctor", "--db", "flows.db", "--repair", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "")
    assert "1 finding was mended" in done.stderr
    with closing(sqlite3.connect(folder / "flows.db")) as connection:
        assert connection.execute("SELECT count(*) FROM payloads WHERE execution = 77").fetchone() == (0,)


def test_doctor_says_what_cannot_be_repaired(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "flows.db", isolation_level=None)) as connection:
        connection.execute("UPDATE segments SET body = '[1]'")
    done = asfn("doctor", "--db", "flows.db", "--repair", "--json", cwd=folder)
    assert done.returncode == 1
    assert {finding["kind"] for finding in json.loads(done.stdout)["findings"]} == {"history"}


@pytest.mark.real_time
def test_doctor_tells_an_engine_that_was_killed_from_one_that_runs(folder: Path) -> None:
    process = start("run", "wait.json", "--db", "a.db", "--name", "w", "-i", '{"seconds": 4}', cwd=folder)
    assert process.stderr is not None
    for line in process.stderr:
        if "waiting" in line:
            break
    assert asfn("doctor", "--db", "a.db", "--repair", cwd=folder).returncode == 0
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    done = asfn("doctor", "--db", "a.db", cwd=folder)
    assert done.returncode == 1
    assert "engine 1 died; its 1 unfinished executions go on when an engine opens the file" in done.stdout
    assert asfn("doctor", "--db", "a.db", "--repair", cwd=folder).returncode == 0
    assert asfn("resume", "--db", "a.db", "--quiet", cwd=folder).returncode == 0


# backup


@pytest.mark.real_time
def test_a_backup_is_made_while_an_engine_runs_and_goes_on_by_itself(folder: Path) -> None:
    process = start("run", "wait.json", "--db", "a.db", "--name", "w", "-i", '{"seconds": 3}', cwd=folder)
    assert process.stderr is not None
    for line in process.stderr:
        if "waiting" in line:
            break
    done = asfn("backup", "copy.db", "--db", "a.db", cwd=folder)
    assert done.returncode == 0
    assert done.stdout.startswith("copy.db: ")
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, json.loads(out)) == (0, {"seconds": 3})
    assert asfn("doctor", "--db", "copy.db", cwd=folder).returncode == 0
    assert json.loads(asfn("resume", "--db", "copy.db", "--quiet", cwd=folder).stdout)["status"] == "SUCCEEDED"


def test_a_backup_replaces_nothing_unless_told(folder: Path) -> None:
    assert asfn("backup", "copy.db", "--db", "flows.db", cwd=folder).returncode == 0
    done = asfn("backup", "copy.db", "--db", "flows.db", cwd=folder)
    assert done.returncode == 2
    assert "copy.db exists: give another path" in done.stderr
    run_one(folder, "order-3")
    assert listed(folder, "copy.db") == {"order-1", "order-2"}
    assert asfn("backup", "copy.db", "--db", "flows.db", "--force", cwd=folder).returncode == 0
    assert listed(folder, "copy.db") == {"order-1", "order-2", "order-3"}
    for target in ("no/copy.db", "."):
        assert asfn("backup", target, "--db", "flows.db", cwd=folder).returncode == 2


# codecs


def test_the_environment_can_name_a_codec(folder: Path) -> None:
    codec = {"ASFN_CODEC": "asfn:GzipCodec"}
    run_one(folder, "coded", database="coded.db", **codec)
    assert SECRET.encode() not in (folder / "coded.db").read_bytes()

    done = asfn("show", "coded", "--db", "coded.db", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "was written with the codec 'gzip': open it with that codec" in done.stderr
    for words in (("show", "coded"), ("history", "coded"), ("export", "coded")):
        done = asfn(*words, "--db", "coded.db", cwd=folder, env=environment(**codec))
        assert done.returncode == 0
        assert SECRET in done.stdout
    for words in (("doctor",), ("purge", "--older-than", "0s"), ("list",)):
        assert asfn(*words, "--db", "coded.db", cwd=folder, env=environment(**codec)).returncode == 0
    assert asfn("list", "--db", "flows.db", cwd=folder, env=environment(**codec)).returncode == 2


@pytest.mark.parametrize("spec", ["nowhere:Codec", "json:no", "json", "json:JSONDecoder", ":x"])
def test_a_codec_that_is_none_is_refused(folder: Path, spec: str) -> None:
    done = asfn("list", "--db", "flows.db", cwd=folder, env=environment(ASFN_CODEC=spec))
    assert done.returncode == 2
    assert f"ASFN_CODEC={spec} names no codec as MODULE:ATTR" in done.stderr
