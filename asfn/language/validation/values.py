"""Checks of single values: types, ranges, fixed choices, and which members an object may have.

Each says one thing and answers whether the value was right, so that nothing builds on a wrong one. Sentences:
`Expected value of type [STRING]`, `Value should be one of …`, `Value cannot be empty`, `These fields are
required: …` [A]; ranges and exclusive fields [A] measured elsewhere (floci 3733, cfn-lint 4075) or [R].
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from asfn._json import Json, JsonObject
    from asfn.language.document import Tokens
    from asfn.language.validation.findings import Findings

MAX_SECONDS = 99_999_999


def expected(findings: Findings, path: Tokens, kind: str, suggestion: str | None = None) -> None:
    """Report a wrong type. kind: STRING, OBJECT, ARRAY, BOOLEAN, or Integer, Double for numbers [R]."""
    shown = kind if kind in ("Integer", "Double") else f"[{kind}]"
    findings.error(path, f"Expected value of type {shown}", suggestion=suggestion)


def is_text(value: Json, findings: Findings, path: Tokens) -> TypeGuard[str]:
    """A text; reported otherwise."""
    if isinstance(value, str):
        return True
    expected(findings, path, "STRING")
    return False


def is_object(value: Json, findings: Findings, path: Tokens) -> TypeGuard[JsonObject]:
    """An object; reported otherwise."""
    if isinstance(value, dict):
        return True
    expected(findings, path, "OBJECT")
    return False


def is_list(value: Json, findings: Findings, path: Tokens) -> TypeGuard[list[Json]]:
    """A list, perhaps empty; reported otherwise."""
    if isinstance(value, list):
        return True
    expected(findings, path, "ARRAY")
    return False


def is_full_list(value: Json, findings: Findings, path: Tokens) -> TypeGuard[list[Json]]:
    """A list with at least one element."""
    if not is_list(value, findings, path):
        return False
    if not value:
        findings.error(path, "Value cannot be empty")
        return False
    return True


def is_boolean(value: Json, findings: Findings, path: Tokens) -> TypeGuard[bool]:
    """true or false; the word in quotes gets a hint."""
    if isinstance(value, bool):
        return True
    fix = f"Write {str(value).lower()} without quotes." if value in ("true", "false", "True", "False") else None
    expected(findings, path, "BOOLEAN", fix)
    return False


def is_integer(value: Json, findings: Findings, path: Tokens, low: int, high: int | None = None) -> bool:
    """An integer of the range. 3.0 is taken for 3, as Java's readers of whole numbers do [U]."""
    whole = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value) and value == int(value))
    if not whole or isinstance(value, bool):
        expected(findings, path, "Integer")
        return False
    return _in_range(value, findings, path, low, high)


def is_number(
    value: Json, findings: Findings, path: Tokens, low: float | None = None, high: float | None = None
) -> bool:
    """Any finite number of the range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_double(value):
        expected(findings, path, "Double")
        return False
    return _in_range(value, findings, path, low, high)


def _is_double(value: float) -> bool:
    """Whether a double can hold the number; an integer of 400 digits is none."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _in_range(value: Json, findings: Findings, path: Tokens, low: float | None, high: float | None) -> bool:
    assert isinstance(value, (int, float))
    if low is not None and value < low:
        findings.error(path, f"Minimum value is {low}")
        return False
    if high is not None and value > high:
        findings.error(path, f"Maximum value is {high}")
        return False
    return True


def is_one_of(value: Json, findings: Findings, path: Tokens, choices: Sequence[str]) -> bool:
    """A text out of a fixed list; AWS checks a text and a value of another type apart [A]."""
    if not is_text(value, findings, path):
        return False
    if value in choices:
        return True
    listed = ", ".join(choices)
    findings.error(path, f"Value should be one of the following: [{listed}]", suggestion=findings.hint(value, choices))
    return False


def unsupported(findings: Findings, path: Tokens, name: str, known: Collection[str] = ()) -> None:
    """Report a member that the object at `path` may not have."""
    findings.error(
        path,
        f"Field '{name}' is not supported",
        field=name,
        suggestion=findings.hint(name, known) if known else None,
    )


def only_fields(findings: Findings, path: Tokens, value: JsonObject, known: Collection[str]) -> bool:
    """Report every member that is not known; True when there was none."""
    clean = True
    for name in value:
        if name not in known:
            unsupported(findings, path, name, [candidate for candidate in known if candidate not in value])
            clean = False
    return clean


def required(findings: Findings, path: Tokens, value: JsonObject, names: Sequence[str]) -> bool:
    """Report the missing ones in one sentence, in the given order."""
    missing = [name for name in names if name not in value]
    if missing:
        findings.error(path, f"These fields are required: [{', '.join(missing)}]")
    return not missing


def at_most_one(findings: Findings, path: Tokens, value: JsonObject, names: Sequence[str]) -> bool:
    """Report fields that exclude each other."""
    present = [name for name in names if name in value]
    if len(present) > 1:
        findings.error(
            path, f"There should only be one of the following fields: [{', '.join(names)}]", field=present[1]
        )
    return len(present) <= 1


def exactly_one(findings: Findings, path: Tokens, value: JsonObject, names: Sequence[str]) -> bool:
    """Report fields that exclude each other, or that none of them is there."""
    if not any(name in value for name in names):
        findings.error(path, f"This object should have only one of the following fields: [{', '.join(names)}]")
        return False
    return at_most_one(findings, path, value, names)
