"""Which workflow variables each state reads: `variableReferences` of DescribeStateMachine (asl.md 2.4) [A]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asfn.language.intrinsics import compile_intrinsic
from asfn.language.jsonata import compile_expression, is_expression
from asfn.language.model import (
    MISSING,
    ChoiceState,
    FailState,
    MapState,
    ParallelState,
    PassState,
    TaskState,
    WaitState,
    WorkState,
)
from asfn.language.paths import compile_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from asfn._json import Json
    from asfn.language.model import Missing, State, StateMachine


def variable_references(machine: StateMachine) -> dict[str, list[str]]:
    """Names of the variables that each state reads, without `$`, in alphabetical order.

    States of nested machines stand in the same mapping; a state that reads none is left out.
    Shape: `{"Pay": ["customer", "total"]}`.
    """
    found: dict[str, list[str]] = {}
    for state in machine.states.values():
        names = set(_state_reads(state))
        if names:
            found[state.name] = sorted(names)
        if isinstance(state, ParallelState):
            for branch in state.branches:
                found.update(variable_references(branch))
        elif isinstance(state, MapState):
            found.update(variable_references(state.processor))
    return found


def _state_reads(state: State) -> Iterator[str]:
    if state.query_language == "JSONata":
        for value in _values(state):
            yield from _expression_reads(value)
        return
    for path in _paths(state):
        yield from _path_reads(path)
    for value in _values(state):
        yield from _template_reads(value)


def _paths(state: State) -> Iterator[str | None]:
    """The fields of a JSONPath state that hold a path by themselves."""
    yield from (state.input_path, state.output_path)
    if isinstance(state, FailState):
        yield from (state.error_path, state.cause_path)
    elif isinstance(state, WaitState):
        yield from (state.seconds_path, state.timestamp_path)
    elif isinstance(state, TaskState):
        yield from (state.timeout_seconds_path, state.heartbeat_seconds_path)
    elif isinstance(state, ChoiceState):
        for rule in state.choices:
            yield from _comparison_paths(rule.comparison)
    elif isinstance(state, MapState):
        yield from (state.items_path, state.max_concurrency_path)
        yield from _path_fields(state.distributed)


def _comparison_paths(rule: Json) -> Iterator[str]:
    if isinstance(rule, list):
        for nested in rule:
            yield from _comparison_paths(nested)
    elif isinstance(rule, dict):
        for name, value in rule.items():
            if isinstance(value, str):
                if name == "Variable" or name.endswith("Path"):
                    yield value
            else:
                yield from _comparison_paths(value)


def _path_fields(fields: Mapping[str, Json]) -> Iterator[str]:
    """The ...Path members of a Map's distributed fields, at any depth that is not a template."""
    for name, value in fields.items():
        if name.endswith("Path") and isinstance(value, str):
            yield value
        elif isinstance(value, dict) and name not in ("Parameters", "BatchInput"):
            yield from _path_fields(value)


def _values(state: State) -> Iterator[Json | Missing]:
    """The fields that are templates in JSONPath, and may hold expressions in JSONata."""
    yield from (state.assign, state.output)
    if isinstance(state, WorkState):
        yield from (state.arguments, state.result_selector)
        for catcher in state.catch:
            yield from (catcher.assign, catcher.output)
    if isinstance(state, PassState):
        yield state.parameters
    elif isinstance(state, TaskState):
        yield from (state.credentials, state.timeout_seconds, state.heartbeat_seconds)
    elif isinstance(state, MapState):
        yield from (state.items, state.item_selector, state.max_concurrency, dict(state.distributed))
    elif isinstance(state, WaitState):
        yield from (state.seconds, state.timestamp)
    elif isinstance(state, FailState):
        yield from (state.error, state.cause)
    elif isinstance(state, ChoiceState):
        for rule in state.choices:
            yield from (rule.condition, rule.output, rule.assign)


def _template_reads(value: Json | Missing) -> Iterator[str]:
    if isinstance(value, dict):
        for key, member in value.items():
            if key.endswith(".$") and isinstance(member, str):
                yield from _path_reads(member)
            else:
                yield from _template_reads(member)
    elif isinstance(value, list):
        for member in value:
            yield from _template_reads(member)


def _path_reads(text: str | None) -> Iterator[str]:
    """The variables of a path, or of a call's arguments."""
    if text is None:
        return
    paths = (compile_path(text),) if text.startswith("$") else compile_intrinsic(text).paths
    for path in paths:
        if path.variable is not None:
            yield path.variable


def _expression_reads(value: Json | Missing) -> Iterator[str]:
    if value is MISSING:
        return
    if isinstance(value, str):
        if is_expression(value):
            yield from compile_expression(value, "").variables
    elif isinstance(value, dict):
        for member in value.values():
            yield from _expression_reads(member)
    elif isinstance(value, list):
        for member in value:
            yield from _expression_reads(member)
