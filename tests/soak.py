"""Workers on one file, killed at random: `python -m tests.soak [--seconds S] [--workers N] [--keep DIR]`.

Every `kill-every` seconds one of the processes gets SIGKILL and is started again, while all of them start executions,
call functions, answer callbacks and stop what others began; a visitor opens the file now and then, starts some, and
leaves in order. At the end a last engine finishes what is left, and `tests.processes.soak_check` looks at everything:
each execution finished once, with its right end and a gapless history; no call made twice by the living; a sound file.
Exits with 1 on any finding. `--keep` keeps the file and the notes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import math
import random
import signal
import sqlite3
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asfn
from asfn.engine import Engine
from asfn.store.records import ExecutionQuery
from tests.processes.mixed_load import Notes, read_notes
from tests.processes.soak_check import Fates, Verdict, check
from tests.processes.soak_worker import LEASE_SECONDS, Crew, Place, opened, together

ROOT: Final = Path(asfn.__file__).parent.parent
STUCK_SECONDS: Final = 60.0  # the last engine gives up when nothing has ended for so long
VISIT_EVERY_SECONDS: Final = 4.0
VISITORS_JOBS: Final = 12
THAWING_SECONDS: Final = 3.0  # for a frozen process to notice, before anybody may kill it


@dataclass
class Soak:
    """One run. deaths: when each process was killed, by its id.   frozen: from when to when, by its id."""

    place: Place
    workers: int
    clients: int
    kill_every: float
    rng: random.Random
    freeze_every: float | None = None
    deaths: dict[int, float] = field(default_factory=dict)
    frozen: dict[int, tuple[float, float]] = field(default_factory=dict)
    kills: int = 0
    early_ends: list[str] = field(default_factory=list)
    _processes: dict[int, asyncio.subprocess.Process] = field(default_factory=dict)
    _freezing: int | None = None

    async def run(self, seconds: float, least: int) -> None:
        """Load and kills for so long, and until so many jobs were started; then SIGKILL or SIGTERM, as it comes."""
        await asyncio.gather(*(self._start(slot) for slot in range(self.workers)))
        until = time.monotonic() + seconds
        beside = [asyncio.create_task(self._visit_now_and_then()), asyncio.create_task(self._freeze_now_and_then())]
        try:
            while (left := until - time.monotonic()) > 0 or self._started() < least:
                await asyncio.sleep(min(self.kill_every, left) if left > 0 else self.kill_every)
                slot = self.rng.choice([slot for slot in range(self.workers) if slot != self._freezing])
                await self._end(slot, signal.SIGKILL)
                await self._start(slot)
        finally:
            for part in beside:
                part.cancel()
            await asyncio.wait(beside)
            ends = [signal.SIGKILL, *(self.rng.choice([signal.SIGKILL, signal.SIGTERM]) for _ in range(self.workers))]
            await asyncio.gather(*(self._end(slot, sent) for slot, sent in zip(self._processes, ends, strict=False)))
        for part in beside:
            if not part.cancelled():
                part.result()

    async def _start(self, slot: int) -> None:
        arguments = (str(self.place.directory), str(slot), str(self.workers), str(self.clients))
        with self.place.log(slot).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.processes.soak_worker", *arguments),
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        self._processes[slot] = process

    async def _end(self, slot: int, sent: signal.Signals) -> None:
        process = self._processes[slot]
        if process.returncode is not None:
            self.early_ends.append(f"worker {slot} ended by itself with {process.returncode}")
        self.deaths[process.pid] = (
            time.time()
        )  # not after the wait: this loop may be late, and others take over at once
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(sent)
        await process.wait()
        self.kills += sent is signal.SIGKILL

    def _started(self) -> int:
        return len({note["n"] for note in read_notes(self.place.ledger) if note["what"] == "started"})

    async def _freeze_now_and_then(self) -> None:
        """Stop a process for longer than its lease: others take over, and it must notice when it goes on."""
        while self.freeze_every is not None:
            await asyncio.sleep(self.freeze_every)
            self._freezing = slot = self.rng.randrange(self.workers)
            process = self._processes[slot]
            if process.returncode is None:
                await self._freeze(process)
            self._freezing = None

    async def _freeze(self, process: asyncio.subprocess.Process) -> None:
        """But not one in the middle of a transaction: SQLite lets nobody else write then, whatever its lease says."""
        began = time.time()
        process.send_signal(signal.SIGSTOP)
        try:
            if await asyncio.to_thread(_can_write, self.place.database):
                self.frozen[process.pid] = (began, math.inf)
                await asyncio.sleep(LEASE_SECONDS * 1.2)
        finally:
            if process.pid in self.frozen:
                self.frozen[process.pid] = (began, time.time())
            process.send_signal(signal.SIGCONT)
        if process.pid in self.frozen:
            await asyncio.sleep(THAWING_SECONDS)

    async def _visit_now_and_then(self) -> None:
        """Another engine that comes, starts some jobs, stops what it is to stop, and leaves in order."""
        while True:
            await asyncio.sleep(VISIT_EVERY_SECONDS)
            async with opened(self.place, self.workers, self.workers) as (_, crew):
                again, following = crew.remembered()
                mine = [*again, *range(following, following + VISITORS_JOBS * (self.workers + 1), self.workers + 1)]
                await asyncio.gather(*(crew.job(n, follow=False) for n in mine))
                await crew.interfere(once=True)

    async def finish(self) -> int:
        """Let a last engine bring to their ends what the workers have left; how many it could not."""
        async with opened(self.place, self.workers, self.workers) as (engine, crew):
            for slot in range(self.workers + 1):
                await self._start_what_was_meant(engine, slot)
            helping = asyncio.create_task(
                together(
                    lambda: crew.answer_tokens(everybodys=True),
                    crew.work_by_hand,
                    lambda: crew.interfere(everybodys=True),
                )
            )
            try:
                return await self._until_all_ended(engine)
            finally:
                helping.cancel()
                await asyncio.wait([helping])

    async def _start_what_was_meant(self, engine: Engine, slot: int) -> None:
        """Jobs of a slot that died before it knew of their start."""
        ledger = Notes(self.place.ledger)
        crew = Crew(engine, self.place, ledger, slot, self.workers)
        await asyncio.gather(*(crew.job(n, follow=False) for n in crew.remembered()[0]))
        ledger.close()

    async def _until_all_ended(self, engine: Engine) -> int:
        left, since = -1, time.monotonic()
        while True:
            running = len(await engine.store.executions(ExecutionQuery(status="RUNNING", limit=1_000_000)))
            if running != left:
                left, since = running, time.monotonic()
            if not running or time.monotonic() - since > STUCK_SECONDS:
                return running
            await asyncio.sleep(0.2)


def _can_write(database: Path) -> bool:
    """Whether the file's write lock comes free, so that no process that stands still has it."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None, timeout=2)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True


async def soak(
    directory: Path,
    *,
    seconds: float,
    workers: int = 3,
    kill_every: float = 1,
    freeze_every: float | None = None,
    clients: int = 25,
    seed: int = 0,
    least: int = 0,
) -> Verdict:
    """A whole run in an empty directory, with what was found. least: jobs to be started, however long that takes."""
    running = Soak(Place(directory), workers, clients, kill_every, random.Random(seed), freeze_every)
    await running.run(seconds, least)
    began = time.monotonic()
    left = await running.finish()
    verdict = await check(running.place, Fates(running.deaths, running.frozen))
    for text in running.early_ends:
        verdict.add("ended by itself", text)
    if left:
        verdict.add("unfinished", f"{left} executions did not end after the last engine took over")
    verdict.figures = {
        "seconds of load": seconds,
        "kills": running.kills,
        "processes frozen and thawed": len(running.frozen),
        **verdict.figures,
        "seconds the last engine took": round(time.monotonic() - began, 1),
    }
    return verdict


def show(verdict: Verdict) -> None:
    for name, figure in verdict.figures.items():
        print(f"{name:44} {figure:>12,}")
    for kind, count in verdict.counts.items():
        print(f"FOUND {kind}: {count}")
    for text in verdict.findings:
        print(f"  {text}")
    print("nothing found" if not verdict.findings else "")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="of load and kills")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--kill-every", type=float, default=1, metavar="SECONDS")
    parser.add_argument("--freeze-every", type=float, metavar="SECONDS", help="stop one for longer than its lease")
    parser.add_argument("--clients", type=int, default=25, help="jobs that each worker waits for at once")
    parser.add_argument("--seed", type=int, default=0, help="chooses who is killed")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="an empty or new directory for the file and the notes")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with contextlib.ExitStack() as stack:
        directory = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        directory.mkdir(parents=True, exist_ok=True)
        if list(directory.iterdir()):
            parser.error(f"{directory} is not empty")
        verdict = asyncio.run(
            soak(
                directory,
                seconds=options.seconds,
                workers=options.workers,
                kill_every=options.kill_every,
                freeze_every=options.freeze_every,
                clients=options.clients,
                seed=options.seed,
            )
        )
    show(verdict)
    sys.exit(1 if verdict.findings else 0)


if __name__ == "__main__":
    main()
