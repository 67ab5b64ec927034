"""A process may die at any commit, and die again while another recovers: everything is still done once, and right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asfn.store.memory import MemoryStore
from asfn.store.sqlite import SqliteStore
from asfn.testing.loop import VirtualClock
from tests.runtime.lives import Life, Place, Reply, Workflow, check, live, live_on, undisturbed
from tests.runtime.workflows import (
    JOBS,
    LARGE_PAYLOADS,
    PURE_LOOP,
    TASK_IN_MAP_IN_PARALLEL,
    VARIABLES,
    WORKFLOWS,
    each,
    machine,
)

every_workflow = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.name)


def lives_until_the_end(workflow: Workflow, store: MemoryStore, lives: list[Life], **options: Any) -> list[Life]:
    """The given lives and one more, which nothing disturbs."""
    return [*lives, live_on(workflow, store, lives[-1], **options)]


def _die(workflow: Workflow, place: Place, when: str, number: int) -> Life:
    if when == "crash_before":
        return live(workflow, place, crash_before=number)
    return live(workflow, place, crash_after=number)


@every_workflow
@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
def test_a_process_that_dies_at_any_commit_is_followed_by_one_that_finishes(workflow: Workflow, when: str) -> None:
    reference = undisturbed(workflow)
    for number in range(1, reference.commits + 1):
        store = MemoryStore()
        first = _die(workflow, store, when, number)
        assert first.died
        check(reference, lives_until_the_end(workflow, store, [first]))


@pytest.mark.parametrize("seed", [1, 2, 3])
@every_workflow
def test_the_order_in_which_ready_branches_run_changes_nothing(workflow: Workflow, seed: int) -> None:
    reference = undisturbed(workflow)
    assert undisturbed(workflow, seed=seed).end == reference.end
    for number in range(1 + seed % 2, reference.commits + 1, 2):
        store = MemoryStore()
        first = live(workflow, store, seed=seed, crash_after=number)
        check(reference, lives_until_the_end(workflow, store, [first], seed=seed + 10))


@pytest.mark.parametrize(
    "workflow", [workflow for workflow in WORKFLOWS if workflow is not PURE_LOOP], ids=lambda workflow: workflow.name
)
def test_a_commit_after_every_transition_gives_as_many_places_to_die(workflow: Workflow) -> None:
    reference = undisturbed(workflow)
    commits = undisturbed(workflow, commit="awaited").commits
    assert commits >= reference.commits
    for number in range(1, commits + 1):
        store = MemoryStore()
        first = live(workflow, store, commit="awaited", crash_after=number)
        assert first.died
        check(reference, lives_until_the_end(workflow, store, [first], commit="awaited"))


@pytest.mark.parametrize("options", [{}, {"commit": "awaited"}])
def test_iterations_that_had_started_and_not_run_start_no_second_time(options: dict[str, Any]) -> None:
    only = machine(("Pass", {"Type": "Pass", "End": True}))
    workflow = Workflow(
        "a long Map", machine(("Many", each(only))), list(range(150)), lambda state, payload, attempt: Reply()
    )
    reference = undisturbed(workflow, **options)
    assert reference.commits > 2
    for number in range(1, reference.commits + 1, 1 + reference.commits // 12):
        store = MemoryStore()
        first = live(workflow, store, crash_after=number, **options)
        check(reference, lives_until_the_end(workflow, store, [first], **options))


@every_workflow
def test_a_process_that_dies_while_it_recovers_is_followed_by_another(workflow: Workflow) -> None:
    reference = undisturbed(workflow)
    for first_at in range(1, reference.commits + 1):
        for second_at in range(1, reference.commits - first_at + 2):
            store = MemoryStore()
            first = live(workflow, store, crash_after=first_at)
            second = live_on(workflow, store, first, crash_after=second_at)
            lives = [first, second]
            if second.died:
                lives = lives_until_the_end(workflow, store, lives)
            check(reference, lives)


@every_workflow
def test_a_process_may_die_at_every_single_commit_one_after_the_other(workflow: Workflow) -> None:
    reference = undisturbed(workflow)
    store = MemoryStore()
    lives = [live(workflow, store, crash_after=1)]
    while lives[-1].died:
        assert len(lives) <= 2 * reference.commits + 20
        lives.append(live_on(workflow, store, lives[-1], crash_after=1))
    check(reference, lives)


@pytest.mark.parametrize("seed", [None, 5])
@every_workflow
def test_an_engine_that_is_left_at_any_commit_repeats_no_call_at_all(workflow: Workflow, seed: int | None) -> None:
    reference = undisturbed(workflow)
    for number in range(2, reference.commits + 1):
        store = MemoryStore()
        first = live(workflow, store, leave_at=number, seed=seed)
        lives = [first] if first.end is not None else lives_until_the_end(workflow, store, [first], seed=seed)
        check(reference, lives)
        short = {call.idempotency_key for call in reference.calls if call.state_name not in ("Long", "Work")}
        keys = [call.idempotency_key for life in lives for call in life.calls]
        assert not {key for key in keys if keys.count(key) > 1} & short


@every_workflow
def test_stopping_at_any_commit_ends_the_execution_and_nothing_follows(workflow: Workflow) -> None:
    reference = undisturbed(workflow)
    for number in range(2, reference.commits):
        store = MemoryStore()
        life = live(workflow, store, stop_at=number)
        assert life.end == ("ABORTED", ["Stopped", "by the test"])
        assert life.frames > 0
        assert [event["id"] for event in life.history] == list(range(1, len(life.history) + 1))
        assert [event["type"] for event in life.history].count("ExecutionAborted") == 1
        assert life.history[-1]["type"] == "ExecutionAborted"
        again = live_on(workflow, store, life)
        assert again.end == life.end
        assert again.calls == []
        assert again.history == life.history


@pytest.mark.parametrize(
    "workflow",
    [TASK_IN_MAP_IN_PARALLEL, VARIABLES, LARGE_PAYLOADS, JOBS],
    ids=lambda workflow: workflow.name,
)
def test_a_file_holds_all_that_another_process_needs(workflow: Workflow, tmp_path: Path) -> None:
    reference = undisturbed(workflow)
    for number in range(1, reference.commits + 1, 2):
        path = tmp_path / f"{number}.db"

        def store(clock: VirtualClock, path: Path = path) -> SqliteStore:
            return SqliteStore(path, off_loop=clock.off_loop)

        first = _die(workflow, store, "crash_before" if number % 4 == 1 else "crash_after", number)
        second = live_on(workflow, store, first, crash_after=2)
        lives = [first, second]
        if second.died:
            lives.append(live_on(workflow, store, second))
        check(reference, lives)
