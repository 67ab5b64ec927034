"""The comparisons of filters and the functions at the end of paths: plain functions of values, with Jayway's meaning.

They know nothing of paths. A missing value is MISSING, which only these functions and their callers ever see.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Final

from asfn._json import Json
from asfn.language.numbers import is_number, number_text, same
from asfn.language.path_steps import Comparison

MISSING: Final = object()
"""What a path gives that selects nothing. Values are Any here: Json or MISSING."""

_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?")


class CannotApply(Exception):
    """A function cannot be applied to a value, for example `max()` to a text. `str()` says why."""


def weight(value: Any) -> int:
    """How many values there are in a value: the work of comparing it."""
    weight = 0
    waiting = [value]
    while waiting:
        value = waiting.pop()
        weight += 1
        if isinstance(value, (dict, list)):
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return weight


def equal(left: Any, right: Any) -> bool:
    """Jayway's `==`: a number equals a text that reads as it; what is missing equals nothing."""
    if left is MISSING or right is MISSING:
        return False
    if isinstance(left, str) and is_number(right):
        return left == number_text(right)
    if is_number(left) and isinstance(right, str):
        return _DECIMAL.fullmatch(right) is not None and Decimal(right) == Decimal(repr(left))
    return same(left, right)


def _strictly_equal(left: Any, right: Any) -> bool:
    kinds = [
        "number" if is_number(value) else "json" if isinstance(value, (dict, list)) else type(value)
        for value in (left, right)
    ]
    return kinds[0] == kinds[1] and equal(left, right)


def _ordered(holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Numbers by value, texts by UTF-16, a number with a text as texts, everything else unordered."""

    def compare(left: Any, right: Any) -> bool:
        if is_number(left) and is_number(right):
            return holds(left, right)
        texts = [number_text(value) if is_number(value) else value for value in (left, right)]
        if not all(isinstance(text, str) for text in texts):
            return False
        return holds(*(text.encode("utf-16-be", "surrogatepass") for text in texts))

    return compare


def regex_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if is_number(value) else ""


def _among(value: Any, values: Any) -> bool:
    return isinstance(values, list) and any(equal(value, element) for element in values)


def _contains(left: Any, right: Any) -> bool:
    if isinstance(left, str):
        return isinstance(right, str) and right in left
    return _among(right, left)


def _has_size(left: Any, right: Any) -> bool:
    if not is_number(right) or not isinstance(left, (str, list)):
        return False
    return len(left) == int(right)


def _is_empty(left: Any, right: Any) -> bool:
    return isinstance(left, (str, list, dict)) and isinstance(right, bool) and (not left) == right


def _lists(holds: Callable[[list[Any], list[Any]], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: isinstance(left, list) and isinstance(right, list) and holds(left, right)


COMPARISONS: Final[dict[Comparison, Callable[[Any, Any], bool]]] = {
    "==": equal,
    "!=": lambda left, right: not equal(left, right),
    "===": _strictly_equal,
    "!==": lambda left, right: not _strictly_equal(left, right),
    "<": _ordered(lambda left, right: bool(left < right)),
    "<=": _ordered(lambda left, right: bool(left <= right)),
    ">": _ordered(lambda left, right: bool(left > right)),
    ">=": _ordered(lambda left, right: bool(left >= right)),
    "in": _among,
    "nin": lambda left, right: not _among(left, right),
    "contains": _contains,
    "all": _lists(lambda left, right: all(_among(value, left) for value in right)),
    "size": _has_size,
    "empty": _is_empty,
    "subsetof": _lists(lambda left, right: all(_among(value, right) for value in left)),
    "anyof": _lists(lambda left, right: any(_among(value, right) for value in left)),
    "noneof": _lists(lambda left, right: not any(_among(value, right) for value in left)),
}


# Functions at the tail. AWS's guide calls them unsupported; users report that they work in templates [R].


def _numbers(value: Any, arguments: Iterable[Any]) -> list[float]:
    numbers = [float(element) for element in (value if isinstance(value, list) else []) if is_number(element)]
    for argument in arguments:
        numbers.extend(float(one) for one in (argument if isinstance(argument, list) else [argument]) if is_number(one))
    if not numbers:
        raise CannotApply("Aggregation function attempted to calculate value using empty array")
    return numbers


def _aggregation(combine: Callable[[list[float]], float]) -> Callable[[Any, list[Any]], Json]:
    return lambda value, arguments: combine(_numbers(value, arguments))


def _length(value: Any, arguments: list[Any]) -> Json:
    target = arguments[0] if arguments else value
    return len(target) if isinstance(target, (list, dict)) else None


def _keys(value: Any, _: list[Any]) -> Json:
    return list(value) if isinstance(value, dict) else None


def _concat(value: Any, arguments: list[Any]) -> Json:
    parts = [*(value if isinstance(value, list) else []), *arguments]
    return "".join(part for part in parts if isinstance(part, str))


def _append(value: Any, arguments: list[Any]) -> Json:
    return [*value, *arguments] if isinstance(value, list) else value


def _at(value: Any, index: int) -> Json:
    if not isinstance(value, list) or not -len(value) <= index < len(value):
        raise CannotApply(f"there is no element {index}")
    element: Json = value[index]
    return element


def _index(value: Any, arguments: list[Any]) -> Json:
    if len(arguments) != 1 or isinstance(arguments[0], bool) or not isinstance(arguments[0], int):
        raise CannotApply("index() needs one integer")
    return _at(value, arguments[0])


FUNCTIONS: Final[dict[str, Callable[[Any, list[Any]], Json]]] = {
    "length": _length,
    "size": _length,
    "min": _aggregation(min),
    "max": _aggregation(max),
    "avg": _aggregation(statistics.fmean),
    "sum": _aggregation(sum),
    "stddev": _aggregation(statistics.pstdev),
    "keys": _keys,
    "concat": _concat,
    "append": _append,
    "first": lambda value, _: _at(value, 0),
    "last": lambda value, _: _at(value, -1),
    "index": _index,
}
