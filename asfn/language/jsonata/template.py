"""JSON values with expressions inside, such as Arguments and Output: strings at any depth, keys never."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asfn.language.jsonata.expression import Expression, compile_expression, is_expression
from asfn.language.jsonata.seam import DEFAULT_LIMITS, EngineName, Limits

if TYPE_CHECKING:
    from asfn._json import Json
    from asfn.language.environment import Environment


class Value:
    """A compiled template. `evaluate` shares every part without expressions with the definition.

    expressions: those inside, in document order.   is_literal: there are none.
    """

    __slots__ = ("_part", "expressions", "is_literal")

    def __init__(self, part: _Part, expressions: tuple[Expression, ...]) -> None:
        self._part = part
        self.expressions = expressions
        self.is_literal = not expressions

    def evaluate(self, env: Environment, **states: Json) -> Json:
        """The value with its expressions evaluated, in document order; see Expression.evaluate."""
        return self._part.evaluate(env, states)

    @property
    def sole_expression(self) -> Expression | None:
        """The expression the value consists of, None when it is a literal or an expression stands deeper."""
        return self._part.expression if isinstance(self._part, _Evaluated) else None


class _Part:
    """A literal subtree; the other parts hold expressions."""

    __slots__ = ("value",)

    def __init__(self, value: Json) -> None:
        self.value = value

    def evaluate(self, env: Environment, states: dict[str, Json]) -> Json:
        return self.value


class _Evaluated(_Part):
    __slots__ = ("expression",)

    def __init__(self, expression: Expression) -> None:
        super().__init__(None)
        self.expression = expression

    def evaluate(self, env: Environment, states: dict[str, Json]) -> Json:
        return self.expression.evaluate(env, **states)


class _Listed(_Part):
    __slots__ = ("parts",)

    def __init__(self, parts: list[_Part]) -> None:
        super().__init__(None)
        self.parts = parts

    def evaluate(self, env: Environment, states: dict[str, Json]) -> Json:
        return [part.evaluate(env, states) for part in self.parts]


class _Named(_Part):
    __slots__ = ("parts",)

    def __init__(self, parts: list[tuple[str, _Part]]) -> None:
        super().__init__(None)
        self.parts = parts

    def evaluate(self, env: Environment, states: dict[str, Json]) -> Json:
        return {name: part.evaluate(env, states) for name, part in self.parts}


def compile_value(
    value: Json, field: str, *, engine: EngineName | None = None, limits: Limits = DEFAULT_LIMITS
) -> Value:
    """A JSON value with expressions at any depth of lists and objects. Raises JsonataSyntaxError for the first bad one.

    field: AWS's name of the place, extended by `/key` and `[i]` ([A] `Output/a/b[0]`).
    """
    found: list[Expression] = []

    def part(value: Json, field: str) -> _Part:
        before = len(found)
        if isinstance(value, str):
            if not is_expression(value):
                return _Part(value)
            expression = compile_expression(value, field, engine=engine, limits=limits)
            found.append(expression)
            return _Evaluated(expression)
        if isinstance(value, list):
            listed = [part(member, f"{field}[{index}]") for index, member in enumerate(value)]
            return _Listed(listed) if len(found) > before else _Part(value)
        if isinstance(value, dict):
            named = [(name, part(member, f"{field}/{name}")) for name, member in value.items()]
            return _Named(named) if len(found) > before else _Part(value)
        return _Part(value)

    return Value(part(value, field), tuple(found))
