"""One process of a soak, until SIGTERM or a kill: `python -m tests.processes.soak_worker DIRECTORY SLOT SLOTS CLIENTS`.

Some clients start jobs and wait for them; others answer the callbacks that functions of the slot before handed out, do
work by hand, and stop what others began. What a client means to do is noted before, and that it is done after: whoever
takes the slot after a kill goes on with what was meant.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from asfn._json import encode
from asfn.arn import Arns
from asfn.engine import Engine
from asfn.errors import AsfnError, EngineFenced, ExecutionAlreadyExists, ExecutionFailed, TaskDoesNotExist, TaskTimedOut
from asfn.runtime.handle import Execution, ExecutionInfo
from asfn.runtime.observers import Observer
from tests.processes.mixed_load import (
    ACTIVITY,
    ANSWERED_AFTER_SECONDS,
    STOP_ERROR,
    Follower,
    Functions,
    Notes,
    kind_of,
    name_of,
    number_of,
    read_notes,
    register_machines,
)

LEASE_SECONDS: Final = 15
PARK_SECONDS: Final = 1
LOOK_SECONDS: Final = 0.1
RESULT_SECONDS: Final = 300

logger = logging.getLogger("soak")


@dataclass(frozen=True)
class Place:
    """The files of one soak."""

    directory: Path

    @property
    def database(self) -> Path:
        return self.directory / "soak.db"

    @property
    def calls(self) -> Path:
        """Calls of functions."""
        return self.directory / "calls"

    @property
    def tokens(self) -> Path:
        """Tokens that functions handed out."""
        return self.directory / "tokens"

    @property
    def ledger(self) -> Path:
        """What clients mean to do and have done."""
        return self.directory / "ledger"

    def log(self, slot: int) -> Path:
        return self.directory / f"worker-{slot}.log"


class Telling(Observer):
    """Notes what this engine took over, and what it parked."""

    def __init__(self, ledger: Notes) -> None:
        self._ledger = ledger

    def execution_resumed(self, execution: ExecutionInfo, at: float) -> None:
        self._ledger.add(what="resumed", n=number_of(execution.name))

    def execution_parked(self, execution: ExecutionInfo, error: BaseException | None, at: float) -> None:
        self._ledger.add(what="parked", n=number_of(execution.name), error=repr(error) if error else None)


class Crew:
    """Those who use one engine of a soak.

    slot: a number of its own, below slots, or slots for one beside them.
    """

    def __init__(self, engine: Engine, place: Place, ledger: Notes, slot: int, slots: int) -> None:
        self._engine = engine
        self._place = place
        self._ledger = ledger
        self._slot = slot
        self._slots = slots
        self._arns = Arns("us-east-1", "123456789012")

    # --- starting --------------------------------------------------------------------------------------------------

    def remembered(self) -> tuple[list[int], int]:
        """Jobs of this slot that were meant to start and are not known to have, and the first one nobody thought of."""
        meant, done = set(), set()
        for note in read_notes(self._place.ledger):
            if note["what"] == "intent" and note["slot"] == self._slot:
                meant.add(note["n"])
            elif note["what"] == "started":
                done.add(note["n"])
        following = max(meant) + self._slots + 1 if meant else self._slot
        return sorted(meant - done), following

    async def clients(self, count: int) -> None:
        """Start one job after the other, `count` at a time, for ever."""
        again, following = self.remembered()

        def take() -> int:
            nonlocal following
            if again:
                return again.pop(0)
            following += self._slots + 1
            return following - self._slots - 1

        async def one() -> None:
            while True:
                await self.job(take())

        await together(*(one for _ in range(count)))

    async def job(self, n: int, *, follow: bool = True) -> None:
        """Start a job, or find that it was started, and wait for its end if its kind is followed."""
        kind = kind_of(n)
        self._ledger.add(what="intent", n=n, slot=self._slot)
        try:
            execution = await self._engine.start(kind.name, kind.input(n), name=name_of(n))
        except ExecutionAlreadyExists:
            execution = await self._execution(n)
        self._ledger.add(what="started", n=n)
        if follow and kind.followed:
            await self._follow(n, execution)

    async def _follow(self, n: int, execution: Execution) -> None:
        try:
            status, end = "SUCCEEDED", await execution.result(timeout=RESULT_SECONDS)
        except ExecutionFailed as failed:
            status, end = failed.status, failed.error
        self._ledger.add(what="ended", n=n, status=status, end=encode(end))

    # --- answering -------------------------------------------------------------------------------------------------

    async def answer_tokens(self, *, everybodys: bool = False) -> None:
        """Answer the tokens of the slot before this one, for ever."""
        follower = Follower(self._place.tokens)
        answered = {note["token"] for note in read_notes(self._place.ledger) if note["what"] == "answered"}
        coming: list[tuple[float, str, int]] = []
        while True:
            for note in follower.news():
                if everybodys or (note["slot"] + 1) % self._slots == self._slot:
                    after = ANSWERED_AFTER_SECONDS[note["n"] % len(ANSWERED_AFTER_SECONDS)]
                    heapq.heappush(coming, (note["at"] + after, note["token"], note["n"]))
            while coming and coming[0][0] <= time.time():
                _, token, n = heapq.heappop(coming)
                if token not in answered:
                    await self._answer(token, {"answer": n})
                    answered.add(token)
                    self._ledger.add(what="answered", token=token)
            await asyncio.sleep(LOOK_SECONDS)

    async def work_by_hand(self) -> None:
        """Do the work of the activity, for ever."""
        while True:
            task = await self._engine.activities.poll(ACTIVITY, f"hand-{self._slot}", wait_seconds=5)
            if task is not None:
                assert isinstance(task.input, dict)
                await asyncio.sleep(0.02)
                await self._answer(task.token, {"by hand": task.input["n"]})

    async def _answer(self, token: str, output: Any) -> None:
        with contextlib.suppress(TaskTimedOut, TaskDoesNotExist):  # answered before a kill, or given up meanwhile
            await self._engine.tasks.succeed(token, output)

    # --- from another process --------------------------------------------------------------------------------------

    async def interfere(self, *, everybodys: bool = False, once: bool = False) -> None:
        """Stop and hold what is there for it and the slot before this one started; once, or for ever."""
        follower = Follower(self._place.ledger)
        before = read_notes(self._place.ledger)
        done = {note["n"] for note in before if note["what"] in ("stopped", "held")}
        for n in self._still_held(before, everybodys):  # by one that was killed before it let go
            await self._let_go(n)
        slots: dict[int, int] = {}
        while True:
            for note in follower.news():
                n = note.get("n", -1)
                if note["what"] == "intent":
                    slots[n] = note["slot"]
                mine = everybodys or (slots.get(n, 0) + 1) % (self._slots + 1) == self._slot
                if note["what"] == "started" and mine and n not in done:
                    done.add(n)
                    await self._interfere_with(n)
            if once:
                return
            await asyncio.sleep(LOOK_SECONDS)

    def _still_held(self, notes: list[dict[str, Any]], everybodys: bool) -> list[int]:
        held: dict[int, None] = {}
        for note in notes:
            if note["what"] == "held" and (everybodys or note["slot"] == self._slot):
                held[note["n"]] = None
            elif note["what"] == "let go":
                held.pop(note["n"], None)
        return list(held)

    async def _interfere_with(self, n: int) -> None:
        if kind_of(n).stopped:
            await (await self._execution(n)).stop(STOP_ERROR, f"job {n}")
            self._ledger.add(what="stopped", n=n)
        elif kind_of(n).paused:
            self._ledger.add(what="held", n=n, slot=self._slot)
            await (await self._execution(n)).pause()
            await self._let_go(n)

    async def _let_go(self, n: int) -> None:
        await (await self._execution(n)).resume()
        self._ledger.add(what="let go", n=n)

    async def _execution(self, n: int) -> Execution:
        return await self._engine.execution(self._arns.execution(kind_of(n).name, name_of(n)))


async def together(*parts: Callable[[], Awaitable[None]]) -> None:
    """Run all of them; what one raises, but for the engine closing, is told in the log, and the others go on."""

    async def guarded(part: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await part()
                return
            except EngineFenced:  # of one that was frozen for longer than its lease
                await asyncio.sleep(0.5)
            except (AsfnError, TimeoutError):
                logger.exception("a client failed")
                await asyncio.sleep(1)

    async with asyncio.TaskGroup() as group:
        for part in parts:
            group.create_task(guarded(part))


@asynccontextmanager
async def opened(place: Place, slot: int, slots: int) -> AsyncIterator[tuple[Engine, Crew]]:
    """An engine on the file of the soak, with all functions and machines, and its crew."""
    ledger, calls, tokens = Notes(place.ledger), Notes(place.calls), Notes(place.tokens)
    engine = Engine(
        f"sqlite:///{place.database}",
        lease_seconds=LEASE_SECONDS,
        park_seconds=PARK_SECONDS,
        observers=[Telling(ledger)],
    )
    Functions(calls, tokens, slot).register(engine)
    try:
        async with engine:
            await register_machines(engine)
            yield engine, Crew(engine, place, ledger, slot, slots)
    finally:
        for notes in (ledger, calls, tokens):
            notes.close()


async def work(place: Place, slot: int, slots: int, clients: int) -> None:
    """Be a worker until SIGTERM."""
    async with opened(place, slot, slots) as (_, crew):
        print("ready", flush=True)
        parts = [lambda: crew.clients(clients), crew.answer_tokens, crew.work_by_hand, crew.interfere]
        working = asyncio.create_task(together(*parts))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
        await asyncio.wait([working])
        if not working.cancelled():
            working.result()


def main() -> None:
    directory, slot, slots, clients = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(process)d %(levelname)s %(name)s %(message)s")
    asyncio.run(work(Place(Path(directory)), int(slot), int(slots), int(clients)))


if __name__ == "__main__":
    main()
