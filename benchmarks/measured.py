"""What the scale measurements share: rows of a table, memory, percentiles, and a process of its own for each figure."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from asfn.runtime.history import shapes
from asfn.store.records import ExecutionQuery

T = TypeVar("T")


@dataclass
class Figure:
    """One figure. beside: the same of the yardstick named in the table's heading, None without one."""

    table: str
    name: str
    value: float
    unit: str
    beside: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the yardstick it is."""
        return self.value / self.beside if self.beside else None


def show(figures: Iterable[Figure]) -> None:
    """Print a table for each name of a table; the figures of one table must follow each other."""
    table = None
    for figure in figures:
        if figure.table != table:
            table = figure.table
            print(f"\n{table}")
        beside = f"{number(figure.beside):>12} {figure.ratio or 0:8.2f}x" if figure.beside is not None else ""
        print(f"  {figure.name:52} {number(figure.value):>12} {figure.unit:14} {beside}".rstrip())
    sys.stdout.flush()


def number(value: float) -> str:
    if value != value or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.4f}"


def resident_bytes() -> int:
    """Of this process, after a collection."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def written_bytes() -> int:
    """What this process has handed to the system to write; unlike time, it does not depend on what else runs."""
    with open("/proc/self/io") as file:
        return int(next(line for line in file if line.startswith("wchar:")).split()[1])


def at(share: float, values: list[float]) -> float:
    """A percentile: at(0.99, ...) is the 99th."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def seconds_of(work: Awaitable[Any]) -> float:
    """How long it takes, once."""
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def median_seconds(work: Callable[[], Awaitable[Any]], rounds: int = 9) -> float:
    """How long one call takes, the median of several after one that warms up."""
    await work()
    return at(0.5, [await seconds_of(work()) for _ in range(rounds)])


async def until(condition: Callable[[], Awaitable[bool]], look_seconds: float = 0.02) -> None:
    """Return when it holds."""
    for _ in itertools.count():
        if await condition():
            return
        await asyncio.sleep(look_seconds)


async def at_most(count: int, works: Iterable[Callable[[], Awaitable[Any]]]) -> None:
    """Do all of them, so many at a time."""
    waiting = iter(works)

    async def one() -> None:
        for work in waiting:
            await work()

    await asyncio.gather(*(one() for _ in range(count)))


def alone(main: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
    """Run a coroutine function of a module in a process of its own, whose memory nothing before has touched."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        found: T = pool.submit(_run, main, arguments).result()
        return found


def _run(main: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:  # Any: whatever main gives
    logging.disable(logging.WARNING)
    return asyncio.run(main(*arguments))


async def lateness(store: Any, due: dict[str, float]) -> list[float]:
    """How many seconds after its moment each of these executions, by name, came out of the state it waited in."""
    late: list[float] = []
    before: tuple[float, int] | None = None
    while page := await store.executions(ExecutionQuery(status="SUCCEEDED", limit=1_000, before=before)):
        for row in page:
            if row.name in due:
                events = [event for segment in await store.segments(row.key) for event in shapes(segment)]
                exits = [float(str(event["timestamp"])) for event in events if event["type"] == "WaitStateExited"]
                late.append(exits[0] - due[row.name])
        before = (page[-1].started_at, page[-1].key)
    return late
