"""Real processes on one real file: killed in the middle of their commits, and side by side."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from asfn.store.records import ExecutionQuery
from asfn.store.sqlite import SqliteStore
from tests.store.samples import LARGE_TEXT, start
from tests.store.stream import STEPS

pytestmark = pytest.mark.real_time

ROOT = Path(__file__).parents[2]


def stream(path: Path, coroutines: int, *count: int) -> subprocess.Popen[str]:
    """A process that writes executions to the file and tells what was acknowledged."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.store.stream", str(path), str(coroutines), *map(str, count)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        text=True,
    )


def acknowledged(lines: list[str]) -> dict[int, int]:
    """The last acknowledged step of each execution; a line that the kill cut off does not count."""
    steps: dict[int, int] = {}
    for line in lines:
        if line.endswith("\n"):
            key, step = line.split()
            steps[int(key)] = int(step)
    return steps


def kill_after(process: subprocess.Popen[str], lines: int) -> dict[int, int]:
    """Let the process have `lines` acknowledgements, kill it, and give all it had."""
    assert process.stdout is not None
    read = [process.stdout.readline() for _ in range(lines)]
    process.kill()
    read += process.stdout.readlines()
    process.stdout.close()
    process.wait()
    assert len(acknowledged(read)) > 0
    return acknowledged(read)


async def check(store: SqliteStore, path: Path, steps: dict[int, int]) -> int:
    """Everything acknowledged is there, and every execution stands exactly behind one of its commits.

    Gives how many executions are in the file.
    """
    found = {item.key: item for item in await store.executions(ExecutionQuery(limit=1_000_000))}
    assert steps.keys() <= found.keys()
    for key, execution in found.items():
        segments = await store.segments(key)
        last_id = segments[-1].last_id if segments else 0
        step = [last for last, _ in STEPS].index(last_id)
        assert step >= steps.get(key, 0)
        assert [item.first_id for item in segments] == [1, *(item.last_id + 1 for item in segments[:-1])][
            : len(segments)
        ]
        assert {item.path: item.body for item in await store.frames(key)} == {
            path: f'{{"body":{body}}}' for path, body in STEPS[step][1].items()
        }
        assert execution.status == ("SUCCEEDED" if step == len(STEPS) - 1 else "RUNNING")
        assert execution.output is None or execution.output.text == LARGE_TEXT
        assert not segments or segments[0].texts[0].text == LARGE_TEXT
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return len(found)


@pytest.mark.parametrize(("coroutines", "lines"), [(1, 1), (1, 25), (20, 130), (300, 1_500)])
async def test_a_killed_process_loses_nothing_acknowledged_and_leaves_nothing_half_written(
    path: Path, coroutines: int, lines: int
) -> None:
    steps = kill_after(stream(path, coroutines), lines)

    store = SqliteStore(path)
    await store.open()
    try:
        await check(store, path, steps)
        heir = await store.register_engine(1.0, 30.0)
        [dead] = await store.other_engines(heir)
        claimed = await store.claim(heir, 1.0, dead=[dead.id])
        assert {item.key for item in claimed} >= {key for key, step in steps.items() if step == 0}
        assert {item.status for item in claimed} <= {"RUNNING"}
        assert await store.apply(heir, [start(1, heir)]) == [None]
    finally:
        await store.close()


async def test_processes_share_one_new_file_and_one_of_them_may_be_killed(path: Path) -> None:
    victim = stream(path, 20)
    others = [stream(path, 20, 60) for _ in range(2)]
    steps = kill_after(victim, 100)
    for process in others:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        done = acknowledged(output.splitlines(keepends=True))
        assert len(done) == 60
        assert set(done.values()) == {len(STEPS) - 1}
        steps |= done

    store = SqliteStore(path)
    await store.open()
    try:
        assert await check(store, path, steps) >= 120
        assert len(await store.other_engines(await store.register_engine(1.0, 30.0))) == 3
    finally:
        await store.close()
