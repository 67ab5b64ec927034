"""Random inputs and machines: `python -m tests.fuzz [--inputs N] [--machines N] [--seed S] [--seconds S] [--jobs J]`.

Case n is made of `Random(n)` alone, so a failure is replayed by its number; the command for it is printed. Exits with 1
when anything crashed, hung, or broke an invariant of `tests/grow`. Inputs are mutated from `../shared/corpus` where it
is there, and from grown definitions.
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
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tests.grow.checks import check_input, check_machine

Kind = Literal["input", "machine"]

_HANG_SECONDS: Final = 120.0
_SHOWN_FINDINGS: Final = 3  # of one place
_KINDS: Final[tuple[Kind, Kind]] = ("input", "machine")


@dataclass(frozen=True, slots=True)
class Finding:
    """A case that failed. place: the innermost line of the project; findings of one place are mostly one bug."""

    kind: Kind
    number: int
    error: str
    place: str

    @property
    def replay(self) -> str:
        ones = "--inputs 1 --machines 0" if self.kind == "input" else "--inputs 0 --machines 1"
        return f"python -m tests.fuzz --seed {self.number} {ones}"


@dataclass
class Report:
    """What came of all cases so far. outcomes: by kind and outcome."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def count(self, kind: Kind) -> int:
        return sum(count for (of, _), count in self.outcomes.items() if of == kind)


def numbers(seed: int, inputs: int, machines: int) -> Iterator[tuple[Kind, int]]:
    """All cases, inputs and machines in turn, so that a run that is cut short has seen its share of both."""
    total, done = inputs + machines, 0
    for step in range(total):
        due = machines * (step + 1) // total
        if due > done:
            yield "machine", seed + done
            done += 1
        else:
            yield "input", seed + step - done


def run_case(kind: Kind, number: int) -> str | Finding:
    """The outcome of one case, or what is wrong with it: whatever is raised, but for a real KeyboardInterrupt."""
    try:
        return check_input(number) if kind == "input" else check_machine(number)
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit)) and not error.args:
            raise
        return Finding(kind, number, f"{type(error).__name__}: {error}"[:500], _place(error))


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}asfn{os.sep}" in frame.filename]
    frame = (ours or frames)[-1]
    return f"{os.path.relpath(frame.filename)}:{frame.lineno}"


def work(worker: int, jobs: int, options: argparse.Namespace, skip: int, current: Any, results: Any) -> None:
    """One process: every jobs-th case. current: the case at hand, for the watch.   skip: cases done before."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # else asyncio takes it over at every run, which costs a twentieth
    ends_at = time.monotonic() + options.seconds if options.seconds else None
    counts: Counter[tuple[str, str]] = Counter()
    told_at = time.monotonic()
    for index, (kind, number) in enumerate(numbers(options.seed, options.inputs, options.machines)):
        if index % jobs != worker or index < skip:
            continue
        current[2 * worker], current[2 * worker + 1] = index, _KINDS.index(kind)
        outcome = run_case(kind, number)
        if isinstance(outcome, Finding):
            results.put((worker, outcome))
            counts[kind, "FOUND"] += 1
        else:
            counts[kind, outcome] += 1
        now = time.monotonic()
        if now - told_at > 1:
            results.put((worker, counts))
            counts, told_at = Counter(), now
        if (ends_at is not None and now > ends_at) or not _is_watched():
            break
    results.put((worker, counts))
    results.put((worker, None))


def _is_watched() -> bool:
    """Whether the process that started this one still lives; a worker does not outlive it."""
    parent = multiprocessing.parent_process()
    return parent is None or parent.is_alive()


class _Watch:
    """The workers, restarted behind a case that they hang in."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.jobs: int = options.jobs
        self.context = multiprocessing.get_context("spawn")
        self.results: Any = self.context.Queue()
        self.current: Any = self.context.Array("q", 2 * self.jobs, lock=False)
        self.report = Report()
        self.processes: dict[int, Any] = {}
        self.seen: dict[int, tuple[int, float]] = {}

    def start(self, worker: int, skip: int) -> None:
        arguments = (worker, self.jobs, self.options, skip, self.current, self.results)
        process = self.context.Process(target=work, args=arguments, daemon=True)
        process.start()
        self.processes[worker] = process
        self.seen[worker] = (-1, time.monotonic())

    def run(self) -> Report:
        started = told = time.monotonic()
        for worker in range(self.jobs):
            self.start(worker, 0)
        while self.processes:
            try:
                worker, message = self.results.get(timeout=1)
            except queue.Empty:
                self.look_after()
                continue
            if message is None:
                self.processes.pop(worker).join()
            elif isinstance(message, Finding):
                self.add(message)
            else:
                self.report.outcomes.update(message)
            if time.monotonic() - told > 10:
                told = time.monotonic()
                print(f"{told - started:6.0f} s  {_summary(self.report)}", flush=True)
                self.look_after()
        return self.report

    def add(self, finding: Finding) -> None:
        self.report.findings.append(finding)
        if sum(other.place == finding.place for other in self.report.findings) <= _SHOWN_FINDINGS:
            head = f"{finding.kind} {finding.number} at {finding.place}"
            print(f"{head}\n  {finding.error!a}\n  {finding.replay}", flush=True)

    def look_after(self) -> None:
        """End a worker that stands at one case for too long, or that died in one, and go on behind it."""
        for worker, process in list(self.processes.items()):
            index, kind = self.current[2 * worker], _KINDS[self.current[2 * worker + 1]]
            at, since = self.seen[worker]
            died = not process.is_alive() and process.exitcode not in (0, None)
            if index != at:
                self.seen[worker] = (index, time.monotonic())
            if not died and (index != at or time.monotonic() - since < _HANG_SECONDS):
                continue
            process.kill()
            process.join()
            number = dict(enumerate(numbers(self.options.seed, self.options.inputs, self.options.machines)))[index][1]
            why = f"the process died with status {process.exitcode}" if died else f"no end after {_HANG_SECONDS} s"
            self.add(Finding(kind, number, why, "outside Python"))
            self.start(worker, index + 1)


def _summary(report: Report) -> str:
    parts = [f"{kind}s {outcome} {count}" for (kind, outcome), count in sorted(report.outcomes.items())]
    return ", ".join(parts)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=20_000, help="how many texts, bytes and values to read")
    parser.add_argument("--machines", type=int, default=500, help="how many machines to grow and run")
    parser.add_argument("--seed", type=int, default=0, help="number of the first case of both kinds")
    parser.add_argument("--seconds", type=float, help="stop after so many seconds")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes")
    options = parser.parse_args(arguments)
    report = _Watch(options).run()
    print(f"\n{report.count('input')} inputs, {report.count('machine')} machines: {_summary(report)}")
    places = Counter(finding.place for finding in report.findings)
    for place, count in places.most_common():
        print(f"{count:6} at {place}")
    print("nothing found" if not report.findings else f"{len(report.findings)} findings")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
