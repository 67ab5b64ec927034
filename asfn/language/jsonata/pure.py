"""The pure engine: jsonata-python's evaluator with AWS's limits, AWS's numbers and the reference's errors.

Slower than jsonatapy by a factor of 12 to 60, but every step is counted, so it also takes the expressions that could
run away with the other engine's memory. Nesting counts as on AWS, whose evaluator has the same steps ([A]).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from asfn.language.jsonata import library, texts
from asfn.language.jsonata.failures import (
    MEMORY_LIMIT,
    STACK_LIMIT,
    TIME_LIMIT,
    EvaluationFailed,
    UnsupportedResult,
    is_known,
    non_finite_name,
)
from asfn.language.jsonata.items import NULL, CheckedSignature, Item, failed, is_number, key, settled, with_nulls
from asfn.language.jsonata.port import Functions, JException, Jsonata, Parser, Utils
from asfn.language.jsonata.regex import Pattern
from asfn.language.jsonata.seam import UNDEFINED, EngineName, Limits, Result

if TYPE_CHECKING:
    from asfn._json import Json
    from asfn.language.environment import Environment
    from asfn.language.jsonata.syntax import Syntax

_thread: Final = threading.local()
_CLOCK_EVERY: Final = 64


class PureEngine:
    """jsonata-python behind the seam."""

    name: EngineName = "pure"

    def program(self, syntax: Syntax) -> PureProgram:
        """A program; it may be shared by threads."""
        return PureProgram(syntax)


class PureProgram:
    """One parsed expression."""

    def __init__(self, syntax: Syntax) -> None:
        self._syntax = syntax

    def run(self, roots: Mapping[str, Json], env: Environment, limits: Limits, document: Result = UNDEFINED) -> Result:
        """See seam.Program. document: the context item, which only the language's own test suite has."""
        evaluator = Evaluator(self._syntax.tree, limits)
        try:
            result = evaluator.result_of(roots, env, document)
            return _result(result, limits)
        except JException as error:
            raise _failure(error) from None
        except RecursionError:
            raise EvaluationFailed(None, STACK_LIMIT) from None
        except MemoryError:
            raise EvaluationFailed(None, MEMORY_LIMIT) from None
        except (EvaluationFailed, UnsupportedResult):
            raise
        except (
            ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError,
            ValueError,
        ) as error:  # fmt: skip
            # The reference fails here without a code too, or the port does where that has one.
            raise EvaluationFailed(None, "") from error


def _failure(error: JException) -> EvaluationFailed:
    code = error.error
    if is_known(code):
        return failed(code, error.current, error.expected, error.extra)
    return EvaluationFailed(None, str(code))


class Native(Jsonata.JFunction):  # type: ignore[misc]  # the library has no types
    """A function of `library`: checked by its signature, called with Python values."""

    def __init__(self, name: str, signature: str, function: Any) -> None:
        super().__init__(None, None)
        self.function_name = name
        self.signature = CheckedSignature(signature, name)
        self.nargs = self.signature.get_number_of_args()
        self.implementation = function

    def call(self, input: Item, args: Item) -> Item:
        return settled(self.implementation(*self.padded(args)))

    def padded(self, arguments: Item) -> list[Item]:
        given = list(arguments or ())
        if self.function_name == "zip":
            return given
        return given + [None] * (self.nargs - len(given))

    def get_number_of_args(self) -> int:
        return int(self.nargs)


def _static_functions() -> dict[str, Native]:
    functions: dict[str, Native] | None = getattr(_thread, "functions", None)
    if functions is None:
        # A thread of its own each: binding a function renames its signature.
        functions = {name: Native(name, *entry) for name, entry in library.FUNCTIONS.items()}
        _thread.functions = functions
    return functions


class Evaluator(Jsonata):  # type: ignore[misc]  # the library has no types
    """One evaluation: the port's steps, counted and bounded, with its errors of substance put right."""

    def __init__(self, tree: Any, limits: Limits) -> None:
        # The port's constructor parses; everything it would set is set here.
        self.ast = tree
        self.parser = _parser()
        self.errors = None
        self.environment = None
        self.input = None
        self.timestamp = 0
        self.limits = limits
        self.depth = 0
        self.steps = 0
        self.built = 0
        self.deadline = time.thread_time() + limits.seconds

    def result_of(self, roots: Mapping[str, Json], env: Environment, document: Result) -> Item:
        """The raw result with `roots` as variables and `document` as the context item."""
        frame = self.create_frame(None)
        frame.bindings.update(_static_functions())
        for name, entry in library.for_environment(env).items():
            frame.bindings[name] = Native(name, *entry)
        for name, value in roots.items():
            frame.bindings[name] = with_nulls(value)
        context = None if document is UNDEFINED else with_nulls(document)
        frame.bindings["$"] = context
        if isinstance(context, list):
            context = Utils.create_sequence(context)
            context.outer_wrapper = True
        before = getattr(Jsonata.CURRENT, "jsonata", None)
        Jsonata.CURRENT.jsonata = self  # the port's higher-order functions find the evaluator here
        try:
            return self.eval(self.ast, context, frame)
        finally:
            if before is None:
                del Jsonata.CURRENT.jsonata
            else:
                Jsonata.CURRENT.jsonata = before

    def eval(self, expr: Any, input: Item, environment: Any) -> Item:
        """One step: the port's own, between a look at the limits before and after."""
        self.depth += 1
        if self.depth > self.limits.depth:
            raise EvaluationFailed(None, STACK_LIMIT)
        self.steps += 1
        if self.steps % _CLOCK_EVERY == 0 and time.thread_time() > self.deadline:
            raise EvaluationFailed(None, TIME_LIMIT)
        before = self.input, self.environment
        try:
            result = self._eval(expr, input, environment)
        finally:
            self.depth -= 1
            self.input, self.environment = before
        if isinstance(result, (list, str)):
            size = len(result) * (1 if isinstance(result, str) else 8)
            if size > self.limits.value_bytes:
                raise EvaluationFailed(None, MEMORY_LIMIT)
        return result

    def evaluate_literal(self, expr: Any) -> Item:
        value = expr.value
        if type(value) is str:  # two escapes may be one character
            return (
                value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
            )
        return NULL if value is None else settled(value)

    def charge(self, count: int) -> None:
        """Count list members (or tens of characters) that were built."""
        self.built += count
        if self.built > self.limits.total_elements:
            raise EvaluationFailed(None, MEMORY_LIMIT)

    def evaluate_step(self, expr: Any, input: Item, environment: Any, last_step: bool) -> Item:
        result = super().evaluate_step(expr, input, environment, last_step)
        if isinstance(result, list):
            self.charge(len(result))
        return result

    def evaluate_unary(self, expr: Any, input: Item, environment: Any) -> Item:
        if str(expr.value) == "-":
            value = self.eval(expr.expression, input, environment)
            if value is None:
                return None
            if not is_number(value):
                raise failed("D1002", value)
            return settled(-value)
        result = super().evaluate_unary(expr, input, environment)
        if isinstance(result, list):
            self.charge(len(result))
        return result

    def evaluate_binary(self, expr: Any, input: Item, environment: Any) -> Item:
        # The port gives every failure on the right of these two a code of its own.
        if expr.value == "and":
            return self.truth(expr.lhs, input, environment) and self.truth(expr.rhs, input, environment)
        if expr.value == "or":
            return self.truth(expr.lhs, input, environment) or self.truth(expr.rhs, input, environment)
        return super().evaluate_binary(expr, input, environment)

    def truth(self, expr: Any, input: Item, environment: Any) -> bool:
        """Whether an operand counts as true; undefined does not."""
        return bool(Functions.to_boolean(self.eval(expr, input, environment)))

    def evaluate_numeric_expression(self, lhs: Item, rhs: Item, op: str | None) -> Item:
        if lhs is not None and not is_number(lhs):
            raise failed("T2001", op)
        if rhs is not None and not is_number(rhs):
            raise failed("T2002", op)
        if lhs is None or rhs is None:
            return None
        return settled(_arithmetic(float(lhs), float(rhs), op))

    def evaluate_comparison_expression(self, lhs: Item, rhs: Item, op: str | None) -> Item:
        for side in (lhs, rhs):
            if side is not None and not isinstance(side, str) and not is_number(side):
                raise failed("T2010", op)
        if lhs is None or rhs is None:
            return None
        if isinstance(lhs, str) != isinstance(rhs, str):
            raise failed("T2009", lhs, rhs, op)
        return super().evaluate_comparison_expression(lhs, rhs, op)

    def evaluate_equality_expression(self, lhs: Item, rhs: Item, op: str | None) -> Item:
        if lhs is None or rhs is None:
            return False
        return (key(lhs) == key(rhs)) == (op == "=")

    def evaluate_includes_expression(self, lhs: Item, rhs: Item) -> Item:
        if lhs is None or rhs is None:
            return False
        members = rhs if isinstance(rhs, list) else [rhs]
        wanted = key(lhs)
        return any(key(member) == wanted for member in members)

    def evaluate_string_concat(self, lhs: Item, rhs: Item) -> str:
        left = "" if lhs is None else texts.text_of(lhs)
        right = "" if rhs is None else texts.text_of(rhs)
        if len(left) + len(right) > self.limits.value_bytes:
            raise EvaluationFailed(None, MEMORY_LIMIT)
        self.charge((len(left) + len(right)) // 10)
        return left + right

    def evaluate_range_expression(self, lhs: Item, rhs: Item) -> Item:
        for side, code in ((lhs, "T2003"), (rhs, "T2004")):
            if side is not None and not (type(side) is int or (type(side) is float and side.is_integer())):
                raise failed(code)
        if lhs is None or rhs is None or lhs > rhs:
            return None
        size = int(rhs) - int(lhs) + 1
        if size > self.limits.elements:
            raise EvaluationFailed(None, MEMORY_LIMIT)
        self.charge(size)
        return Utils.create_sequence_from_iter(range(int(lhs), int(rhs) + 1))

    def evaluate_wildcard(self, expr: Any, input: Item) -> Item:
        result = super().evaluate_wildcard(expr, input)
        self.charge(len(result))
        return result

    def recurse_descendants(self, input: Item, results: Any) -> None:
        """The port's walk without its recursion, and counted."""
        waiting = [input]
        while waiting:
            value = waiting.pop()
            if not isinstance(value, list):
                results.append(value)
                self.charge(1)
            if isinstance(value, list):
                waiting.extend(reversed(value))
            elif isinstance(value, dict):
                waiting.extend(reversed(value.values()))

    def apply_inner(self, proc: Item, args: Item, input: Item, environment: Any) -> Item:
        if isinstance(proc, Pattern):
            return _closure(proc.find(args[0])) if args and isinstance(args[0], str) else None
        if not (Functions.is_lambda(proc) or isinstance(proc, (Jsonata.JFunction, Jsonata.JLambda))):
            raise failed("T1006")
        if time.thread_time() > self.deadline:
            raise EvaluationFailed(None, TIME_LIMIT)
        result = super().apply_inner(proc, args, input, environment)
        if isinstance(proc, Native) and isinstance(result, (list, str)):
            self.charge(len(result) if isinstance(result, list) else len(result) // 10)
        return result

    def is_function_like(self, o: Item) -> bool:
        return isinstance(o, Pattern) or bool(super().is_function_like(o))


def _closure(matches: Any) -> Item:
    """A regex called as a function: its first match, with `next` for the following one."""
    match = next(matches, None)
    if match is None:
        return None
    return {
        "match": match.text,
        "start": match.start,
        "end": match.end,
        "groups": [group if group is not None else "" for group in match.groups],
        "next": Jsonata.JLambda(lambda: _closure(matches)),
    }


def _arithmetic(left: float, right: float, op: str | None) -> float:
    """IEEE arithmetic: no division raises, what is beyond a double is an infinity ([A])."""
    if op == "+":
        return left + right
    if op == "-":
        return left - right
    if op == "*":
        return left * right
    if op == "%":
        return math.fmod(left, right) if right and not math.isinf(left) else math.nan
    if right:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def _parser() -> Any:
    """A parser for partial applications, which the port makes by parsing."""
    parser = getattr(_thread, "parser", None)
    if parser is None:
        parser = _thread.parser = Parser()
    return parser


def _result(value: Item, limits: Limits) -> Result:
    """The JSON of a raw result. Raises UnsupportedResult for a function, EvaluationFailed when it is too large."""
    if value is None:
        return UNDEFINED
    return _Plain(limits.value_bytes).of(value)


class _Plain:
    """Makes JSON of a raw result within a budget of bytes; a shared part is made once and counted each time."""

    __slots__ = ("left", "made")

    def __init__(self, budget: int) -> None:
        self.left = budget
        self.made: dict[int, tuple[Json, int]] = {}

    def spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise EvaluationFailed(None, MEMORY_LIMIT)

    def of(self, value: Item) -> Json:
        if isinstance(value, (list, dict)):
            return self.container(value)
        self.spend(len(value) if isinstance(value, str) else 8)
        if value is NULL or value is None:
            return None
        if isinstance(value, (str, bool, int)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else non_finite_name(value)
        raise UnsupportedResult

    def container(self, value: Item) -> Json:
        known = self.made.get(id(value))
        if known is not None:
            self.spend(known[1])
            return known[0]
        before = self.left
        self.spend(8)
        made: Json
        if isinstance(value, list):
            made = [self.of(member) for member in value]
        else:
            made = {name: self.of(member) for name, member in value.items()}
        self.made[id(value)] = made, before - self.left
        return made
