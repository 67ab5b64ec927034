"""A process that parks executions and stays: `python -m tests.processes.parker DATABASE COUNT SECONDS`.

Each waits so many seconds and calls the function `work` then. Prints "parked" when all are.
"""

from __future__ import annotations

import asyncio
import os
import sys

from asfn._json import JsonObject
from asfn.engine import Engine

WORK = "arn:aws:lambda:us-east-1:123456789012:function:work"
NAP_AND_WORK: JsonObject = {
    "StartAt": "Nap",
    "States": {
        "Nap": {"Type": "Wait", "SecondsPath": "$.seconds", "Next": "Work"},
        "Work": {"Type": "Task", "Resource": WORK, "InputPath": "$.number", "End": True},
    },
}


async def main(database: str, count: int, seconds: int) -> None:
    engine = Engine(f"sqlite:///{database}", park_seconds=0.05)
    engine.register("work", lambda event: event)
    async with engine:
        await engine.create_state_machine("naps", NAP_AND_WORK)
        for number in range(count):
            await engine.start("naps", {"number": number, "seconds": seconds})
        while await engine.store.parked_count() < count:  # noqa: ASYNC110  # a store tells nobody of what it parks
            await asyncio.sleep(0.01)
        os.write(1, b"parked\n")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
