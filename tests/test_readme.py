"""The README's examples do what it says."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.program import PROJECT, environment

README = (PROJECT / "README.md").read_text() if (PROJECT / "README.md").exists() else ""


def block(word: str) -> str:
    """The one Python example that holds this word."""
    [found] = [text for text in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if word in text]
    return found


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )


def test_the_first_example_prints_the_result_and_the_events(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(block("asyncio.run(main())"))
    done = run(tmp_path, "example.py")
    assert done.returncode == 0, done.stderr
    first, *events = done.stdout.splitlines()
    assert first == "{'charged': 30}"
    assert (events[0], events[-1]) == ("1 ExecutionStarted", "7 ExecutionSucceeded")


@pytest.mark.real_time
async def test_the_service_takes_an_order_and_finishes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}  # Any: what the example defines
    exec(compile(block("lifespan=lifespan"), "README.md", "exec"), names)
    transport = httpx.ASGITransport(names["app"])
    async with names["lifespan"](names["app"]), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        arn = (await client.post("/orders", json={"id": 7})).json()["arn"]
        while (seen := (await client.get(f"/orders/{arn}")).json())["status"] == "RUNNING":  # noqa: ASYNC110  # over HTTP
            await asyncio.sleep(0.02)
    assert seen == {"status": "SUCCEEDED", "output": {"id": 7}, "error": None}


@pytest.mark.real_time
def test_the_parcel_is_approved_and_packed(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(block("packer-1"))
    done = run(tmp_path, "example.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "{'packed': {'approved': True}}\n"


def test_routes_to_lambda_can_be_made_as_shown(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(block("legacy-"))
    assert run(tmp_path, "example.py").returncode == 0


def test_the_example_of_a_test_passes(tmp_path: Path) -> None:
    (tmp_path / "test_example.py").write_text(block("a_busy_bank"))
    done = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "test_example.py")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_an_engine_is_observed_as_shown(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(block("on_status_change"))
    assert run(tmp_path, "example.py").returncode == 0


def test_every_command_shown_is_one_that_asfn_knows(tmp_path: Path) -> None:
    shown = [shlex.split(line[7:]) for line in README.splitlines() if line.startswith("$ asfn ")]
    assert len(shown) > 5
    for command, *words in shown:
        options = [word for word in words if word.startswith("--")]
        helped = run(tmp_path, "-m", "asfn", command, "--help").stdout
        assert helped
        assert all(option in helped for option in options), (command, options)


def test_every_file_and_room_the_readme_names_is_there() -> None:
    named = re.findall(r"\]\(([^)#:]+)\)|`((?:asfn|tests)/[\w./]+)`", README)
    assert len(named) > 8
    missing = [name for pair in named for name in pair if name and not (PROJECT / name).exists()]
    assert missing == []
