"""Choice rules of JSONPath states, compiled once to a test of document and environment (asl.md 7.3).

Types decide first: a comparison of two types is false, never an error. A path that selects nothing is an
error everywhere but in IsPresent, so And and Or evaluate from the left and stop early.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from asfn._json import Json, JsonObject
from asfn.errors import StateFailed
from asfn.language.environment import Environment
from asfn.language.numbers import is_number
from asfn.language.paths import Path, PathNotFound, PathSyntaxError, compile_path
from asfn.language.timestamps import is_timestamp, parse_nanoseconds

Test: TypeAlias = Callable[[Json, Environment], bool]
_Select: TypeAlias = Callable[[Json, Environment], Json]
_Holds: TypeAlias = Callable[[Any, Any], bool]
_Key: TypeAlias = Callable[[Any], Any]  # the value to compare by, or None when the type does not fit

MAX_NESTING: Final = 100
_IGNORED: Final = frozenset(("Next", "Comment", "Assign", "Variable"))
_JUNCTIONS: Final = ("And", "Or", "Not")


class ChoiceSyntaxError(ValueError):
    """A choice rule is malformed. field: the field at fault, None when the rule as a whole is."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


def compile_comparison(rule: JsonObject) -> Test:
    """Compile one rule: And, Or, Not, or one comparison of a Variable. Raises ChoiceSyntaxError.

    Next, Comment and Assign are ignored. The test raises only StateFailed("States.Runtime", ...).
    """
    return _compiled(rule, 0)


def rule_paths(rule: JsonObject) -> tuple[Path, ...]:
    """All paths a valid rule reads, nested rules included: Variable first, then the operand's."""
    found: list[Path] = []
    waiting: list[Json] = [rule]
    while waiting:
        here = waiting.pop()
        if not isinstance(here, dict):
            continue
        for field, value in here.items():
            if isinstance(value, str) and (field == "Variable" or field in _PATH_OPERATORS):
                found.append(compile_path(value))
        for junction in reversed(_JUNCTIONS):
            inner = here.get(junction)
            waiting.extend(reversed(inner) if isinstance(inner, list) else [inner])
    return tuple(found)


def _compiled(rule: Json, depth: int) -> Test:
    if not isinstance(rule, dict):
        raise ChoiceSyntaxError("a choice rule must be an object")
    if depth > MAX_NESTING:
        raise ChoiceSyntaxError(f"choice rules nest at most {MAX_NESTING} deep")
    fields = [field for field in rule if field not in _IGNORED]
    if len(fields) != 1:
        raise ChoiceSyntaxError("a choice rule needs exactly one comparison, or one of And, Or, Not")
    field = fields[0]
    if field in _JUNCTIONS:
        if "Variable" in rule:
            raise ChoiceSyntaxError(f"{field} does not take a Variable", "Variable")
        return _junction(field, rule[field], depth)
    if "Variable" not in rule:
        raise ChoiceSyntaxError("Variable is required", "Variable")
    variable = _path(rule["Variable"], "Variable")
    return _comparison(field, variable, rule[field])


def _junction(field: str, inner: Json, depth: int) -> Test:
    if field == "Not":
        test = _compiled(inner, depth + 1)
        return lambda document, env: not test(document, env)
    if not isinstance(inner, list) or not inner:
        raise ChoiceSyntaxError(f"{field} needs a list of rules that is not empty", field)
    tests = [_compiled(rule, depth + 1) for rule in inner]
    every = field == "And"

    def junction(document: Json, env: Environment) -> bool:
        for test in tests:
            if test(document, env) is not every:
                return not every
        return every

    return junction


def _comparison(field: str, variable: Path, operand: Json) -> Test:
    if field == "IsPresent":
        return _presence(variable.select, _boolean(field, operand))
    select = _required(variable)
    if field in _TYPE_TESTS:
        return _type_test(select, _TYPE_TESTS[field], _boolean(field, operand))
    if field == "StringMatches":
        return _matching(select, _pattern(field, operand))
    if field in _PATH_OPERATORS:
        kind, holds = _PATH_OPERATORS[field]
        return _two_values(select, _required(_path(operand, field)), _KEYS[kind], holds)
    if field not in _OPERATORS:
        raise ChoiceSyntaxError(f"there is no comparison '{field}'", field)
    kind, holds = _OPERATORS[field]
    key = _KEYS[kind]
    wanted = key(operand)
    if wanted is None:
        raise ChoiceSyntaxError(f"{field} needs a {kind.lower()} value", field)
    if kind == "String" and holds is operator.eq:
        return lambda document, env: select(document, env) == operand  # texts equal nothing but texts
    return _one_value(select, key, holds, wanted)


def _path(text: Json, field: str) -> Path:
    try:
        if isinstance(text, str):
            return compile_path(text)
    except PathSyntaxError as error:
        raise ChoiceSyntaxError(str(error), field) from error
    raise ChoiceSyntaxError(f"{field} must be a path", field)


def _boolean(field: str, operand: Json) -> bool:
    if not isinstance(operand, bool):
        raise ChoiceSyntaxError(f"{field} needs true or false", field)
    return operand


def _required(path: Path) -> _Select:
    """In the words of AWS, for the variable and for the path of an operand [A, measured elsewhere]."""
    select = path.select
    cause = f"Invalid path '{path.text}': The choice state's condition path references an invalid value."

    def required(document: Json, env: Environment) -> Json:
        try:
            return select(document, env)
        except PathNotFound:
            raise StateFailed("States.Runtime", cause) from None

    return required


def _presence(select: _Select, wanted: bool) -> Test:
    def present(document: Json, env: Environment) -> bool:
        try:
            select(document, env)
        except PathNotFound:
            return not wanted
        return wanted

    return present


def _type_test(select: _Select, fits: Callable[[Any], bool], wanted: bool) -> Test:
    return lambda document, env: fits(select(document, env)) is wanted


def _one_value(select: _Select, key: _Key, holds: _Holds, wanted: Any) -> Test:
    def compare(document: Json, env: Environment) -> bool:
        value = key(select(document, env))
        return value is not None and holds(value, wanted)

    return compare


def _two_values(select: _Select, select_operand: _Select, key: _Key, holds: _Holds) -> Test:
    def compare(document: Json, env: Environment) -> bool:
        value = key(select(document, env))
        operand = key(select_operand(document, env))
        return value is not None and operand is not None and holds(value, operand)

    return compare


# StringMatches: `*` stands for any text, `\*` and `\\` for the character.


def _pattern(field: str, operand: Json) -> list[str]:
    r"""The literal pieces between the `*` of a pattern. A `\` before another character stays as it is [U]."""
    if not isinstance(operand, str):
        raise ChoiceSyntaxError(f"{field} needs a text", field)
    pieces = [""]
    place = 0
    while place < len(operand):
        character = operand[place]
        if character == "*":
            pieces.append("")
        else:
            if character == "\\" and operand[place + 1 : place + 2] in ("*", "\\"):
                place += 1
                character = operand[place]
            pieces[-1] += character
        place += 1
    return pieces


def _matching(select: _Select, pieces: list[str]) -> Test:
    if len(pieces) == 1:
        whole = pieces[0]
        return lambda document, env: select(document, env) == whole
    head, *middle, tail = pieces

    def matches(document: Json, env: Environment) -> bool:
        value = select(document, env)
        if not isinstance(value, str) or not value.startswith(head) or not value.endswith(tail):
            return False
        place, end = len(head), len(value) - len(tail)
        for piece in middle:
            place = value.find(piece, place, end)
            if place < 0:
                return False
            place += len(piece)
        return place <= end

    return matches


# What each kind of comparison compares by; None says that the value is of another type.


def _string_key(value: Any) -> Any:
    """Order is by UTF-16 code unit; that differs from Python's order only beyond the ASCII texts."""
    if not isinstance(value, str):
        return None
    return value.encode("utf-16-be", "surrogatepass")


def _number_key(value: Any) -> Any:
    return value if is_number(value) else None


def _boolean_key(value: Any) -> Any:
    return value if isinstance(value, bool) else None


def _timestamp_key(value: Any) -> Any:
    return parse_nanoseconds(value) if isinstance(value, str) else None


def _is_timestamp(value: Any) -> bool:
    return isinstance(value, str) and is_timestamp(value)


_KEYS: Final[dict[str, _Key]] = {
    "String": _string_key,
    "Numeric": _number_key,
    "Boolean": _boolean_key,
    "Timestamp": _timestamp_key,
}
_RELATIONS: Final[dict[str, _Holds]] = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "GreaterThan": operator.gt,
    "LessThanEquals": operator.le,
    "GreaterThanEquals": operator.ge,
}
_OPERATORS: Final[dict[str, tuple[str, _Holds]]] = {
    kind + relation: (kind, holds)
    for kind in _KEYS
    for relation, holds in _RELATIONS.items()
    if kind != "Boolean" or relation == "Equals"
}
_PATH_OPERATORS: Final = {f"{name}Path": entry for name, entry in _OPERATORS.items()}
_TYPE_TESTS: Final[dict[str, Callable[[Any], bool]]] = {
    "IsNull": lambda value: value is None,
    "IsNumeric": is_number,
    "IsString": lambda value: isinstance(value, str),
    "IsBoolean": lambda value: isinstance(value, bool),
    "IsTimestamp": _is_timestamp,
}

COMPARISONS: Final = (*_OPERATORS, *_PATH_OPERATORS, "StringMatches", "IsPresent", *_TYPE_TESTS)
"""All 39 comparison fields, for checks and for suggestions of near misses."""
