"""What breaks around an engine: full disks, files that cannot be written or read, clocks that jump, functions that
hang or block. It says what is wrong, loses nothing it has acknowledged, and goes on when things are well again.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asfn._json import Json, JsonObject
from asfn.engine import Engine
from asfn.errors import EngineClosed, ExecutionFailed, StoreError
from asfn.runtime import clock as clocks
from asfn.store.records import EngineRow
from asfn.testing.loop import DEFAULT_START_AT, VirtualClock, run
from tests.runtime.workflows import machine, task

ROOT = Path(__file__).parents[2]
SAY = machine(("Say", {"Type": "Pass", "End": True}))
WORK = machine(("Work", task("work")))


# --- disks -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no byte free."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return ballast


@pytest.mark.real_time
async def test_a_disk_that_runs_full_stops_what_must_write_and_all_goes_on_when_it_has_space(small_disk: Path) -> None:
    began, go_on, keys = asyncio.Event(), asyncio.Event(), []
    async with Engine(f"sqlite:///{small_disk / 'a.db'}", lease_seconds=0.3) as engine:

        @engine.function("work")
        async def work(event: Json, context: Any) -> str:
            keys.append(context.idempotency_key)
            began.set()
            await go_on.wait()
            return "x" * 200_000

        await engine.create_state_machine("m", WORK)
        await engine.create_state_machine("say", SAY)
        execution = await engine.start("m", name="x")
        await began.wait()
        ballast = fill(small_disk)
        with pytest.raises(StoreError, match=r"the disk of .*a\.db is full: free some space"):
            await asyncio.gather(*(engine.start("say", "y" * 100_000) for _ in range(50)))
        go_on.set()
        with pytest.raises(StoreError, match="is full"):
            await execution.result(timeout=20)
        assert (await execution.describe()).status == "RUNNING"  # it can be read, and nothing was made up
        ballast.unlink()
        for _ in range(500):
            if (await execution.describe()).status != "RUNNING":
                break
            await asyncio.sleep(0.02)
        assert await execution.result(timeout=20) == "x" * 200_000
        assert [event["id"] for event in await execution.history()] == list(range(1, 8))
        assert len(set(keys)) == 1
        assert await (await engine.start("say", 5)).result() == 5


@pytest.mark.real_time
async def test_an_engine_on_a_full_disk_is_left_all_the_same(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = small_disk / "a.db"
    async with Engine(f"sqlite:///{path}") as engine:
        await engine.create_state_machine("m", machine(("Nap", {"Type": "Wait", "Seconds": 1, "End": True})))
        executions = [await engine.start("m", number) for number in range(20)]
        ballast = fill(small_disk)
    assert "until others see that it has gone" in caplog.text
    ballast.unlink()
    async with Engine(f"sqlite:///{path}") as engine:
        for number, execution in enumerate(executions):
            assert await (await engine.execution(execution.arn)).result(timeout=20) == number


LIMITED = """
import asyncio, os, resource, sys
from asfn.engine import Engine
from asfn.errors import StoreError

async def main(path):
    async with Engine(f"sqlite:///{path}") as engine:
        await engine.create_state_machine("m", {"StartAt": "Say", "States": {"Say": {"Type": "Pass", "End": True}}})
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        try:
            for number in range(1000):
                execution = await engine.start("m", "x" * 20_000)
                await execution.result()
                print(execution.arn, flush=True)
        except StoreError as error:
            print(error, flush=True)

asyncio.run(main(sys.argv[1]))
"""


async def python(program: str, *arguments: str) -> tuple[str, str]:
    """What a program prints that ends well, on both streams."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    return output.decode(), errors.decode()


@pytest.mark.real_time
async def test_a_limit_on_the_size_of_files_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    output, _ = await python(LIMITED, str(path))
    *arns, error = output.splitlines()
    assert "a.db" in error
    assert "full" in error or "failed" in error
    assert len(arns) > 5
    async with Engine(f"sqlite:///{path}") as engine:
        for arn in arns:
            assert (await (await engine.execution(arn)).describe()).status == "SUCCEEDED"
        assert await (await engine.start("m", "y" * 20_000)).result() == "y" * 20_000


READ_ONLY = """
import asyncio, os, sys
from asfn.engine import Engine
from asfn.errors import StoreError

os.chdir(sys.argv[1])
engine = Engine("sqlite:///a.db")  # and its imports, before the user is another one who may not read them
if os.geteuid() == 0:
    os.setegid(65534)
    os.seteuid(65534)

async def main():
    try:
        async with engine:
            print("entered")
    except StoreError as error:
        print(error)

asyncio.run(main())
"""


@pytest.mark.real_time
def test_a_file_that_may_not_be_written_is_refused_by_its_name_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    asyncio.run(_filled(path))
    before = path.read_bytes()
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        output, _ = asyncio.run(python(READ_ONLY, str(tmp_path)))
    finally:
        tmp_path.chmod(0o755)
    assert "a.db" in output
    assert "read-only" in output or "cannot be opened" in output
    assert path.read_bytes() == before


# --- damage ----------------------------------------------------------------------------------------------------------


async def _filled(path: Path) -> list[str]:
    async with Engine(f"sqlite:///{path}") as engine:
        await engine.create_state_machine("m", SAY)
        executions = [await engine.start("m", "x" * 500) for _ in range(500)]
        for execution in executions:
            await execution.result()
        return [execution.arn for execution in executions]


def _spoil(path: Path, first: int, pages: int) -> None:
    """Overwrite pages of the file, as a disk that fails does."""
    with path.open("r+b") as file:
        file.seek(first * 4096)
        file.write(b"\xa5" * 4096 * pages)


@pytest.mark.real_time
async def test_a_spoilt_header_is_refused_and_the_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await _filled(path)
    _spoil(path, 0, 1)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"a\.db is not an SQLite database"):
        async with Engine(f"sqlite:///{path}"):
            raise AssertionError("entered")
    assert path.read_bytes() == before


@pytest.mark.real_time
@pytest.mark.parametrize("when", ["before it is opened", "while it runs"])
async def test_spoilt_pages_are_told_as_damage_and_nothing_hangs(when: str, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    arns = await _filled(path)
    pages = path.stat().st_size // 4096
    told: list[str] = []
    if when == "before it is opened":
        _spoil(path, pages // 3, pages // 2)
    try:
        async with asyncio.timeout(60), Engine(f"sqlite:///{path}", lease_seconds=0.3) as engine:
            if when == "while it runs":
                _spoil(path, pages // 3, pages // 2)
            for arn in arns:
                try:
                    await (await engine.execution(arn)).history()
                    await (await engine.start("m", "y" * 2_000)).result()
                except StoreError as error:
                    told.append(str(error))
            await asyncio.sleep(0.3)
    except StoreError as error:
        told.append(str(error))
    assert any("is damaged: restore a copy" in text for text in told), told
    assert all("a.db" in text for text in told)


# --- clocks ----------------------------------------------------------------------------------------------------------


class JumpingTime:
    """Stands in for the module `time` in clock.py: the machine's time, set forward or back."""

    def __init__(self) -> None:
        self.by = 0.0

    def time(self) -> float:
        return time.time() + self.by


@pytest.mark.real_time
@pytest.mark.parametrize("hours", [1, -1])
async def test_a_clock_that_jumps_disturbs_nothing_but_waits_for_dates(
    hours: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumping = JumpingTime()
    monkeypatch.setattr(clocks, "time", jumping)
    monkeypatch.setattr(clocks.SystemClock, "now", staticmethod(jumping.time))
    monkeypatch.setattr(clocks, "_LONGEST_TIMER_SECONDS", 0.1)
    async with Engine(f"sqlite:///{tmp_path / 'a.db'}", lease_seconds=0.6, drain_seconds=0.2) as engine:
        began, go_on = asyncio.Event(), asyncio.Event()

        @engine.function("work")
        async def work(event: Json) -> Json:
            began.set()
            await go_on.wait()
            return event

        await engine.create_state_machine("work", WORK)
        await engine.create_state_machine("nap", machine(("Nap", {"Type": "Wait", "Seconds": 1800, "End": True})))
        working, napping = await engine.start("work", 1), await engine.start("nap", 2)
        await began.wait()
        async for event in napping.events():
            if event["type"] == "WaitStateEntered":
                break
        jumping.by = hours * 3600
        await asyncio.sleep(0.5)
        [row] = await engine.store.other_engines(EngineRow(0, 0, 0.0))
        assert abs(row.lease_until - jumping.time()) < 30  # it was renewed meanwhile: not by the date
        go_on.set()
        assert await working.result(timeout=20) == 1
        if hours > 0:  # its date has come
            assert await napping.result(timeout=20) == 2
        else:
            assert (await napping.describe()).status == "RUNNING"
            other = await engine.start("work", 3)
            assert await other.result(timeout=20) == 3
            jumping.by = 1801
            assert await napping.result(timeout=20) == 2
        assert [event["id"] for event in await napping.history()] == list(range(1, 5))
        began.clear()
        go_on.clear()
        left = await engine.start("work", 4)
        await began.wait()
        asyncio.get_running_loop().call_later(0.05, lambda: setattr(jumping, "by", -7200))
        began_leaving = time.monotonic()
    assert time.monotonic() - began_leaving < 20  # the two hours are not waited for
    with pytest.raises(EngineClosed):
        await left.result(timeout=20)


# --- functions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["ends", "goes on"])
@pytest.mark.parametrize("how", ["stopped", "timed out", "left"])
def test_a_function_that_never_returns_holds_nobody_up(how: str, event: str) -> None:
    async def main(clock: VirtualClock) -> None:
        engine = Engine(clock=clock, drain_seconds=3)

        @engine.function("work")
        async def work(event: Json) -> None:
            while True:
                try:
                    await asyncio.get_running_loop().create_future()
                except asyncio.CancelledError:
                    if event == "ends" or over:
                        raise

        state: JsonObject = {**task("work"), "TimeoutSeconds": 10} if how == "timed out" else task("work")
        async with engine:
            await engine.create_state_machine("m", machine(("Work", state)))
            execution = await engine.start("m", event)
            await asyncio.sleep(1)
            if how == "stopped":
                await execution.stop()
                assert clock.now() == DEFAULT_START_AT + 1
            elif how == "timed out":
                with pytest.raises(ExecutionFailed, match="Timeout"):
                    await execution.result()
                assert clock.now() == DEFAULT_START_AT + (10 if event == "ends" else 12)  # and the grace period
        assert clock.now() <= DEFAULT_START_AT + 15
        over.append(True)  # asyncio.run itself waits for what it cancels

    over: list[bool] = []
    run(main)


@pytest.mark.real_time
async def test_a_function_that_blocks_the_loop_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with Engine() as engine:

        @engine.function("careless")
        async def careless(event: Json) -> Json:
            time.sleep(4)  # noqa: ASYNC251  # what is tested
            return event

        await engine.create_state_machine("m", machine(("Work", task("careless"))))
        with caplog.at_level(logging.WARNING, "asfn.vigil"):
            assert await (await engine.start("m", 1, name="mine")).result() == 1
    [record] = [record for record in caplog.records if record.name == "asfn.vigil"]
    text = record.getMessage()
    assert "the event loop has been blocked" in text
    assert "mine:Work" in text
    assert "careless" in text
    assert "test_adversity.py" in text
