"""Lives of one execution: processes that run it, die at a chosen commit, and are followed by others on the same store.

`undisturbed` runs it once without harm; `check` compares what several lives left behind with that: output, event ids,
every transition once in its branch, and no call repeated whose answer was durable.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal
from zlib import crc32

from asfn._json import Json, JsonObject, Payload
from asfn.arn import TaskResource
from asfn.engine import Engine
from asfn.errors import ExecutionFailed, TaskFailed
from asfn.runtime.history import shapes
from asfn.store.memory import MemoryStore
from asfn.store.protocol import Store
from asfn.store.records import Commit, EngineRow, ExecutionRow, Progress
from asfn.tasks.protocol import Answer, Done, Handler, Submitted, TaskCall
from asfn.testing.faults import FaultyStore
from asfn.testing.loop import DEFAULT_START_AT, VirtualClock, run

ARN = "arn:aws:states:us-east-1:123456789012:execution:machine:x"
# Longer than an engine's lease, so that what a dead one owned may be taken over.
PAUSE_SECONDS = 100.0
# Longer than anything that is in flight when an execution is paused.
PAUSED_SECONDS = 200_000.0


@dataclass(frozen=True, slots=True)
class Reply:
    """How a task answers. seconds: of virtual time it takes.   job: it is submitted first, and polled."""

    value: JsonObject = field(default_factory=dict)
    error: str | None = None
    seconds: float = 1.0
    job: bool = False


Script = Callable[[str, Any, int], Reply]  # (state name, payload, attempt)


class Tasks:
    """Resolver and Handler of all Tasks. Answers carry the call's idempotency key, so that histories tell who ended."""

    def __init__(self, script: Script, clock: VirtualClock) -> None:
        self.calls: list[TaskCall] = []
        self.polls: list[TaskCall] = []
        self.cancelled: list[Json] = []
        self._script = script
        self._clock = clock

    def resolve(self, resource: TaskResource) -> Handler:
        return self

    async def submit(self, call: TaskCall) -> Answer:
        self.calls.append(call)
        reply = self._script(call.state_name, call.payload.value, call.attempt)
        if reply.job:
            return Submitted(Payload({"job": call.idempotency_key}), {"ends": self._clock.now() + reply.seconds})
        await asyncio.sleep(reply.seconds + crc32(call.idempotency_key.encode()) % 100 / 1_000)  # no two end together
        return self._end(call, reply)

    def on_resume(self, call: TaskCall) -> Literal["run", "fail"]:
        return "run"

    async def poll(self, call: TaskCall, job: Json) -> Done | None:
        self.polls.append(call)
        assert isinstance(job, dict)
        if self._clock.now() < job["ends"]:  # type: ignore[operator]
            return None
        return self._end(call, self._script(call.state_name, call.payload.value, call.attempt))

    async def cancel(self, call: TaskCall, job: Json) -> None:
        self.cancelled.append(job)

    @staticmethod
    def _end(call: TaskCall, reply: Reply) -> Done:
        if reply.error is not None:
            raise TaskFailed(reply.error, f"key={call.idempotency_key}")
        return Done(Payload({**reply.value, "key": call.idempotency_key}))


@dataclass(frozen=True, slots=True)
class Workflow:
    """A machine, its input, and how its tasks answer."""

    name: str
    definition: JsonObject
    input: Json
    script: Script


@dataclass
class Life:
    """One process. end: how the execution ended, None when the process died or left before.

    cancelled: the jobs that were cancelled.   settled: keys of the calls whose answers were durable when it was over.
    parks: how often the execution was parked.
    """

    calls: list[TaskCall]
    cancelled: list[Json]
    commits: int
    died: bool
    over_at: float
    end: tuple[str, Json] | None
    history: list[JsonObject]
    frames: int
    settled: set[str]
    parks: int = 0


class CountingStore(FaultyStore):
    """Counts how often an execution was parked, too."""

    parks = 0

    async def _write(self, engine: EngineRow, commits: Sequence[Commit]) -> list[ExecutionRow | None]:
        answers = await super()._write(engine, commits)
        self.parks += sum(isinstance(commit, Progress) and commit.parked for commit in commits)
        return answers


Place = Store | Callable[[VirtualClock], Store]  # a file needs a store of its own on each loop


def live(
    workflow: Workflow,
    place: Place,
    *,
    start_at: float = DEFAULT_START_AT,
    seed: int | None = None,
    leave_at: int | None = None,
    stop_at: int | None = None,
    pause_at: int | None = None,
    resume: bool = False,
    commit: Literal["default", "awaited"] = "default",
    park_seconds: float = 60,
    waits: bool = True,
    **faults: Any,  # FaultyStore's own options
) -> Life:
    """One process on the store: it starts or resumes the execution and stays until that ends, or until it dies.

    leave_at: the commit at which the engine is left in an orderly way.   stop_at: at which StopExecution is called.
    pause_at: at which the execution is paused; long after that the engine is left. So it is after resuming a paused
    execution, unless `resume` lifts the pause.
    waits: whether somebody waits for the result all the time, so that the execution is never parked.
    """

    async def main(clock: VirtualClock) -> Life:
        store = place(clock) if callable(place) else place
        tasks = Tasks(workflow.script, clock)
        leaving, stopping, pausing = asyncio.Event(), asyncio.Event(), asyncio.Event()
        at: dict[int, Callable[[], object]] = {}
        if leave_at is not None:
            at[leave_at] = leaving.set
        if stop_at is not None:
            at[stop_at] = stopping.set
        if pause_at is not None:
            at[pause_at] = pausing.set
        faulty = CountingStore(store, at=at, **faults)
        options = {"commit": commit, "park_seconds": park_seconds}
        events = (leaving, stopping, pausing)
        working = asyncio.create_task(_work(workflow, faulty, clock, tasks, *events, resume, waits, options))
        crash = asyncio.create_task(faulty.crashed.wait())
        await asyncio.wait({working, crash}, return_when=asyncio.FIRST_COMPLETED)
        died, over_at, calls = faulty.crashed.is_set(), clock.now(), list(tasks.calls)
        if died:
            await faulty.disconnect()
        crash.cancel()
        await store.open()
        row = await store.execution(ARN)
        history = await _history(store, row) if row is not None else []
        frames = len(await store.frames(row.key)) if row is not None else 0
        await store.close()
        end = working.result() if not died else None
        settled = settled_keys(history)
        cancelled, commits, parks = tasks.cancelled, faulty.commits, faulty.parks
        return Life(calls, cancelled, commits, died, over_at, end, history, frames, settled, parks)

    return run(main, seed=seed, start_at=start_at)


async def _work(
    workflow: Workflow,
    store: Store,
    clock: VirtualClock,
    tasks: Tasks,
    leaving: asyncio.Event,
    stopping: asyncio.Event,
    pausing: asyncio.Event,
    resume: bool,
    waits: bool,
    options: dict[str, Any],
) -> tuple[str, Json] | None:
    async with Engine(store, clock=clock, resolver=tasks, random=Random(7), **options) as engine:
        await engine.create_state_machine("machine", workflow.definition)
        row = await store.execution(ARN)
        if row is None:
            execution = await engine.start("machine", workflow.input, name="x")
        else:
            execution = await engine.execution(ARN)
            if row.paused and resume:
                await execution.resume()
            elif row.paused:
                pausing.set()
        result = asyncio.ensure_future(_result(execution) if waits else _ended(engine, execution))
        left = asyncio.ensure_future(leaving.wait())
        stopped = asyncio.ensure_future(stopping.wait())
        paused = asyncio.ensure_future(pausing.wait())
        try:
            await asyncio.wait({result, left, stopped, paused}, return_when=asyncio.FIRST_COMPLETED)
            if pausing.is_set():
                await execution.pause()
                await asyncio.wait({result}, timeout=PAUSED_SECONDS)
            if stopping.is_set():
                await execution.stop("Stopped", "by the test")
                return await result
            return result.result() if result.done() else None
        finally:
            for task in (result, left, stopped, paused):
                task.cancel()


async def _result(execution: Any) -> tuple[str, Json]:  # Any: an Execution
    try:
        return "SUCCEEDED", await execution.result()
    except ExecutionFailed as failed:
        return failed.status, [failed.error, failed.cause]


async def _ended(engine: Engine, execution: Any) -> tuple[str, Json]:  # Any: an Execution
    """The same, without anybody who waits for the execution."""
    await engine.join()
    info = await execution.describe()
    return info.status, info.output if info.status == "SUCCEEDED" else [info.error, info.cause]


async def _history(store: Store, row: ExecutionRow) -> list[JsonObject]:
    events: list[JsonObject] = []
    while segments := await store.segments(row.key, after_id=len(events), limit=1_000):
        for segment in segments:
            events += shapes(segment)
    return events


def live_on(workflow: Workflow, place: Place, before: Life, **options: Any) -> Life:
    """The next process on the store, some time after the one before."""
    return live(workflow, place, start_at=before.over_at + PAUSE_SECONDS, **options)


def undisturbed(workflow: Workflow, **options: Any) -> Life:
    """A life without harm: what all others are compared with."""
    life = live(workflow, MemoryStore(), **options)
    assert life.end is not None
    assert not life.died
    _check_frames(life)
    _check_ids(life.history)
    return life


def check(reference: Life, lives: list[Life]) -> None:
    """The last of the lives ended as the reference did, and together they did everything once."""
    last = lives[-1]
    assert last.end == reference.end
    _check_frames(last)
    _check_ids(last.history)
    missing = Counter(chains(reference.history))
    missing.subtract(chains(last.history))
    wrong = {text: count for (_, text), count in missing.items() if count}
    assert not wrong, f"transitions missing (positive) or repeated (negative): {wrong}"
    _check_calls(reference, lives)


def _check_frames(life: Life) -> None:
    """What succeeded leaves no frames; the others keep theirs, to be redriven."""
    assert life.end is not None
    assert (life.frames == 0) == (life.end[0] == "SUCCEEDED")


def _check_ids(history: list[JsonObject]) -> None:
    assert [event["id"] for event in history] == list(range(1, len(history) + 1))
    for event in history:
        assert 0 <= event["previousEventId"] < event["id"]  # type: ignore[operator]


def _check_calls(reference: Life, lives: list[Life]) -> None:
    expected = {call.idempotency_key: call.payload.text for call in reference.calls}
    assert len(expected) == len(reference.calls)
    durable: set[str] = set()
    seen: set[str] = set()
    for life in lives:
        made = Counter(call.idempotency_key for call in life.calls)
        assert all(count == 1 for count in made.values()), "a call was made twice in one life"
        assert not durable & set(made), f"calls repeated though their answers were durable: {durable & set(made)}"
        for call in life.calls:
            assert expected[call.idempotency_key] == call.payload.text
        durable |= life.settled
        seen |= set(made)
    assert reference.settled <= seen <= set(expected)  # what a failing sibling cut off may have begun or not


def settled_keys(history: list[JsonObject]) -> set[str]:
    """The idempotency keys of the calls that have an end, or a job, in this history."""
    keys: set[str] = set()
    for event in history:
        type_ = str(event["type"])
        details = event.get(f"{type_[0].lower()}{type_[1:]}EventDetails")
        if not isinstance(details, dict):
            continue
        if type_ in ("LambdaFunctionSucceeded", "TaskSucceeded", "TaskSubmitted"):
            output = json.loads(str(details["output"]))
            keys.add(output["job"] if type_ == "TaskSubmitted" else output["key"])
        elif type_ in ("LambdaFunctionFailed", "TaskFailed"):
            keys.add(str(details["cause"]).removeprefix("key="))
    return keys


# Where lines of control that run side by side meet, which event comes first depends on time: chains are cut here.
_CUTS = {"MapIterationStarted", "MapStateSucceeded", "ParallelStateSucceeded"}


def chains(history: list[JsonObject]) -> list[tuple[int, str]]:
    """For each event, a hash of all it follows in its branch, and its text without ids and times."""
    found: dict[int, tuple[int, str]] = {0: (0, "")}
    for event in history:
        shown = json.dumps({k: v for k, v in event.items() if k not in ("id", "previousEventId", "timestamp")})
        previous = event["previousEventId"]
        assert isinstance(previous, int)
        cut = event["type"] in _CUTS or _leaves_fan_out(event, history)
        found[int(event["id"])] = (hash(found[0] if cut else found[previous]), shown)  # type: ignore[arg-type]
    return list(found.values())[1:]


def _leaves_fan_out(event: JsonObject, history: list[JsonObject]) -> bool:
    """The ...StateExited of a Parallel or Map links to the child that happened to be last (rules 5, 6)."""
    if event["type"] not in ("MapStateExited", "ParallelStateExited"):
        return False
    previous = event["previousEventId"]
    assert isinstance(previous, int)
    return history[previous - 1]["type"] not in ("MapStateFailed", "ParallelStateFailed")
