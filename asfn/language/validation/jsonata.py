"""Checks of JSONata: where a string is an expression, whether it parses, and what it may mention.

`language/jsonata` is the judge, with AWS's sentences and codes ([A] api.md section 8).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from asfn.language.jsonata import JsonataSyntaxError, check_expression, compile_expression, is_expression

if TYPE_CHECKING:
    from asfn._json import Json
    from asfn.language.document import Tokens
    from asfn.language.validation.scope import StateScope

Allowed = frozenset[str]

ON_ENTRY: Final[Allowed] = frozenset({"input", "context"})
AFTER_WORK: Final[Allowed] = frozenset({"input", "context", "result"})
IN_CATCHER: Final[Allowed] = frozenset({"input", "context", "errorOutput"})

MAX_NESTING: Final = 200
"""As deep as a JSONPath template; the bound of AWS is not known [U]."""

HALF_OPEN: Final = "JSONata string must start with {% and end with %}"


def check_value(state: StateScope, path: Tokens, value: Json, allowed: Allowed = ON_ENTRY, depth: int = 0) -> None:
    """A JSON value with expressions at any depth of its lists and objects; keys are never expressions."""
    if depth > MAX_NESTING:
        state.findings.error(path, f"A value may nest at most {MAX_NESTING} levels", code="TOO_DEEPLY_NESTED")
        return
    if isinstance(value, str):
        if value.startswith("{%"):
            check_text(state, path, value, allowed)
    elif isinstance(value, dict):
        for key, member in value.items():
            if isinstance(member, (str, dict, list)):
                check_value(state, (*path, key), member, allowed, depth + 1)
    elif isinstance(value, list):
        for index, member in enumerate(value):
            if isinstance(member, (str, dict, list)):
                check_value(state, (*path, index), member, allowed, depth + 1)


def check_text(state: StateScope, path: Tokens, text: str, allowed: Allowed = ON_ENTRY) -> None:
    """One string that must be an expression."""
    if not is_expression(text):
        state.findings.error(path, HALF_OPEN)
        return
    variables, problems = _examine(text, allowed)
    for code, message in problems:
        state.findings.error(path, message, code=code)
    for name in variables:
        state.variables.reads.append((name, path))


@lru_cache(maxsize=4096)
def _examine(text: str, allowed: Allowed) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The variables that an expression reads, and what is wrong with it as (code, message)."""
    try:
        expression = compile_expression(text, "")
    except JsonataSyntaxError as error:
        return (), ((error.kind, error.message),)
    problems = check_expression(expression, allowed=allowed)
    return tuple(sorted(expression.variables)), tuple((item.code, item.message) for item in problems)
