"""Very many executions that wait at once, in a Wait or for a callback: what one costs, and how late it goes on."""

from __future__ import annotations

import math
import random
import tempfile
import time
from datetime import UTC, datetime
from typing import Any, Final

from asfn import Engine
from asfn.store.records import ExecutionQuery
from benchmarks.measured import Figure, alone, at, at_most, lateness, resident_bytes, until

WAIT: Final[dict[str, Any]] = {
    "StartAt": "Wait",
    "States": {"Wait": {"Type": "Wait", "TimestampPath": "$.until", "End": True}},
}
CALLBACK: Final[dict[str, Any]] = {
    "StartAt": "Ask",
    "States": {
        "Ask": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
            "Parameters": {"FunctionName": "ask", "Payload": {"token.$": "$$.Task.Token"}},
            "End": True,
        }
    },
}
STARTING: Final = 500
STARTS_PER_SECOND: Final = 600  # of a slow or busy machine
PARKED_OFF: Final = math.inf


async def until_ended(engine: Engine) -> None:
    """Return when nothing is RUNNING any more. Looked up in the file: for what is parked nobody waits in here."""

    async def none_runs() -> bool:
        return not await engine.store.executions(ExecutionQuery(status="RUNNING", limit=1))

    await until(none_runs)


async def until_parked(engine: Engine, count: int) -> None:
    """Return when so many are parked."""

    async def are_parked() -> bool:
        return await engine.store.parked_count() >= count

    await until(are_parked, 0.2)  # it reads the whole index


async def waits(directory: str, count: int, park_seconds: float, over_seconds: float) -> list[Figure]:
    """`count` executions in a Wait at once, due one after the other during over_seconds."""
    engine = Engine(f"sqlite:///{directory}/waits-{park_seconds}.db", park_seconds=park_seconds, drain_seconds=0)
    mode = "parked" if park_seconds < PARKED_OFF else "kept live"
    table = f"{count:,} executions in a Wait at once, {mode}, then due during {over_seconds:,.0f} s"
    due: dict[str, float] = {}
    async with engine:
        await engine.create_state_machine("waits", WAIT)
        for n in range(20):
            await engine.start("waits", {"until": _timestamp(time.time() + 1e6)}, name=f"warm-{n}")
        first = time.time() + count / STARTS_PER_SECOND + 10  # later than the last one is begun
        names = [f"x{n}" for n in range(count)]
        due = {name: round(first + over_seconds * n / count, 3) for n, name in enumerate(names)}
        before = resident_bytes()
        began = time.perf_counter()

        async def start(name: str) -> None:
            await engine.start("waits", {"until": _timestamp(due[name])}, name=name)

        await at_most(STARTING, (lambda name=name: start(name) for name in names))  # type: ignore[misc]
        started = time.perf_counter() - began
        if mode == "parked":
            await until_parked(engine, count)
        parked = time.perf_counter() - began
        memory = resident_bytes() - before
        early = first - time.time()
        for n in range(20):
            warm = await engine.list_executions(name=f"warm-{n}")
            await (await engine.execution(warm[0].arn)).stop()
        await until_ended(engine)
        late = await lateness(engine.store, due)
    assert len(late) == count
    assert min(late) > -0.002, "something woke too early"
    return [
        Figure(table, "starts", count / started, "executions/s"),
        Figure(table, "until all wait" + (" and are parked" if mode == "parked" else ""), parked, "s"),
        Figure(table, "before the first was due", early, "s"),
        Figure(table, "resident memory", memory / count, "bytes each"),
        *(Figure(table, f"late, {name}", value * 1_000, "ms") for name, value in shares(late)),
    ]


def shares(values: list[float]) -> list[tuple[str, float]]:
    return [("p50", at(0.5, values)), ("p99", at(0.99, values)), ("most", max(values))]


def _timestamp(at_: float) -> str:
    return datetime.fromtimestamp(at_, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def callbacks(directory: str, count: int, park_seconds: float) -> list[Figure]:
    """`count` executions that wait for a callback each, answered in random order."""
    engine = Engine(f"sqlite:///{directory}/callbacks-{park_seconds}.db", park_seconds=park_seconds, drain_seconds=0)
    mode = "parked" if park_seconds < PARKED_OFF else "kept live"
    table = f"{count:,} open callbacks, {mode}, answered in random order"
    tokens: list[str] = []

    async def ask(event: dict[str, Any]) -> None:
        tokens.append(event["token"])

    async def until_handed_out(wanted: int) -> None:
        async def are() -> bool:
            return len(tokens) >= wanted

        await until(are)

    engine.register("ask", ask)
    async with engine:
        await engine.create_state_machine("callbacks", CALLBACK)
        await engine.start("callbacks", name="warm")
        await until_handed_out(1)
        await engine.tasks.succeed(tokens.pop(), {})
        before = resident_bytes()
        began = time.perf_counter()
        await at_most(STARTING, (lambda n=n: engine.start("callbacks", {"n": n}) for n in range(count)))  # type: ignore[misc]
        await until_handed_out(count)
        opened = time.perf_counter() - began
        if mode == "parked":
            await until_parked(engine, count)
        parked = time.perf_counter() - began
        memory = resident_bytes() - before
        random.Random(1).shuffle(tokens)
        began = time.perf_counter()
        await at_most(STARTING, (lambda token=token: engine.tasks.succeed(token, {}) for token in tokens))  # type: ignore[misc]
        answered = time.perf_counter() - began
        await until_ended(engine)
        ended = time.perf_counter() - began
        assert len(await engine.list_executions(status="SUCCEEDED", limit=count * 2)) == count + 1
    return [
        Figure(table, "until all are open", opened, "s"),
        *([Figure(table, "until all are parked", parked, "s")] if mode == "parked" else []),
        Figure(table, "resident memory", memory / count, "bytes each"),
        Figure(table, "answers", count / answered, "answers/s"),
        Figure(table, "until the last execution has ended", ended, "s"),
    ]


def measure_callbacks(quick: bool) -> list[Figure]:
    count = 500 if quick else 10_000
    with tempfile.TemporaryDirectory() as directory:
        return [
            figure for park_seconds in (PARKED_OFF, 0.0) for figure in alone(callbacks, directory, count, park_seconds)
        ]


def measure_parked(quick: bool) -> list[Figure]:
    count = 2_000 if quick else 100_000
    over = 5.0 if quick else 100.0
    with tempfile.TemporaryDirectory() as directory:
        return [
            figure
            for park_seconds in (0.0, PARKED_OFF)
            for figure in alone(waits, directory, count, park_seconds, over)
        ]
