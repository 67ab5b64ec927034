"""Paths of JSONPath states, compiled once: text to a function from document and environment to a value.

Reference paths (nearly every path of real machines) become closures over plain lookups. The steps of all others
(`path_grammar.py`) become a tree in `path_nodes.py`, and that closures in `path_closures.py`. Source: asl.md sections
2.1 and 4. Values are never changed: `compile_result_path` copies the spine and shares the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

from asfn._json import Json, JsonError, encode
from asfn.errors import StateFailed
from asfn.language.environment import Environment
from asfn.language.numbers import java_text
from asfn.language.path_grammar import PathSyntaxError, parse_steps
from asfn.language.path_steps import Call, Element, Member, Step, is_definite

__all__ = [
    "NULL_INPUT",
    "Path",
    "PathNotFound",
    "PathSyntaxError",
    "compile_path",
    "compile_reference_path",
    "compile_result_path",
    "is_variable_name",
    "reference_conflict",
]

Keys: TypeAlias = tuple[str | int, ...]
_Select: TypeAlias = Callable[[Json, Environment], Json]
_Find: TypeAlias = Callable[[Json], Json]

NULL_INPUT: Final = "Unable to apply Path transformation to null or empty input."
"""AWS's sentence where a path is applied to null [R]."""

_MAX_VARIABLE_NAME: Final = 80
_JSON_PROVIDER: Final = "com.jayway.jsonpath.spi.json.JsonSmartJsonProvider"  # [U]


class PathNotFound(Exception):
    """A path selects nothing. AWS shows `reason`, Jayway's sentence, behind "Invalid path '<path>' : ".

    is_index: the last step is an index beyond the list; a payload template makes null of it [A].
    is_misuse: an index stands behind a value that is no list; AWS shows `reason` alone then [A].
    Both were measured elsewhere, not in the recordings.
    """

    def __init__(self, reason: str, *, is_index: bool = False, is_misuse: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_index = is_index
        self.is_misuse = is_misuse


@dataclass(frozen=True, slots=True)
class Path:
    """One compiled path.

    root: "$" the document, "$$" the context object, or a variable's name (then also in `variable`).
    definite: gives one value; otherwise always a list. is_reference: only names and single indexes.
    select(document, env): the value; raises PathNotFound, and nothing else.
    """

    text: str
    root: str
    variable: str | None
    definite: bool
    is_reference: bool
    keys: Keys
    select: _Select


def is_variable_name(text: str) -> bool:
    """Whether a text may name a workflow variable: an identifier of at most 80 characters (asl.md 2.4).

    `states` is reserved, and reading it is left to the validator.
    """
    return len(text) <= _MAX_VARIABLE_NAME and text.isidentifier()


@lru_cache(maxsize=8192)
def compile_path(text: str) -> Path:
    """Compile any path: `$...`, `$$...`, `$name...`, trailing blanks allowed. Raises PathSyntaxError."""
    root, start = _root(text)
    steps = parse_steps(text, start)
    variable = None if root in ("$", "$$") else root
    keys = _keys(steps)
    if keys is not None:
        return Path(text, root, variable, True, True, keys, _rooted(root, keys))
    return Path(text, root, variable, is_definite(steps), False, (), _with_root(root, _finder(steps)))


def compile_reference_path(text: str, *, allow_context: bool = True, allow_variable: bool = True) -> Path:
    """Compile a path of single names and indexes only (asl.md 4.1). Raises PathSyntaxError for any other."""
    path = compile_path(text)
    if not path.is_reference:
        raise PathSyntaxError(f"'{text[:200]}' is not a reference path: only names and single indexes are allowed")
    if path.root == "$$" and not allow_context:
        raise PathSyntaxError(f"'{text[:200]}' may not read the context object", 0)
    if path.variable is not None and not allow_variable:
        raise PathSyntaxError(f"'{text[:200]}' may not name a variable", 0)
    return path


@lru_cache(maxsize=8192)
def compile_result_path(text: str) -> Callable[[Json, Json], Json]:
    """Compile a ResultPath to place(document, value) -> new document. Raises PathSyntaxError.

    place never changes its arguments: it copies the objects and lists on the way and shares everything else.
    Missing objects are created; an index must name an existing element. Raises
    StateFailed("States.ReferencePathConflict") when a value on the way is neither.
    """
    path = compile_reference_path(text, allow_context=False, allow_variable=False)
    keys = path.keys
    shown = text.rstrip()
    if not keys:
        return lambda document, value: value

    if len(keys) == 1 and isinstance(keys[0], str):
        return _placing_member(keys[0], shown)

    def place(document: Json, value: Json) -> Json:
        spine: list[Any] = []
        here = document
        for key in keys:
            if isinstance(key, str):
                if not isinstance(here, dict):
                    raise _conflict(shown, document, keys, len(spine), here)
                spine.append(here)
                here = here.get(key, _ABSENT)
            else:
                if not isinstance(here, list) or not -len(here) <= key < len(here):
                    raise _conflict(shown, document, keys, len(spine), here)
                spine.append(here)
                here = here[key]
        for holder, key in zip(reversed(spine), reversed(keys), strict=True):
            copy = holder.copy()
            copy[key] = value
            value = copy
        return value

    return place


def _placing_member(name: str, shown: str) -> Callable[[Json, Json], Json]:
    def place(document: Json, value: Json) -> Json:
        if not isinstance(document, dict):
            raise _conflict(shown, document, (name,), 0, document)
        return {**document, name: value}

    return place


_ABSENT: Final[dict[str, Json]] = {}  # stands for an object still to be made; copied before it is filled


def reference_conflict(path: Path, document: Json, env: Environment, error: PathNotFound) -> StateFailed:
    """The failure where AWS reads a reference path step by step, as for ItemsPath, and finds nothing."""
    refused = StateFailed("States.Runtime", f"Invalid path '{path.text}' : {error.reason}")
    try:
        root = document if path.root == "$" else env.context if path.root == "$$" else env.variable(path.root)
    except KeyError:
        return refused
    here: Any = root
    for place, key in enumerate(path.keys):
        try:
            here = None if here.__class__ is str else here  # Python would index a text
            here = here[key]
        except (KeyError, TypeError, IndexError):
            return _conflict(path.text, root, path.keys, place, here)
    return refused


def _conflict(text: str, document: Json, keys: Keys, place: int, here: Json) -> StateFailed:
    """A reference path does not fit its document: AWS's error name and sentences, without the usual prefix [R].

    They name the path where the document holds nothing at all, else the step that fails: of a value on the way that
    can hold nothing, the step to it [U].
    """
    try:
        shown = encode(document)
    except JsonError:
        shown = "nested too deeply"
    what = f"ReferencePath {text}"
    if isinstance(document, (dict, list)):
        what = f'step "{keys[place if isinstance(here, (dict, list)) else place - 1]}"'
    return StateFailed("States.ReferencePathConflict", f"Unable to apply {what} to input {shown}", prefixed=False)


def _root(text: str) -> tuple[str, int]:
    """The root of a path, and the place where its steps begin."""
    if not text.startswith("$"):
        raise PathSyntaxError(f"a path must begin with '$': '{text[:200]}'", 0)
    if text.startswith("$$"):
        return "$$", 2
    end = 1
    while end < len(text) and text[end] not in ".[ \t\r\n":
        end += 1
    name = text[1:end]
    if not name:
        return "$", 1
    if not is_variable_name(name):
        raise PathSyntaxError(f"'{name[:100]}' cannot be the name of a variable", 1)
    return name, end


def _keys(steps: tuple[Step, ...]) -> Keys | None:
    """The steps as plain keys when all are single names and indexes, else None."""
    keys: list[str | int] = []
    for step in steps:
        if isinstance(step, Member) and len(step.names) == 1:
            keys.append(step.names[0])
        elif isinstance(step, Element) and len(step.indexes) == 1:
            keys.append(step.indexes[0])
        else:
            return None
    return tuple(keys)


# Reference paths. The shapes below are nine tenths of all paths; each is one call of one small function.
# `document: Any`: asking the type first would double the time of a lookup.


def _rooted(root: str, keys: Keys) -> _Select:
    if root != "$":
        return _with_root(root, _walk(keys))
    if not keys:
        return lambda document, env: document
    first = keys[0]
    if len(keys) == 1 and isinstance(first, str):
        return _one_name(first, keys)
    if len(keys) == 2 and isinstance(first, str) and isinstance(keys[1], str):
        return _two_names(first, keys[1], keys)
    if all(isinstance(key, str) for key in keys):
        return _names(keys)
    last = keys[-1]
    if isinstance(last, int) and all(isinstance(key, str) for key in keys[:-1]):
        return _names_and_index(keys[:-1], last, keys)
    walk = _walk(keys)
    return lambda document, env: walk(document)


def _one_name(name: str, keys: Keys) -> _Select:
    def select(document: Any, env: Environment) -> Json:
        try:
            return document[name]  # type: ignore[no-any-return]  # as above
        except (KeyError, TypeError):
            raise _explained(keys, document) from None

    return select


def _two_names(first: str, second: str, keys: Keys) -> _Select:
    def select(document: Any, env: Environment) -> Json:
        try:
            return document[first][second]  # type: ignore[no-any-return]  # as above
        except (KeyError, TypeError):
            raise _explained(keys, document) from None

    return select


def _names(keys: Keys) -> _Select:
    def select(document: Any, env: Environment) -> Json:
        value = document
        try:
            for name in keys:
                value = value[name]
        except (KeyError, TypeError):
            raise _explained(keys, document) from None
        return value  # type: ignore[no-any-return]  # as above

    return select


def _names_and_index(names: Keys, index: int, keys: Keys) -> _Select:
    def select(document: Any, env: Environment) -> Json:
        value = document
        try:
            for name in names:
                value = value[name]
            if value.__class__ is list:
                return value[index]  # type: ignore[no-any-return]  # as above
        except (KeyError, TypeError, IndexError):
            pass
        raise _explained(keys, document)

    return select


def _walk(keys: Keys) -> _Find:
    """Names and indexes; a text is never indexed, which Python would do."""

    def find(document: Any) -> Json:
        value = document
        try:
            for key in keys:
                if value.__class__ is str:
                    raise TypeError
                value = value[key]
        except (KeyError, TypeError, IndexError):
            raise _explained(keys, document) from None
        return value  # type: ignore[no-any-return]  # as above

    return find


def _with_root(root: str, find: _Find) -> _Select:
    if root == "$":
        return lambda document, env: find(document)
    if root == "$$":
        return lambda document, env: find(env.context)

    def select(document: Json, env: Environment) -> Json:
        try:
            value = env.variable(root)
        except KeyError:
            # AWS's sentence for an unassigned variable is not known [U].
            raise PathNotFound(f"The variable ${root} has not been assigned a value") from None
        return find(value)

    return select


def _explained(keys: Keys, document: Json) -> PathNotFound:
    """Why plain keys select nothing: Jayway's sentences, two of them recorded on AWS (errors.md 3.1) [A]."""
    value = document
    walked = "$"
    for place, key in enumerate(keys):
        last = place == len(keys) - 1
        if isinstance(key, str):
            if not isinstance(value, dict):
                return _not_an_object(f"['{key}']", walked, value)
            if key not in value:
                if last:
                    return PathNotFound(f"No results for path: {_shown(keys)}")
                return PathNotFound(f"Missing property in path {walked}['{key}']")
            value = value[key]
        else:
            if not isinstance(value, list):
                return _not_a_list(_shown(keys[place:], ""), walked, value)
            if not -len(value) <= key < len(value):
                return PathNotFound(f"No results for path: {_shown(keys)}", is_index=last)
            value = value[key]
        walked += _shown((key,), "")
    return PathNotFound(f"No results for path: {_shown(keys)}")


def _shown(keys: Keys, root: str = "$") -> str:
    return root + "".join([f"['{key}']" if isinstance(key, str) else f"[{key}]" for key in keys])


def _not_an_object(fragment: str, walked: str, value: Json) -> PathNotFound:
    return PathNotFound(
        f"Expected to find an object with property {fragment} in path {walked} but found "
        f"'{_java_class(value)}'. This is not a json object according to the JsonProvider: '{_JSON_PROVIDER}'."
    )


def _not_a_list(fragment: str, walked: str, value: Json) -> PathNotFound:
    if value is None:
        return PathNotFound(f"The path {walked} is null", is_misuse=True)
    try:
        context = java_text(value)
    except RecursionError:
        context = "a value nested too deeply"
    reason = f"Filter: {fragment} can only be applied to arrays. Current context is: {context}"
    return PathNotFound(reason, is_misuse=True)


def _java_class(value: Json) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "java.lang.Boolean"
    if isinstance(value, int):
        return "java.lang.Integer" if -(2**31) <= value < 2**31 else "java.lang.Long"
    if isinstance(value, float):
        return "java.lang.Double"
    return "java.lang.String" if isinstance(value, str) else "net.minidev.json.JSONArray"


# All other paths. jsonpath_ng is loaded when the first of them is compiled.


def _finder(steps: tuple[Step, ...]) -> _Find:
    keys = _keys(steps[:-1])
    last = steps[-1]
    if keys is not None and isinstance(last, Member):
        return _picking(keys, last.names)
    from asfn.language import path_closures

    if keys is not None and isinstance(last, Call):
        find, apply = _walk(keys), path_closures.compile_call(last)
        return _refusing(lambda document: apply(find(document), document))
    values = path_closures.compile_values(steps)
    if is_definite(steps):
        return _refusing(lambda document: values(document)[0])
    return _refusing(values)


def _picking(keys: Keys, names: tuple[str, ...]) -> _Find:
    """Plain keys, then several names: one object of the members that are there."""
    find = _walk(keys)

    def pick(document: Json) -> Json:
        value = find(document)
        if not isinstance(value, dict):
            fragment = "[" + ",".join([f"'{name}'" for name in names]) + "]"
            raise _not_an_object(fragment, _shown(keys), value)
        return {name: value[name] for name in names if name in value}

    return pick


def _refusing(evaluate: Callable[[Json], Any]) -> _Find:
    """An evaluation that is given up, or a function that does not fit its value, selects nothing."""
    from asfn.language.path_nodes import TooManyVisits
    from asfn.language.path_operators import CannotApply

    def find(document: Json) -> Json:
        try:
            return evaluate(document)  # type: ignore[no-any-return]  # lists of Json are Json, which mypy cannot see
        except (TooManyVisits, RecursionError):
            raise PathNotFound("The path visits too many values, or values nested too deeply") from None
        except CannotApply as error:
            raise PathNotFound(str(error)) from None

    return find
