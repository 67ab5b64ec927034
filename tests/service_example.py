"""A web service with the engine inside: no worker, no queue, no second process.

uvicorn tests.service_example:app
"""

from __future__ import annotations

import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from asfn import Engine, ExecutionAlreadyExists, ExecutionDoesNotExist, TaskContext, TaskFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from starlette.requests import Request
    from starlette.responses import Response

FLOW = {
    "StartAt": "Charge",
    "States": {
        "Charge": {
            "Type": "Task",
            "Resource": "arn:aws:lambda:us-east-1:123456789012:function:charge-card",
            "Retry": [{"ErrorEquals": ["Bank.Busy"], "IntervalSeconds": 1, "MaxAttempts": 3}],
            "ResultPath": "$.receipt",
            "Next": "CoolOff",
        },
        "CoolOff": {"Type": "Wait", "SecondsPath": "$.cool_off", "Next": "Ship"},
        "Ship": {"Type": "Pass", "Result": True, "ResultPath": "$.shipped", "End": True},
    },
}

engine = Engine(os.environ.get("DATABASE", "sqlite:///orders.db"))


@engine.function("charge-card")
async def charge(order: dict[str, Any], ctx: TaskContext) -> dict[str, Any]:
    if order["amount"] > 1000:
        raise TaskFailed("Card.Declined", "over the limit")
    # The key is the same when a crash makes this call twice: the bank charges once.
    return {"charged": order["amount"], "key": ctx.idempotency_key}


async def place(request: Request) -> Response:
    order = await request.json()
    try:
        execution = await engine.start("orders", order, name=order["id"])
    except ExecutionAlreadyExists as error:
        return JSONResponse({"error": str(error)}, 409)
    return JSONResponse({"arn": execution.arn}, 202)  # durable from here on


async def look(request: Request) -> Response:
    try:
        execution = await engine.execution(request.path_params["arn"])
    except ExecutionDoesNotExist as error:
        return JSONResponse({"error": str(error)}, 404)
    info = await execution.describe()
    return JSONResponse({"status": info.status, "output": info.output, "error": info.error, "cause": info.cause})


async def follow(request: Request) -> Response:
    execution = await engine.execution(request.path_params["arn"])

    async def stream() -> AsyncIterator[str]:
        async for event in execution.events(after=int(request.headers.get("last-event-id", 0))):
            yield f"id: {event['id']}\ndata: {json.dumps(event)}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with engine:  # resumes what the last process left, on this very loop
        await engine.create_state_machine("orders", FLOW)
        yield


app = Starlette(
    routes=[
        Route("/orders", place, methods=["POST"]),
        Route("/orders/{arn}", look),
        Route("/orders/{arn}/events", follow),
    ],
    lifespan=lifespan,
)
