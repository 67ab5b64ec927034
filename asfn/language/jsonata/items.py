"""Values as the pure engine holds them: JSON, NULL for null, None for undefined, functions; and how they fail."""

from __future__ import annotations

import math
from typing import Any, Final, TypeAlias

from asfn.language.jsonata.failures import ELEMENT_TYPES, EvaluationFailed, render
from asfn.language.jsonata.port import Signature, Utils
from asfn.language.jsonata.regex import Pattern

Item: TypeAlias = Any  # a value of the port's evaluator: JSON, NULL, None for undefined, a function


NULL: Final = Utils.NULL_VALUE


def failed(code: str, *details: object) -> EvaluationFailed:
    """A coded failure with its text."""
    if code == "T0412" and len(details) > 2:
        wanted = str(details[2])[:1]
        details = (*details[:2], ELEMENT_TYPES.get(wanted, details[2]))
    return EvaluationFailed(code, render(code, tuple(shown(detail) for detail in details)))


def shown(value: Item) -> object:
    """A value as an error text shows it."""
    return None if value is NULL else value


class CheckedSignature(Signature):  # type: ignore[misc]  # the library has no types
    """The port's signature check, which tells null from undefined, and names the function in every refusal."""

    def get_symbol(self, value: Item) -> str:
        if value is NULL:
            return "l"
        if isinstance(value, Pattern):
            return "f"
        return str(super().get_symbol(value))


def is_number(value: Item) -> bool:
    """Whether a value counts as a number: finite, and no boolean. Raises D1001 for an infinity."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if isinstance(value, float):
        if math.isinf(value):
            raise failed("D1001", value)
        return not math.isnan(value)
    return True


def settled(value: Item) -> Item:
    """A number as the language keeps it: whole numbers as integers within 64 bits."""
    if type(value) is float and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if type(value) is int and not -(2**63) <= value < 2**63:
        return float(value)
    return value


def key(value: Item) -> object:
    """A hashable stand-in: equal values have equal keys, `1` and `true` differ."""
    if isinstance(value, list):
        return ("list", *map(key, value))
    if isinstance(value, dict):
        return ("object", frozenset((name, key(member)) for name, member in value.items()))
    return (isinstance(value, bool), id(value) if not isinstance(value, (str, int, float, bool)) else value)


def with_nulls(value: Item) -> Item:
    """A JSON value in the port's form: null as NULL at every depth, numbers in the language's model."""
    if value is None:
        return NULL
    if isinstance(value, dict):
        return {name: with_nulls(member) for name, member in value.items()}
    if isinstance(value, list):
        return [with_nulls(member) for member in value]
    return settled(value)
