"""One state: which fields its type has in its query language, and what each may hold (asl.md 1.3).

The table of fields is [A] (measured elsewhere: 8 types, 50 fields) and agrees with the specification.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asfn.language.validation import jsonata, maps, values
from asfn.language.validation.choices import check_choices, check_timestamp
from asfn.language.validation.errors import check_catch, check_retry
from asfn.language.validation.language import report_language
from asfn.language.validation.paths import (
    check_path,
    check_reference_path,
    check_template,
    check_text_source,
    looks_like_path,
)
from asfn.language.validation.tasks import check_credentials, check_resource, check_task
from asfn.language.validation.variables import check_assign

if TYPE_CHECKING:
    from collections.abc import Callable

    from asfn._json import Json
    from asfn.language.document import Tokens
    from asfn.language.validation.scope import StateScope

TYPES: Final = ("Task", "Wait", "Pass", "Succeed", "Fail", "Choice", "Parallel", "Map")

# B both languages, P JSONPath only, J JSONata only.
_COMMON: Final = {"Type": "B", "Comment": "B", "QueryLanguage": "B"}
_DATA: Final = {"InputPath": "P", "OutputPath": "P", "Output": "J"}
_FLOW: Final = {"Next": "B", "End": "B", "Assign": "B"}
_WORK: Final = {"Parameters": "P", "ResultSelector": "P", "ResultPath": "P", "Retry": "B", "Catch": "B"}

FIELDS: Final[dict[str, dict[str, str]]] = {
    "Task": {
        **_COMMON,
        **_DATA,
        **_FLOW,
        **_WORK,
        "Arguments": "J",
        "Resource": "B",
        "Credentials": "B",
        "TimeoutSeconds": "B",
        "TimeoutSecondsPath": "P",
        "HeartbeatSeconds": "B",
        "HeartbeatSecondsPath": "P",
    },
    "Parallel": {**_COMMON, **_DATA, **_FLOW, **_WORK, "Arguments": "J", "Branches": "B"},
    "Map": {
        **_COMMON,
        **_DATA,
        **_FLOW,
        **_WORK,
        "ItemProcessor": "B",
        "Iterator": "B",
        "ItemsPath": "P",
        "Items": "J",
        "ItemSelector": "B",
        "ItemReader": "B",
        "ItemBatcher": "B",
        "ResultWriter": "B",
        "Label": "B",
        "MaxConcurrency": "B",
        "MaxConcurrencyPath": "P",
        "ToleratedFailurePercentage": "B",
        "ToleratedFailurePercentagePath": "P",
        "ToleratedFailureCount": "B",
        "ToleratedFailureCountPath": "P",
    },
    "Pass": {**_COMMON, **_DATA, **_FLOW, "Parameters": "P", "Result": "P", "ResultPath": "P"},
    "Wait": {
        **_COMMON,
        **_DATA,
        **_FLOW,
        "Seconds": "B",
        "Timestamp": "B",
        "SecondsPath": "P",
        "TimestampPath": "P",
    },
    "Choice": {**_COMMON, **_DATA, "Assign": "B", "Choices": "B", "Default": "B"},
    "Succeed": {**_COMMON, **_DATA},
    "Fail": {**_COMMON, "Error": "B", "Cause": "B", "ErrorPath": "P", "CausePath": "P"},
}

_REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    "Task": ("Resource",),
    "Parallel": ("Branches",),
    "Choice": ("Choices",),
}
_WAITS: Final = ("SecondsPath", "Seconds", "TimestampPath", "Timestamp")  # AWS's order [R]


def check_state(state: StateScope) -> None:
    """Every field of a state of a known type; nested machines are left to `machine.py`."""
    _check_fields(state)
    findings, path, fields = state.findings, state.path, state.fields
    values.required(findings, path, fields, _REQUIRED.get(state.type, ()))
    if "Next" in FIELDS[state.type]:
        _check_way_out(state)
    if state.type == "Task":
        check_task(state)
    elif state.type == "Map":
        maps.check_map(state)
    elif state.type == "Wait":
        values.exactly_one(findings, path, fields, _WAITS)
    elif state.type == "Fail":
        values.at_most_one(findings, path, fields, ("Error", "ErrorPath"))
        values.at_most_one(findings, path, fields, ("Cause", "CausePath"))


def _check_fields(state: StateScope) -> None:
    known = FIELDS[state.type]
    foreign = "P" if state.jsonata else "J"
    for name, value in state.fields.items():
        language = known.get(name)
        if language is None:
            hint = state.findings.hint(name, [field for field in known if field not in state.fields])
            state.findings.error(state.path, f"Field '{name}' is not supported", field=name, suggestion=hint)
        elif language == foreign:
            report_language(state, state.path, name)
        else:
            check = _CHECKS.get(name)
            if check is not None:
                check(state, (*state.path, name), value)


def _check_way_out(state: StateScope) -> None:
    """Next, or End: true. `End: false` counts as not there (asl.md 1.3)."""
    fields = state.fields
    if "End" in fields and "Next" in fields:
        if fields["End"] is True:
            values.at_most_one(state.findings, state.path, fields, ("Next", "End"))
    elif "Next" not in fields and (fields.get("End") is False or "End" not in fields):
        message = "This object should have only one of the following fields: [Next, End]"
        state.findings.error(state.path, message)


def has_way_out(state: Json) -> bool:
    """Whether it can be told where a state leads: without that, reachability means nothing."""
    if not isinstance(state, dict):
        return False
    kind = state.get("Type")
    if kind in ("Succeed", "Fail"):
        return True
    if kind == "Choice":
        rules = state.get("Choices")
        return isinstance(rules, list) and all(
            isinstance(rule, dict) and isinstance(rule.get("Next"), str) for rule in rules
        )
    catchers = state.get("Catch", [])
    caught = not isinstance(catchers, list) or all(
        isinstance(catcher, dict) and isinstance(catcher.get("Next"), str) for catcher in catchers
    )
    return kind in TYPES and caught and (isinstance(state.get("Next"), str) or state.get("End") is True)


def _check_text(state: StateScope, path: Tokens, value: Json) -> None:
    values.is_text(value, state.findings, path)


def _check_end(state: StateScope, path: Tokens, value: Json) -> None:
    values.is_boolean(value, state.findings, path)


def _check_result_path(state: StateScope, path: Tokens, value: Json) -> None:
    check_reference_path(state, path, value, nullable=True, context=False, variable=False)


def _check_nullable_path(state: StateScope, path: Tokens, value: Json) -> None:
    check_path(state, path, value, nullable=True)


def _check_parameters(state: StateScope, path: Tokens, value: Json) -> None:
    if value is None:
        values.expected(state.findings, path, "OBJECT")  # [D] null is not allowed here
    else:
        check_template(state, path, value)


def _check_arguments(state: StateScope, path: Tokens, value: Json) -> None:
    """An object, a list, or an expression; other values cannot be anybody's arguments."""
    if isinstance(value, str):
        jsonata.check_text(state, path, value)
    elif isinstance(value, (dict, list)):
        jsonata.check_value(state, path, value)
    else:
        values.expected(state.findings, path, "OBJECT")


def _check_output(state: StateScope, path: Tokens, value: Json) -> None:
    jsonata.check_value(state, path, value, _after(state))


def _check_own_assign(state: StateScope, path: Tokens, value: Json) -> None:
    check_assign(state, path, value, _after(state))


def _after(state: StateScope) -> jsonata.Allowed:
    return jsonata.AFTER_WORK if state.type in ("Task", "Parallel", "Map") else jsonata.ON_ENTRY


def _check_result(state: StateScope, path: Tokens, value: Json) -> None:
    """Result is literal [A]; a path in it is a mistake that AWS's console points out too."""
    if isinstance(value, dict):
        for key, member in value.items():
            if key.endswith(".$") or (isinstance(member, str) and looks_like_path(member)):
                message = f"The Result of a Pass state is literal: '{key}' is not evaluated"
                state.findings.warning((*path, key), message, code="PASS_RESULT_IS_STATIC")
    elif isinstance(value, str) and looks_like_path(value):
        message = "The Result of a Pass state is literal: a path in it is not evaluated"
        state.findings.warning(path, message, code="PASS_RESULT_IS_STATIC")


def _check_timeout(state: StateScope, path: Tokens, value: Json) -> None:
    _check_seconds(state, path, value, 1)


def _check_wait_seconds(state: StateScope, path: Tokens, value: Json) -> None:
    _check_seconds(state, path, value, 0)


def _check_seconds(state: StateScope, path: Tokens, value: Json, low: int) -> None:
    if state.jsonata and isinstance(value, str) and value.startswith("{%"):
        jsonata.check_text(state, path, value)
    else:
        values.is_integer(value, state.findings, path, low, values.MAX_SECONDS)


def _check_wait_timestamp(state: StateScope, path: Tokens, value: Json) -> None:
    if not values.is_text(value, state.findings, path):
        return
    if state.jsonata and value.startswith("{%"):
        jsonata.check_text(state, path, value)
    else:
        check_timestamp(state, path, value)


def _check_failure_text(state: StateScope, path: Tokens, value: Json) -> None:
    """Error and Cause."""
    if not values.is_text(value, state.findings, path):
        return
    if state.jsonata:
        jsonata.check_value(state, path, value)
    elif looks_like_path(value):
        name = path[-1]
        message = f"The value of '{name}' looks like a path, but the name does not end with 'Path'"
        state.findings.warning(path, message, code="NO_PATH", suggestion=f"Did you mean '{name}Path'?")


def _check_count(state: StateScope, path: Tokens, value: Json) -> None:
    maps.check_count(state, path, value)


def _check_branches(state: StateScope, path: Tokens, value: Json) -> None:
    values.is_full_list(value, state.findings, path)


def _check_processor(state: StateScope, path: Tokens, value: Json) -> None:
    values.is_object(value, state.findings, path)


# What each field may hold, whichever type has it. Type and QueryLanguage are checked before.
_CHECKS: Final[dict[str, Callable[[StateScope, Tokens, Json], None]]] = {
    "Comment": _check_text,
    "Next": _check_text,
    "End": _check_end,
    "InputPath": _check_nullable_path,
    "OutputPath": _check_nullable_path,
    "Output": _check_output,
    "Assign": _check_own_assign,
    "Parameters": _check_parameters,
    "ResultSelector": _check_parameters,
    "ResultPath": _check_result_path,
    "Result": _check_result,
    "Arguments": _check_arguments,
    "Retry": check_retry,
    "Catch": check_catch,
    "Resource": check_resource,
    "Credentials": check_credentials,
    "TimeoutSeconds": _check_timeout,
    "TimeoutSecondsPath": check_reference_path,
    "HeartbeatSeconds": _check_timeout,
    "HeartbeatSecondsPath": check_reference_path,
    "Branches": _check_branches,
    "ItemProcessor": _check_processor,
    "Iterator": _check_processor,
    "ItemsPath": check_reference_path,
    "Items": maps.check_items,
    "ItemSelector": maps.check_payload,
    "ItemReader": maps.check_reader,
    "ItemBatcher": maps.check_batcher,
    "ResultWriter": maps.check_writer,
    "Label": maps.check_label,
    "MaxConcurrency": _check_count,
    "MaxConcurrencyPath": maps.check_count_path,
    "ToleratedFailurePercentage": maps.check_percentage,
    "ToleratedFailurePercentagePath": maps.check_count_path,
    "ToleratedFailureCount": _check_count,
    "ToleratedFailureCountPath": maps.check_count_path,
    "Seconds": _check_wait_seconds,
    "SecondsPath": check_reference_path,
    "Timestamp": _check_wait_timestamp,
    "TimestampPath": check_reference_path,
    "Choices": check_choices,
    "Default": _check_text,
    "Error": _check_failure_text,
    "Cause": _check_failure_text,
    "ErrorPath": check_text_source,
    "CausePath": check_text_source,
}
