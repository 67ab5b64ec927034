"""Expressions and templates of JSONata states: compiled once, evaluated against `$states` and the variables.

A plain path never reaches an engine. The others get a program per thread, made when first needed: jsonatapy's
handles belong to the thread that compiled them. Causes are AWS's (errors.md 3.2).
"""

from __future__ import annotations

import threading
from collections.abc import Set
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from asfn import _json
from asfn.errors import StateFailed
from asfn.language.jsonata import plain
from asfn.language.jsonata.failures import STACK_LIMIT, EvaluationFailed, JsonataSyntaxError, UnsupportedResult
from asfn.language.jsonata.seam import DEFAULT_LIMITS, UNDEFINED, Engine, EngineName, Limits, Program, Result

if TYPE_CHECKING:
    from asfn._json import Json
    from asfn.language.environment import Environment
    from asfn.language.jsonata.syntax import Syntax

ERROR: Final = "States.QueryEvaluationError"
MEMBERS: Final = ("input", "context", "result", "errorOutput")
_KNOWN: Final = frozenset(MEMBERS)
_MOST_PROGRAMS: Final = 4_096
_thread: Final = threading.local()
_NONE: Final[frozenset[str]] = frozenset()


def is_expression(value: Json) -> bool:
    """Whether a JSON value is an expression: a string from `{%` to `%}`, without a blank outside ([A])."""
    return type(value) is str and len(value) >= 4 and value.startswith("{%") and value.endswith("%}")


class Expression:
    """One expression in one field. Immutable, and free to be shared by executions and threads.

    source: the text between the delimiters, trimmed.   field: AWS's name for the place, such as `Output/a/b[0]`.
    variables: workflow variables it reads, without "$".
    uses: members of `$states` it reads: input, context, result, errorOutput; all of them when it is used whole.
    """

    __slots__ = ("_engine", "_limits", "_path", "_read", "_syntax", "field", "source", "uses", "variables")

    def __init__(
        self,
        source: str,
        field: str,
        path: tuple[str, tuple[str, ...]] | None,
        syntax: Syntax | None,
        engine: EngineName | None,
        limits: Limits,
    ) -> None:
        self.source = source
        self.field = field
        self._path = path
        self._read = plain.reader(*path) if path is not None else None
        self._syntax = syntax
        self._engine = engine
        self._limits = limits
        if path is not None:
            self.variables = _NONE if path[0] == "states" else frozenset((path[0],))
            named = frozenset(path[1][:1]) & _KNOWN if path[1] else _KNOWN
            self.uses = named if path[0] == "states" else _NONE
        else:
            assert syntax is not None
            self.variables = syntax.variables
            self.uses = _KNOWN if syntax.members is None else frozenset(syntax.members) & _KNOWN

    def evaluate(self, env: Environment, **states: Json) -> Json:
        """The value, JSON that must not be changed.

        states: `input`, and where the field allows it `result` or `errorOutput`; context comes from `env`, and only
        when the expression reads it. Raises StateFailed (States.QueryEvaluationError) with the cause but for its
        prefix: the expression gave nothing, gave a function, or threw.
        """
        read = self._read
        if read is not None:
            found = read(env, states)
            if found is not UNDEFINED and found is not plain.LIST:
                return plain.whole(found) if type(found) is float else found
            # A list on the way is mapped; a name nobody assigned may be a function's.
            again = found is plain.LIST or self._path == (*self.variables, ())
            value = self._run(env, states) if again else UNDEFINED
        elif self._path is not None:
            value = self._states(env, states, _KNOWN)
        else:
            value = self._run(env, states)
        if value is UNDEFINED:
            raise self._failure(f"{self._subject} returned nothing (undefined).")
        return value

    def _run(self, env: Environment, states: dict[str, Json]) -> Result:
        """Evaluate with an engine."""
        try:
            result = self._program().run(self._roots(env, states), env, self._limits)
        except EvaluationFailed as error:
            raise self._failure(f"{self._subject} {error.sentence}") from None
        except UnsupportedResult:
            raise self._failure(f"{self._subject} returned an unsupported result type.") from None
        return result

    def _program(self) -> Program:
        """The calling thread's program. Kept by thread, not here: a handle must be dropped where it was made."""
        programs: dict[tuple[EngineName | None, str], Program] | None = getattr(_thread, "programs", None)
        if programs is None:
            programs = _thread.programs = {}
        key = (self._engine, self.source)
        program = programs.get(key)
        if program is None:
            if len(programs) >= _MOST_PROGRAMS:
                del programs[next(iter(programs))]
            program = programs[key] = engine(self._engine).program(self._facts)
        return program

    def _roots(self, env: Environment, states: dict[str, Json]) -> dict[str, Json]:
        facts = self._facts
        roots: dict[str, Json] = {}
        if self.uses:
            roots["states"] = self._states(env, states, self.uses)
        elif facts.members is None or facts.members:
            roots["states"] = {}
        for name in (*facts.variables, *facts.shadowed_functions):
            try:
                roots[name] = env.variable(name)
            except KeyError:
                continue  # not assigned: undefined
        return roots

    def _states(self, env: Environment, states: dict[str, Json], uses: Set[str]) -> dict[str, Json]:
        """`$states` as far as it is read; AWS's order of members ([A])."""
        value: dict[str, Json] = {}
        if "input" in uses and "input" in states:
            value["input"] = states["input"]
        if "context" in uses:
            value["context"] = env.context
        for name in ("result", "errorOutput"):
            if name in uses and name in states:
                value[name] = states[name]
        return value

    @property
    def _facts(self) -> Syntax:
        syntax = self._syntax
        if syntax is None:
            from asfn.language.jsonata.syntax import analyse

            syntax = self._syntax = analyse(self.source)
        return syntax

    @property
    def members(self) -> tuple[str, ...]:
        """What is read directly from `$states`, known to AWS or not; empty when `$states` is used whole."""
        if self._path is not None:
            return self._path[1][:1] if self._path[0] == "states" else ()
        return self._facts.members or ()

    @property
    def top_level(self) -> tuple[str, ...]:
        """What reads the context item, which AWS refuses: bare names, "$", "$$"."""
        return () if self._path is not None else self._facts.top_level

    @property
    def unknown_functions(self) -> tuple[str, ...]:
        """Functions called that nobody defines; AWS accepts them and fails at run time with T1006 ([A])."""
        return () if self._path is not None else self._facts.unknown_functions

    @property
    def _subject(self) -> str:
        return f"The JSONata expression '{self.source}' specified for the field '{self.field}'"

    def _failure(self, cause: str) -> StateFailed:
        return StateFailed(ERROR, cause, location=self.field)

    def __repr__(self) -> str:
        return f"Expression({self.source!r}, {self.field!r})"


def compile_expression(
    text: str, field: str, *, engine: EngineName | None = None, limits: Limits = DEFAULT_LIMITS
) -> Expression:
    """An expression written with its delimiters. Raises JsonataSyntaxError.

    engine: None takes jsonatapy where it is installed, else jsonata-python.
    """
    source = text[2:-2].strip()
    path = plain.plain_path(source)
    if path is not None:
        return Expression(source, field, path, None, engine, limits)
    from asfn.language.jsonata.syntax import analyse

    try:
        syntax = analyse(source)
    except RecursionError:
        raise JsonataSyntaxError("U1001", STACK_LIMIT) from None  # AWS's text is not known [U]
    return Expression(source, field, None, syntax, engine, limits)


def unexpected_type(expression: Expression, value: Json, want: str) -> StateFailed:
    """The failure of a field whose expression gave a value of another type than `want`, such as 'array' ([A])."""
    shown = _json.encode(value)
    return StateFailed(
        ERROR,
        f"The JSONata expression '{expression.source}' specified for the field '{expression.field}' returned an "
        f"unexpected result type. Expected '{want}', but was '{type_name(value)}' for value: {shown}",
        location=expression.field,
    )


def type_name(value: Json) -> str:
    """The name of a JSON type in AWS's texts."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


@lru_cache(maxsize=2)
def engine(name: EngineName | None = None) -> Engine:
    """The engine of this name; None is jsonatapy where it can be imported, else jsonata-python."""
    if name != "pure":
        try:
            from asfn.language.jsonata.rust import RustEngine

            return RustEngine()
        except ImportError:
            if name == "rust":
                raise
    from asfn.language.jsonata.pure import PureEngine

    return PureEngine()
