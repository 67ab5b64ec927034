"""From start to finish of an execution with one Task, as its caller sees it, under one, many and very many at once.

Beside it: the same number of coroutines that call the function, and in SQLite wait for the same barriers of the same
bytes, grouped into transactions.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from asfn import Engine
from benchmarks.measured import Figure, alone, at
from benchmarks.throughput import barriers_of, price
from benchmarks.workloads import FUNCTION, BareWriter, bare_durable

ONE_TASK: Final[dict[str, Any]] = {
    "StartAt": "Price",
    "States": {"Price": {"Type": "Task", "Resource": FUNCTION, "End": True}},
}
AT_ONCE: Final = (1, 100, 1_000)


async def closed_loop(one: Callable[[int], Awaitable[object]], at_once: int, count: int) -> list[float]:
    """Seconds of each of `count` calls, `at_once` under way all the time; those of the first round are left out."""
    seconds: list[float] = []
    numbers = iter(range(count + at_once))

    async def client() -> None:
        for n in numbers:
            began = time.perf_counter()
            await one(n)
            if n >= at_once:
                seconds.append(time.perf_counter() - began)

    await asyncio.gather(*(client() for _ in range(at_once)))
    return seconds


async def of_engine(url: str, at_once: int, count: int, express: bool = False) -> tuple[float, float]:
    """p50 and p99 in seconds."""
    engine = Engine(url)
    engine.register("price", price)
    async with engine:
        await engine.create_state_machine("measured", ONE_TASK, type="EXPRESS" if express else "STANDARD")

        async def one(n: int) -> None:
            await (await engine.start("measured", {"total": n})).result()

        seconds = await closed_loop(one, at_once, count)
    return at(0.5, seconds), at(0.99, seconds)


async def of_bare(path: str | None, at_once: int, count: int) -> tuple[float, float]:
    """The same of coroutines that do the least."""
    if path is None:

        async def call(n: int) -> None:
            await asyncio.get_running_loop().create_task(price({"total": n}))

        seconds = await closed_loop(call, at_once, count)
    else:
        barriers = await barriers_of(ONE_TASK, {"total": 1}, "default")
        writer = BareWriter(path)
        writing = asyncio.create_task(writer.run())

        async def durable(n: int) -> None:
            await bare_durable(writer, n, barriers)

        seconds = await closed_loop(durable, at_once, count)
        writing.cancel()
        await asyncio.wait([writing])
    return at(0.5, seconds), at(0.99, seconds)


def measure(quick: bool) -> list[Figure]:
    """In memory (Express), in memory (Standard) and in SQLite, with 1, 100 and 1,000 at once."""
    figures = []
    with tempfile.TemporaryDirectory() as directory:
        for at_once in AT_ONCE:
            count = max(at_once * 2, 200) if quick else max(at_once * 10, 1_000)
            for mode in ("memory, Express", "memory", "SQLite"):
                durable = mode == "SQLite"
                path = Path(directory, f"latency-{at_once}.db")
                url = f"sqlite:///{path}" if durable else "memory://"
                ours = alone(of_engine, url, at_once, count, mode == "memory, Express")
                bare = alone(of_bare, f"{path}.bare" if durable else None, at_once, count)
                for share, value, beside in zip(("p50", "p99"), ours, bare, strict=True):
                    name = f"{mode}, {at_once:,} at once: {share}"
                    figures.append(Figure(TABLE, name, value * 1_000, "ms", beside * 1_000))
    return figures


TABLE: Final = "start to finish of a one-task execution, beside bare coroutines with the same barriers"
