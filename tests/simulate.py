"""Simulated worlds: `python -m tests.simulate [--seeds N] [--seed S] [--jobs J] [--seconds S] [-v]`.

World n is made of the seed n alone: random and recorded machines on processes that are killed, cancelled, fenced and
refused at random commits, under a shuffled schedule; `tests/simulation` says how it is judged. A failure is replayed by
its seed, and the command for it is printed; with -v it tells its story. Exits with 1 when anything was found.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from tests.grow.watchdog import at_most
from tests.simulation.checks import check_seed

SEED_SECONDS: Final = 30.0
_HANG_SECONDS: Final = 180.0
_SHOWN_FINDINGS: Final = 3  # of one place


@dataclass(frozen=True, slots=True)
class Finding:
    """A seed that failed. place: the innermost line; findings of one place are mostly one bug."""

    seed: int
    error: str
    place: str

    @property
    def replay(self) -> str:
        return f"python -m tests.simulate --seed {self.seed} --seeds 1 -v"


@dataclass
class Report:
    """What came of all seeds so far. counts: what happened in their worlds."""

    seeds: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)


def run_seed(seed: int) -> Counter[str] | Finding:
    """What happened in the world of a seed, or what is wrong with it."""
    try:
        with at_most(SEED_SECONDS):
            return check_seed(seed).counts
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit)) and not error.args:
            raise
        return Finding(seed, f"{type(error).__name__}: {error}"[:1_500], _place(error))


def _place(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{os.path.relpath(frame.filename)}:{frame.lineno}"


def work(worker: int, first: int, options: argparse.Namespace, current: Any, results: Any) -> None:
    """One process: every jobs-th seed from `first` on. current: the seed at hand, for the watch (Any: shared)."""
    # Any handler of one's own keeps asyncio from installing, and printing, another one for each of two loops a seed.
    signal.signal(signal.SIGINT, _interrupted)
    ends_at = time.monotonic() + options.seconds if options.seconds else None
    for seed in range(first, options.seed + options.seeds, options.jobs):
        current[worker] = seed
        results.put((worker, run_seed(seed)))
        parent = multiprocessing.parent_process()
        if (ends_at is not None and time.monotonic() > ends_at) or (parent is not None and not parent.is_alive()):
            break
    results.put((worker, None))


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


class _Watch:
    """The workers, restarted behind a seed that they hang in."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.context = multiprocessing.get_context("spawn")
        self.results: Any = self.context.Queue()  # Any: of tuples
        self.current: Any = self.context.Array("q", options.jobs, lock=False)
        self.report = Report()
        self.processes: dict[int, Any] = {}
        self.heard: dict[int, float] = {}

    def run(self) -> Report:
        started = told = time.monotonic()
        for worker in range(self.options.jobs):
            self.start(worker, self.options.seed + worker)
        while self.processes:
            try:
                worker, message = self.results.get(timeout=1)
            except queue.Empty:
                self.look_after()
                continue
            self.heard[worker] = time.monotonic()
            if message is None:
                self.processes.pop(worker).join()
            elif isinstance(message, Finding):
                self.add(message)
            else:
                self.report.seeds += 1
                self.report.counts.update(message)
            if time.monotonic() - told > 10:
                told = time.monotonic()
                seconds = told - started
                print(f"{seconds:6.0f} s  {_summary(self.report)}, {self.report.seeds / seconds:.0f}/s", flush=True)
                self.look_after()
        return self.report

    def start(self, worker: int, first: int) -> None:
        process = self.context.Process(
            target=work, args=(worker, first, self.options, self.current, self.results), daemon=True
        )
        self.current[worker] = first
        process.start()
        self.processes[worker] = process
        self.heard[worker] = time.monotonic()

    def add(self, finding: Finding) -> None:
        self.report.seeds += 1
        self.report.findings.append(finding)
        if sum(other.place == finding.place for other in self.report.findings) <= _SHOWN_FINDINGS:
            print(f"seed {finding.seed} at {finding.place}\n  {finding.error!a}\n  {finding.replay}", flush=True)

    def look_after(self) -> None:
        """End a worker that stands at one seed for too long, or that died in one, and go on behind it."""
        for worker, process in list(self.processes.items()):
            died = not process.is_alive() and process.exitcode not in (0, None)
            if not died and time.monotonic() - self.heard[worker] < _HANG_SECONDS:
                continue
            process.kill()
            process.join()
            seed = int(self.current[worker])
            why = f"the process died with status {process.exitcode}" if died else f"no end after {_HANG_SECONDS} s"
            self.add(Finding(seed, why, "outside Python"))
            self.start(worker, seed + self.options.jobs)


def _summary(report: Report) -> str:
    return f"{report.seeds} seeds, {len(report.findings)} findings"


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1_000, help="how many worlds")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first one")
    parser.add_argument("--seconds", type=float, help="stop after so many seconds")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell the story of each seed, in this process")
    options = parser.parse_args(arguments)
    if options.verbose:
        return max([tell(seed) for seed in range(options.seed, options.seed + options.seeds)], default=0)
    report = _Watch(options).run()
    for what, count in sorted(report.counts.items()):
        print(f"{count:9}  {what}")
    for place, count in Counter(finding.place for finding in report.findings).most_common():
        print(f"{count:9}  findings at {place}")
    print(_summary(report))
    return 1 if report.findings else 0


def tell(seed: int) -> int:
    """Print the plan of a seed, what happened, and what is wrong with it."""
    lines: list[str] = []
    try:
        check_seed(seed, story=lines)
        return 0
    except Exception as error:
        lines.append(f"{type(error).__name__}: {error}")
        return 1
    finally:
        print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
