"""One case by its number: an input that is read, or a machine that is grown and run. Both raise what is wrong."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import yaml

from asfn._json import Payload
from asfn.language.reader import build, load, read_document
from tests.grow.bases import published
from tests.grow.invariants import check_history
from tests.grow.machines import foreign, grow
from tests.grow.mutations import mutated
from tests.grow.reading import Broken, check_survives_printing, judge
from tests.grow.running import run_crashed, run_grown, run_on_file
from tests.grow.watchdog import at_most

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asfn._json import JsonObject
    from tests.grow.machines import Grown
    from tests.grow.running import Ran

INPUT_SECONDS: Final = 2.0
MACHINE_SECONDS: Final = 30.0
SCHEDULES: Final = (None, 1, 2)
_GROWN_BASES: Final = 300
_ON_FILE: Final = 10  # every tenth machine runs on an SQLite file too
_TIMED: Final = ("TimeoutSeconds", "HeartbeatSeconds", "UUID", "JitterStrategy")


@cache
def bases() -> tuple[JsonObject, ...]:
    """The definitions that inputs are made of."""
    return (*published(), *(grow(seed).definition for seed in range(_GROWN_BASES)))


def check_input(number: int) -> str:
    """Read the input of a number, and run what is accepted; what came of it. Raises whatever is wrong."""
    case = mutated(Random(number), bases())
    with at_most(INPUT_SECONDS):
        verdict, definition = judge(case)
    if definition is not None and "DISTRIBUTED" not in json.dumps(definition):
        with at_most(MACHINE_SECONDS):
            grown = foreign(definition, number)
            check_ran(grown, run_grown(grown, None))
    return verdict


def check_machine(number: int, schedules: Sequence[int | None] = SCHEDULES) -> str:
    """Grow the machine of a number and run it under each schedule; how it ended."""
    grown = grow(number)
    with at_most(MACHINE_SECONDS):
        check_definition(grown)
        status = check_runs(grown, schedules)
        check_crash(grown, number)
    return status


def check_definition(grown: Grown) -> None:
    """A grown definition is valid, and survives being printed as JSON and as YAML."""
    machine = load(grown.definition, type=grown.type)
    check_survives_printing(grown.definition, machine)
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # Any: PyYAML's dumpers are told apart by no type
    text = yaml.dump(grown.definition, Dumper=dumper, allow_unicode=True, sort_keys=False)
    again = read_document(text, format="yaml")
    if again.value != grown.definition or build(again.value) != machine:
        raise Broken("the definition does not survive YAML")


def check_runs(grown: Grown, schedules: Sequence[int | None]) -> str:
    """Every run ends and keeps the invariants, and all ends are the same where no race was grown."""
    first: Ran | None = None
    for schedule in schedules:
        ran = run_grown(grown, schedule)
        check_ran(grown, ran)
        if first is None:
            first = ran
        elif not (grown.racy or first.tied or ran.tied) and ran.end() != first.end():
            raise Broken(
                f"schedule {schedule} ends with {ran.end()}, schedule {schedules[0]} with {first.end()}"[:2_000]
            )
    assert first is not None
    if grown.seed % _ON_FILE == 0:
        with TemporaryDirectory() as folder:
            ran = run_on_file(grown, str(Path(folder) / "grown.db"))
        check_ran(grown, ran)
        if not (grown.racy or first.tied) and ran.end() != first.end():
            raise Broken(f"on SQLite it ends with {ran.end()}, in memory with {first.end()}"[:2_000])
    # Here branches give way to each other after every transition, so that those which take no time may race.
    check_ran(grown, run_grown(grown, schedules[-1], commit="awaited"))
    return first.info.status


def check_crash(grown: Grown, number: int) -> None:
    """A process that dies behind any commit leaves an execution that another one brings to the same end.

    The ends are compared where the pause between the two cannot matter: nothing failed or timed out, nothing was drawn.
    """
    if grown.type == "EXPRESS":
        return
    first = run_grown(grown, None)
    ran, deaths = run_crashed(grown, None, Random(number).choice((1, 1, 2, 2, 3, 3, 4, 5, 7, 10, 15)))
    check_ran(grown, ran)
    untimed = not any(word in json.dumps(grown.definition) for word in _TIMED)
    failed = any("Failed" in str(event["type"]) for event in first.history)
    if deaths and untimed and not (grown.racy or failed or first.tied) and ran.end() != first.end():
        raise Broken(f"after a crash it ends with {ran.end()}, otherwise with {first.end()}"[:2_000])


def check_ran(grown: Grown, ran: Ran) -> None:
    """The invariants of one finished run."""
    if grown.type == "STANDARD":
        check_history(ran.history, ran.info, grown.definition)
    if ran.info.output_text is not None:
        Payload.parse(ran.info.output_text)
