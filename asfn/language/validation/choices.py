"""Choice rules, JSONPath and JSONata (asl.md 7.3 and 7.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asfn.language.choice import MAX_NESTING
from asfn.language.timestamps import parse_timestamp
from asfn.language.validation import jsonata, values
from asfn.language.validation.language import report_language
from asfn.language.validation.paths import check_operand_path, looks_like_path
from asfn.language.validation.variables import check_assign

if TYPE_CHECKING:
    from asfn._json import Json, JsonObject
    from asfn.language.document import Tokens
    from asfn.language.validation.scope import StateScope

_ORDERS: Final = ("Equals", "LessThan", "GreaterThan", "LessThanEquals", "GreaterThanEquals")
_KINDS: Final = {"String": "text", "Numeric": "number", "Timestamp": "timestamp"}

OPERATORS: Final[dict[str, str]] = {
    **{kind + order: wanted for kind, wanted in _KINDS.items() for order in _ORDERS},
    **{kind + order + "Path": "path" for kind in _KINDS for order in _ORDERS},
    "StringMatches": "text",
    "BooleanEquals": "boolean",
    "BooleanEqualsPath": "path",
    **{f"Is{test}": "boolean" for test in ("Null", "Present", "Numeric", "String", "Boolean", "Timestamp")},
}
"""Comparison operators and what their operand must be."""

_SELECTORS: Final[tuple[str, ...]] = ("And", "Or", "Not", "Variable")
_TOP_FIELDS: Final = ("Next", "Comment", "Assign")
_JSONATA_FIELDS: Final = ("Condition", "Next", "Comment", "Assign", "Output")
_JSONPATH_ONLY: Final = frozenset({*_SELECTORS, *OPERATORS})
_JSONATA_ONLY: Final = ("Condition", "Output")
_KNOWN: Final = frozenset({*_JSONPATH_ONLY, *_TOP_FIELDS})


def check_choices(state: StateScope, path: Tokens, value: Json) -> None:
    if not values.is_full_list(value, state.findings, path):
        return
    for index, rule in enumerate(value):
        place = (*path, index)
        if values.is_object(rule, state.findings, place):
            _check_rule(state, place, rule)


def _check_rule(state: StateScope, path: Tokens, rule: JsonObject) -> None:
    """A rule of the list: a comparison or a condition, with Next and perhaps Assign and Output."""
    findings = state.findings
    values.required(findings, path, rule, ("Next",))
    for name in ("Next", "Comment"):
        if name in rule:
            values.is_text(rule[name], findings, (*path, name))
    if "Assign" in rule:
        check_assign(state, (*path, "Assign"), rule["Assign"], jsonata.ON_ENTRY)
    if state.jsonata:
        _check_condition(state, path, rule)
    else:
        _check_comparison(state, path, rule)


def _check_condition(state: StateScope, path: Tokens, rule: JsonObject) -> None:
    findings = state.findings
    foreign = [name for name in rule if name in _JSONPATH_ONLY]
    for name in [name for name in foreign if name in _SELECTORS] or foreign:
        report_language(state, path, name)
    for name in rule:
        if name not in _JSONATA_FIELDS and name not in _JSONPATH_ONLY:
            values.unsupported(findings, path, name, _JSONATA_FIELDS)
    if "Output" in rule:
        jsonata.check_value(state, (*path, "Output"), rule["Output"])
    if "Condition" not in rule:
        if not foreign:
            values.required(findings, path, rule, ("Condition",))
        return
    condition = rule["Condition"]
    if isinstance(condition, str):
        jsonata.check_text(state, (*path, "Condition"), condition)
    elif not isinstance(condition, bool):
        values.expected(findings, (*path, "Condition"), "STRING")


def _check_comparison(state: StateScope, path: Tokens, rule: JsonObject, depth: int = 0) -> None:
    """A JSONPath rule: one of And, Or, Not, or Variable with exactly one operator. depth: 0 for the rule itself."""
    findings = state.findings
    if depth > MAX_NESTING:
        findings.error(path, f"Choice rules nest at most {MAX_NESTING} deep", code="TOO_DEEPLY_NESTED")
        return
    top = depth == 0
    misfits = [name for name in rule if name not in _KNOWN or (not top and name in ("Next", "Assign"))]
    for name in misfits:
        if name in _JSONATA_ONLY:
            report_language(state, path, name)
        else:
            suggestion = findings.hint(name, [known for known in _KNOWN if known not in rule])
            findings.error(path, f"Field '{name}' is not supported", field=name, suggestion=suggestion)
    selectors = [name for name in _SELECTORS if name in rule]
    operators = [name for name in OPERATORS if name in rule]
    if len(selectors) > 1 or (not selectors and not (misfits and "Condition" in rule)):
        message = "The object must have only one of the following fields, [And, Or, Not, Variable, Condition]"
        findings.error(path, message, suggestion="Add 'Variable'." if operators and not selectors else None)
    if selectors == ["Variable"]:
        if len(operators) > 1:
            listed = ", ".join(name for name in rule if name in OPERATORS)
            findings.error(path, f"There should only be one of the following fields: [{listed}]")
        elif not operators and not misfits:
            message = "This object should have only one of the following fields"  # [U] the list that AWS writes
            findings.error(path, f"{message}: [{', '.join(OPERATORS)}]")
    elif selectors and operators:
        for name in operators:
            values.unsupported(findings, path, name)
    _check_parts(state, path, rule, selectors, operators, depth)


def _check_parts(
    state: StateScope, path: Tokens, rule: JsonObject, selectors: list[str], operators: list[str], depth: int
) -> None:
    """The values of a rule's Variable, of its operators, and of its nested rules."""
    findings = state.findings
    for name in selectors:
        place = (*path, name)
        value = rule[name]
        if name == "Variable":
            check_operand_path(state, place, value)
        elif name == "Not":
            if values.is_object(value, findings, place):
                _check_comparison(state, place, value, depth + 1)
        elif values.is_full_list(value, findings, place):
            for index, nested in enumerate(value):
                if values.is_object(nested, findings, (*place, index)):
                    _check_comparison(state, (*place, index), nested, depth + 1)
    for name in operators:
        _check_operand(state, (*path, name), OPERATORS[name], rule[name])


def _check_operand(state: StateScope, path: Tokens, wanted: str, value: Json) -> None:
    findings = state.findings
    if wanted == "path":
        check_operand_path(state, path, value)
    elif wanted == "boolean":
        values.is_boolean(value, findings, path)
    elif wanted == "number":
        values.is_number(value, findings, path)
    elif values.is_text(value, findings, path):
        if wanted == "timestamp":
            check_timestamp(state, path, value)
        elif looks_like_path(value):
            message = f"The value of '{path[-1]}' looks like a path, but the name does not end with 'Path'"
            findings.warning(path, message, code="NO_PATH")


def check_timestamp(state: StateScope, path: Tokens, value: str) -> None:
    """A literal timestamp; what looks like an expression in a JSONPath state is none either [A]."""
    if parse_timestamp(value) is None:
        suggestion = "Write a time such as '2026-01-31T08:00:00Z'."
        state.findings.error(path, "String does not match RFC3339 timestamp", suggestion=suggestion)
