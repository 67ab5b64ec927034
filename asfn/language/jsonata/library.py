"""The language's functions for the pure engine: jsonata-python's where they are right, ours where they are not.

Every function gets its arguments after its signature was checked: undefined is None, JSON null is NULL. Errors are
EvaluationFailed with the reference's codes; text, lists and pictures are bounded.
"""

from __future__ import annotations

import base64
import functools
import math
import re
from collections.abc import Callable
from typing import Any, Final

from asfn.language.jsonata import dialect, texts
from asfn.language.jsonata.failures import (
    MEMORY_LIMIT,
    EvaluationFailed,
    non_finite_name,
)
from asfn.language.jsonata.items import NULL, Item, failed, is_number, key, with_nulls
from asfn.language.jsonata.port import Functions, Utils
from asfn.language.jsonata.regex import Pattern
from asfn.language.jsonata.seam import DEFAULT_LIMITS, UNDEFINED

_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([Ee][-+]?[0-9]+)?")
_RADIX: Final = re.compile(r"0[xX][0-9A-Fa-f]+|0[oO][0-7]+|0[bB][01]+")
_INSTANT: Final = re.compile(
    r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:T(\d{2}):(\d{2})(?::(\d{2})(?:\.(\d+))?)?(Z|[+-]\d{2}:?\d{2})?)?)?)?"
)
_LONGEST_PICTURE: Final = 1_000


def _number(value: Item) -> Item:
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and _RADIX.fullmatch(value):
        return int(value, 0)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        number = float(value) if not value.lstrip("-").isdigit() else int(value) if len(value) < 400 else math.inf
        if math.isfinite(number):
            return number
    raise failed("D3030", value)


def _power(base: Item, exponent: Item) -> Item:
    if base is None or exponent is None:
        return None
    try:
        result = float(base) ** float(exponent)
    except (OverflowError, ZeroDivisionError):
        raise failed("D3061", base, exponent) from None
    if isinstance(result, complex) or not math.isfinite(result):
        raise failed("D3061", base, exponent)
    return result


def _sqrt(value: Item) -> Item:
    if value is not None and value < 0:
        raise failed("D3060", value)
    return None if value is None else math.sqrt(value)


def _round(value: Item, precision: Item) -> Item:
    if value is None:
        return None
    if isinstance(value, int) and (precision is None or precision >= 0):
        return value
    import decimal

    digits = int(precision or 0)
    if abs(digits) > 400:
        return value if digits > 0 else 0
    with decimal.localcontext(prec=1_500):
        return float(round(decimal.Decimal(str(value)), digits))


def _floor(value: Item) -> Item:
    return value if value is None or isinstance(value, int) else math.floor(value)


def _ceil(value: Item) -> Item:
    return value if value is None or isinstance(value, int) else math.ceil(value)


def _abs(value: Item) -> Item:
    return None if value is None else abs(value)


def _sum(numbers: Item) -> Item:
    if numbers is None:
        return None
    try:
        return sum(numbers) if all(type(n) is int for n in numbers) else math.fsum(()) + sum(map(float, numbers))
    except OverflowError:
        return math.inf


def _average(numbers: Item) -> Item:
    return None if not numbers else _sum(numbers) / len(numbers)


def _sorted(items: Item, comparator: Item) -> Item:
    if items is None or len(items) <= 1:
        return items
    if comparator is None:
        if not (all(isinstance(i, str) for i in items) or all(is_number(i) for i in items)):
            raise failed("D3070")
        return sorted(items)
    return sorted(items, key=functools.partial(_Ordered, comparator))


class _Ordered:
    """A member being sorted by a function that says whether its first argument belongs behind its second."""

    __slots__ = ("comparator", "value")

    def __init__(self, comparator: Item, value: Item) -> None:
        self.comparator = comparator
        self.value = value

    def __lt__(self, other: _Ordered) -> bool:
        return bool(Functions.to_boolean(Functions.func_apply(self.comparator, [other.value, self.value])))


def _distinct(items: Item) -> Item:
    if not isinstance(items, list) or len(items) <= 1:
        return items
    kept = {key(item): item for item in reversed(items)}
    values = [kept[k] for k in dict.fromkeys(map(key, items))]
    return Utils.create_sequence_from_iter(values) if isinstance(items, Utils.JList) and items.sequence else values


def _zip(*lists: Item) -> Item:
    if any(member is None for member in lists):
        return []
    if min(map(len, lists)) * len(lists) > DEFAULT_LIMITS.elements:
        raise EvaluationFailed(None, MEMORY_LIMIT)
    return [list(row) for row in zip(*lists, strict=False)]


def _merge(objects: Item) -> Item:
    if objects is None:
        return None
    return {name: member for part in objects for name, member in part.items()}


def _count(items: Item) -> Item:
    return 0 if items is None else len(items)


def _error(message: Item) -> Item:
    raise failed("D3137", "$error() function evaluated" if message is None else message)


def _assert(condition: Item, message: Item) -> Item:
    if not condition:
        raise failed("D3141", "$assert() statement failed" if message is None else message)
    return None


def _type(value: Item) -> Item:
    return "function" if isinstance(value, Pattern) else Functions.type(value)


def _picture(function: Callable[..., Item]) -> Callable[..., Item]:
    """A function of the port with a picture: bounded, and its plain exceptions given their codes."""

    @functools.wraps(function)
    def call(value: Item, picture: Item = None, *rest: Item) -> Item:
        if value is None:
            return None
        if isinstance(picture, str) and len(picture) > _LONGEST_PICTURE:
            raise EvaluationFailed(None, MEMORY_LIMIT)
        try:
            return function(value, picture, *rest)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, re.error) as error:
            raise _coded(error, value, picture) from None

    return call


_PICTURE_TEXTS: Final = (
    ("as a sequence", "D3130"),
    ("same decimal group", "D3131"),
    ("Unknown component", "D3132"),
    ("'name' modifier", "D3133"),
    ("four digits", "D3134"),
    ("closing bracket", "D3135"),
    ("missing specifiers", "D3136"),
)


def _coded(error: Exception, value: Item, picture: Item) -> Exception:
    code = getattr(error, "error", None)
    if isinstance(code, str) and re.fullmatch(r"[TDS]\d{4}", code):
        return failed(code, picture)
    for part, code in _PICTURE_TEXTS:
        if part in str(error):  # these are texts of the port
            return failed(code, picture)
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        return failed("D3132", error.args[0])
    if isinstance(value, str):
        return failed("D3110", value)
    return EvaluationFailed(None, "")


def _to_millis(text: Item, picture: Item = None) -> Item:
    if text is None or picture is not None:
        return None if text is None else Functions.datetime_to_millis(text, picture)
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise failed("D3110", text)
    import datetime

    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime.datetime(
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0),
            tzinfo=datetime.UTC,
        )  # fmt: skip
    except ValueError:
        raise failed("D3110", text) from None
    offset = 0
    if zone and zone != "Z":
        offset = (int(zone[1:3]) * 60 + int(zone[-2:])) * (-60 if zone[0] == "-" else 60)
    millis = int(((fraction or "") + "000")[:3])
    return (int(moment.timestamp()) - offset) * 1_000 + millis


def _parse_integer(text: Item, picture: Item) -> Item:
    """NaN for a text the picture cannot read ([A])."""
    try:
        number = Functions.parse_integer(text, picture)
    except (ValueError, KeyError, TypeError):
        return math.nan
    return math.nan if number is None else number


def _format_number(value: Item, picture: Item, options: Item = None) -> Item:
    names = {"decimal-separator": ".", "grouping-separator": ",", "digit": "#", "pattern-separator": ";"}
    symbols = {name: (options or {}).get(name, default) for name, default in names.items()}
    zero = ord((options or {}).get("zero-digit", "0"))
    active = set(symbols.values()) | {chr(zero + digit) for digit in range(10)}
    if any(not active.intersection(part) for part in picture.split(symbols["pattern-separator"])):
        raise failed("D3086")
    if isinstance(value, float) and not math.isfinite(value):
        return non_finite_name(value)
    return Functions.format_number(value, picture, options)


def _round_base(value: Item, radix: Item) -> Item:
    if value is None:
        return None
    base = 10 if radix is None else int(radix)
    if not 2 <= base <= 36:
        raise failed("D3100", base)
    return Functions.base_repr(int(_round(value, 0)), base).lower()


def _extra(name: str, function: Callable[..., Any], count: int) -> Callable[..., Item]:
    """One of AWS's functions as the evaluator calls it; a surplus argument is refused by its number."""

    def call(*arguments: Item) -> Item:
        if len(arguments) > count and arguments[count] is not None:
            raise dialect.mismatch(name, count + 1)
        plain = [UNDEFINED if a is None else None if a is NULL else a for a in arguments[:count]]
        plain += [UNDEFINED] * (count - len(plain))
        result = function(*plain)
        return None if result is UNDEFINED else with_nulls(result)

    return call


FUNCTIONS: Final[dict[str, tuple[str, Callable[..., Item]]]] = {
    "abs": ("<n-:n>", _abs),
    "append": ("<xx:a>", Functions.append),
    "assert": ("<bs?:x>", _assert),
    "average": ("<a<n>:n>", _average),
    "base64decode": ("<s-:s>", texts.base64decode),
    "base64encode": ("<s-:s>", lambda text: None if text is None else base64.b64encode(text.encode()).decode()),
    "boolean": ("<x-:b>", Functions.to_boolean),
    "ceil": ("<n-:n>", _ceil),
    "clone": ("<(oa)-:o>", lambda value: value),
    "contains": ("<s-(sf):b>", texts.contains),
    "count": ("<a:n>", _count),
    "decodeUrl": ("<s-:s>", texts.url(Functions.decode_url, "decodeUrl")),
    "decodeUrlComponent": ("<s-:s>", texts.url(Functions.decode_url_component, "decodeUrlComponent")),
    "distinct": ("<x:x>", _distinct),
    "each": ("<o-f:a>", Functions.each),
    "encodeUrl": ("<s-:s>", texts.url(Functions.encode_url, "encodeUrl")),
    "encodeUrlComponent": ("<s-:s>", texts.url(Functions.encode_url_component, "encodeUrlComponent")),
    "error": ("<s?:x>", _error),
    "exists": ("<x:b>", Functions.exists),
    "filter": ("<af>", Functions.filter),
    "floor": ("<n-:n>", _floor),
    "formatBase": ("<n-n?:s>", _round_base),
    "formatInteger": ("<n-s:s>", _picture(Functions.format_integer)),
    "formatNumber": ("<n-so?:s>", _picture(_format_number)),
    "fromMillis": ("<n-s?s?:s>", _picture(Functions.datetime_from_millis)),
    "join": ("<a<s>s?:s>", texts.join),
    "keys": ("<x-:a<s>>", Functions.keys),
    "length": ("<s-:n>", lambda text: None if text is None else len(text)),
    "lookup": ("<x-s:x>", Functions.lookup),
    "lowercase": ("<s-:s>", lambda text: None if text is None else text.lower()),
    "map": ("<af>", Functions.map),
    "match": ("<s-f<s:o>n?:a<o>>", texts.match),
    "max": ("<a<n>:n>", lambda numbers: max(numbers) if numbers else None),
    "merge": ("<a<o>:o>", _merge),
    "min": ("<a<n>:n>", lambda numbers: min(numbers) if numbers else None),
    "not": ("<x-:b>", Functions.not_),
    "number": ("<(nsb)-:n>", _number),
    "pad": ("<s-ns?:s>", texts.pad),
    "parseInteger": ("<s-s:n>", _picture(_parse_integer)),
    "power": ("<n-n:n>", _power),
    "reduce": ("<afj?:j>", Functions.fold_left),
    "replace": ("<s-(sf)(sf)n?:s>", texts.replace),
    "reverse": ("<a:a>", Functions.reverse),
    "round": ("<n-n?:n>", _round),
    "sift": ("<o-f?:o>", Functions.sift),
    "single": ("<af?>", Functions.single),
    "sort": ("<af?:a>", _sorted),
    "split": ("<s-(sf)n?:a<s>>", texts.split),
    "spread": ("<x-:a<o>>", Functions.spread),
    "sqrt": ("<n-:n>", _sqrt),
    "string": ("<x-b?:s>", texts.string),
    "substring": ("<s-nn?:s>", Functions.substring),
    "substringAfter": ("<s-s:s>", Functions.substring_after),
    "substringBefore": ("<s-s:s>", Functions.substring_before),
    "sum": ("<a<n>:n>", _sum),
    "toMillis": ("<s-s?:n>", _picture(_to_millis)),
    "trim": ("<s-:s>", Functions.trim),
    "type": ("<x:s>", _type),
    "uppercase": ("<s-:s>", lambda text: None if text is None else text.upper()),
    "zip": ("<a+>", _zip),
}


def for_environment(env: Any) -> dict[str, tuple[str, Callable[..., Item]]]:
    """The functions that read the environment: time, randomness, ids."""

    def now(picture: Item = None, zone: Item = None) -> Item:
        return _picture(Functions.datetime_from_millis)(int(env.now * 1_000), picture, zone)

    def shuffle(items: Item) -> Item:
        mixed = list(items or ())
        for place in range(len(mixed) - 1, 0, -1):
            other = int(env.random() * (place + 1))
            mixed[place], mixed[other] = mixed[other], mixed[place]
        return None if items is None else mixed

    functions: dict[str, tuple[str, Callable[..., Item]]] = {
        "now": ("<s?s?:s>", now),
        "millis": ("<:n>", lambda: int(env.now * 1_000)),
        "shuffle": ("<a:a>", shuffle),
    }
    for name, (count, function) in dialect.aws_functions(env).items():
        functions[name] = ("<" + "x?" * (count + 1) + ":x>", _extra(name, function, count))
    return functions
