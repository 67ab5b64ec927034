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
    """The transitions of one machine, nested or not: StartAt and every target first, then its ends, then what is lost.

    complete: every state's own transitions are written as they should be; otherwise only the targets that are
    there are checked, since what a mended state would lead to is not known.
    A machine without an end is reported for that alone, and not for the states that nothing leads to [A] (floci 2786).
    """
    states = machine["States"]
    assert isinstance(states, dict)
    start = machine.get("StartAt")
    targets: dict[str, list[str]] = {}
    if isinstance(start, str):
        _check_target(findings, (*path, "StartAt"), start, states)
    for name, state in states.items():
        targets[name] = []
        if isinstance(state, dict):
            for place, target in _targets(state):
                _check_target(findings, (*path, "States", name, *place), target, states)
                targets[name].append(target)
    if not complete:
        return
    if not any(_is_terminal(state) for state in states.values()):
        # At the top AWS gives no location [A]. For a nested machine it is not known, nor that AWS minds at all [U].
        message = "Workflow has no terminal state"
        findings.error(path, message, code="MISSING_END_STATE", placed=bool(path), last=True)
    elif isinstance(start, str):
        for name in _lost(start, targets):
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


def _lost(start: str, targets: dict[str, list[str]]) -> list[str]:
    """The states that no way leads to, in their order; what only such a state leads to is not named again.

    So AWS reports them where StartAt names no state ([A] cfn-lint 4074). A ring of lost states is named by its first
    one [U].
    """
    reached: set[str] = set()
    _reach(start, targets, reached)
    named = {target for name in targets if name not in reached for target in targets[name] if target != name}
    heads = [name for name in targets if name not in reached and name not in named]
    for name in heads:
        _reach(name, targets, reached)
    for name in targets:
        if name not in reached:
            heads.append(name)
            _reach(name, targets, reached)
    order = {name: index for index, name in enumerate(targets)}
    return sorted(heads, key=order.__getitem__)


def _reach(start: str, targets: dict[str, list[str]], reached: set[str]) -> None:
    """Add a state and all that it leads to; each state is looked at once, however many begin."""
    reached.add(start)
    stack = [start]
    while stack:
        for target in targets.get(stack.pop(), ()):
            if target not in reached:
                reached.add(target)
                stack.append(target)
