"""Retry and Catch: lists of error names, delays, where a catcher leads (asl.md 7.8 to 7.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asfn.language.validation import jsonata, values
from asfn.language.validation.language import check_language
from asfn.language.validation.paths import check_reference_path
from asfn.language.validation.variables import check_assign

if TYPE_CHECKING:
    from asfn._json import Json, JsonObject
    from asfn.language.document import Tokens
    from asfn.language.validation.scope import StateScope

KNOWN_ERRORS: Final = (
    "States.ALL",
    "States.TaskFailed",
    "States.Timeout",
    "States.HeartbeatTimeout",
    "States.Permissions",
    "States.DataLimitExceeded",
    "States.Runtime",
    "States.QueryEvaluationError",
    "States.ExceedToleratedFailureThreshold",
    "States.ItemReaderFailed",
    "States.ResultWriterFailed",
    "States.Http.Socket",
    "States.NoChoiceMatched",
    "States.ParameterPathFailure",
    "States.IntrinsicFailure",
    "States.ResultPathMatchFailure",
    "States.ReferencePathConflict",
    "States.BranchFailed",
)

_RETRIER_FIELDS: Final = (
    "ErrorEquals",
    "IntervalSeconds",
    "MaxAttempts",
    "BackoffRate",
    "MaxDelaySeconds",
    "JitterStrategy",
    "Comment",
)
_CATCHER_FIELDS: Final = ("ErrorEquals", "Next", "ResultPath", "Output", "Assign", "Comment")
_MAX_DELAY_SECONDS: Final = 31_622_400


def check_retry(state: StateScope, path: Tokens, value: Json) -> None:
    if not values.is_list(value, state.findings, path):
        return
    for index, retrier in enumerate(value):
        place = (*path, index)
        if values.is_object(retrier, state.findings, place):
            values.only_fields(state.findings, place, retrier, _RETRIER_FIELDS)
            if values.required(state.findings, place, retrier, ("ErrorEquals",)):
                _check_error_equals(state, place, retrier["ErrorEquals"], last=index == len(value) - 1)
            _check_delays(state, place, retrier)
    _hint_shadowed(state, path, value)


def check_catch(state: StateScope, path: Tokens, value: Json) -> None:
    if not values.is_list(value, state.findings, path):
        return
    for index, catcher in enumerate(value):
        place = (*path, index)
        if values.is_object(catcher, state.findings, place):
            _check_catcher(state, place, catcher, last=index == len(value) - 1)
    _hint_shadowed(state, path, value)


def _check_catcher(state: StateScope, path: Tokens, catcher: JsonObject, *, last: bool) -> None:
    findings = state.findings
    values.only_fields(findings, path, catcher, _CATCHER_FIELDS)
    values.required(findings, path, catcher, ("ErrorEquals", "Next"))
    check_language(state, path, catcher, jsonpath=("ResultPath",), jsonata=("Output",))
    for name, value in catcher.items():
        place = (*path, name)
        if name == "ErrorEquals":
            _check_error_equals(state, path, value, last=last)
        elif name in ("Next", "Comment"):
            values.is_text(value, findings, place)
        elif name == "ResultPath" and not state.jsonata:
            check_reference_path(state, place, value, nullable=True, context=False, variable=False)
        elif name == "Output" and state.jsonata:
            jsonata.check_value(state, place, value, jsonata.IN_CATCHER)
        elif name == "Assign":
            check_assign(state, place, value, jsonata.IN_CATCHER)


def _check_error_equals(state: StateScope, entry: Tokens, value: Json, *, last: bool) -> None:
    findings = state.findings
    path = (*entry, "ErrorEquals")
    if not values.is_full_list(value, findings, path):
        return
    for index, name in enumerate(value):
        if values.is_text(name, findings, (*path, index)) and name.startswith("States."):
            _hint_unknown_error(state, (*path, index), name)
    if "States.ALL" in value and (len(value) > 1 or not last):
        findings.error(path, "States.ALL must appear alone and at end of list")


def _check_delays(state: StateScope, path: Tokens, retrier: JsonObject) -> None:
    findings = state.findings
    good = {
        # [D] asks for 1 at least; AWS takes a 0 all the same [A] measured elsewhere (cdk-preflight, Sep 2026).
        "IntervalSeconds": _integer(state, path, retrier, "IntervalSeconds", 0, values.MAX_SECONDS),
        "MaxDelaySeconds": _integer(state, path, retrier, "MaxDelaySeconds", 1, _MAX_DELAY_SECONDS),
    }
    _integer(state, path, retrier, "MaxAttempts", 0, values.MAX_SECONDS)
    if "BackoffRate" in retrier:
        values.is_number(retrier["BackoffRate"], findings, (*path, "BackoffRate"), 1.0)
    if "JitterStrategy" in retrier:
        values.is_one_of(retrier["JitterStrategy"], findings, (*path, "JitterStrategy"), ("NONE", "FULL"))
    if "Comment" in retrier:
        values.is_text(retrier["Comment"], findings, (*path, "Comment"))
    interval, longest = retrier.get("IntervalSeconds"), retrier.get("MaxDelaySeconds")
    if all(good.values()) and isinstance(interval, (int, float)) and isinstance(longest, (int, float)):
        if longest < interval:
            message = "MaxDelaySeconds must be greater than IntervalSeconds"  # [U] AWS's words
            findings.error(path, message, field="MaxDelaySeconds")
        elif longest == interval:
            message = "MaxDelaySeconds equals IntervalSeconds, so that the delay never grows"
            findings.warning(path, message, code="DELAY_NEVER_GROWS", field="MaxDelaySeconds")


def _integer(state: StateScope, path: Tokens, fields: JsonObject, name: str, low: int, high: int) -> bool:
    return name not in fields or values.is_integer(fields[name], state.findings, (*path, name), low, high)


def _hint_unknown_error(state: StateScope, path: Tokens, name: str) -> None:
    """AWS checks no names [A]; a `States.` name that nobody raises can only be a mistake."""
    if name in KNOWN_ERRORS or name.startswith("States.Http.StatusCode."):
        return
    message = f"'{name}' is not an error name of Step Functions and never matches"
    state.findings.warning(path, message, code="UNKNOWN_ERROR_NAME", suggestion=state.findings.hint(name, KNOWN_ERRORS))


def _hint_shadowed(state: StateScope, path: Tokens, entries: list[Json]) -> None:
    """Warn of names that an earlier entry has taken: only the first entry that matches is ever used."""
    taken: set[str] = set()
    for index, entry in enumerate(entries):
        names = entry.get("ErrorEquals") if isinstance(entry, dict) else None
        if not isinstance(names, list):
            continue
        own = [name for name in names if isinstance(name, str)]
        for name in own:
            if name in taken:
                message = f"'{name}' never gets here: an earlier entry of {path[-1]} has it"
                state.findings.warning((*path, index, "ErrorEquals"), message, code="UNREACHABLE_ERROR_NAME")
        taken.update(own)
