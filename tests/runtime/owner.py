"""A process that runs an execution which does not end by itself: `python -m tests.runtime.owner FILE NAME...`.

Prints `called NAME` when the function of an execution is called, and `ended NAME STATUS` when it has ended.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from asfn.engine import Engine
from asfn.errors import ExecutionFailed
from tests.runtime.workflows import machine, task

SLOW = machine(("Work", {**task("work"), "Next": "After"}), ("After", {"Type": "Pass", "End": True}))
SLOW["States"]["Work"].pop("End")  # type: ignore[index,union-attr,call-overload,arg-type]


async def follow(engine: Engine, name: str) -> None:
    execution = await engine.start("slow", name=name)
    try:
        await execution.result()
        status = "SUCCEEDED"
    except ExecutionFailed as error:
        status = error.status
    os.write(1, f"ended {name} {status}\n".encode())


async def main(path: str, *names: str) -> None:
    engine = Engine(f"sqlite:///{path}")

    @engine.function("work")
    async def work(event: Any, context: Any) -> None:
        os.write(1, f"called {context.execution_name}\n".encode())
        await asyncio.sleep(3600)

    async with engine:
        await engine.create_state_machine("slow", SLOW)
        await asyncio.gather(*(follow(engine, name) for name in names))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
