"""The steps of a parsed path, and the tests of its filters: plain data between grammar and evaluation.

Named tuples, because a dozen dataclasses would cost every `import asfn` some 5 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from asfn._json import Json

if TYPE_CHECKING:
    from asfn.language.linear_regex import LinearRegex

Comparison = Literal[
    "==", "!=", "<", "<=", ">", ">=", "===", "!==", "=~", "in", "nin", "contains", "all", "size", "empty",
    "subsetof", "anyof", "noneof",
]  # fmt: skip


class Member(NamedTuple):
    """`.name`, `['name']`; several names at the end, `['a','b']`, make one object of those members."""

    names: tuple[str, ...]


class Element(NamedTuple):
    """`[0]`, `[-1]`; several indexes `[0,2]`."""

    indexes: tuple[int, ...]


class Span(NamedTuple):
    """`[from:to]`; a step, as in `[0:9:2]`, is read and ignored, as Jayway does."""

    start: int | None
    stop: int | None


class Every:
    """`.*`, `[*]`."""

    __slots__ = ()


class Scan:
    """`..`: the next step is tried on every descendant."""

    __slots__ = ()


class Filter(NamedTuple):
    """`[?(...)]`."""

    test: Test


class Call(NamedTuple):
    """`.length()` and its like; arguments are values or paths."""

    name: str
    arguments: tuple[Operand, ...]


Step: TypeAlias = Member | Element | Span | Every | Scan | Filter | Call


class Route(NamedTuple):
    """A path inside a filter or a call: from the item under test (`@`) or from the document (`$`)."""

    from_item: bool
    steps: tuple[Step, ...]


class Constant(NamedTuple):
    """A value written in a filter."""

    value: Json


class Pattern(NamedTuple):
    """`/text/flags` in a filter, compiled."""

    regex: LinearRegex


Operand: TypeAlias = Route | Constant | Pattern


class Compare(NamedTuple):
    left: Operand
    operator: Comparison
    right: Operand


class Exists(NamedTuple):
    route: Route


class Negation(NamedTuple):
    test: Test


class Junction(NamedTuple):
    """`&&` (every) or `||` (any) of two or more tests."""

    every: bool
    tests: tuple[Test, ...]


Test: TypeAlias = Compare | Exists | Negation | Junction


def is_definite(steps: tuple[Step, ...]) -> bool:
    """Whether a path gives one value (True) or always a list (False): Jayway's rule.

    Several names at the end make one object and stay definite; `$..x.sum()` aggregates to one value.
    """
    if steps and isinstance(steps[0], Scan) and isinstance(steps[-1], Call):
        return True
    last = len(steps) - 1
    for place, step in enumerate(steps):
        if isinstance(step, Member):
            if len(step.names) > 1 and place != last:
                return False
        elif isinstance(step, Element):
            if len(step.indexes) > 1:
                return False
        elif not isinstance(step, Call):
            return False
    return True
