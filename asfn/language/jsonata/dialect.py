"""The functions AWS adds to the language, as plain functions over JSON values, the same for both engines.

An argument that is undefined is UNDEFINED, JSON null is None; a result may be UNDEFINED. Facts: asl.md 3.3 and the
dated measurements published with it; their error texts are AWS's ([A] unless marked).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from asfn import _json
from asfn.language.jsonata.failures import MEMORY_LIMIT, EvaluationFailed, render
from asfn.language.jsonata.seam import DEFAULT_LIMITS, UNDEFINED, Result

if TYPE_CHECKING:
    from asfn._json import Json
    from asfn.language.environment import Environment

Argument: TypeAlias = Result
_ALGORITHMS: Final = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}
_LONG: Final = 2**63


def mismatch(function: str, position: int) -> EvaluationFailed:
    """The refusal of an argument, counted from 1."""
    return EvaluationFailed("T0410", render("T0410", (position, function)))


def _custom(message: str) -> EvaluationFailed:
    return EvaluationFailed("D3137", message)


def parse(text: Argument) -> Result:
    """`$parse(text)`: the value of a JSON text; numbers follow the language's model."""
    if text is UNDEFINED:
        return UNDEFINED
    if not isinstance(text, str):
        raise mismatch("parse", 1)
    try:
        return normal(_json.decode(text))
    except _json.JsonError:
        raise _custom("Invalid JSON") from None


def partition(items: Argument, size: Argument) -> Result:
    """`$partition(list, size)`: lists of `size` members, the last one shorter."""
    if items is UNDEFINED:
        return UNDEFINED
    if not isinstance(items, list):
        raise EvaluationFailed("T0412", 'Argument 1 of function "partition" must be an array of undefined')
    if not items:
        return UNDEFINED
    if size is UNDEFINED:
        return [items]
    step = _toward_zero(size, "partition", 2)
    if step < 0:
        raise _custom("Second argument must be zero or greater")
    if step == 0:
        return UNDEFINED
    return [items[start : start + step] for start in range(0, len(items), step)]


def range_(start: Argument, end: Argument, step: Argument) -> Result:
    """`$range(start, end, step)`: end included when a step lands on it; one member collapses to the number."""
    first, last = _toward_zero(start, "range", 1), _toward_zero(end, "range", 2)
    if step is UNDEFINED:
        return UNDEFINED
    by = _toward_zero(step, "range", 3)
    if by == 0 or (last - first) * by < 0:
        return UNDEFINED
    numbers = range(first, last + (1 if by > 0 else -1), by)
    if len(numbers) > DEFAULT_LIMITS.range_elements:
        raise EvaluationFailed(None, MEMORY_LIMIT)
    return first if len(numbers) == 1 else list(numbers)


def hash_(text: Argument, algorithm: Argument) -> Result:
    """`$hash(text, algorithm)`: the digest of the UTF-8 text in lower case hex."""
    if not isinstance(text, str):
        raise mismatch("hash", 1)
    if algorithm is UNDEFINED:
        return UNDEFINED
    if not isinstance(algorithm, str):
        raise mismatch("hash", 2)
    name = _ALGORITHMS.get(algorithm)
    if name is None:
        raise _custom(f"Hash algorithm '{algorithm}' must be one of SHA-1, SHA-384, SHA-256, SHA-512, MD5")
    return hashlib.new(name, text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def seeded_random(seed: int) -> float:
    """The first `nextDouble` of Java's generator with this seed ([A] for seed 42)."""
    mask = (1 << 48) - 1
    state = (seed ^ 0x5DEECE66D) & mask
    state = (state * 0x5DEECE66D + 0xB) & mask
    high = state >> 22
    state = (state * 0x5DEECE66D + 0xB) & mask
    return ((high << 27) + (state >> 21)) / (1 << 53)


def aws_functions(env: Environment) -> dict[str, tuple[int, Callable[..., Result]]]:
    """The six functions by name: how many arguments each takes, and the function."""

    def random(seed: Argument) -> Result:
        return env.random() if seed is UNDEFINED else seeded_random(_toward_zero(seed, "random", 1))

    return {
        "parse": (1, parse),
        "partition": (2, partition),
        "range": (3, range_),
        "hash": (2, hash_),
        "random": (1, random),
        "uuid": (0, env.uuid),
    }


def normal(value: Json) -> Json:
    """A JSON value in the language's numbers: whole numbers are integers up to 64 bits, doubles beyond ([A])."""
    if isinstance(value, dict):
        return {name: normal(member) for name, member in value.items()}
    if isinstance(value, list):
        return [normal(member) for member in value]
    if type(value) is float and value.is_integer() and abs(value) < _LONG:
        return int(value)
    if type(value) is int and not -_LONG <= value < _LONG:
        try:
            return float(value)
        except OverflowError:
            raise _json.JsonError("a number beyond a double") from None
    return value


def _toward_zero(value: Argument, function: str, position: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise mismatch(function, position)
    if isinstance(value, float) and not math.isfinite(value):
        raise mismatch(function, position)
    return max(-_LONG, min(_LONG - 1, int(value)))
