"""The seam between an expression and the engine that evaluates it, and the limits every engine keeps."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asfn._json import Json
    from asfn.language.environment import Environment
    from asfn.language.jsonata.syntax import Syntax

EngineName = Literal["rust", "pure"]


class Undefined(enum.Enum):
    """The type of UNDEFINED: the expression gave nothing, which JSON cannot say."""

    UNDEFINED = "UNDEFINED"


UNDEFINED: Final = Undefined.UNDEFINED
Result: TypeAlias = "Json | Undefined"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one evaluation may use before the state fails with States.QueryEvaluationError.

    seconds: wall time; AWS documents one second [D].
    native_seconds: wall time inside jsonatapy, which holds the GIL and the event loop throughout; it does in this
        time more than AWS's engine does in `seconds`.
    depth: nested evaluation steps; AWS accepts 100 and refuses 101 [A].
    elements: members of one list; AWS accepts `[1..873782]` and refuses one more [A].
    range_elements: the same for `$range` [A].
    value_bytes: one value an expression builds, a scalar counting 8 and a character 1 [A].
    total_elements: list members built in one evaluation taken together; ours, it bounds the memory of a runaway.
    """

    seconds: float = 1.0
    native_seconds: float = 0.25
    depth: int = 100
    elements: int = 873_782
    range_elements: int = 360_145
    value_bytes: int = 6_990_256
    total_elements: int = 12_000_000


DEFAULT_LIMITS: Final = Limits()


class Program(Protocol):
    """One expression compiled by one engine, for one thread."""

    def run(self, roots: Mapping[str, Json], env: Environment, limits: Limits) -> Result:
        """Evaluate with `roots` as the variables (without "$"; "states" among them), and no context item.

        Names that are missing from `roots` are undefined. The result shares structure with the roots, and holds
        JSON only: numbers beyond JSON became strings. Raises EvaluationFailed, UnsupportedResult; nothing else.
        """


class Engine(Protocol):
    """A way to evaluate expressions. Stateless: programs belong to the thread that made them."""

    name: EngineName

    def program(self, syntax: Syntax) -> Program:
        """A program for an expression that parsed."""
