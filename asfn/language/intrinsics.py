r"""Intrinsic functions, `States.Format('{}', $.x)`, compiled once (asl.md section 5). All 18 of AWS.

Compiling checks names, counts of arguments, escapes and nesting. Evaluation fails with
StateFailed("States.Runtime") naming the whole expression as written, as AWS does [A, measured elsewhere].
Of the sentences behind "had the following error: " those about paths are known, all others are [U].
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

from asfn._json import Json, JsonError, decode, encode
from asfn.errors import StateFailed
from asfn.language.environment import Environment
from asfn.language.numbers import identity, is_number, java_text, json_text, round_half_up, same
from asfn.language.paths import Path, PathNotFound, PathSyntaxError, compile_path

_Evaluate: TypeAlias = Callable[[Json, Environment], Json]

_MAX_NESTING: Final = 10
_MAX_TEXT: Final = 10_000  # characters, of Base64Encode, Base64Decode and Hash
_MAX_RANGE: Final = 1_000
_MAX_CACHED_TEXT: Final = 4_096  # a definition may hold texts of a megabyte, which no cache should keep
_MAX_PARTITION_BYTES: Final = 262_144
_BLANKS: Final = " \t\r\n"
_NAME: Final = re.compile(r"States\.([A-Za-z0-9]+)")
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD: Final = re.compile(r"true|false|null")
_WORDS: Final[dict[str, Json]] = {"true": True, "false": False, "null": None}
_ESCAPED: Final = frozenset("'{}\\")


class IntrinsicSyntaxError(ValueError):
    """A text is no valid call of an intrinsic function. column: 0-based place, None when unknown."""

    def __init__(self, message: str, column: int | None = None) -> None:
        super().__init__(message)
        self.column = column


@dataclass(frozen=True, slots=True)
class Intrinsic:
    """One compiled call. name: such as "States.Format". paths: all paths in it, nested calls included.

    evaluate(document, env): the value; raises StateFailed("States.Runtime", ...), and nothing else.
    """

    text: str
    name: str
    paths: tuple[Path, ...]
    evaluate: _Evaluate


class _Failed(Exception):
    """A function refuses its arguments; the text is the sentence behind "had the following error: "."""


def compile_intrinsic(text: str) -> Intrinsic:
    """Compile a call; blanks behind it are allowed, in front of it not. Raises IntrinsicSyntaxError."""
    return _cached(text) if len(text) <= _MAX_CACHED_TEXT else _compiled(text)


def _compiled(text: str) -> Intrinsic:
    reader = _Reader(text)
    name, run = reader.call(1)
    reader.skip_blanks()
    if reader.place < len(text):
        raise reader.error("unexpected text behind the call")
    return Intrinsic(text, name, tuple(reader.paths), _guarded(text.rstrip(_BLANKS), run))


_cached: Final = lru_cache(maxsize=4096)(_compiled)


def _guarded(text: str, run: _Evaluate) -> _Evaluate:
    def evaluate(document: Json, env: Environment) -> Json:
        try:
            return run(document, env)
        except _Failed as error:
            reason = str(error)
        except (JsonError, RecursionError):
            reason = "A value is nested too deeply or cannot be written as JSON"
        raise StateFailed("States.Runtime", f"The function '{text}' had the following error: {reason}")

    return evaluate


class _Reader:
    """Recursive descent over one expression; collects the paths it meets."""

    __slots__ = ("paths", "place", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self.paths: list[Path] = []

    def error(self, message: str, place: int | None = None) -> IntrinsicSyntaxError:
        column = self.place if place is None else place
        return IntrinsicSyntaxError(f"{message} at column {column} of '{self.text[:200]}'", column)

    def skip_blanks(self) -> None:
        while self.place < len(self.text) and self.text[self.place] in _BLANKS:
            self.place += 1

    def call(self, depth: int) -> tuple[str, _Evaluate]:
        begin = self.place
        match = _NAME.match(self.text, begin)
        if match is None:
            raise self.error("expected a call such as States.Format(...)")
        name = match.group()
        function = _FUNCTIONS.get(name)
        if function is None:
            raise self.error(f"there is no intrinsic function {name}")
        if depth > _MAX_NESTING:
            raise self.error(f"intrinsic functions nest at most {_MAX_NESTING} deep")
        self.place = match.end()
        if not self.text.startswith("(", self.place):
            raise self.error("expected '('")
        self.place += 1
        arguments = self.arguments(name, depth)
        if len(arguments) < function.least or (function.most is not None and len(arguments) > function.most):
            raise self.error(f"{name} takes {function.counts}, not {len(arguments)} arguments", begin)
        return name, _applied(function.run, arguments)

    def arguments(self, name: str, depth: int) -> list[_Evaluate]:
        found: list[_Evaluate] = []
        self.skip_blanks()
        while not self.text.startswith(")", self.place):
            if found:
                if not self.text.startswith(",", self.place):
                    raise self.error("expected ',' or ')'")
                self.place += 1
                self.skip_blanks()
            found.append(self.template(depth) if name == "States.Format" and not found else self.argument(depth))
            self.skip_blanks()
        self.place += 1
        return found

    def template(self, depth: int) -> _Evaluate:
        """The first argument of Format: a text in the definition is cut at its `{}` here, once."""
        if self.text.startswith("'", self.place):
            return _constant(tuple(self.literal()))
        return self.argument(depth)

    def argument(self, depth: int) -> _Evaluate:
        if self.text.startswith("'", self.place):
            return _constant("{}".join(self.literal()))
        if self.text.startswith("$", self.place):
            return self.path()
        for pattern in (_NUMBER, _WORD):
            match = pattern.match(self.text, self.place)
            if match is not None:
                self.place = match.end()
                word = match.group()
                return _constant(_WORDS[word] if word in _WORDS else self.number(word, match.start()))
        if self.text.startswith("States.", self.place):
            return self.call(depth + 1)[1]
        raise self.error("expected a text in single quotes, a number, true, false, null, a path or a call")

    def number(self, text: str, begin: int) -> Json:
        try:
            return decode(text)
        except JsonError:
            raise self.error("not a number", begin) from None

    def literal(self) -> list[str]:
        r"""A text in single quotes, cut at each `{}`. Escapes: `\'`, `\{`, `\}`, `\\`; no others [A]."""
        begin = self.place
        self.place += 1
        pieces = [""]
        while True:
            character = self.text[self.place : self.place + 1]
            self.place += 1
            if character == "'":
                return pieces
            if not character:
                raise self.error("a text is not closed", begin)
            if character == "\\":
                character = self.text[self.place : self.place + 1]
                if character not in _ESCAPED:
                    raise self.error(f"the escape '\\{character}' is not allowed", self.place - 1)
                self.place += 1
            elif character == "{" and self.text.startswith("}", self.place):
                self.place += 1
                pieces.append("")
                continue
            pieces[-1] += character

    def path(self) -> _Evaluate:
        begin = self.place
        self.place = _path_end(self.text, begin)
        text = self.text[begin : self.place].rstrip(_BLANKS)
        try:
            path = compile_path(text)
        except PathSyntaxError as error:
            raise self.error(str(error), begin) from None
        self.paths.append(path)
        return _path_argument(path)


def _path_end(text: str, begin: int) -> int:
    """Where a path argument ends: at a `,` or `)` outside of brackets, parentheses and quotes."""
    depth = 0
    quote = ""
    place = begin
    while place < len(text):
        character = text[place]
        if character == "\\":
            place += 1
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and depth:
            quote = character
        elif character in "[(":
            depth += 1
        elif depth == 0 and character in ",)":
            return place
        elif character in "])":
            depth -= 1
        place += 1
    return min(place, len(text))


def _constant(value: Any) -> _Evaluate:  # Any: the cut template of Format is a tuple
    return lambda document, env: value


def _path_argument(path: Path) -> _Evaluate:
    """AWS names a path into the context object by what follows the first `$`, with the state's input [R]."""
    select = path.select
    shown = path.text[1:] if path.root == "$$" else path.text

    def evaluate(document: Json, env: Environment) -> Json:
        try:
            return select(document, env)
        except PathNotFound as error:
            if error.is_misuse:
                raise _Failed(error.reason) from None
            where = f"could not be found in the input '{encode(document)}'"
            raise _Failed(f"The JsonPath argument for the field '{shown}' {where}") from None

    return evaluate


def _applied(run: _Run, arguments: list[_Evaluate]) -> _Evaluate:
    if len(arguments) == 1:
        only = arguments[0]
        return lambda document, env: run([only(document, env)], env)
    if len(arguments) == 2:
        first, second = arguments
        return lambda document, env: run([first(document, env), second(document, env)], env)
    return lambda document, env: run([argument(document, env) for argument in arguments], env)


# The functions. Each takes the evaluated arguments; Any because every function checks what it gets.


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise _Failed(f"{what} must be a string")
    return value


def _short_text(value: Any, what: str) -> str:
    text = _text(value, what)
    if len(text) > _MAX_TEXT:
        raise _Failed(f"{what} is longer than {_MAX_TEXT} characters")
    return text


def _list(value: Any, what: str = "The first argument") -> list[Json]:
    if not isinstance(value, list):
        raise _Failed(f"{what} must be an array")
    return value


def _rounded(value: Any, what: str) -> int:
    if not is_number(value) or (isinstance(value, float) and not math.isfinite(value)):
        raise _Failed(f"{what} must be a number")
    return round_half_up(value)


def _format(arguments: list[Any], env: Environment) -> Json:
    template = arguments[0]
    pieces = template if isinstance(template, tuple) else _pieces(_text(template, "The template"))
    if len(pieces) != len(arguments):
        raise _Failed("The number of arguments does not match the occurrences of {} in the template")
    parts = [pieces[0]]
    for value, piece in zip(arguments[1:], pieces[1:], strict=True):
        parts.append(value if value.__class__ is str else java_text(value))
        parts.append(piece)
    return "".join(parts)


def _pieces(template: str) -> tuple[str, ...]:
    r"""A template from the data, cut at each `{}`; `\{` and `\}` are braces, other backslashes stay [U]."""
    pieces = re.split(r"(?<!\\)\{\}", template)
    return tuple(re.sub(r"\\([{}])", r"\1", piece) for piece in pieces)


def _string_to_json(arguments: list[Any], env: Environment) -> Json:
    text = _text(arguments[0], "The argument")
    if not text.strip(_BLANKS):
        return None  # [A]
    try:
        return decode(text)
    except JsonError:
        raise _Failed("The argument is not valid JSON") from None


def _json_to_string(arguments: list[Any], env: Environment) -> Json:
    return json_text(arguments[0])


def _array(arguments: list[Any], env: Environment) -> Json:
    return arguments


def _array_partition(arguments: list[Any], env: Environment) -> Json:
    values = _list(arguments[0])
    size = _rounded(arguments[1], "The chunk size")
    if size < 1:
        raise _Failed("The chunk size must be a positive integer")
    if len(values) > _MAX_PARTITION_BYTES // 2 or len(encode(values).encode()) > _MAX_PARTITION_BYTES:
        raise _Failed("The array is larger than 256 KiB")
    return [values[start : start + size] for start in range(0, len(values), size)]


def _array_contains(arguments: list[Any], env: Environment) -> Json:
    wanted = arguments[1]
    return any(same(value, wanted) for value in _list(arguments[0]))


def _array_range(arguments: list[Any], env: Environment) -> Json:
    first, last, step = [_rounded(value, "The argument") for value in arguments]
    if step == 0:
        raise _Failed("The step must not be zero")
    count = (last - first) // step + 1
    if count > _MAX_RANGE:
        raise _Failed(f"The array would have more than {_MAX_RANGE} elements")
    return list(range(first, last + (1 if step > 0 else -1), step))


def _array_get_item(arguments: list[Any], env: Environment) -> Json:
    values = _list(arguments[0])
    index = arguments[1]
    if isinstance(index, float) and index.is_integer():
        index = int(index)
    if isinstance(index, bool) or not isinstance(index, int):
        raise _Failed("The index must be an integer")
    if not 0 <= index < len(values):
        raise _Failed(f"The index {index} is out of range for an array of length {len(values)}")
    return values[index]


def _array_length(arguments: list[Any], env: Environment) -> Json:
    return len(_list(arguments[0], "The argument"))


def _array_unique(arguments: list[Any], env: Environment) -> Json:
    kept: dict[Hashable, Json] = {}
    for value in _list(arguments[0], "The argument"):
        kept.setdefault(identity(value), value)
    return list(kept.values())


def _base64_encode(arguments: list[Any], env: Environment) -> Json:
    """MIME alphabet, no line breaks [U]."""
    text = _short_text(arguments[0], "The argument")
    return base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")


def _base64_decode(arguments: list[Any], env: Environment) -> Json:
    """As Java's MIME decoder: foreign characters are skipped, padding may be missing [U]."""
    text = re.sub(r"[^A-Za-z0-9+/]", "", _short_text(arguments[0], "The argument"))
    if len(text) % 4 == 1:
        raise _Failed("The argument is not valid Base64")
    return base64.b64decode(text + "=" * (-len(text) % 4)).decode("utf-8", "replace")


def _hash(arguments: list[Any], env: Environment) -> Json:
    """A value that is no text is hashed as its compact JSON [U]."""
    value, algorithm = arguments
    data = value if isinstance(value, str) else json_text(value)
    data = _short_text(data, "The data")
    digest = _DIGESTS.get(algorithm) if isinstance(algorithm, str) else None
    if digest is None:
        raise _Failed(f"The algorithm must be one of {', '.join(_DIGESTS)}")
    return hashlib.new(digest, data.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def _json_merge(arguments: list[Any], env: Environment) -> Json:
    left, right, deep = arguments
    if not isinstance(left, dict) or not isinstance(right, dict):
        raise _Failed("The first two arguments must be JSON objects")
    if deep is not False:
        raise _Failed("The third argument must be false: only shallow merging is supported")
    return {**left, **right}


def _math_random(arguments: list[Any], env: Environment) -> Json:
    start, end = _rounded(arguments[0], "The start"), _rounded(arguments[1], "The end")
    if start >= end:
        raise _Failed("The start must be less than the end")
    if len(arguments) == 3:
        seed = _rounded(arguments[2], "The seed")
        return start + math.floor(_java_random(seed) * (end - start))
    return start + min(math.floor(env.random() * (end - start)), end - start - 1)


def _java_random(seed: int) -> float:
    """The first `nextDouble()` of java.util.Random. Which draw AWS makes of a seed is not known [U]."""
    state = (seed ^ 0x5DEECE66D) & _MASK_48
    state = (state * 0x5DEECE66D + 0xB) & _MASK_48
    high = state >> 22
    state = (state * 0x5DEECE66D + 0xB) & _MASK_48
    return float(((high << 27) + (state >> 21)) / (1 << 53))


def _math_add(arguments: list[Any], env: Environment) -> Json:
    return _rounded(arguments[0], "The first argument") + _rounded(arguments[1], "The second argument")


def _string_split(arguments: list[Any], env: Environment) -> Json:
    """Every character of the second text separates; empty pieces are dropped [A]."""
    text, separators = _text(arguments[0], "The first argument"), _text(arguments[1], "The second argument")
    if len(separators) == 1:
        return [piece for piece in text.split(separators) if piece]
    if not separators:
        return [text] if text else []
    return [piece for piece in re.split(f"[{re.escape(separators)}]", text) if piece]


def _uuid(arguments: list[Any], env: Environment) -> Json:
    return env.uuid()


_MASK_48: Final = (1 << 48) - 1
_DIGESTS: Final = {
    "MD5": "md5",
    "SHA-1": "sha1",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
}
_Run: TypeAlias = Callable[[list[Any], Environment], Json]


@dataclass(frozen=True, slots=True)
class _Function:
    """How many arguments a function takes (most: None for any number), and how it runs."""

    run: _Run
    least: int
    most: int | None

    @property
    def counts(self) -> str:
        if self.most is None:
            return f"at least {self.least}"
        return str(self.least) if self.least == self.most else f"{self.least} to {self.most}"


_FUNCTIONS: Final = {
    "States.Format": _Function(_format, 1, None),
    "States.StringToJson": _Function(_string_to_json, 1, 1),
    "States.JsonToString": _Function(_json_to_string, 1, 1),
    "States.Array": _Function(_array, 0, None),
    "States.ArrayPartition": _Function(_array_partition, 2, 2),
    "States.ArrayContains": _Function(_array_contains, 2, 2),
    "States.ArrayRange": _Function(_array_range, 3, 3),
    "States.ArrayGetItem": _Function(_array_get_item, 2, 2),
    "States.ArrayLength": _Function(_array_length, 1, 1),
    "States.ArrayUnique": _Function(_array_unique, 1, 1),
    "States.Base64Encode": _Function(_base64_encode, 1, 1),
    "States.Base64Decode": _Function(_base64_decode, 1, 1),
    "States.Hash": _Function(_hash, 2, 2),
    "States.JsonMerge": _Function(_json_merge, 3, 3),
    "States.MathRandom": _Function(_math_random, 2, 3),
    "States.MathAdd": _Function(_math_add, 2, 2),
    "States.StringSplit": _Function(_string_split, 2, 2),
    "States.UUID": _Function(_uuid, 0, 0),
}

INTRINSIC_NAMES: Final = tuple(sorted(_FUNCTIONS))
"""All function names, for suggestions of near misses."""
