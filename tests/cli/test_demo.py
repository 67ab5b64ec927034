"""`asfn demo`, and what loading the program costs."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.program import asfn, environment


@pytest.mark.real_time
def test_the_demo_finishes_three_executions_and_its_commands_work(tmp_path: Path) -> None:
    done = asfn("demo", cwd=tmp_path, env=environment(TMPDIR=str(tmp_path)))
    assert done.returncode == 0, done.stderr
    for text in (
        "delivered",
        "payment-refused",
        "out-of-stock",
        "SUCCEEDED",
        "PaymentVerificationFailed",
        "InventoryUpdateFailed",
    ):
        assert text in done.stdout
    commands = [line.strip() for line in done.stdout.splitlines() if " --db " in line]
    assert len(commands) == 5
    for command in commands:
        looked = subprocess.run(
            shlex.split(command),
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert looked.stdout
    [folder] = tmp_path.iterdir()
    assert str(folder / "demo.db") in done.stdout


def test_the_demo_can_run_again_in_the_same_file(tmp_path: Path) -> None:
    for _ in range(2):
        assert asfn("demo", "--db", "demo.db", cwd=tmp_path).returncode == 0
    found = json.loads(asfn("list", "--db", "demo.db", "--json", cwd=tmp_path).stdout)
    assert sorted(execution["status"] for execution in found) == ["FAILED"] * 4 + ["SUCCEEDED"] * 2
    assert all(execution["stopped_at"] for execution in found)


def test_the_demo_s_file_is_refused_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no database" * 1000)
    done = asfn("demo", "--db", "x", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_help_names_every_command_and_the_exit_codes(tmp_path: Path) -> None:
    done = asfn("--help", cwd=tmp_path)
    assert done.returncode == 0
    for word in ("demo", "run", "resume", "validate", "list", "show", "history", "130", "asfn demo"):
        assert word in done.stdout
    for command in ("demo", "run", "resume", "validate", "list", "show", "history"):
        helped = asfn(command, "--help", cwd=tmp_path)
        assert helped.returncode == 0
        assert "Usage: python -m asfn " + command in helped.stdout


MAIN = "\ntry: main()\nexcept SystemExit: pass"


@pytest.mark.parametrize(
    "code",
    [
        "import asfn; asfn.Engine",
        "import asfn.cli",
        "import sys; sys.argv = ['asfn', '--help']\nfrom asfn.cli import main" + MAIN,
        "import sys; sys.argv = ['asfn', 'run', '--help']\nfrom asfn.cli import main" + MAIN,
    ],
)
def test_heavy_packages_are_loaded_only_when_they_are_used(tmp_path: Path, code: str) -> None:
    heavy = ("rich", "aiobotocore", "botocore", "starlette", "uvicorn", "jsonpath_ng", "asyncpg", "jsonata")
    check = f"\nimport sys\nloaded = [name for name in {heavy} if name in sys.modules]\nassert not loaded, loaded"
    done = subprocess.run(
        [sys.executable, "-c", code + check],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
