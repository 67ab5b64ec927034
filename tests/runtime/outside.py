"""Another process on the same file, which runs no execution: answers tokens, or works for an activity.

`python -m tests.runtime.outside FILE succeed TOKEN...` or `... FILE work ACTIVITY COUNT`.
"""

from __future__ import annotations

import asyncio
import os
import sys

from asfn.engine import Engine


async def main(path: str, what: str, *arguments: str) -> None:
    async with Engine(f"sqlite:///{path}", resume=False) as engine:
        if what == "work":
            activity, count = arguments
            for _ in range(int(count)):
                task = await engine.activities.poll(activity, f"process {os.getpid()}", 20)
                assert task is not None
                assert isinstance(task.input, int)
                await engine.tasks.succeed(task.token, task.input * 10)
                os.write(1, b"worked\n")
            return
        await asyncio.gather(*(engine.tasks.heartbeat(token) for token in arguments))
        for token in arguments:
            await engine.tasks.succeed(token, {"from": "outside"})
            os.write(1, b"answered\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
