"""JSON values as the Java service prints and compares them: number texts, map form, rounding, equality.

`States.Format` and error texts show Java's forms (asl.md section 5); documents are printed by `_json.encode`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Hashable
from decimal import Decimal
from typing import Final, TypeAlias

from asfn._json import Json, encode

Number: TypeAlias = int | float

_PLAIN_FROM: Final = 1e-3
_PLAIN_BELOW: Final = 1e7
_MASK_32: Final = 0xFFFFFFFF


def is_number(value: Json) -> bool:
    """Whether a value is a JSON number; Python's booleans are ints but no JSON numbers."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def number_text(value: Number) -> str:
    """A number as Java prints it: integers in full, doubles by the rule of Double.toString.

    From 0.001 up to 10,000,000 plain with at least one fraction digit, else as `1.0E22`, `1.5E-7`.
    """
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return "NaN" if value != value else ("Infinity" if value > 0 else "-Infinity")
    if value == 0 or _PLAIN_FROM <= abs(value) < _PLAIN_BELOW:
        plain = repr(value)
        return plain if "e" not in plain else f"{Decimal(plain):f}"
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)).rstrip("0")
    scale = exponent + len(digits) - 1
    return f"{'-' if sign else ''}{text[0]}.{text[1:] or '0'}E{scale}"


def json_text(value: Json) -> str:
    """Compact JSON with Java's number texts, as JsonToString gives it. Raises JsonError.

    A value without a fraction number takes the fast encoder.
    """
    return _written(value) if _holds_float(value) else encode(value)


def java_text(value: Json) -> str:
    """A value as Java's String.valueOf shows it in a text: `{Arg1=1, Arg2=[]}` [A], `[a, 1.0E22, null]`."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={java_text(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(java_text, value)) + "]"
    return number_text(value)


def round_half_up(value: Number) -> int:
    """The nearest integer, halves towards +infinity: 1.5 -> 2, -1.5 -> -1, -2.5 -> -2 [A]."""
    if isinstance(value, int):
        return value
    below = math.floor(value)
    return below + 1 if value - below >= 0.5 else below


def same(left: Json, right: Json) -> bool:
    """Deep equality of JSON values: true is not 1; 1 and 1.0 are equal [U]; member order does not matter."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict):
        if not isinstance(right, dict) or len(left) != len(right):
            return False
        return all(key in right and same(member, right[key]) for key, member in left.items())
    if isinstance(left, list):
        if not isinstance(right, list) or len(left) != len(right):
            return False
        return all(same(mine, yours) for mine, yours in zip(left, right, strict=True))
    return left == right


def identity(value: Json) -> Hashable:
    """A key that is equal for two values exactly when Java's `equals` holds, 1 and 1.0 are two; costs one walk."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, float):
        return ("float", value)
    if isinstance(value, dict):
        return ("object", frozenset((key, identity(member)) for key, member in value.items()))
    if isinstance(value, list):
        return ("list", tuple(map(identity, value)))
    return value


def distinct(values: list[Json]) -> list[Json]:
    """The different ones of some values, in the order in which a Java HashSet of them is read.

    Measured on AWS: [true, false, true] gives [false, true], and [[1, 2], [2, 1]] comes back the other way round.
    """
    kept: dict[Hashable, Json] = {}
    for value in values:
        kept.setdefault(identity(value), value)
    last = (1 << max(int(len(values) / 0.75), 15).bit_length()) - 1  # of a table made for all the values

    def bucket(value: Json) -> int:
        code = _hash_code(value)
        return (code ^ code >> 16) & last

    return sorted(kept.values(), key=bucket)


def _hash_code(value: Json) -> int:
    """Java's hashCode of a value, as 32 bits without a sign."""
    code = 0
    if isinstance(value, bool):
        return 1231 if value else 1237
    if isinstance(value, int):
        if -(2**31) <= value < 2**31:
            return value & _MASK_32
        if -(2**63) <= value < 2**63:
            return (value ^ value >> 32) & _MASK_32
        size = (abs(value).bit_length() + 31) // 32
        for place in reversed(range(size)):
            code = 31 * code + (abs(value) >> 32 * place & _MASK_32)
        return (code if value > 0 else -code) & _MASK_32
    if isinstance(value, float):
        high, low = struct.unpack(">II", struct.pack(">d", value))
        return int(high ^ low)
    if isinstance(value, str):
        for (unit,) in struct.iter_unpack(">H", value.encode("utf-16-be", "surrogatepass")):
            code = (31 * code + unit) & _MASK_32
    elif isinstance(value, dict):
        code = sum(_hash_code(key) ^ _hash_code(member) for key, member in value.items()) & _MASK_32
    elif isinstance(value, list):
        code = 1
        for element in value:
            code = (31 * code + _hash_code(element)) & _MASK_32
    return code


def _written(value: Json) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return number_text(value)
    if isinstance(value, dict):
        return "{" + ",".join([f"{encode(key)}:{_written(member)}" for key, member in value.items()]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_written(member) for member in value]) + "]"
    return encode(value)


def _holds_float(value: Json) -> bool:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, float):
            return True
    return False
