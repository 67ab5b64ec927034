"""Workflow variables: their names, and the scopes in which they are assigned and read (asl.md 2.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asfn.language.validation import jsonata, values
from asfn.language.validation.paths import check_template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asfn._json import Json, JsonObject
    from asfn.language.document import Tokens
    from asfn.language.validation.findings import Findings
    from asfn.language.validation.jsonata import Allowed
    from asfn.language.validation.scope import StateScope, Variables

MAX_NAME_CHARACTERS: Final = 80


def check_assign(state: StateScope, path: Tokens, value: Json, allowed: Allowed) -> None:
    """An Assign: its names, its right sides, and that no scope around assigns the same names."""
    if not values.is_object(value, state.findings, path):
        return
    for key in value:
        _check_name(state, path, key)
    if state.jsonata:
        jsonata.check_value(state, path, value, allowed)
    else:
        check_template(state, path, value)


def _check_name(state: StateScope, path: Tokens, key: str) -> None:
    name = key if state.jsonata else key.removesuffix(".$")
    findings = state.findings
    if name == "states":
        message = "Cannot assign to reserved variable '$states'."
        findings.error(path, message, code="RESERVED_VARIABLE_NAME", field=key)
        return
    # Unicode ID_Start, then ID_Continue: isidentifier is that and the underscore, which may not come first.
    if not name.isidentifier() or name.startswith("_"):
        message = f"Invalid variable name '{name}': the variable name contains invalid characters."
        findings.error(path, message, code="INVALID_VARIABLE_NAME", field=key)
        return
    if len(name) > MAX_NAME_CHARACTERS:
        reason = f"the variable name is longer than {MAX_NAME_CHARACTERS} characters."  # [U] AWS's words
        message = f"Invalid variable name '{name}': {reason}"
        findings.error(path, message, code="INVALID_VARIABLE_NAME", field=key)
        return
    outside = state.variables.owner_outside(name)
    if outside is not None:
        message = f"Invalid variable name '{name}': the variable is assigned in an outer scope."
        findings.error(path, message, code="INVALID_VARIABLE_NAME", field=key)  # [U] code and words


def assigned_names(path: Tokens, states: JsonObject, machine_language: str) -> dict[str, Tokens]:
    """The variables that the states of one `States` object assign, each with the first place that does."""
    found: dict[str, Tokens] = {}
    for state_name, state in states.items():
        if not isinstance(state, dict):
            continue
        jsonata_state = state.get("QueryLanguage", machine_language) != "JSONPath"
        for place, assign in _assigns((*path, state_name), state):
            for key in assign:
                found.setdefault(key if jsonata_state else key.removesuffix(".$"), place)
    return found


def _assigns(path: Tokens, state: JsonObject) -> Iterator[tuple[Tokens, JsonObject]]:
    """The Assign objects of a state, of its choice rules and of its catchers."""
    assign = state.get("Assign")
    if isinstance(assign, dict):
        yield (*path, "Assign"), assign
    for field in ("Choices", "Catch"):
        entries = state.get(field)
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            assign = entry.get("Assign") if isinstance(entry, dict) else None
            if isinstance(assign, dict):
                yield (*path, field, index, "Assign"), assign


def hint_unassigned(findings: Findings, variables: Variables) -> None:
    """Warn of variables that no scope in sight assigns. AWS does not check it, and fails at run time [A]."""
    for name, path in dict.fromkeys(variables.reads):
        if name not in variables.assigned and variables.owner_outside(name) is None:
            message = f"The variable '${name}' is read here, but no state in scope assigns it"
            findings.warning(path, message, code="UNASSIGNED_VARIABLE")
