"""The fast lane: a variable followed by names, such as `$states.input.order.id`, read without an engine.

Maps to the language's own rules as long as every step is taken on an object; a list on the way means mapping and
flattening, which is left to the engine (LIST). A list at the end of the path is the value itself.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from asfn.language.jsonata.seam import UNDEFINED, Undefined

if TYPE_CHECKING:
    from asfn._json import Json
    from asfn.language.environment import Environment


class Lists(enum.Enum):
    """The type of LIST: a path met a list before its end."""

    LIST = "LIST"


LIST: Final = Lists.LIST
Reader: TypeAlias = "Callable[[Environment, dict[str, Json]], Json | Undefined | Lists]"
_MISSING: Final = object()
_PLAIN: Final = re.compile(r"\$([^\W\d]\w*)((?:\s*\.\s*(?:[^\W\d]\w*|`[^`]+`))*)")
_NAME: Final = re.compile(r"[^\W\d]\w*|`[^`]+`")
_KEYWORDS: Final = frozenset(("and", "or", "in", "true", "false", "null", "function"))


def plain_path(source: str) -> tuple[str, tuple[str, ...]] | None:
    """The variable and the names of a plain path, or None when the expression is anything else."""
    match = _PLAIN.fullmatch(source)
    if match is None:
        return None
    names = _NAME.findall(match.group(2))
    if _KEYWORDS.intersection(names):
        return None
    return match.group(1), tuple(name.strip("`") for name in names)


def follow(value: Json, names: tuple[str, ...]) -> Json | Undefined | Lists:
    """The value at the end of `names`, UNDEFINED when a step finds nothing, LIST when one meets a list."""
    for name in names:
        if type(value) is dict:
            found = value.get(name, _MISSING)
            if found is _MISSING:
                return UNDEFINED
            value = found  # type: ignore[assignment]  # _MISSING is dealt with above
        elif type(value) is list:
            return LIST
        else:
            return UNDEFINED
    return value


def reader(variable: str, names: tuple[str, ...]) -> Reader | None:
    """A function that reads a plain path from the environment and the members of `$states`.

    None for `$states` alone, which is put together from its members.
    """
    if variable != "states":

        def read_variable(env: Environment, states: dict[str, Json]) -> Json | Undefined | Lists:
            try:
                value = env.variable(variable)
            except KeyError:
                return UNDEFINED
            return follow(value, names) if names else value

        return read_variable
    if not names:
        return None
    member, rest = names[0], names[1:]
    if member == "context":
        return lambda env, states: follow(env.context, rest)

    def read_member(env: Environment, states: dict[str, Json]) -> Json | Undefined | Lists:
        value: Any
        try:
            value = states[member]
            for name in rest:
                value = value[name]
        except KeyError:
            return UNDEFINED
        except TypeError:  # a list, a scalar or null on the way
            return follow(states[member], rest)
        return value  # type: ignore[no-any-return]

    return read_member


def whole(value: Json) -> Json:
    """A scalar as the language prints it: 1.0 is 1 ([A] for `$parse` and the input)."""
    if type(value) is float and value.is_integer() and abs(value) < 2**63:
        return int(value)
    return value
