"""A tested state for people: what each stage gave, each path and expression with its value, each Choice rule."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click

from asfn._json import Json, Payload
from asfn.cli.output import coloured, duration, moment, plain
from asfn.language.model import MISSING, ChoiceState, WorkState
from asfn.plan.effects import Failure, SleepUntil
from asfn.plan.inspect import explain_choice, readings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asfn._json import JsonObject
    from asfn.language.model import State
    from asfn.plan.inspect import Stage, Test
    from asfn.runtime.single_state import StateRun

_WIDTH: Final = 1000
_COLUMN: Final = 16
_STEP: Final = re.compile(r"([^/\[\]]+)|\[(\d+)\]")
_RULE: Final = re.compile(r"Choices\[\d+\](?:/Condition)?")


def told(run: StateRun) -> Iterator[str]:
    """The lines that tell a tested state, from its input to where it goes."""
    state = run.request.state
    kind = type(state).__name__.removesuffix("State")
    yield f"{click.style(plain(state.name), bold=True)}  {kind}, {state.query_language}"
    yield ""
    yield _line("input", run.request.input)
    explained = not isinstance(state, ChoiceState)
    for stage in run.inspector.stages:
        if not explained and stage.field != "InputPath":
            explained = True
            yield from _choice(run)
        if not _RULE.fullmatch(stage.field):
            yield from _stage(run, stage)
    if not explained:
        yield from _choice(run)
    if run.woken_at is not None:
        seconds = run.woken_at - run.inspector.scope.entered_at
        yield f"{'wait until':<{_COLUMN}}  {moment(run.woken_at)} ({duration(seconds)})"
    yield ""
    yield from _end(run, state)


def _line(name: str, payload: Payload) -> str:
    return f"{name:<{_COLUMN}}  {_shown(payload)}"


def _shown(payload: Payload) -> str:
    return plain(payload.text, _WIDTH)


def _stage(run: StateRun, stage: Stage) -> Iterator[str]:
    """One stage and the paths and expressions in its field; nothing of a field that the state does not have."""
    written = _written(run.request.fields, stage.field)
    if written is MISSING and stage.field != "result":
        return
    yield _line(stage.field, stage.gave)
    if isinstance(written, str) and written != stage.gave.value:
        yield f"{'':<{_COLUMN}}    {plain(written, _WIDTH)}"
    elif stage.field == "ItemSelector" and isinstance(stage.gave.value, list):
        for index, item in enumerate(stage.gave.value[:3]):
            yield from _readings(run, written, item, f"[{index}]")
    else:
        yield from _readings(run, written, stage.gave.value)


def _readings(run: StateRun, written: object, gave: Json, of: str = "") -> Iterator[str]:
    for reading in readings(written, gave, run.request.state.query_language):  # type: ignore[arg-type]  # not MISSING
        value = _shown(Payload(reading.value))
        yield f"{'':<{_COLUMN}}    {of}{plain(reading.place)}  {plain(reading.source, _WIDTH)}  =  {value}"


def _written(fields: JsonObject, field: str) -> object:
    """What the definition says at a field such as `Catch[0]/Output`; MISSING where it says nothing."""
    value: object = fields
    for name, index in _STEP.findall(field):
        if name and isinstance(value, dict):
            value = value.get(name, MISSING)
        elif index and isinstance(value, list) and int(index) < len(value):
            value = value[int(index)]
        else:
            return MISSING
    return value


def _choice(run: StateRun) -> Iterator[str]:
    state = run.request.state
    assert isinstance(state, ChoiceState)
    tests = explain_choice(run.inspector)
    for index, (rule, test) in enumerate(zip(state.choices, tests, strict=True)):
        yield f"{f'Choices[{index}]':<{_COLUMN}}  {_outcome(test)}  -> {plain(rule.next)}"
        yield from _test(test, 4)
    if state.default is not None:
        taken = not any(test.outcome for test in tests) and not isinstance(run.step, Failure)
        yield f"{'Default':<{_COLUMN}}  {'taken' if taken else 'not taken'}  -> {plain(state.default)}"


def _test(test: Test, indent: int) -> Iterator[str]:
    yield f"{'':<{_COLUMN}}{'':<{indent}}{_outcome(test)}  {plain(test.text, _WIDTH)}"
    for path, value in test.saw:
        seen = "nothing there" if value is MISSING else _shown(Payload(value))  # type: ignore[arg-type]  # not MISSING
        yield f"{'':<{_COLUMN}}{'':<{indent + 9}}{plain(path)}  =  {seen}"
    for part in test.parts:
        yield from _test(part, indent + 2)


def _outcome(test: Test) -> str:
    word = {True: "true", False: "false", None: "-"}[test.outcome]
    return click.style(f"{word:<5}", fg="green" if test.outcome else None)


def _end(run: StateRun, state: State) -> Iterator[str]:
    response = run.response
    status = str(response["status"])
    where = response.get("nextState")
    yield f"{coloured(status)}" + (f"  -> {plain(str(where))}" if where is not None else "")
    if "error" in response or "cause" in response:
        parts = [str(response[name]) for name in ("error", "cause") if name in response]
        yield f"{'error':<{_COLUMN}}  {plain(': '.join(parts), _WIDTH)}"
    if run.recovery is not None and isinstance(state, WorkState):
        yield from _recovery(run, state)
    if "output" in response:
        yield f"{'output':<{_COLUMN}}  {plain(str(response['output']))}"


def _recovery(run: StateRun, state: WorkState) -> Iterator[str]:
    recovery = run.recovery
    assert recovery is not None
    if isinstance(run.step, Failure) and run.step.terminal:
        if state.retry or state.catch:
            yield f"{'Retry, Catch':<{_COLUMN}}  cannot take this error, whatever they name"
        return
    if recovery.retry_index is not None:
        place, attempts = f"Retry[{recovery.retry_index}]", state.retry[recovery.retry_index].max_attempts
        if isinstance(recovery.step, SleepUntil) and recovery.delay_seconds is not None:
            after = duration(recovery.delay_seconds)
            yield f"{place:<{_COLUMN}}  tries again after {after}, retry {run.request.retry_count + 1} of {attempts}"
        else:
            yield f"{place:<{_COLUMN}}  matches, and its {attempts} attempts are used up"
    elif state.retry:
        yield f"{'Retry':<{_COLUMN}}  no retrier matches"
    if recovery.catch_index is not None:
        yield f"{f'Catch[{recovery.catch_index}]':<{_COLUMN}}  takes the error"
    elif state.catch and recovery.delay_seconds is None:
        yield f"{'Catch':<{_COLUMN}}  no catcher matches"
