"""Payload templates of JSONPath states, compiled once: Parameters, ResultSelector, ItemSelector, BatchInput,
Credentials, Assign (asl.md 2.2).

A member `"x.$"` holds a path or an intrinsic call and becomes `x`; everything else is literal. Literal parts
are shared by all evaluations; only objects and lists on the way to a `.$` member are made anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from asfn._json import Json, JsonError, encode
from asfn.errors import StateFailed
from asfn.language.environment import Environment
from asfn.language.intrinsics import IntrinsicSyntaxError, compile_intrinsic
from asfn.language.paths import (
    NULL_INPUT,
    Path,
    PathNotFound,
    PathSyntaxError,
    compile_path,
    compile_reference_path,
)

_Evaluate: TypeAlias = Callable[[Json, Environment], Json]

MAX_NESTING: Final = 200
_TEXT_FUNCTIONS: Final = frozenset(
    f"States.{name}"
    for name in ("Format", "JsonToString", "ArrayGetItem", "Base64Encode", "Base64Decode", "Hash", "UUID")
)


class TemplateSyntaxError(ValueError):
    """A template cannot be compiled. key: the member at fault, as written; place: the way to its object."""

    def __init__(self, message: str, key: str, place: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.key = key
        self.place = place


@dataclass(frozen=True, slots=True)
class Template:
    """One compiled template.

    evaluate(document, env): the value; raises StateFailed("States.Runtime", ...), and nothing else.
    is_literal: nothing in it depends on document or env. paths: all paths read, also by intrinsic calls.
    """

    evaluate: _Evaluate
    is_literal: bool
    paths: tuple[Path, ...]


def compile_template(template: Json) -> Template:
    """Compile a template, any JSON value. Raises TemplateSyntaxError with AWS's sentence [A]."""
    paths: list[Path] = []
    evaluate = _compiled(template, paths, ())
    if evaluate is None:
        return Template(lambda document, env: template, True, ())
    return Template(evaluate, False, tuple(paths))


def compile_text_source(text: str, field: str) -> Template:
    """Compile ErrorPath or CausePath: a reference path, or a call of a function that gives text (asl.md 4.1).

    field: its name, for the failure's sentence. Raises TemplateSyntaxError. Evaluation gives a text or fails.
    """
    paths: tuple[Path, ...]
    try:
        if text.startswith("$"):
            path = compile_reference_path(text)
            paths, source = (path,), _found(path, field)
        else:
            intrinsic = compile_intrinsic(text)
            if intrinsic.name not in _TEXT_FUNCTIONS:
                raise IntrinsicSyntaxError(f"{intrinsic.name} does not give a text")
            paths, source = intrinsic.paths, intrinsic.evaluate
    except (PathSyntaxError, IntrinsicSyntaxError) as error:
        raise _invalid(field, ()) from error

    def evaluate(document: Json, env: Environment) -> Json:
        value = source(document, env)
        if not isinstance(value, str):
            # How AWS words this is not known [U].
            raise StateFailed("States.Runtime", f"The field '{field}' must resolve to a string: {text}")
        return value

    return Template(evaluate, False, paths)


def _invalid(key: str, place: tuple[str | int, ...]) -> TemplateSyntaxError:
    wanted = "must be a valid JSONPath or a valid intrinsic function call"
    return TemplateSyntaxError(f"The value for the field '{key}' {wanted}", key, place)


def _compiled(template: Json, paths: list[Path], place: tuple[str | int, ...]) -> _Evaluate | None:
    """The evaluation of a template, or None when it is literal all through."""
    if len(place) > MAX_NESTING:
        raise TemplateSyntaxError(f"a template may nest at most {MAX_NESTING} levels", str(place[-1]), place)
    if isinstance(template, dict):
        return _compiled_object(template, paths, place)
    if isinstance(template, list):
        elements = [_compiled(element, paths, (*place, at)) for at, element in enumerate(template)]
        if any(elements):
            return _list_builder(template, elements)
    return None


def _compiled_object(template: dict[str, Json], paths: list[Path], place: tuple[str | int, ...]) -> _Evaluate | None:
    shape: dict[str, Json] = {}
    dynamic: list[tuple[str, _Evaluate]] = []
    selected: dict[str, Path] = {}
    for key, value in template.items():
        name = key.removesuffix(".$")
        if name in shape:
            raise TemplateSyntaxError(f"The field '{name}' is given twice", key, place)
        shape[name] = value
        if name == key:
            inner = _compiled(value, paths, (*place, key))
            if inner is not None:
                dynamic.append((name, inner))
            continue
        source = _compiled_source(key, value, paths, place)
        if isinstance(source, Path):
            selected[name] = source
            dynamic.append((name, _selecting(source)))
        else:
            dynamic.append((name, source))
    return _object_builder(shape, dynamic, selected) if dynamic else None


def _compiled_source(key: str, value: Json, paths: list[Path], place: tuple[str | int, ...]) -> Path | _Evaluate:
    if not isinstance(value, str):
        raise _invalid(key, place)
    try:
        if value.startswith("$"):
            path = compile_path(value)
            paths.append(path)
            return path
        intrinsic = compile_intrinsic(value)
    except (PathSyntaxError, IntrinsicSyntaxError) as error:
        raise _invalid(key, place) from error
    paths.extend(intrinsic.paths)
    return intrinsic.evaluate


def _object_builder(
    shape: dict[str, Json], dynamic: list[tuple[str, _Evaluate]], selected: dict[str, Path]
) -> _Evaluate:
    """An object in the order of its template. Of its sources only paths raise PathNotFound."""

    def evaluate(document: Json, env: Environment) -> Json:
        result = shape.copy()
        name = ""
        try:
            for name, source in dynamic:
                result[name] = source(document, env)
        except PathNotFound as error:
            raise _failure(error, selected[name], f"{name}.$", document, env) from None
        return result

    return evaluate


def _selecting(path: Path) -> _Evaluate:
    if path.keys:
        return _null_behind_the_end(path.select) if isinstance(path.keys[-1], int) else path.select
    return _of_a_document(path.select) if path.root == "$" else path.select


def _of_a_document(select: _Evaluate) -> _Evaluate:
    """`$` alone and paths of several values would select something of null too, where AWS applies no path [R]."""

    def evaluate(document: Json, env: Environment) -> Json:
        if document is None:
            raise StateFailed("States.Runtime", NULL_INPUT)
        return select(document, env)

    return evaluate


def _null_behind_the_end(select: _Evaluate) -> _Evaluate:
    """A template makes null of an index beyond the list, where all else that is missing fails [A]."""

    def evaluate(document: Json, env: Environment) -> Json:
        try:
            return select(document, env)
        except PathNotFound as error:
            if error.is_index:
                return None
            raise

    return evaluate


def _failure(error: PathNotFound, path: Path, field: str, document: Json, env: Environment) -> StateFailed:
    """AWS's sentence [A]. The input shown is what the path was read from: for `$$` the context object [R]."""
    if document is None and path.root == "$":
        return StateFailed("States.Runtime", NULL_INPUT)
    if error.is_misuse:
        return StateFailed("States.Runtime", error.reason)
    try:
        searched = encode(env.context if path.root == "$$" else document)
    except JsonError:
        searched = ""
    what = f"The JSONPath '{path.text}' specified for the field '{field}'"
    return StateFailed("States.Runtime", f"{what} could not be found in the input '{searched}'")


def _found(path: Path, field: str) -> _Evaluate:
    def evaluate(document: Json, env: Environment) -> Json:
        try:
            return path.select(document, env)
        except PathNotFound as error:
            raise _failure(error, path, field, document, env) from None

    return evaluate


def _list_builder(template: list[Json], elements: list[_Evaluate | None]) -> _Evaluate:
    dynamic = [(at, element) for at, element in enumerate(elements) if element is not None]

    def evaluate(document: Json, env: Environment) -> Json:
        result = template.copy()
        for at, element in dynamic:
            result[at] = element(document, env)
        return result

    return evaluate
