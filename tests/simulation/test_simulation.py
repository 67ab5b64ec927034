"""A short run of the simulated worlds, and that their judge sees what he is there for. More: `tests/simulate.py`."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import pytest

from asfn.store.protocol import Store
from asfn.store.records import Commit, EngineRow, ExecutionRow, Progress, Settlement
from asfn.tasks.protocol import TaskCall
from asfn.testing.loop import Deadlock
from tests.grow.reading import Broken
from tests.grow.watchdog import TookTooLong, at_most
from tests.simulate import Finding, main, run_seed
from tests.simulation.checks import check_seed
from tests.simulation.plan import draw
from tests.simulation.workloads import recordings
from tests.simulation.world import World

SEEDS = (*range(130), 5689)  # the last one: an execution that is queued until its deadline
MOST_TRIED = 200
PLANTED_SECONDS = 3.0


@cache
def _counts() -> Counter[str]:
    """What happened in the worlds of the short run; fails with the command that replays the first bad one."""
    counts: Counter[str] = Counter()
    for seed in SEEDS:
        found = run_seed(seed)
        assert not isinstance(found, Finding), f"{found.error}\nat {found.place}\n{found.replay}"
        counts += found
    return counts


def test_every_world_of_the_short_run_keeps_what_executions_are_promised() -> None:
    assert _counts()["SUCCEEDED"] > 100


def test_the_short_run_meets_deaths_takeovers_parking_queues_and_repeated_calls() -> None:
    counts = _counts()
    for what, least in (
        ("process died", 50),
        ("process was cancelled", 10),
        ("calls repeated", 30),
        ("parked", 30),
        ("woken", 30),
        ("queued", 50),
        ("messages", 5),
        ("told to pause", 20),
        ("told to stop", 10),
        ("redrives", 20),
        ("work taken", 10),
        ("tokens answered", 20),
        ("tokens answered while nobody ran", 20),
        ("followed", 10),
        ("waited for", 20),
        ("compared", 50),
        ("FAILED", 20),
    ):
        assert counts[what] >= least, f"{what}: {counts[what]}"


def test_one_seed_is_one_world_and_one_story() -> None:
    assert repr(draw(7)) == repr(draw(7))
    assert repr(draw(7)) != repr(draw(8))
    stories: list[list[str]] = [[], []]
    for story in stories:
        check_seed(7, story=story)
    assert stories[0] == stories[1]
    assert len(stories[0]) > 10


def test_recorded_machines_are_among_the_workloads() -> None:
    if not recordings():
        pytest.skip("the recordings are not here: no ../shared/conformance beside the project")
    drawn = [workload for seed in range(100) for workload in draw(seed).workloads]
    assert any(workload.recorded is not None for workload in drawn)
    assert any(workload.recorded is None for workload in drawn)


def test_the_command_counts_what_happened_and_replays_a_seed_with_its_story(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "3", "--seeds", "1", "-v"]) == 0
    story = capsys.readouterr().out
    assert story.startswith("seed 3: ")
    assert "in calm:" in story
    assert "as planned:" in story
    assert main(["--seed", "3", "--seeds", "4", "--jobs", "2"]) == 0
    report = capsys.readouterr().out
    assert report.endswith("4 seeds, 0 findings\n")
    assert "  commits\n" in report


# --- planted faults ------------------------------------------------------------------------------------------------


class _Planted:
    """A store with a fault of its own. Everything else is the store's."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:  # Any: a method of the store
        return getattr(self._store, name)


class _ForgetsFrames(_Planted):
    """Events are kept, and where the execution stands is not: a resume does again what was done."""

    async def apply(self, engine: EngineRow, commits: list[Commit]) -> list[ExecutionRow | None]:
        kept = [
            msgspec.structs.replace(commit, frames=())
            if isinstance(commit, Progress) and commit.segment is not None
            else commit
            for commit in commits
        ]
        return await self._store.apply(engine, kept)


class _LosesACommit(_Planted):
    """The fifth commit with events is answered and never written."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._seen = 0

    async def apply(self, engine: EngineRow, commits: list[Commit]) -> list[ExecutionRow | None]:
        kept: list[Commit] = []
        for commit in commits:
            self._seen += isinstance(commit, Progress) and commit.segment is not None
            if self._seen != 5:
                kept.append(commit)
        answers = iter(await self._store.apply(engine, kept) if kept else ())
        return [next(answers) if any(commit is other for other in kept) else None for commit in commits]


class _LosesAnswers(_Planted):
    """An answer to a token is acknowledged and forgotten."""

    async def settle_tokens(self, settlements: list[Settlement]) -> list[tuple[bool, None]]:
        return [(True, None) for _ in settlements]


class _NeverWakes(_Planted):
    """Parked executions are not due before the end of time."""

    async def wake(self, engine: EngineRow, now: float, **options: Any) -> list[ExecutionRow]:
        return await self._store.wake(engine, now, **options) if options.get("keys") else []


class _AdmitsAll(_Planted):
    """Nobody waits for his turn."""

    async def admit(self, engine: EngineRow, now: float, *, limit: int) -> list[ExecutionRow]:
        for machine in await self._store.state_machines():
            await self._store.put_state_machine(msgspec.structs.replace(machine, max_concurrent_executions=None))
        return await self._store.admit(engine, now, limit=1_000)


class _WritesLater(_Planted):
    """What is answered is written with the next group, if there is one."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._late: tuple[EngineRow, list[Commit]] | None = None

    async def apply(self, engine: EngineRow, commits: list[Commit]) -> list[ExecutionRow | None]:
        late, self._late = self._late, (engine, commits)
        if late is not None:
            await self._store.apply(*late)
        return [None for _ in commits]


# A world that is found broken is torn down in the middle, and its coroutines with it.
torn_down = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine .* was never awaited:RuntimeWarning"
)


@torn_down
@pytest.mark.parametrize(
    "planted",
    [_ForgetsFrames, _LosesACommit, _LosesAnswers, _NeverWakes, _AdmitsAll, _WritesLater],
    ids=lambda planted: planted.__name__,
)
def test_a_planted_fault_of_the_store_is_seen(planted: Callable[[Store], Store]) -> None:
    assert _first_that_fails(lambda seed: check_seed(seed, planted)) is not None


@torn_down
def test_a_key_that_changes_from_call_to_call_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = iter(range(10**9))
    submit = World.submit

    async def forgetful(self: World, call: TaskCall) -> Any:
        place, _, attempt = call.idempotency_key.rpartition(".")
        return await submit(self, replace(call, idempotency_key=f"{place}{next(counter)}.{attempt}"))

    monkeypatch.setattr(World, "submit", forgetful)
    assert _first_that_fails(check_seed) is not None


def _first_that_fails(check: Callable[[int], object]) -> int | None:
    """The first seed whose world is found broken, or comes to no end, among as many as it should not take."""
    for seed in range(MOST_TRIED):
        try:
            with at_most(PLANTED_SECONDS):
                check(seed)
        except (Broken, Deadlock, KeyError, TookTooLong):
            gc.collect()  # here, and not in the next test
            return seed
    return None
