"""Whether an execution costs the same in an empty file as beside a million finished ones, or beside a million parked.

Beside each figure stands the same of the empty file: a ratio near 1 is flat.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

from asfn import Engine
from asfn.store.records import ExecutionQuery, Progress
from asfn.store.sqlite import SqliteStore
from benchmarks.filling import fill
from benchmarks.latency import ONE_TASK, closed_loop
from benchmarks.measured import Figure, alone, at, median_seconds, resident_bytes, seconds_of, written_bytes
from benchmarks.throughput import price
from benchmarks.workloads import PASS_CHAIN, PASS_CHAIN_STATES, SLEEPER

CHAINS: Final = 1_000
LISTED: Final = 100
Costs = dict[tuple[str, str], float]  # by name and unit


async def chain_costs(engine: Engine, rounds: int) -> Costs:
    """W1: transitions per second, the best of several rounds after one that warms up; CPU and bytes written of all."""

    async def one(n: int) -> None:
        await (await engine.start("chain", {"id": n})).result()

    best, cpu, written = 0.0, time.process_time(), written_bytes()
    for _ in range(rounds + 1):
        began = time.perf_counter()
        await asyncio.gather(*(one(n) for n in range(CHAINS)))
        best = max(best, CHAINS * PASS_CHAIN_STATES / (time.perf_counter() - began))
    executions = CHAINS * (rounds + 1)
    return {
        ("W1 (5 Pass states, 1,000 at once)", "transitions/s"): best,
        ("W1: CPU", "us/transition"): (time.process_time() - cpu) / executions / PASS_CHAIN_STATES * 1e6,
        ("W1: written", "bytes/execution"): (written_bytes() - written) / executions,
    }


async def finished_costs(path: str, quick: bool) -> Costs:
    """What work, lists and a restart cost on this file, by name and unit."""
    before = resident_bytes()
    engine = Engine(f"sqlite:///{path}")
    engine.register("price", price)
    found: Costs = {}
    began = time.perf_counter()
    async with engine:
        found["open and claim", "ms"] = (time.perf_counter() - began) * 1_000
        await engine.create_state_machine("chain", PASS_CHAIN)
        await engine.create_state_machine("task", ONE_TASK)

        async def one(n: int) -> None:
            await (await engine.start("task", {"total": n})).result()

        found |= await chain_costs(engine, 1 if quick else 3)
        for at_once, count in ((1, 200), (100, 2_000)):
            seconds = await closed_loop(one, at_once, count // 4 if quick else count)
            found[f"one-task execution, {at_once} at once: p50", "ms"] = at(0.5, seconds) * 1_000
            found[f"one-task execution, {at_once} at once: p99", "ms"] = at(0.99, seconds) * 1_000
        [info] = await engine.list_executions(limit=1)
        store = engine.store
        for name, query in LISTS:
            found[name, "ms"] = await median_seconds(partial(store.executions, query)) * 1_000
        handle = await engine.execution(info.arn)
        found["describe one", "ms"] = await median_seconds(handle.describe) * 1_000
        found["history of one", "ms"] = await median_seconds(handle.history) * 1_000
        found["memory of the engine", "MB"] = (resident_bytes() - before) / 1e6
        began = time.perf_counter()
    found["leave", "ms"] = (time.perf_counter() - began) * 1_000
    return found


CHAIN_ARN: Final = "arn:aws:states:us-east-1:123456789012:stateMachine:chain"
LISTS: Final = (
    ("list the newest 100", ExecutionQuery(limit=LISTED)),
    ("list 100 of a machine", ExecutionQuery(state_machine_arn=CHAIN_ARN, limit=LISTED)),
    ("list 100 SUCCEEDED of a machine", ExecutionQuery(CHAIN_ARN, "SUCCEEDED", limit=LISTED)),
    ("list 100 RUNNING", ExecutionQuery(status="RUNNING", limit=LISTED)),
    ("list FAILED of a machine, none", ExecutionQuery(CHAIN_ARN, "FAILED", limit=LISTED)),
    ("find by name, none", ExecutionQuery(name="nobody", limit=LISTED)),
)


def compared(
    first: Path, second: Path, measure: Callable[[Path], Costs], rounds: int
) -> list[tuple[str, str, float, float]]:
    """(name, unit, first, second): the median of several rounds on both files, in turn, so that both see the same
    machine.
    """
    found: dict[Path, list[Costs]] = {first: [], second: []}
    for _ in range(rounds):
        for path in (first, second):
            found[path].append(measure(path))

    def middle(path: Path, key: tuple[str, str]) -> float:
        return at(0.5, [costs[key] for costs in found[path]])

    return [(name, unit, middle(first, (name, unit)), middle(second, (name, unit))) for name, unit in found[first][0]]


def measure_growth(quick: bool) -> list[Figure]:
    """The same work in one file as finished executions grow in number, and in an empty one."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as directory:
        full, there = Path(directory, "full.db"), 0
        for size in (2_000, 10_000) if quick else (100_000, 1_000_000):
            began = time.perf_counter()
            alone(fill, str(full), "chain", PASS_CHAIN, size - there)
            filled, there = time.perf_counter() - began, size
            gigabytes = full.stat().st_size / 1e9
            table = f"beside {size:,} finished executions (filled in {filled:,.0f} s, {gigabytes:.2f} GB); beside few"
            few = Path(directory, f"few-{size}.db")
            rows = compared(full, few, lambda path: alone(finished_costs, str(path), quick), 1 if quick else 5)
            figures += [Figure(table, name, value, unit, beside) for name, unit, value, beside in rows]
    return figures


# --- parked rows -----------------------------------------------------------------------------------------------------


async def store_costs(path: str, due: float) -> Costs:
    """What the store's own answers cost. due: when the first of those that are parked is."""
    store = SqliteStore(path)
    found: Costs = {("open the store", "ms"): await seconds_of(store.open()) * 1_000}
    try:
        engine = await store.register_engine(due, 1e9)
        looks: dict[str, Callable[[], Awaitable[object]]] = {
            "claim": lambda: store.claim(engine, due),
            "next_wake": store.next_wake,
            "parked_count": store.parked_count,
            "queued_count": store.queued_count,
            "admit, none queued": lambda: store.admit(engine, due, limit=100),
            "wake, none due": lambda: store.wake(engine, due - 1),
        }
        for name, look in looks.items():
            found[name, "ms"] = await median_seconds(look) * 1_000
        began = time.perf_counter()
        woken = await store.wake(engine, math.inf, limit=1_000)
        found["wake 1,000", "ms"] = (time.perf_counter() - began) * 1_000
        assert len(woken) == 1_000
        await store.apply(engine, [Progress(row.key, parked=True, wake_at=due) for row in woken])  # as they were
        await store.retire_engine(engine)
    finally:
        await store.close()
    return found


def measure_rows(quick: bool) -> list[Figure]:
    """A file with a million parked executions, beside one with two thousand."""
    many, few = 10_000 if quick else 1_000_000, 2_000
    with tempfile.TemporaryDirectory() as directory:
        due = time.time() + 1e7
        few_path, many_path = Path(directory, "few.db"), Path(directory, "many.db")
        alone(_fill_parked, str(few_path), few, due)
        began = time.perf_counter()
        alone(_fill_parked, str(many_path), many, due)
        filled = time.perf_counter() - began

        def costs(path: Path) -> Costs:
            return {**alone(finished_costs, str(path), quick), **alone(store_costs, str(path), due)}

        rows = compared(many_path, few_path, costs, 1 if quick else 3)
        size = many_path.stat().st_size / 1e9
    table = f"beside {many:,} parked executions (filled in {filled:,.0f} s, {size:.2f} GB); beside {few:,}"
    return [Figure(table, name, value, unit, beside) for name, unit, value, beside in rows]


async def _fill_parked(path: str, count: int, due: float) -> None:
    await fill(path, "sleeper", SLEEPER, count, parked_from=due)
