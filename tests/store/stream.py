"""A program to be killed: runs executions against a file until it is stopped, and tells each commit it was promised.

Run as `python -m tests.store.stream FILE COROUTINES [COUNT]`; COUNT executions, without end when it is not given.
It prints `KEY STEP` lines, a step being an index of `STEPS` (or their number, for the end).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from typing import TYPE_CHECKING

from asfn.store.records import Progress
from asfn.store.sqlite import SqliteStore
from asfn.store.writer import Writer
from tests.store.samples import LARGE_TEXT, final, frame, segment, start

if TYPE_CHECKING:
    from asfn.store.records import Commit, EngineRow

CHILD = "/0.0:Map:1"
# After each commit of an execution: its last event, and its frames with the event they were written for.
STEPS: tuple[tuple[int, dict[str, int]], ...] = ((0, {}), (3, {"": 3, CHILD: 3}), (5, {"": 5}), (6, {}))
KEYS_OF_AN_ENGINE = 1_000_000


def commits(key: int, engine: EngineRow) -> list[Commit]:
    """What an execution writes, one commit for each of STEPS."""
    return [
        start(key, engine),
        Progress(key, segment(1, 3, LARGE_TEXT), [frame("", LARGE_TEXT, body=3), frame(CHILD, body=3)]),
        Progress(key, segment(4, 5, "1"), [frame("", body=5)], dropped=[CHILD]),
        Progress(key, segment(6, 6), final=final(output=LARGE_TEXT)),
    ]


async def main(path: str, coroutines: int, count: int | None) -> None:
    store = SqliteStore(path)
    await store.open()
    engine = await store.register_engine(0.0, 30.0)
    writer = Writer(store, engine)
    running = asyncio.create_task(writer.run())
    first_key = engine.id * KEYS_OF_AN_ENGINE
    keys = itertools.count(first_key) if count is None else iter(range(first_key, first_key + count))

    async def execute() -> None:
        for key in keys:
            for step, commit in enumerate(commits(key, engine)):
                await writer.submit(commit)
                os.write(1, f"{key} {step}\n".encode())

    await asyncio.gather(*(execute() for _ in range(coroutines)))
    await writer.close()
    await running
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None))
