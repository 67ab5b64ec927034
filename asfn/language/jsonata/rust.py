"""The fast engine: jsonatapy. Compiled handles belong to a thread; what could outgrow it goes to the pure engine.

The variables are handed in as the root document, which jsonatapy reads as far as the expression does, and are given
their names in front of it; the result is wrapped in an object, so that undefined is told from null. Functions AWS
adds get there through an object too, for the same reason. It holds the GIL and knows no bound of memory, hence the
rules in `_fits`; `libraries.md`, section 1, has the traps.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import jsonatapy

from asfn._json import Json
from asfn.language.jsonata import dialect, plain, texts
from asfn.language.jsonata.failures import (
    MEMORY_LIMIT,
    STACK_LIMIT,
    TIME_LIMIT,
    EvaluationFailed,
    UnsupportedResult,
    has_placeholder,
    is_known,
    non_finite_name,
    render,
)
from asfn.language.jsonata.port import Functions
from asfn.language.jsonata.pure import PureProgram
from asfn.language.jsonata.seam import UNDEFINED, EngineName, Limits, Result
from asfn.language.jsonata.syntax import AWS_FUNCTIONS

if TYPE_CHECKING:
    from asfn.language.environment import Environment
    from asfn.language.jsonata.syntax import Syntax

_CODE: Final = re.compile(r"\b([A-Z]\d{4}): (.*)", re.DOTALL)
_LONG_NUMBER: Final = re.compile(r"\d{16}")
_EXACT: Final = 2**53
_STACK: Final = 500
_SMALL: Final = 256
_ALL_PAIRS: Final = 1_000
# What jsonatapy does otherwise than the reference and AWS: it knows no `$clone`, takes any text for base64, leaves
# the blanks of a URL, rounds half up for a base, shuffles by a source of its own.
_OTHERWISE: Final = {"base64decode", "clone", "encodeUrl", "formatBase", "shuffle"}
_PARAMETERS: Final = {"parse": "a", "partition": "ab", "range": "abc", "hash": "ab", "random": "a", "uuid": ""}


class RustEngine:
    """jsonatapy behind the seam, with the pure engine at its side."""

    name: EngineName = "rust"

    def program(self, syntax: Syntax) -> RustProgram | PureProgram:
        """A program for the calling thread."""
        needs_pure = (
            syntax.unbounded
            or syntax.depth > 100
            or syntax.needs_context
            or bool(syntax.functions & _OTHERWISE)
            or "eval" in syntax.unknown_functions
            or "eval" in syntax.variables
        )
        return PureProgram(syntax) if needs_pure else RustProgram(syntax)


class RustProgram:
    """One compiled expression. Use it on the thread that made it."""

    def __init__(self, syntax: Syntax) -> None:
        self._syntax = syntax
        self._thread = threading.get_ident()
        self._env: Environment | None = None
        names = sorted(syntax.variables | syntax.shadowed_functions)
        self._names = names
        self._compiled: dict[tuple[str, ...], Any] = {}
        self._pure = PureProgram(syntax)
        # jsonatapy shows a function as null; what `$reduce` makes of an empty list too, where nothing is meant.
        self._doubts_null = syntax.makes_functions or "reduce" in syntax.functions

    def run(self, roots: Mapping[str, Json], env: Environment, limits: Limits) -> Result:
        """See seam.Program."""
        if not self._fits(roots):
            return self._pure.run(roots, env, limits)
        return self.evaluate(dict(roots), tuple(roots), roots, env, limits)

    def evaluate(
        self, document: Json, names: tuple[str, ...], roots: Mapping[str, Json], env: Environment, limits: Limits
    ) -> Result:
        """Evaluate with the members `names` of the root document as variables.

        roots: all variables; those that are no `names` are handed over as bindings, converted whole.
        """
        self._env = env
        try:
            wrapped = self._handle(names).evaluate(
                document,
                None if len(names) == len(roots) else dict(roots),
                timeout=int(limits.native_seconds * 1_000),
                max_stack_depth=_STACK,
                max_sequence_length=limits.elements,
            )
        except (OverflowError, TypeError):  # an integer beyond 64 bits was read; the other engine has AWS's answer
            return self._pure.run(roots, env, limits)
        except ValueError as error:
            return self._failed(str(error), roots, env, limits)
        finally:
            self._env = None
        return self._settle(wrapped, roots, env, limits)

    def _handle(self, names: tuple[str, ...]) -> Any:
        compiled = self._compiled.get(names)
        if compiled is None:
            compiled = self._compiled[names] = self._compile(names)
        return compiled

    def _compile(self, names: tuple[str, ...]) -> Any:
        """The expression behind its names; every name is one of the language or a variable's."""
        used = sorted(self._syntax.functions & AWS_FUNCTIONS)
        prelude = "".join(f"${name}:=`{name}`;" for name in names)
        for name in used:
            letters = _PARAMETERS[name]
            parameters = ",".join("$" + letter for letter in letters)
            members = ",".join(f'"{letter}":${letter}' for letter in letters)
            prelude += f"${name}:=function({parameters}){{$aws_{name}({{{members}}})[0]}};"
        compiled = jsonatapy.compile(f'({prelude}{{"r":({self._syntax.source})}})')
        for name in used:
            compiled.register(f"aws_{name}", self._host(name))
        compiled.register_override("now", self._now)
        compiled.register_override("millis", lambda: int(self._environment.now * 1_000))
        compiled.register_override("pad", _pad)
        return compiled

    @property
    def _environment(self) -> Environment:
        assert self._env is not None, "a function was called outside an evaluation"
        return self._env

    def _host(self, name: str) -> Callable[[dict[str, Json]], list[Json]]:
        letters = _PARAMETERS[name]

        def call(arguments: dict[str, Json]) -> list[Json]:
            _, function = dialect.aws_functions(self._environment)[name]
            try:
                result = function(*(arguments.get(letter, UNDEFINED) for letter in letters))
            except EvaluationFailed as error:
                raise ValueError(f"{error.code}: {error.message}" if error.code else error.message) from None
            return [] if result is UNDEFINED else [result]

        return call

    def _now(self, picture: str | None = None, zone: str | None = None) -> str:
        text: str = Functions.datetime_from_millis(int(self._environment.now * 1_000), picture, zone)
        return text

    def _fits(self, roots: Mapping[str, Json]) -> bool:
        """Whether the result and the work stay small: what every turn of a loop repeats is small, or all is."""
        syntax = self._syntax
        if not syntax.outer_values and not syntax.compares_all:
            return True
        if not syntax.compares_all and all(self._is_small(outer, roots) for outer in syntax.outer_values):
            return True
        return _nodes(dict(roots), _ALL_PAIRS) < _ALL_PAIRS

    def _is_small(self, outer: Any, roots: Mapping[str, Json]) -> bool:
        if outer.variable is None:
            return False
        if outer.variable not in roots:
            return True
        value = plain.follow(roots[outer.variable], outer.names)
        return value is not plain.LIST and (value is UNDEFINED or _nodes(value, _SMALL) < _SMALL)

    def _failed(self, text: str, roots: Mapping[str, Json], env: Environment, limits: Limits) -> Result:
        """The error in AWS's words; those that name values are looked up by evaluating again in the open."""
        match = _CODE.search(text)
        code = match.group(1) if match is not None else ""
        if code == "D1012":
            raise EvaluationFailed(None, TIME_LIMIT)
        if code in ("D1011", "U1001", "U1002"):
            raise EvaluationFailed(None, STACK_LIMIT)
        if code in ("D2014", "D2015") or MEMORY_LIMIT in text:
            raise EvaluationFailed(None, MEMORY_LIMIT)
        if is_known(code) and not has_placeholder(code):
            raise EvaluationFailed(code, render(code, ()))
        if match is not None and code == "D3137":
            raise EvaluationFailed(code, match.group(2))
        try:
            return self._pure.run(roots, env, limits)
        except EvaluationFailed as other:
            if match is None or other.code == code:
                raise
        except UnsupportedResult:
            pass
        raise EvaluationFailed(code or None, match.group(2) if match is not None else text)

    def _settle(self, wrapped: Any, roots: Mapping[str, Json], env: Environment, limits: Limits) -> Result:
        if "r" not in wrapped:
            return UNDEFINED
        value: Json = wrapped["r"]
        if value is None:
            return self._pure.run(roots, env, limits) if self._doubts_null else None
        finite, exact = _inspect(value, self._syntax.makes_text, self._doubts_null)
        if not exact:
            return self._pure.run(roots, env, limits)
        return value if finite else _finite(value)


def _inspect(value: Json, texts: bool, nulls: bool) -> tuple[bool, bool]:
    """Whether all numbers are finite, and whether the value is what it seems.

    It may not be: a number was rounded on the way through a double, or (texts) stands rounded in a text, or
    (nulls) a null was none.
    """
    finite = True
    waiting = [value]
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind is dict:
            waiting.extend(item.values())  # type: ignore[union-attr]
        elif kind is list:
            waiting.extend(item)  # type: ignore[arg-type]
        elif kind is int or kind is float:
            if not -_EXACT < item < _EXACT:  # type: ignore[operator]  # NaN fails too
                if math.isfinite(item):  # type: ignore[arg-type]
                    return finite, False
                finite = False
        elif item is None:
            if nulls:
                return finite, False
        elif texts and kind is str and len(item) > 15 and _LONG_NUMBER.search(item):  # type: ignore[arg-type]
            return finite, False
    return finite, True


def _finite(value: Json) -> Json:
    """The value with numbers beyond JSON as texts."""
    if isinstance(value, float):
        return value if math.isfinite(value) else non_finite_name(value)
    if isinstance(value, list):
        return [_finite(member) for member in value]
    if isinstance(value, dict):
        return {name: _finite(member) for name, member in value.items()}
    return value


def _pad(text: Any, width: Any = None, filler: Any = None) -> Any:
    if not isinstance(text, str):
        raise ValueError("T0410: argument 1 of pad")
    if isinstance(width, bool) or not isinstance(width, (int, float)):
        raise ValueError("T0410: argument 2 of pad")
    try:
        return texts.pad(text, width, filler if isinstance(filler, str) else None)
    except EvaluationFailed as error:
        raise ValueError(error.message) from None


def _nodes(value: Json, most: int) -> int:
    """How many values a value holds, counted no further than `most`."""
    count = 0
    waiting = [value]
    while waiting and count < most:
        item = waiting.pop()
        count += 1
        if type(item) is dict:
            count += len(item)
            waiting.extend(item.values())
        elif type(item) is list:
            count += len(item)
            if count < most:
                waiting.extend(item)
        elif type(item) is str and len(item) > 1_000:
            count += len(item) // 100
    return count
