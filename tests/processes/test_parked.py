"""What a process has parked is woken by another one that lives, though the first is killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

import asfn
from asfn.engine import Engine

ROOT = Path(asfn.__file__).parent.parent
COUNT = 40

pytestmark = pytest.mark.real_time


@pytest.mark.parametrize("enters", ["before", "after"])
async def test_a_living_engine_wakes_what_a_killed_process_had_parked(tmp_path: Path, enters: str) -> None:
    database = tmp_path / "flows.db"
    calls: list[int] = []
    engine = Engine(f"sqlite:///{database}", park_seconds=0.05)
    engine.register("work", calls.append)
    if enters == "before":
        await engine.__aenter__()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.processes.parker", str(database), str(COUNT), "8"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 60) == b"parked\n"
    process.kill()
    await process.wait()
    if enters == "after":
        await engine.__aenter__()
    async with asyncio.timeout(60):
        await engine.join()
    infos = await engine.list_executions()
    await engine.__aexit__(None, None, None)
    assert [info.status for info in infos] == ["SUCCEEDED"] * COUNT
    assert sorted(calls) == list(range(COUNT))
    assert all(info.stopped_at is not None and info.stopped_at >= info.started_at + 8 for info in infos)
