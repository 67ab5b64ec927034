"""The plan of a seed: what runs, on what, who meddles, and what goes wrong. Drawn from `Random(seed)` alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from random import Random
from typing import Final, Literal

from tests.simulation.workloads import Workload, grown, longest_wait, recorded

Fault = Literal["none", "crash_before", "crash_after", "cancel", "leave", "fence", "refuse"]

_FAULTS: Final[dict[Fault, float]] = {
    "crash_before": 4,
    "crash_after": 4,
    "cancel": 1.5,
    "leave": 1,
    "fence": 1.5,
    "refuse": 1.5,
    "none": 0.5,
}
_ON_FILE: Final = 0.04
_RECORDED: Final = 0.1


@dataclass(frozen=True, slots=True)
class LifePlan:
    """One process. after: seconds of nobody before it comes.   seconds: how long it stays at most.

    fault: what happens to it, at the commits of these numbers.
    """

    after: float
    seconds: float
    fault: Fault
    commits: tuple[int, ...]

    def __str__(self) -> str:
        at = f" at commit {', '.join(map(str, self.commits))}" if self.commits else ""
        return f"after {self.after:g} s: {self.fault}{at}, at most {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class Meddling:
    """What a client does to an execution, `after` seconds behind its start, or behind what it did before."""

    after: float
    what: Literal["stop", "pause", "resume"]


@dataclass(frozen=True, slots=True)
class StartPlan:
    """One execution. at: seconds after the beginning.   follows: a client reads its events as they come.

    waits: a client waits for its result.   redrives: how often it is redriven when it does not succeed.
    """

    name: str
    machine: int
    at: float
    priority: int
    meddling: tuple[Meddling, ...]
    follows: bool
    waits: bool
    redrives: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Of all engines. machine_limit: executions of a state machine at once.   engine_limit: of an engine."""

    commit: Literal["default", "awaited"]
    park_seconds: float
    engine_limit: int | None
    machine_limit: int | None
    lease_seconds: float
    drain_seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A world. lives: of each line of processes; lines run side by side.   schedule: see VirtualTimeLoop."""

    seed: int
    workloads: tuple[Workload, ...]
    starts: tuple[StartPlan, ...]
    settings: Settings
    on_file: bool
    schedule: int | None
    lives: tuple[tuple[LifePlan, ...], ...]

    @property
    def calm(self) -> Plan:
        """The same executions where nothing goes wrong and nobody meddles."""
        starts = tuple(replace(start, meddling=(), follows=False, waits=False) for start in self.starts)
        settings = Settings("default", math.inf, None, None, 1e9, 0)
        return replace(self, starts=starts, settings=settings, on_file=False, schedule=None, lives=())

    def told(self) -> list[str]:
        """The plan for a reader."""
        lines = [
            f"seed {self.seed}: {'an SQLite file' if self.on_file else 'memory'}, schedule {self.schedule}",
            f"{self.settings}",
        ]
        lines += [f"line {index}, {life}" for index, line in enumerate(self.lives) for life in line]
        for start in self.starts:
            lines.append(f"{start}")
        return lines


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    rng = Random(seed)
    workloads = tuple(_workload(rng, f"machine-{index}") for index in range(rng.choice((1, 1, 1, 2))))
    # Who watches what does not run where he asks looks four times a second: not for days.
    watched = rng.random() < 0.4 and all(longest_wait(workload) < 1_000 for workload in workloads)
    starts = tuple(_start(rng, index, len(workloads), watched) for index in range(rng.choice((1, 1, 2, 3, 5))))
    lines = rng.choice((1, 1, 1, 2))
    on_file = rng.random() < _ON_FILE
    longest = 300.0 if lines > 1 or watched else 100_000.0
    lives = tuple(tuple(_life(rng, longest) for _ in range(rng.choice((1, 1, 2, 2, 3)))) for _ in range(lines))
    return Plan(seed, workloads, starts, _settings(rng), on_file, rng.choice((None, seed, seed)), lives)


def _workload(rng: Random, name: str) -> Workload:
    found = recorded(rng, name) if rng.random() < _RECORDED else None
    return found if found is not None else grown(rng, name)


def _start(rng: Random, index: int, machines: int, watched: bool) -> StartPlan:
    meddling: tuple[Meddling, ...] = ()
    kind = rng.random()
    if kind < 0.12:
        meddling = (Meddling(_moment(rng), "pause"), Meddling(_moment(rng) * 5, "resume"))
    elif kind < 0.2:
        meddling = (Meddling(_moment(rng), "stop"),)
    elif kind < 0.24:
        meddling = (Meddling(_moment(rng), "pause"), Meddling(_moment(rng), "stop"), Meddling(0.0, "resume"))
    return StartPlan(
        name=f"x{index}",
        machine=rng.randrange(machines),
        at=rng.choice((0.0, 0.0, rng.random() * 20)),
        priority=rng.choice((0, 0, 0, 1, 5)),
        meddling=meddling,
        follows=watched and rng.random() < 0.4,
        waits=watched and rng.random() < 0.5,
        redrives=rng.choice((0, 0, 1, 2)),
    )


def _moment(rng: Random) -> float:
    return rng.choice((0.0, 0.01, 1.0, 1.0, 10.0, 100.0)) * (0.5 + rng.random())


def _settings(rng: Random) -> Settings:
    return Settings(
        commit=rng.choice(("default", "default", "awaited")),
        park_seconds=rng.choice((0.0, 1.0, 30.0, 60.0, 60.0, math.inf)),
        engine_limit=rng.choice((None, None, None, 1, 2)),
        machine_limit=rng.choice((None, None, None, 1, 2)),
        lease_seconds=rng.choice((1.0, 30.0, 30.0, 1_000.0)),
        drain_seconds=rng.choice((0.0, 0.0, 5.0)),
    )


def _life(rng: Random, longest: float) -> LifePlan:
    fault = rng.choices(list(_FAULTS), list(_FAULTS.values()))[0]
    most = rng.choice((3, 6, 12, 30))
    commits: tuple[int, ...] = ()
    if fault == "refuse":
        commits = tuple(sorted(rng.sample(range(1, most + 3), rng.choice((1, 1, 2, 3)))))
    elif fault != "none":
        commits = (rng.randrange(1, most + 1),)
    seconds = min(longest, rng.choice((3.0, 30.0, 300.0, 5_000.0, 100_000.0))) * (0.5 + rng.random())
    return LifePlan(rng.choice((0.0, 0.0, 2.0, 50.0, 2_000.0)), seconds, fault, commits)
