"""Numbers that the fields of a state give: seconds, counts and percentages, as literals, paths or expressions.

Each compiles to a closure over the scope. The ...Path fields of a Map take text that parses as a number too [A].
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from asfn._json import Json, Payload, encode
from asfn.errors import StateFailed
from asfn.language.jsonata import compile_expression, is_expression, unexpected_type
from asfn.language.paths import compile_path
from asfn.plan.dataflow import Source, Watch, select

if TYPE_CHECKING:
    from asfn.language.model import MapState
    from asfn.plan.scope import Scope

MAX_SECONDS: Final = 99_999_999
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,10}")  # as Java parses one
Number: TypeAlias = Callable[["Scope"], int]
"""Gives a whole number."""
Percentage: TypeAlias = Callable[["Scope"], float]


def text_of(value: Json) -> str:
    """A value inside a cause: JSON text, a string without its quotes [A] errors.md 3.1."""
    return value if isinstance(value, str) else encode(value)


def watched_number(number: Number, field: str, watch: Watch | None) -> Number:
    """The number, told of by `watch`; the very same closure without a watch."""
    if watch is None:
        return number

    def seen(scope: Scope) -> int:
        value = number(scope)
        watch(field, Payload(value))
        return value

    return seen


def literal_number(value: int | str, field: str, jsonata: bool, *, minimum: int, maximum: int | None = None) -> Number:
    """A field that takes a number, or in JSONata an expression that gives one. maximum: None where AWS names none."""
    if isinstance(value, str) and jsonata and is_expression(value):
        expression = compile_expression(value, field)
        name = field.rpartition("/")[2]

        def evaluated(scope: Scope) -> int:
            number = expression.evaluate(scope, input=scope.input.value)
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                raise unexpected_type(expression, number, "number")  # not "integer": JSON has no such type [U]
            if not isinstance(number, int):
                if not number.is_integer():
                    raise _refused(field, f"The {name} field cannot be parsed as an integer: {encode(number)}")
                number = int(number)
            if number < minimum or (maximum is not None and number > maximum):
                raise _refused(field, f"{name} {_wanted(minimum, maximum, number)}")
            return number

        return evaluated
    constant = int(value)
    return lambda scope: constant


def _wanted(minimum: int, maximum: int | None, number: int) -> str:
    if maximum is not None:
        return f"must be between {minimum} and {maximum} but was: {number}"
    return "must be positive." if minimum else "cannot be negative."


def _refused(field: str, cause: str) -> StateFailed:
    """A number of a field's type that the field does not take. Wording after that of Timestamp and of the ...Path
    fields of a Map [U]; the link of the event too.
    """
    return StateFailed("States.QueryEvaluationError", cause, location=field, evaluated=True)


def seconds(
    value: int | str | None, path: str | None, field: str, jsonata: bool, document: Source, watch: Watch | None = None
) -> Number | None:
    """TimeoutSeconds or HeartbeatSeconds and their ...Path forms; None where the state has neither."""
    if path is not None:
        return watched_number(_path_seconds(path, f"{field}Path", document, minimum=1), f"{field}Path", watch)
    if value is None:
        return None
    number = literal_number(value, field, jsonata, minimum=1, maximum=MAX_SECONDS)
    return watched_number(number, field, watch)


def _path_seconds(text: str, field: str, source: Source, *, minimum: int) -> Number:
    """A path that selects nothing is recorded; the other texts are [U]."""
    path = compile_path(text)

    def number(scope: Scope) -> int:
        value = select(path, source(scope).value, scope)
        if isinstance(value, bool) or not isinstance(value, int):
            raise StateFailed(
                "States.Runtime",
                f"The {field} parameter cannot be parsed as a long value: {text} == {text_of(value)}",
            )
        if value < minimum:
            raise StateFailed(
                "States.Runtime",
                f"The {field} parameter references a value below {minimum}: {text} == {text_of(value)}",
            )
        return value

    return number


def integer_of(value: Json, field: str, path: str) -> int:
    """A ...Path field of a Map: an integer, or text that parses as one [A]; else AWS's error. Below 0 fails too [U]."""
    number = _parsed_integer(value)
    if number is None or number < 0:
        raise _not_a_number(value, field, path, "integer")
    return number


def _parsed_integer(value: Json) -> int | None:
    if isinstance(value, str):
        return int(value) if _INTEGER.fullmatch(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _not_a_number(value: Json, field: str, path: str, kind: str) -> StateFailed:
    return StateFailed(
        "States.Runtime",
        f'The {field} field refers to value "{text_of(value)}" which is not a valid {kind}: {path}',
    )


def concurrency(state: MapState, document: Source, watch: Watch | None = None) -> Number | None:
    """MaxConcurrency of a Map in either form; None where the state has neither."""
    if state.max_concurrency_path is not None:
        path = compile_path(state.max_concurrency_path)

        def from_path(scope: Scope) -> int:
            return integer_of(select(path, document(scope).value, scope), "MaxConcurrencyPath", path.text)

        return watched_number(from_path, "MaxConcurrencyPath", watch)
    if state.max_concurrency is None:
        return None
    number = literal_number(state.max_concurrency, "MaxConcurrency", state.query_language == "JSONata", minimum=0)
    return watched_number(number, "MaxConcurrency", watch)


def tolerated_count(state: MapState, document: Source) -> Number | None:
    """ToleratedFailureCount of a Map in either form; None where the state has neither."""
    path_text = state.distributed.get("ToleratedFailureCountPath")
    if isinstance(path_text, str):
        path = compile_path(path_text)

        def from_path(scope: Scope) -> int:
            value = select(path, document(scope).value, scope)
            number = _parsed_integer(value)
            if number is None:
                raise _not_a_number(value, "ToleratedFailureCountPath", path.text, "integer")
            if number < 0:
                raise StateFailed("States.Runtime", "ToleratedFailureCount cannot be negative.")
            return number

        return from_path
    value = state.distributed.get("ToleratedFailureCount")
    if not isinstance(value, (int, float, str)):
        return None
    count = int(value) if isinstance(value, float) else value
    return literal_number(count, "ToleratedFailureCount", state.query_language == "JSONata", minimum=0)


def tolerated_percentage(state: MapState, document: Source) -> Percentage | None:
    """ToleratedFailurePercentage of a Map, 0 to 100, in either form; None where the state has neither."""
    path_text = state.distributed.get("ToleratedFailurePercentagePath")
    if isinstance(path_text, str):
        path = compile_path(path_text)

        def from_path(scope: Scope) -> float:
            value = select(path, document(scope).value, scope)
            number = _parsed_float(value)
            if number is None:
                raise _not_a_number(value, "ToleratedFailurePercentagePath", path.text, "float")
            if not 0 <= number <= 100:
                raise StateFailed("States.Runtime", "ToleratedFailurePercentage must be between 0 and 100.")
            return number

        return from_path
    value = state.distributed.get("ToleratedFailurePercentage")
    if isinstance(value, str):
        return _expression_percentage(value)
    if not isinstance(value, (int, float)):
        return None
    constant = float(value)
    return lambda scope: constant


def _expression_percentage(text: str) -> Percentage:
    field = "ToleratedFailurePercentage"
    expression = compile_expression(text, field)

    def evaluated(scope: Scope) -> float:
        value = expression.evaluate(scope, input=scope.input.value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise unexpected_type(expression, value, "number")
        if not 0 <= value <= 100:
            raise _refused(field, "ToleratedFailurePercentage must be between 0 and 100.")
        return float(value)

    return evaluated


def _parsed_float(value: Json) -> float | None:
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
