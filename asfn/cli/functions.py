"""The `--functions` option: from `module:attr` to functions that an engine can call."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from types import ModuleType
from typing import Any, Final

from asfn import Engine
from asfn.cli.exits import Refused
from asfn.cli.output import plain
from asfn.errors import AsfnError

HELP: Final = (
    "Where the Tasks' Python functions are. MODULE: its public functions, by name (charge_card answers charge-card "
    "too). MODULE:ATTR: a dict of name or ARN -> function; or a function of (engine) that registers them; or an "
    "object whose public methods are the functions. The current directory can be imported from."
)

Function = Callable[..., Any]  # Any: a user's function, checked when it is registered


async def register(engine: Engine, spec: str) -> None:
    """Let an engine call what `module:attr` names. Raises Refused, in one sentence, for whatever is wrong with it."""
    source = _find(spec)
    if isinstance(source, Engine):
        raise Refused(
            f"--functions {plain(spec)} is an Engine of its own: give a function of (engine) that registers on it"
        )
    with redirect_stdout(sys.stderr):
        if callable(source) and not isinstance(source, (type, Mapping, ModuleType)):
            await _call(spec, source, engine)
            return
        functions = _functions(spec, source)
    for name, function in functions.items():
        try:
            engine.register(name, function)
        except (AsfnError, TypeError) as error:
            raise Refused(f"--functions {plain(spec)}: {error}") from error


def _find(spec: str) -> Any:  # Any: whatever the user's module holds
    module_name, colon, path = spec.partition(":")
    if (colon and not path) or not all(part.isidentifier() for part in module_name.split(".")):
        raise Refused(f"--functions {plain(spec)!r}: write MODULE or MODULE:ATTR, as in app.tasks:FUNCTIONS")
    if module_name.endswith(".py"):
        raise Refused(f"--functions {plain(spec)!r}: write the module's name, without .py")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    source: Any = _import(module_name)
    for name in path.split(".") if path else ():
        try:
            source = getattr(source, name)
        except AttributeError as error:
            raise Refused(f"--functions {plain(spec)}: {module_name} has no {plain(path)!r}") from error
    return source


def _import(name: str) -> ModuleType:
    try:
        with redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise Refused(
                f"there is no module {name!r} to import functions from, here ({plain(os.getcwd())}) or installed"
            ) from error
        raise Refused(f"importing {name} failed: {_told(error)}") from error
    except (Exception, SystemExit) as error:
        raise Refused(f"importing {name} failed: {_told(error)}") from error


async def _call(spec: str, source: Function, engine: Engine) -> None:
    try:
        answer = source(engine)
        if inspect.isawaitable(answer):
            await answer
    except (Exception, SystemExit) as error:
        raise Refused(
            f"--functions {plain(spec)} was called with the engine, to register functions, and failed: {_told(error)}"
        ) from error


def _told(error: BaseException) -> str:
    """An exception of the user's code in one line, with the place where it came from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError) or not frames:  # a SyntaxError names its place itself
        return told
    return f"{told} ({frames[-1].filename}, line {frames[-1].lineno})"


def _functions(spec: str, source: object) -> dict[str, Function]:
    """The functions of a mapping, a module or an object, by the names they answer to."""
    if isinstance(source, Mapping):
        for name, function in source.items():
            if not isinstance(name, str) or not callable(function):
                raise Refused(f"--functions {plain(spec)}: {name!r} is not a name with a function")
        return dict(source)
    found: dict[str, Function] = {}
    for name in dir(source):
        if name.startswith("_"):
            continue
        value: Any = getattr(source, name, None)  # Any: checked by the next line
        if _serves(source, value):
            found.setdefault(name.replace("_", "-"), value)
            found[name] = value
    if not found:
        raise Refused(f"--functions {plain(spec)} holds no public functions")
    return found


def _serves(source: object, value: object) -> bool:
    """Whether a member is a function to offer: of a module those it defines itself, of an object its methods."""
    if not callable(value) or isinstance(value, type):
        return False
    return not isinstance(source, ModuleType) or getattr(value, "__module__", None) == source.__name__
