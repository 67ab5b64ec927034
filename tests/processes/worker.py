"""A process that runs one order to its end, or goes on with it: `python -m tests.processes.worker DATABASE CALLS`.

Prints the id of each event once it is durable, then the end as one line of JSON. Each call of a function adds its
idempotency key to the file CALLS before it does anything.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from asfn._json import JsonObject
from asfn.engine import Engine
from asfn.errors import ExecutionAlreadyExists, TaskFailed
from asfn.tasks.function import TaskContext

LAMBDA = "arn:aws:lambda:us-east-1:123456789012:function:"
ORDER: JsonObject = {
    "StartAt": "Verify",
    "States": {
        "Verify": {"Type": "Task", "Resource": LAMBDA + "verify", "ResultPath": "$.verified", "Next": "Fulfil"},
        "Fulfil": {
            "Type": "Parallel",
            "Branches": [
                {
                    "StartAt": "Lines",
                    "States": {
                        "Lines": {
                            "Type": "Map",
                            "MaxConcurrency": 2,
                            "ItemsPath": "$.lines",
                            "ItemProcessor": {
                                "StartAt": "Reserve",
                                "States": {
                                    "Reserve": {
                                        "Type": "Task",
                                        "Resource": LAMBDA + "reserve",
                                        "Retry": [{"ErrorEquals": ["Busy"], "IntervalSeconds": 1, "MaxAttempts": 2}],
                                        "Next": "Reserved",
                                    },
                                    "Reserved": {"Type": "Pass", "End": True},
                                },
                            },
                            "End": True,
                        }
                    },
                },
                {
                    "StartAt": "Cool",
                    "States": {
                        "Cool": {"Type": "Wait", "Seconds": 1, "Next": "Bill"},
                        "Bill": {"Type": "Task", "Resource": LAMBDA + "bill", "End": True},
                    },
                },
            ],
            "Next": "Ship",
        },
        "Ship": {"Type": "Task", "Resource": LAMBDA + "ship", "End": True},
    },
}
INPUT: JsonObject = {"order": 7, "lines": ["a", "b", "c", "d"]}


class Functions:
    """The functions of the order, noting their calls in a file."""

    def __init__(self, calls: Path) -> None:
        self._calls = calls

    def register(self, engine: Engine) -> None:
        for name in ("verify", "reserve", "bill", "ship"):
            engine.register(name, getattr(self, name))

    async def _work(self, context: TaskContext) -> dict[str, str]:
        with self._calls.open("a") as file:
            file.write(context.idempotency_key + "\n")
        await asyncio.sleep(0.05)
        return {"key": context.idempotency_key}

    async def verify(self, event: Any, context: TaskContext) -> Any:
        return await self._work(context)

    async def reserve(self, event: Any, context: TaskContext) -> Any:
        answer = await self._work(context)
        if event == "b" and context.attempt == 0:
            raise TaskFailed("Busy", f"key={context.idempotency_key}")
        return answer

    async def bill(self, event: Any, context: TaskContext) -> Any:
        return await self._work(context)

    async def ship(self, event: Any, context: TaskContext) -> Any:
        return await self._work(context)


async def main(database: str, calls: str) -> None:
    engine = Engine(f"sqlite:///{database}", lease_seconds=30)
    Functions(Path(calls)).register(engine)
    async with engine:
        await engine.create_state_machine("order", ORDER)
        try:
            execution = await engine.start("order", INPUT, name="order-7")
        except ExecutionAlreadyExists:
            [info] = await engine.list_executions(name="order-7")
            execution = await engine.execution(info.arn)
        async for event in execution.events():
            print(event["id"], flush=True)
        output = await execution.result()
        print(json.dumps({"output": output, "history": await execution.history()}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
