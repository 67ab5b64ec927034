"""A whole definition and the machines nested in it: top-level fields, states by name, scopes of variables."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from asfn.language.validation import values
from asfn.language.validation.maps import (
    check_processor_config,
    is_distributed,
    processor_of,
    runs_express_children,
)
from asfn.language.validation.scope import Definition, StateScope, Variables
from asfn.language.validation.states import TYPES, check_state, has_way_out
from asfn.language.validation.transitions import check_transitions
from asfn.language.validation.variables import assigned_names, hint_unassigned

if TYPE_CHECKING:
    from asfn._json import Json, JsonObject
    from asfn.language.document import Tokens
    from asfn.language.model import QueryLanguage

MAX_NAME_CHARACTERS: Final = 80
MAX_MACHINES: Final = 50
"""How deep Parallel and Map may stand in each other. AWS's bound is not known [U]; every level costs stack."""
LANGUAGES: Final = ("JSONPath", "JSONata")

_TOP_FIELDS: Final = ("StartAt", "States", "Comment", "Version", "TimeoutSeconds", "QueryLanguage")
_NESTED_FIELDS: Final = ("StartAt", "States", "Comment")
_PROCESSOR_FIELDS: Final = (*_NESTED_FIELDS, "ProcessorConfig")


def check_definition(definition: Definition, value: JsonObject) -> None:
    """The outermost machine. The language of `definition` is settled here first."""
    findings = definition.findings
    values.only_fields(findings, (), value, _TOP_FIELDS)
    if "QueryLanguage" in value:
        values.is_one_of(value["QueryLanguage"], findings, ("QueryLanguage",), LANGUAGES)
        definition.language = _language(value["QueryLanguage"])
    if "Version" in value:
        values.is_one_of(value["Version"], findings, ("Version",), ("1.0",))
    if "TimeoutSeconds" in value:
        # [D] from 1; somebody measured that AWS takes a 0 here [R].
        values.is_integer(value["TimeoutSeconds"], findings, ("TimeoutSeconds",), 1, values.MAX_SECONDS)
    _check_machine(definition, (), value, None)


def check_single_state(definition: Definition, path: Tokens, name: str, value: Json) -> None:
    """One state by itself, as TestState has it: its targets are not looked for."""
    assigned = assigned_names(path[:-1], {name: value}, definition.language)
    _check_state(definition, path, name, value, Variables(assigned))


def _language(value: Json) -> QueryLanguage:
    """Whatever is present and not exactly JSONPath is taken for JSONata (asl.md 1.2) [A]."""
    return "JSONPath" if value == "JSONPath" else "JSONata"


def _check_machine(definition: Definition, path: Tokens, machine: JsonObject, outer: Variables | None) -> None:
    """StartAt and States of a machine, its states, and its transitions."""
    findings = definition.findings
    if path.count("States") > MAX_MACHINES:  # a state may be called "States" too: then it is refused a little earlier
        message = f"Parallel and Map states may be nested at most {MAX_MACHINES} deep"
        findings.error(path, message, code="TOO_DEEPLY_NESTED")
        return
    values.required(findings, path, machine, ("States", "StartAt"))
    if "StartAt" in machine:
        values.is_text(machine["StartAt"], findings, (*path, "StartAt"))
    if "Comment" in machine:
        values.is_text(machine["Comment"], findings, (*path, "Comment"))
    states = machine.get("States")
    place = (*path, "States")
    if "States" not in machine or not values.is_object(states, findings, place):
        return
    if not states:
        findings.error(place, "Value cannot be empty")
        return
    variables = Variables(assigned_names(place, states, definition.language), outer)
    for name, state in states.items():
        _check_name(definition, (*place, name), name)
        _check_state(definition, (*place, name), name, state, variables)
    hint_unassigned(findings, variables)
    complete = all(has_way_out(state) for state in states.values())
    check_transitions(findings, path, machine, complete=complete)


def _check_name(definition: Definition, path: Tokens, name: str) -> None:
    findings = definition.findings
    if not name:
        findings.error(path, "The state name cannot be empty", code="INVALID_STATE_NAME")  # [U] AWS's words
    elif len(name) > MAX_NAME_CHARACTERS:
        limit = f"exceeds the {MAX_NAME_CHARACTERS}-character limit allowed by the service"
        message = f"Invalid State name: State '{name}' {limit}"
        findings.error(path, message, code="INVALID_STATE_NAME")  # [R] asl-validator 69
    if name in definition.state_names:
        findings.error(path, f"Duplicate State name: {name}", code="DUPLICATE_STATE_NAME")
    else:
        definition.state_names[name] = path


def _check_state(definition: Definition, path: Tokens, name: str, value: Json, variables: Variables) -> None:
    findings = definition.findings
    if not values.is_object(value, findings, path):
        return
    language = definition.language
    if "QueryLanguage" in value:
        language = _language(value["QueryLanguage"])
        values.is_one_of(value["QueryLanguage"], findings, (*path, "QueryLanguage"), LANGUAGES)
        if language == "JSONPath" and definition.language == "JSONata":
            message = "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine"
            findings.error(path, message, field="QueryLanguage")
    if not values.required(findings, path, value, ("Type",)):
        return
    kind = value["Type"]
    if not values.is_text(kind, findings, (*path, "Type")):
        return
    if kind not in TYPES:
        message = f"The field 'Type' should have one of these values: [{', '.join(TYPES)}]"
        findings.error((*path, "Type"), message, suggestion=findings.hint(kind, TYPES))
        return
    state = StateScope(definition, variables, path, name, kind, language, value)
    check_state(state)
    _check_nested(state)


def _check_nested(state: StateScope) -> None:
    """The branches of a Parallel, the item processor of a Map."""
    findings, definition = state.findings, state.definition
    if state.type == "Parallel":
        branches = state.get("Branches")
        for index, branch in enumerate(branches if isinstance(branches, list) else ()):
            place = (*state.path, "Branches", index)
            if values.is_object(branch, findings, place):
                values.only_fields(findings, place, branch, _NESTED_FIELDS)
                _check_machine(definition, place, branch, state.variables)
    elif state.type == "Map":
        found = processor_of(state.fields)
        if found is None:
            return
        place = (*state.path, found[0])
        processor = found[1]
        values.only_fields(findings, place, processor, _PROCESSOR_FIELDS)
        if "ProcessorConfig" in processor:
            check_processor_config(state, (*place, "ProcessorConfig"), processor["ProcessorConfig"])
        # The children of a distributed Map start without variables, and may be Express executions themselves [D].
        outer = None if is_distributed(state.fields) else state.variables
        if runs_express_children(state.fields):
            definition = replace(definition, type="EXPRESS")  # that AWS sees it when the machine is created [U]
        _check_machine(definition, place, processor, outer)
