"""Where states lead: targets exist, every state is reached, and the machine can end (asl.md 1.1).

A target never crosses the border of its `States` object. Codes and sentences are AWS's [A].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asfn._json import Json, JsonObject
    from asfn.language.document import Tokens
    from asfn.language.validation.findings import Findings

TRANSITION = "MISSING_TRANSITION_TARGET"


def check_transitions(findings: Findings, path: Tokens, machine: JsonObject, *, complete: bool) -> None:
    """The transitions of one machine, nested or not.

    complete: every state's own transitions are written as they should be; otherwise only the targets that are
    there are checked, since what a mended state would lead to is not known.
    """
    states = machine["States"]
    assert isinstance(states, dict)
    start = machine.get("StartAt")
    targets: dict[str, list[str]] = {}
    for name, state in states.items():
        targets[name] = []
        if isinstance(state, dict):
            for place, target in _targets(state):
                _check_target(findings, (*path, "States", name, *place), target, states)
                targets[name].append(target)
    if isinstance(start, str):
        _check_target(findings, (*path, "StartAt"), start, states)
    if not complete:
        return
    if not any(_is_terminal(state) for state in states.values()):
        # At the top AWS gives no location [A]; for a nested machine it is not known [U].
        findings.error(path, "Workflow has no terminal state", code="MISSING_END_STATE", placed=bool(path))
    if isinstance(start, str) and start in states:
        reached = _reached(start, targets)
        for name in states:
            if name not in reached:
                findings.error((*path, "States", name), f'State "{name}" is not reachable.', code=TRANSITION)


def _check_target(findings: Findings, path: Tokens, target: str, states: JsonObject) -> None:
    if target not in states:
        hint = findings.hint(target, states)
        findings.error(path, f"Missing 'Next' target: {target}", code=TRANSITION, suggestion=hint)


def _targets(state: JsonObject) -> Iterator[tuple[Tokens, str]]:
    """Every target that a state names, with its path inside the state."""
    kind = state.get("Type")
    target = state.get("Next")
    if isinstance(target, str) and kind not in ("Choice", "Succeed", "Fail"):
        yield ("Next",), target
    if kind == "Choice":
        yield from _listed(state, "Choices")
        default = state.get("Default")
        if isinstance(default, str):
            yield ("Default",), default
    if kind in ("Task", "Parallel", "Map"):
        yield from _listed(state, "Catch")


def _listed(state: JsonObject, field: str) -> Iterator[tuple[Tokens, str]]:
    entries = state.get(field)
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        target = entry.get("Next") if isinstance(entry, dict) else None
        if isinstance(target, str):
            yield (field, index, "Next"), target


def _is_terminal(state: Json) -> bool:
    return isinstance(state, dict) and (state.get("End") is True or state.get("Type") in ("Succeed", "Fail"))


def _reached(start: str, targets: dict[str, list[str]]) -> set[str]:
    reached = {start}
    stack = [start]
    while stack:
        for target in targets.get(stack.pop(), ()):
            if target not in reached:
                reached.add(target)
                stack.append(target)
    return reached
