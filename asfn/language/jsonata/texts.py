"""The language's functions over texts, for the pure engine: `$string`, `$pad`, `$match`, `$replace` and the like."""

from __future__ import annotations

import base64 as codec
import json
import math
import re
from collections.abc import Callable, Iterator

from asfn.language.jsonata.failures import MEMORY_LIMIT, TIME_LIMIT, EvaluationFailed
from asfn.language.jsonata.items import NULL, Item, failed, is_number
from asfn.language.jsonata.port import Functions, Utils
from asfn.language.jsonata.regex import Match, Pattern, PatternTooCostly
from asfn.language.jsonata.seam import DEFAULT_LIMITS


def number_text(value: int | float) -> str:
    """A number as `$string` writes it ([A] 1e20 in full, 1e21 as an exponent; fractions to 15 digits)."""
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        raise failed("D3001")
    if value.is_integer() and abs(value) < 1e21:
        digits, _, exponent = repr(value).partition("e")
        if not exponent:
            return str(int(value))
        whole, _, fraction = digits.lstrip("-").partition(".")
        return ("-" if value < 0 else "") + (whole + fraction).ljust(int(exponent) + 1, "0")
    short = float(f"{value:.15g}")
    text = repr(short)
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        power = int(exponent)
        if -7 < power < 0:
            return f"{short:.{len(mantissa.lstrip('-').replace('.', '')) - power - 1}f}"
        return f"{mantissa.removesuffix('.0')}e{power:+d}"
    return text.removesuffix(".0")


def text_of(value: Item, prettify: bool = False) -> str:
    """What `$string` gives: texts as they are, functions as "", anything else as JSON."""
    if isinstance(value, str):
        return value
    budget = [DEFAULT_LIMITS.value_bytes]
    return "".join(_pieces(value, "\n" if prettify else "", budget))


def _pieces(value: Item, line: str, budget: list[int]) -> Iterator[str]:
    if isinstance(value, dict):
        yield from _members(((json.dumps(k, ensure_ascii=False), v) for k, v in value.items()), "{}", line, budget)
        return
    if isinstance(value, list):
        yield from _members(((None, v) for v in value), "[]", line, budget)
        return
    if value is NULL or value is None:
        piece = "null"
    elif isinstance(value, bool):
        piece = "true" if value else "false"
    elif isinstance(value, (int, float)):
        piece = number_text(value)
    elif isinstance(value, str):
        piece = json.dumps(value, ensure_ascii=False)
    else:
        piece = '""' if line != "" or budget[0] < DEFAULT_LIMITS.value_bytes else ""
    _spend(budget, len(piece))
    yield piece


def _members(members: Iterator[tuple[str | None, Item]], brackets: str, line: str, budget: list[int]) -> Iterator[str]:
    _spend(budget, 2)
    inner = line + "  " if line else ""
    yield brackets[0]
    empty = True
    for name, member in members:
        yield inner if empty else "," + inner
        empty = False
        if name is not None:
            _spend(budget, len(name))
            yield name + (": " if line else ":")
        yield from _pieces(member, inner, budget)
    yield (line if not empty else "") + brackets[1]


def _spend(budget: list[int], amount: int) -> None:
    budget[0] -= amount
    if budget[0] < 0:
        raise EvaluationFailed(None, MEMORY_LIMIT)


def string(value: Item, prettify: Item) -> Item:
    """`$string`."""
    if isinstance(value, Utils.JList) and value.outer_wrapper:
        value = value[0]
    return None if value is None else text_of(value, bool(prettify))


def pad(text: Item, width: Item, filler: Item) -> Item:
    """`$pad`, refused before it takes memory."""
    if text is None or width is None:
        return text
    if abs(width) > DEFAULT_LIMITS.value_bytes:
        raise EvaluationFailed(None, MEMORY_LIMIT)
    filler = filler or " "
    missing = abs(int(width)) - len(text)
    if missing <= 0:
        return text
    padding = (filler * (missing // len(filler) + 1))[:missing]
    return text + padding if width > 0 else padding + text


def join(texts: Item, separator: Item) -> Item:
    """`$join`, refused before it takes memory."""
    if texts is None:
        return None
    if sum(map(len, texts)) + len(texts) * len(separator or "") > DEFAULT_LIMITS.value_bytes:
        raise EvaluationFailed(None, MEMORY_LIMIT)
    return (separator or "").join(texts)


def _found(pattern: Pattern, text: str) -> Iterator[Match]:
    try:
        for match in pattern.find(text):
            if match.start == match.end:
                raise failed("D1004")
            yield match
    except PatternTooCostly:
        raise EvaluationFailed(None, TIME_LIMIT) from None


def _matches(matcher: Item, text: str) -> Iterator[tuple[str, int, int, list[Item]]]:
    """What a matcher finds: text, start, end, groups. A matcher is a regex or a function of the expression."""
    if isinstance(matcher, Pattern):
        for match in _found(matcher, text):
            yield match.text, match.start, match.end, [group if group is not None else "" for group in match.groups]
        return
    result = Functions.func_apply(matcher, [text])
    while result is not None:
        if not (isinstance(result, dict) and "match" in result and is_number(result.get("start"))):
            raise failed("T1010")
        yield result["match"], int(result["start"]), int(result["end"]), list(result.get("groups") or [])
        following = result.get("next")
        result = Functions.func_apply(following, []) if following is not None else None


def contains(text: Item, token: Item) -> Item:
    """`$contains`: undefined for an undefined token."""
    if text is None:
        return None
    if isinstance(token, str):
        return token in text
    return None if token is None else next(_matches(token, text), None) is not None


def match(text: Item, pattern: Item, limit: Item) -> Item:
    """`$match`: a sequence of `{"match", "index", "groups"}`."""
    if text is None:
        return None
    if limit is not None and limit < 0:
        raise failed("D3040", limit)
    result = Utils.create_sequence()
    index = _units(text)
    for found, start, _, groups in _matches(pattern, text):
        if limit is not None and len(result) >= limit:
            break
        result.append({"match": found, "index": index(start), "groups": groups})
    return result


def split(text: Item, separator: Item, limit: Item) -> Item:
    """`$split` by a text or a matcher."""
    if text is None:
        return None
    if limit is not None and limit < 0:
        raise failed("D3020", limit)
    if isinstance(separator, str):
        parts = text.split(separator) if separator else list(text)
    else:
        parts, place = [], 0
        for _, start, end, _ in _matches(separator, text):
            parts.append(text[place:start])
            place = end
        parts.append(text[place:])
    return parts if limit is None else parts[: math.floor(limit)]


def replace(text: Item, pattern: Item, replacement: Item, limit: Item) -> Item:
    """`$replace`, bounded while it grows."""
    if text is None:
        return None
    if pattern == "":
        raise failed("D3010")
    if limit is not None and limit < 0:
        raise failed("D3011")
    if isinstance(pattern, str) and isinstance(replacement, str):
        grown = len(text) + text.count(pattern) * max(0, len(replacement) - len(pattern))
        if grown > DEFAULT_LIMITS.value_bytes:
            raise EvaluationFailed(None, MEMORY_LIMIT)
        return text.replace(pattern, replacement, -1 if limit is None else math.ceil(limit))
    parts: list[str] = []
    place, size = 0, 0
    index = _units(text)
    for count, (found, start, end, groups) in enumerate(_literal(pattern, text)):
        if limit is not None and count >= limit:
            break
        new = _substitute(replacement, {"match": found, "start": index(start), "end": index(end), "groups": groups})
        size += start - place + len(new)
        if size > DEFAULT_LIMITS.value_bytes:
            raise EvaluationFailed(None, MEMORY_LIMIT)
        parts += (text[place:start], new)
        place = end
    return "".join((*parts, text[place:]))


def _literal(pattern: Item, text: str) -> Iterator[tuple[str, int, int, list[Item]]]:
    if not isinstance(pattern, str):
        return _matches(pattern, text)
    return ((pattern, m.start(), m.end(), []) for m in re.finditer(re.escape(pattern), text))


def _units(text: str) -> Callable[[int], int]:
    """Tells the index of ascending places in a text: it counts UTF-16 units, as the reference does."""
    at = beyond = 0

    def index(place: int) -> int:
        nonlocal at, beyond
        beyond += sum(character > "\uffff" for character in text[at:place])
        at = place
        return place + beyond

    return int if text.isascii() else index


def _substitute(replacement: Item, match: dict[str, Item]) -> str:
    if isinstance(replacement, str):
        return _expanded(replacement, match["match"], match["groups"])
    result = Functions.func_apply(replacement, [match])
    if not isinstance(result, str):
        raise failed("D3012", result)
    return result


def _expanded(template: str, found: str, groups: list[Item]) -> str:
    """`$$` is a dollar, `$0` the match, `$n` a group; of two digits only as many as there are groups."""
    digits = max(1, len(str(len(groups)))) if groups else 1

    def value(match: re.Match[str]) -> str:
        text = match.group(1)
        if text == "$":
            return "$"
        if not text.isdigit():
            return "$" + text
        if text[0] == "0":
            return found + text[1:]
        number = int(text)
        if number > len(groups) and len(text) > 1:
            number, rest = int(text[0]), text[1:]
            return (groups[number - 1] if number <= len(groups) else "") + rest
        return groups[number - 1] if number <= len(groups) else ""

    return re.sub(rf"\$(\$|[0-9]{{1,{digits}}}|.|$)", value, template, flags=re.DOTALL)


def base64decode(text: Item) -> Item:
    """`$base64decode`; bytes that are no UTF-8 are replaced. What is no base64 breaks AWS's evaluator ([A] "!!!")."""
    if text is None:
        return None
    digits = re.fullmatch(r"([A-Za-z0-9+/]*)={0,2}", "".join(text.split()))
    if digits is None or len(digits[1]) % 4 == 1:
        raise EvaluationFailed(None, "")
    return codec.b64decode(digits[1] + "==").decode("utf-8", "replace")


def url(function: Callable[[str], str], name: str) -> Callable[[Item], Item]:
    """A coding of URLs whose failure is D3140."""

    def call(text: Item) -> Item:
        if text is None:
            return None
        try:
            return function(text)
        except UnicodeError:
            raise failed("D3140", name, text) from None

    return call
