"""`python -m benchmarks.throughput [--json OUT] [--quick]`: what asfn costs, beside yardsticks of the same run.

W1: 5 Pass states, 1,000 executions at once. W2: Choice, a function Task, a Parallel of 2 and a Map over 10 items,
200 at once. W3: executions asleep in a Wait. W4: process start to first result. Absolute numbers depend on the
machine; read the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from asfn import Engine
from asfn.store.memory import MemoryStore
from asfn.store.records import Progress, Start
from benchmarks.workloads import (
    ORDER,
    ORDER_INPUT,
    ORDER_STATES,
    PASS_CHAIN,
    PASS_CHAIN_STATES,
    SLEEPER,
    BareWriter,
    bare_chain,
    bare_durable,
    bare_order,
)


@dataclass
class Row:
    """One measured figure. ratio: value over yardstick where more is better, yardstick over value where less is."""

    workload: str
    mode: str
    value: float
    unit: str
    yardstick: float
    ratio: float
    cpu_us: float | None = None


@dataclass
class Timing:
    wall: float
    cpu: float


async def timed(work: Callable[[], Awaitable[object]], rounds: int) -> Timing:
    """The best of several rounds, after one that warms up."""
    best = Timing(float("inf"), float("inf"))
    for round_ in range(rounds + 1):
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        await work()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if round_ and wall < best.wall:
            best = Timing(wall, cpu)
    return best


class SizingStore(MemoryStore):
    """Notes how many bytes each barrier of one execution writes, for the yardstick."""

    def __init__(self) -> None:
        super().__init__()
        self.barriers: list[list[int]] = []

    async def apply(self, engine: Any, commits: Any) -> Any:
        for commit in commits:
            if isinstance(commit, Start):
                self.barriers.append([len(commit.row.input.text) + 200])
            elif isinstance(commit, Progress):
                sizes = [len(frame.body) + sum(len(text.text) for text in frame.texts) for frame in commit.frames]
                if commit.segment is not None:
                    sizes.append(len(commit.segment.body) + sum(len(text.text) for text in commit.segment.texts))
                if commit.final is not None:
                    sizes.append(100)
                self.barriers.append(sizes)
        return await super().apply(engine, commits)


async def price(event: dict[str, Any]) -> dict[str, Any]:
    return {"amount": event["total"]}


async def run_engine(
    database: str, definition: dict[str, Any], make_input: Callable[[int], Any], count: int, rounds: int, **options: Any
) -> Timing:
    """`count` executions started at once and waited for."""
    type_ = options.pop("type", "STANDARD")
    engine = Engine(database, **options)
    engine.register("price", price)
    async with engine:
        await engine.create_state_machine("measured", definition, type=type_)

        async def work() -> None:
            await asyncio.gather(*[engine.start("measured", make_input(index)) for index in range(count)])
            await engine.join()

        return await timed(work, rounds)


async def barriers_of(definition: dict[str, Any], input: Any, commit: Any) -> list[list[int]]:
    """The bytes of each barrier of one execution."""
    store = SizingStore()
    engine = Engine(store, commit=commit)
    engine.register("price", price)
    async with engine:
        await engine.create_state_machine("measured", definition)
        await (await engine.start("measured", input)).result()
        return store.barriers


async def bare(coroutine: Callable[[int], Any], count: int, rounds: int) -> Timing:
    async def work() -> None:
        await asyncio.gather(*[asyncio.create_task(coroutine(index)) for index in range(count)])

    return await timed(work, rounds)


async def bare_sqlite(directory: str, barriers: list[list[int]], count: int, rounds: int) -> Timing:
    writer = BareWriter(os.path.join(directory, f"bare-{len(os.listdir(directory))}.db"))
    writing = asyncio.create_task(writer.run())

    async def work() -> None:
        await asyncio.gather(*[asyncio.create_task(bare_durable(writer, index, barriers)) for index in range(count)])

    try:
        return await timed(work, rounds)
    finally:
        writing.cancel()
        await asyncio.wait([writing])


def rate_row(workload: str, mode: str, units: int, unit: str, ours: Timing, yardstick: Timing) -> Row:
    return Row(
        workload,
        mode,
        units / ours.wall,
        unit,
        units / yardstick.wall,
        yardstick.wall / ours.wall,
        ours.cpu / units * 1e6,
    )


async def measure_chain(directory: str, quick: bool) -> list[Row]:
    """W1 in its three modes."""
    count, rounds = (200, 1) if quick else (1000, 3)
    units = count * PASS_CHAIN_STATES

    def make(index: int) -> dict[str, Any]:
        return {"id": index}

    rows = [
        rate_row(
            "W1",
            "memory",
            units,
            "transitions/s",
            await run_engine("memory://", PASS_CHAIN, make, count, rounds, type="EXPRESS"),
            await bare(bare_chain, count, rounds),
        )
    ]
    for mode in ("default", "awaited"):
        barriers = await barriers_of(PASS_CHAIN, make(0), mode)
        url = f"sqlite:///{directory}/chain-{mode}.db"
        ours = await run_engine(url, PASS_CHAIN, make, count, rounds, commit=mode)
        yardstick = await bare_sqlite(directory, barriers, count, rounds)
        rows.append(rate_row("W1", f"durable-{mode}", units, "transitions/s", ours, yardstick))
    return rows


async def measure_order(directory: str, quick: bool) -> list[Row]:
    """W2 in memory and durable; one unit is one execution of 16 states."""
    count, rounds = (50, 1) if quick else (200, 3)

    def make(index: int) -> dict[str, Any]:
        return {**ORDER_INPUT, "id": index}

    ours = await run_engine("memory://", ORDER, make, count, rounds, type="EXPRESS")
    rows = [rate_row("W2", "memory", count, "executions/s", ours, await bare(bare_order, count, rounds))]
    barriers = await barriers_of(ORDER, make(0), "default")
    ours = await run_engine(f"sqlite:///{directory}/order.db", ORDER, make, count, rounds)
    yardstick = await bare_sqlite(directory, barriers, count, rounds)
    rows.append(rate_row("W2", "durable-default", count, "executions/s", ours, yardstick))
    for row in rows:
        row.cpu_us = row.cpu_us / ORDER_STATES if row.cpu_us is not None else None
    return rows


_ASLEEP = """
import asyncio, gc, math, os
from asfn import Engine
def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
async def bare(count):
    return [asyncio.create_task(asyncio.sleep(3600)) for _ in range(count)]
async def executions(count):
    await engine.create_state_machine("sleeper", {definition!r})
    for _ in range(count // 500):
        await asyncio.gather(*[engine.start("sleeper", {{"seconds": 3600}}) for _ in range(500)])
async def main():
    global engine
    if {url!r}:
        engine = await Engine({url!r}, park_seconds=math.inf).__aenter__()  # those that are parked cost nothing here
    sleepers = executions if {url!r} else bare
    kept = [await sleepers(1000)]
    await asyncio.sleep(0.5)
    gc.collect()
    before = resident_bytes()
    kept.append(await sleepers({count}))
    await asyncio.sleep(1)
    gc.collect()
    print((resident_bytes() - before) / {count}, flush=True)
    os._exit(0)
asyncio.run(main())
"""


def bytes_asleep(url: str, count: int) -> float:
    """Resident bytes for each of `count` sleepers, in a process of their own; without a URL, of bare tasks."""
    program = _ASLEEP.format(url=url, definition=SLEEPER, count=count)
    return float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)


def measure_sleepers(directory: str, quick: bool) -> list[Row]:
    """W3: bytes of resident memory per waiting execution, beside a bare task in asyncio.sleep."""
    count = 2_000 if quick else 100_000
    bare_bytes = bytes_asleep("", count)
    rows = []
    for mode, url in (("memory", "memory://"), ("durable-default", f"sqlite:///{directory}/sleepers.db")):
        value = bytes_asleep(url, count)
        rows.append(Row("W3", mode, value, "bytes/waiting execution", bare_bytes, bare_bytes / value))
    return rows


_FIRST_RESULT = """
import asyncio
from asfn import Engine
async def main():
    async with Engine({url!r}) as engine:
        await engine.create_state_machine("first", {definition!r})
        await (await engine.start("first", {{"id": 1}})).result()
asyncio.run(main())
"""


def process_seconds(program: str, rounds: int) -> float:
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        best = min(best, time.perf_counter() - start)
    return best


def measure_start(directory: str, quick: bool) -> list[Row]:
    """W4: a process from nothing to its first result, beside one that imports asyncio, msgspec and aiosqlite."""
    rounds = 2 if quick else 7
    bare_seconds = process_seconds("import asyncio, msgspec, aiosqlite; asyncio.run(asyncio.sleep(0))", rounds)
    rows = []
    for mode, url in (("memory", "memory://"), ("durable-default", f"sqlite:///{directory}/first.db")):
        seconds = process_seconds(_FIRST_RESULT.format(url=url, definition=PASS_CHAIN), rounds)
        rows.append(Row("W4", mode, seconds, "seconds", bare_seconds, bare_seconds / seconds))
    return rows


def show(rows: list[Row]) -> None:
    print(f"{'':4} {'mode':16} {'value':>14} {'unit':24} {'yardstick':>14} {'ratio':>6} {'cpu us/transition':>18}")
    for row in rows:
        cpu = f"{row.cpu_us:.2f}" if row.cpu_us is not None else ""
        value, yardstick = (
            (f"{number:,.3f}" if row.unit == "seconds" else f"{number:,.0f}") for number in (row.value, row.yardstick)
        )
        print(f"{row.workload:4} {row.mode:16} {value:>14} {row.unit:24} {yardstick:>14} {row.ratio:6.2f} {cpu:>18}")


async def measure(quick: bool, only: str | None) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as directory:
        if only in (None, "W1"):
            rows += await measure_chain(directory, quick)
        if only in (None, "W2"):
            rows += await measure_order(directory, quick)
        if only in (None, "W3"):
            rows += await asyncio.to_thread(measure_sleepers, directory, quick)
        if only in (None, "W4"):
            rows += await asyncio.to_thread(measure_start, directory, quick)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.add_argument("--json", metavar="OUT", help="write the rows to this file")
    parser.add_argument("--quick", action="store_true", help="few and small rounds, to see that it runs")
    parser.add_argument("--only", choices=("W1", "W2", "W3", "W4"), help="one workload")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = asyncio.run(measure(options.quick, options.only))
    show(rows)
    if options.json:
        with open(options.json, "w") as file:
            json.dump([asdict(row) for row in rows], file, indent=2)


if __name__ == "__main__":
    main()
