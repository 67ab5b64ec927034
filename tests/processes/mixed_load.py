"""The work of a soak: small state machines of many kinds, their functions, and what must come of each execution.

Job n has one kind and one input, both made from n alone, and the name `job-n`: whoever starts it again after a kill
starts the same one. Whatever functions do is noted in a file before they do it, line by line, so that no kill loses it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from asfn._json import JsonObject
from asfn.engine import Engine
from asfn.errors import TaskFailed
from asfn.tasks.function import TaskContext

LAMBDA: Final = "arn:aws:lambda:us-east-1:123456789012:function:"
ACTIVITY: Final = "arn:aws:states:us-east-1:123456789012:activity:by-hand"
STOP_ERROR: Final = "Soak.Stopped"
PARKED_SECONDS: Final = 5
ANSWERED_AFTER_SECONDS: Final = (0.0, 0.5, 3.0)  # the last one lasts long enough to be parked for


_decode: Final = msgspec.json.Decoder().decode


class Notes:
    """A file that several processes append JSON lines to; a line that was begun is there whole, or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def add(self, **members: Any) -> None:
        os.write(self._file, msgspec.json.encode({**members, "at": time.time(), "pid": os.getpid()}) + b"\n")

    def close(self) -> None:
        os.close(self._file)


class Follower:
    """Reads what was added to a file of notes since the last time, also while others write to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def news(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [_decode(line) for line in whole.splitlines()]


def read_notes(path: Path) -> list[dict[str, Any]]:
    return Follower(path).news()


def machine(*states: tuple[str, JsonObject]) -> JsonObject:
    """States one after the other; one that says where it goes on, or that it ends, is left alone."""
    chained: dict[str, Any] = {}
    for index, (name, state) in enumerate(states):
        goes = state.keys() & {"Next", "End", "Choices"} or state["Type"] in ("Succeed", "Fail")
        after: JsonObject = {"Next": states[index + 1][0]} if index + 1 < len(states) else {"End": True}
        chained[name] = state if goes else {**state, **after}
    return {"StartAt": states[0][0], "States": chained}


def task(function: str, **members: Any) -> JsonObject:
    return {"Type": "Task", "Resource": LAMBDA + function, **members}


@dataclass(frozen=True)
class Kind:
    """One kind of job.

    waits_seconds: how long it takes at least, beside the work itself.   calls: distinct idempotency keys of one
    execution, None when it depends on luck.   followed: whether who starts it waits for its end; one that nobody
    follows may be parked.   stopped: somebody ends it from another process.
    outside: how long it takes depends on when somebody else answers or stops it.
    fixed: every execution has the same states and events, however often it was resumed, but for the optional ones.
    """

    name: str
    definition: JsonObject
    input: Callable[[int], Any]
    status: str
    end: Callable[[int], Any]
    calls: int | None = 0
    waits_seconds: float = 0
    followed: bool = True
    stopped: bool = False
    paused: bool = False
    at_once: int | None = None
    outside: bool = False
    fixed: bool = True
    optional: frozenset[str] = frozenset()


CHAIN = machine(
    ("First", {"Type": "Pass", "Parameters": {"n.$": "$.n", "left.$": "$.left", "trail": []}}),
    (
        "Another?",
        {
            "Type": "Choice",
            "Choices": [{"Variable": "$.left", "NumericGreaterThan": 0, "Next": "Step"}],
            "Default": "Last",
        },
    ),
    (
        "Step",
        {
            "Type": "Pass",
            "Parameters": {
                "n.$": "$.n",
                "left.$": "States.MathAdd($.left, -1)",
                "trail.$": "States.Array($.left, $.trail)",
            },
            "Next": "Another?",
        },
    ),
    ("Last", {"Type": "Pass"}),
)

BUSY: Final = [{"ErrorEquals": ["Busy"], "IntervalSeconds": 1, "MaxAttempts": 2}]

ORDER = machine(
    ("Verify", task("work", ResultPath="$.verified")),
    (
        "Fulfil",
        {
            "Type": "Parallel",
            "Branches": [
                machine(
                    (
                        "Lines",
                        {
                            "Type": "Map",
                            "MaxConcurrency": 2,
                            "ItemsPath": "$.lines",
                            "ItemProcessor": machine(
                                ("Reserve", task("busy-at-b", Retry=BUSY)), ("Reserved", {"Type": "Pass"})
                            ),
                        },
                    )
                ),
                machine(("Cool", {"Type": "Wait", "Seconds": 1}), ("Bill", task("work"))),
            ],
        },
    ),
    ("Ship", task("work")),
)

WORKED: Final = {"worked": True}
ANSWER: Final = task("hand-out", TimeoutSeconds=600)
ANSWER["Resource"] = "arn:aws:states:::lambda:invoke.waitForTaskToken"
ANSWER["Parameters"] = {"FunctionName": "hand-out", "Payload": {"n.$": "$.n", "token.$": "$$.Task.Token"}}
BY_HAND: Final[JsonObject] = {
    "Type": "Task",
    "Resource": ACTIVITY,
    "TimeoutSeconds": 4,  # a worker may die with the work in its hands
    "Retry": [{"ErrorEquals": ["States.Timeout"], "IntervalSeconds": 1, "MaxAttempts": 1000, "BackoffRate": 1}],
}

KINDS: Final[tuple[Kind, ...]] = (
    Kind("chain", CHAIN, lambda n: {"n": n, "left": 3}, "SUCCEEDED", lambda n: _chained(n)),
    Kind(
        "retry",
        machine(("Work", task("busy-once", Retry=BUSY)), ("After", {"Type": "Pass"})),
        lambda n: {"n": n},
        "SUCCEEDED",
        lambda n: {"n": n, **WORKED},
        calls=2,
        waits_seconds=1,
    ),
    Kind(
        "order",
        ORDER,
        lambda n: {"n": n, "lines": ["a", "b", "c", "d"]},
        "SUCCEEDED",
        lambda n: WORKED,
        calls=8,
        waits_seconds=1,
    ),
    Kind(
        "nap",
        machine(("Nap", {"Type": "Wait", "SecondsPath": "$.nap"}), ("Woken", {"Type": "Pass"})),
        lambda n: {"n": n, "nap": 1 + n % 3},
        "SUCCEEDED",
        lambda n: {"n": n, "nap": 1 + n % 3},
        waits_seconds=3,
    ),
    Kind(
        "callback",
        machine(("Ask", ANSWER), ("Answered", {"Type": "Pass"})),
        lambda n: {"n": n},
        "SUCCEEDED",
        lambda n: {"answer": n},
        calls=1,
        followed=False,
        outside=True,
        optional=frozenset({"TaskSubmitted"}),  # an answer that a resume finds there ends the task without a call
    ),
    Kind(
        "activity",
        machine(("By hand", BY_HAND), ("Done", {"Type": "Pass"})),
        lambda n: {"n": n},
        "SUCCEEDED",
        lambda n: {"by hand": n},
        calls=0,
        followed=False,
        outside=True,
        fixed=False,
    ),
    Kind(
        "parked",
        machine(
            ("Long", {"Type": "Wait", "Seconds": PARKED_SECONDS}),
            ("Work", task("work", ResultPath="$.work")),
        ),
        lambda n: {"n": n},
        "SUCCEEDED",
        lambda n: {"n": n, "work": WORKED},
        calls=1,
        waits_seconds=PARKED_SECONDS,
        followed=False,
    ),
    Kind(
        "fatal",
        machine(("Work", task("fatal"))),
        lambda n: {"n": n},
        "FAILED",
        lambda n: "Fatal",
        calls=1,
    ),
    Kind(
        "stopped",
        machine(("Sit", {"Type": "Wait", "Seconds": 86_400})),
        lambda n: {"n": n},
        "ABORTED",
        lambda n: STOP_ERROR,
        followed=False,
        outside=True,
        stopped=True,
        optional=frozenset(
            {"WaitStateEntered"}
        ),  # whoever started it may be killed before it begins, and the stop comes first
    ),
    Kind(
        "paused",
        machine(("Breathe", {"Type": "Wait", "Seconds": 2}), ("Work", task("work")), ("After", {"Type": "Pass"})),
        lambda n: {"n": n},
        "SUCCEEDED",
        lambda n: WORKED,
        calls=1,
        waits_seconds=2,
        paused=True,
    ),
    Kind(
        "limited",
        machine(("Work", task("work"))),
        lambda n: {"n": n},
        "SUCCEEDED",
        lambda n: WORKED,
        calls=1,
        at_once=4,
    ),
)


def _chained(n: int) -> Any:
    trail: list[Any] = []
    for left in (3, 2, 1):
        trail = [left, trail]
    return {"n": n, "left": 0, "trail": trail}


def kind_of(n: int) -> Kind:
    """Mixed, so that neighbours differ and every starter has all kinds."""
    return KINDS[n * 7919 // 13 % len(KINDS)]


def name_of(n: int) -> str:
    return f"job-{n}"


def number_of(name: str) -> int:
    return int(name.removeprefix("job-"))


@dataclass
class Functions:
    """The functions behind the tasks, noting each call before it does anything."""

    calls: Notes
    tokens: Notes
    slot: int
    seconds: float = 0.02
    _names: dict[str, Callable[..., Any]] = field(init=False, default_factory=dict)

    def register(self, engine: Engine) -> None:
        for name in ("work", "busy-once", "busy-at-b", "fatal", "hand-out"):
            engine.register(name, getattr(self, name.replace("-", "_")))

    async def _call(self, context: TaskContext) -> None:
        about = {"key": context.idempotency_key, "job": context.execution_name, "state": context.state_name}
        self.calls.add(**about)
        await asyncio.sleep(self.seconds)

    async def work(self, event: Any, context: TaskContext) -> Any:
        await self._call(context)
        return WORKED

    async def busy_once(self, event: Any, context: TaskContext) -> Any:
        await self._call(context)
        if context.attempt == 0:
            raise TaskFailed("Busy", "the first time")
        return {**event, **WORKED}

    async def busy_at_b(self, event: Any, context: TaskContext) -> Any:
        await self._call(context)
        if event == "b" and context.attempt == 0:
            raise TaskFailed("Busy", "b is")
        return event

    async def fatal(self, event: Any, context: TaskContext) -> Any:
        await self._call(context)
        raise TaskFailed("Fatal", "as it should be")

    async def hand_out(self, event: Any, context: TaskContext) -> Any:
        self.tokens.add(token=event["token"], n=event["n"], slot=self.slot)
        await self._call(context)


async def register_machines(engine: Engine) -> None:
    """The activity and every kind's state machine; the same again changes nothing."""
    await engine.activities.create(ACTIVITY)
    for kind in KINDS:
        await engine.create_state_machine(kind.name, kind.definition, max_concurrent_executions=kind.at_once)
