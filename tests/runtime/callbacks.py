"""A desk that gets task tokens and answers them, for the tests of callbacks and activities."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from asfn._json import Json, JsonObject
from asfn.engine import Engine
from asfn.errors import ExecutionFailed
from asfn.store.protocol import Store
from asfn.testing.loop import VirtualClock

ASK = "arn:aws:states:::lambda:invoke.waitForTaskToken"
REGION = "arn:aws:states:us-east-1:123456789012:"
ACTIVITY = f"{REGION}activity:sign"


def ask(next: str | None = None, **fields: Json) -> JsonObject:
    """A Task that gives its token and its input to the function `ask`, and waits for the answer."""
    parameters: Json = {"FunctionName": "ask", "Payload": {"token.$": "$$.Task.Token", "input.$": "$"}}
    then: JsonObject = {"End": True} if next is None else {"Next": next}
    return {"Type": "Task", "Resource": ASK, "Parameters": parameters, **then, **fields}


def sign(next: str | None = None, **fields: Json) -> JsonObject:
    """A Task for the workers of the activity `sign`."""
    return {"Type": "Task", "Resource": ACTIVITY, **({"End": True} if next is None else {"Next": next}), **fields}


def machine(*states: tuple[str, JsonObject], **fields: Json) -> JsonObject:
    return {"StartAt": states[0][0], "States": dict(states), **fields}


@dataclass
class Desk:
    """The function `ask`. tokens: those it was given, in order.   inputs: what came with each.

    early: called with each token while the call is still being made.
    """

    tokens: list[str] = field(default_factory=list)
    inputs: list[Json] = field(default_factory=list)
    early: Callable[[str], Any] | None = None
    _arrivals: list[tuple[int, asyncio.Event]] = field(default_factory=list)

    async def ask(self, event: dict[str, Any]) -> str:
        self.tokens.append(event["token"])
        self.inputs.append(event["input"])
        for count, arrived in self._arrivals:
            if len(self.tokens) >= count:
                arrived.set()
        if self.early is not None:
            await self.early(event["token"])
        return "asked"

    async def token(self, number: int = 0) -> str:
        """The token that came as the given one, counted from 0."""
        await self.have(number + 1)
        return self.tokens[number]

    async def have(self, count: int) -> None:
        """Return when so many tokens have come."""
        if len(self.tokens) < count:
            arrived = asyncio.Event()
            self._arrivals.append((count, arrived))
            await arrived.wait()


def engine_with(clock: VirtualClock, desk: Desk, store: Store | str = "memory://", **options: Any) -> Engine:
    engine = Engine(store, clock=clock, **options)
    engine.register("ask", desk.ask)
    return engine


async def start(
    engine: Engine, definition: JsonObject, input: Json = None, name: str = "x"
) -> Any:  # Any: an Execution
    await engine.create_state_machine("machine", definition)
    return await engine.start("machine", {} if input is None else input, name=name)


async def end_of(execution: Any) -> tuple[str, Json]:
    """How an execution ends: its status with the output, or with error and cause."""
    try:
        return "SUCCEEDED", await execution.result()
    except ExecutionFailed as failed:
        return failed.status, [failed.error, failed.cause]


async def types(execution: Any) -> list[str]:
    return [event["type"] for event in await execution.history()]


async def links(execution: Any) -> list[str]:
    """The history as `id<previous Type`."""
    return [f"{event['id']}<{event['previousEventId']} {event['type']}" for event in await execution.history()]


async def states_of(store: Store, tokens: list[str]) -> list[str | None]:
    """How tokens stand in the store. Nothing of them may be left over for a task that has ended."""
    return [row.state if row is not None else None for row in await store.tokens(tokens)]
