r"""Intrinsic functions, `States.Format('{}', $.x)`, compiled once (asl.md section 5). All 18 of AWS.

Compiling checks names, escapes and nesting; a wrong count of arguments is found when the state runs, as on AWS.
Evaluation fails with StateFailed("States.Runtime") naming the whole expression as written, in one of two sentences:
one for a path that selects nothing, one for arguments a function refuses [A, measured elsewhere].
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

from asfn._json import Json, JsonError, decode, encode
from asfn.errors import StateFailed
from asfn.language.environment import Environment
from asfn.language.numbers import distinct, is_number, java_text, json_text, round_half_up
from asfn.language.paths import Path, PathNotFound, PathSyntaxError, compile_path
from asfn.language.source_json import JsonSyntaxError, Lines, parse_positions

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
_SOURCE: Final = re.compile(r"\[Source: .*(; line: \d+, column: \d+\])", re.DOTALL)
_REDACTED: Final = "[Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled)"
_ESCAPED: Final = "'{}\\"
_TEMPLATE_PART: Final = re.compile(r"[^\\{}]+|\\.?|\{\}|[{}]", re.DOTALL)


class IntrinsicSyntaxError(ValueError):
    """A text is no valid call of an intrinsic function. column: 0-based place, None when unknown."""

    def __init__(self, message: str, column: int | None = None) -> None:
        super().__init__(message)
        self.column = column


@dataclass(frozen=True, slots=True)
class Intrinsic:
    """One compiled call. name: such as "States.Format". paths: all paths in it, nested calls included.
    miscounts: a sentence for each call in it that has too many or too few arguments, and fails when the state runs.

    evaluate(document, env): the value; raises StateFailed("States.Runtime", ...), and nothing else.
    """

    text: str
    name: str
    paths: tuple[Path, ...]
    miscounts: tuple[str, ...]
    evaluate: _Evaluate


class _Failed(Exception):
    """A function refuses its arguments; the text is AWS's sentence about it."""


class _Missing(Exception):
    """A path among the arguments cannot be read; the text says why."""


def _refusal(name: str, detail: str = "") -> _Failed:
    """The sentence about arguments that `States.<name>` refuses [A, measured elsewhere]; it says nothing of the reason
    but where AWS is known to.
    """
    return _Failed(f"Invalid arguments in States.{name}{detail}")


def compile_intrinsic(text: str) -> Intrinsic:
    """Compile a call; blanks behind it are allowed, in front of it not. Raises IntrinsicSyntaxError."""
    return _cached(text) if len(text) <= _MAX_CACHED_TEXT else _compiled(text)


def _compiled(text: str) -> Intrinsic:
    reader = _Reader(text)
    name, run = reader.call(1)
    reader.skip_blanks()
    if reader.place < len(text):
        raise reader.error("unexpected text behind the call")
    evaluate = _guarded(text.rstrip(_BLANKS), name, run)
    return Intrinsic(text, name, tuple(reader.paths), tuple(reader.miscounts), evaluate)


_cached: Final = lru_cache(maxsize=4096)(_compiled)


def _guarded(text: str, name: str, run: _Evaluate) -> _Evaluate:
    def evaluate(document: Json, env: Environment) -> Json:
        try:
            return run(document, env)
        except _Missing as error:
            cause = f"The function '{text}' had the following error: {error}"
        except _Failed as error:
            cause = f"There was an error while evaluating the intrinsic function: {text}. {error}"
        except (JsonError, RecursionError):  # a value nested too deeply, or that cannot be written as JSON
            cause = f"There was an error while evaluating the intrinsic function: {text}. Invalid arguments in {name}"
        raise StateFailed("States.Runtime", cause)

    return evaluate


class _Reader:
    """Recursive descent over one expression; collects the paths it meets, and the calls with a wrong count."""

    __slots__ = ("miscounts", "paths", "place", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self.paths: list[Path] = []
        self.miscounts: list[str] = []

    def error(self, message: str, place: int | None = None) -> IntrinsicSyntaxError:
        column = self.place if place is None else place
        return IntrinsicSyntaxError(f"{message} at column {column} of '{self.text[:200]}'", column)

    def skip_blanks(self) -> None:
        while self.place < len(self.text) and self.text[self.place] in _BLANKS:
            self.place += 1

    def call(self, depth: int) -> tuple[str, _Evaluate]:
        match = _NAME.match(self.text, self.place)
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
        if function.takes(len(arguments)):
            return name, _applied(function.run, arguments)
        self.miscounts.append(f"{name} takes {function.counts}, not {len(arguments)} arguments")
        return name, _applied(_miscounted(name), arguments)

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
        """The first argument of Format: a text in the definition is cut at its `{}` here, once.

        One with a brace that stands alone is a failure of the state, and no other than that.
        """
        if not self.text.startswith("'", self.place):
            return self.argument(depth)
        begin = self.place
        self.literal()
        try:
            return _constant(_pieces(self.text[begin + 1 : self.place - 1], _ESCAPED))
        except _Failed as error:
            return _constant(error)

    def argument(self, depth: int) -> _Evaluate:
        if self.text.startswith("'", self.place):
            return _constant(self.literal())
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

    def literal(self) -> str:
        r"""A text in single quotes. Escapes: `\'`, `\{`, `\}`, `\\`; no others [A]."""
        begin = self.place
        self.place += 1
        parts: list[str] = []
        while True:
            character = self.text[self.place : self.place + 1]
            self.place += 1
            if character == "'":
                return "".join(parts)
            if not character:
                raise self.error("a text is not closed", begin)
            if character == "\\":
                character = self.text[self.place : self.place + 1]
                if character not in _ESCAPED:
                    raise self.error(f"the escape '\\{character}' is not allowed", self.place - 1)
                self.place += 1
            parts.append(character)

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


def _constant(value: Any) -> _Evaluate:  # Any: the cut template of Format is a tuple, or what is wrong with it
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
                raise _Missing(error.reason) from None
            where = f"could not be found in the input '{encode(document)}'"
            raise _Missing(f"The JsonPath argument for the field '{shown}' {where}") from None

    return evaluate


def _applied(run: _Run, arguments: list[_Evaluate]) -> _Evaluate:
    if len(arguments) == 1:
        only = arguments[0]
        return lambda document, env: run([only(document, env)], env)
    if len(arguments) == 2:
        first, second = arguments
        return lambda document, env: run([first(document, env), second(document, env)], env)
    return lambda document, env: run([argument(document, env) for argument in arguments], env)


def _miscounted(name: str) -> _Run:
    """What stands for a function called with too many or too few arguments: it fails when the state runs [A, measured
    elsewhere].
    """
    detail = ": only a single argument is allowed." if name == "States.JsonToString" else ""

    def refuse(arguments: list[Any], env: Environment) -> Json:
        raise _refusal(name.removeprefix("States."), detail)

    return refuse


# The functions. Each takes the evaluated arguments; Any because every function checks what it gets.


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _refusal(name)
    return value


def _short_text(value: Any, name: str) -> str:
    text = _text(value, name)
    if len(text) > _MAX_TEXT:
        raise _refusal(name)
    return text


def _list(value: Any, name: str) -> list[Json]:
    if not isinstance(value, list):
        raise _refusal(name)
    return value


def _number(value: Any, name: str) -> int | float:
    if not is_number(value) or (isinstance(value, float) and not math.isfinite(value)):
        raise _refusal(name)
    number: int | float = value
    return number


def _truncated(value: Any, name: str) -> int:
    """A number without its fraction: all functions but MathAdd cut it off [A, measured elsewhere], the guide says
    that they round.
    """
    return int(_number(value, name))


def _int32(value: int, name: str) -> int:
    if not -(2**31) <= value < 2**31:
        raise _refusal(name)
    return value


def _format(arguments: list[Any], env: Environment) -> Json:
    template = arguments[0]
    if template.__class__ is not tuple:
        if isinstance(template, _Failed):
            raise _Failed(str(template))
        template = _pieces(java_text(template), "{}")
    if len(template) != len(arguments):
        raise _refusal("Format", ": number of arguments do not match the occurrences of {}.")
    parts = [template[0]]
    for value, piece in zip(arguments[1:], template[1:], strict=True):
        parts.append(value if value.__class__ is str else java_text(value))
        parts.append(piece)
    return "".join(parts)


def _pieces(template: str, escaped: str) -> tuple[str, ...]:
    r"""A template cut at each `{}`. A `\` guards the characters `escaped`; before others, in a template from the data,
    it stays [U]. A brace that stands alone is refused in AWS's words [A, measured elsewhere].
    """
    pieces = [""]
    for match in _TEMPLATE_PART.finditer(template):
        part = match.group()
        if part == "{}":
            pieces.append("")
            continue
        if part in ("{", "}"):
            other = "}" if part == "{" else "{"
            raise _Failed(f"Invalid template in States.Format: matching '{other}' not found for '{part}'.")
        pieces[-1] += part[1] if part[0] == "\\" and part[1:] and part[1] in escaped else part
    return tuple(pieces)


def _string_to_json(arguments: list[Any], env: Environment) -> Json:
    text = _text(arguments[0], "StringToJson")
    if not text.strip(_BLANKS):
        return None  # [A]
    try:
        return decode(text)
    except JsonError as error:
        fault = _json_fault(text) or str(error)
        raise _Failed(f"Cannot convert String to Json in States.StringToJson, caused by: {fault}") from None


def _json_fault(text: str) -> str | None:
    """What is wrong with a JSON text in the words of AWS's parser, and where [A, measured elsewhere].

    None for what that parser would take. A character that does not fit is the place itself, anything else ends before.
    """
    try:
        parse_positions(text)
    except JsonSyntaxError as error:
        line, column = Lines(text).position(error.offset - error.message.startswith("Unexpected character"))
        message = _SOURCE.sub(lambda match: f"{_REDACTED}{match.group(1)}", error.message)
        return f"{message}\n at {_REDACTED}; line: {line}, column: {column}]"
    return None


def _json_to_string(arguments: list[Any], env: Environment) -> Json:
    return json_text(arguments[0])


def _array(arguments: list[Any], env: Environment) -> Json:
    return arguments


def _array_partition(arguments: list[Any], env: Environment) -> Json:
    values = _list(arguments[0], "ArrayPartition")
    size = _truncated(arguments[1], "ArrayPartition")
    if size < 1:
        raise _refusal("ArrayPartition")
    if len(values) > _MAX_PARTITION_BYTES // 2 or len(encode(values).encode()) > _MAX_PARTITION_BYTES:
        raise _refusal("ArrayPartition")
    return [values[start : start + size] for start in range(0, len(values), size)]


def _array_contains(arguments: list[Any], env: Environment) -> Json:
    """AWS compares texts: the text "true" is true, and objects differ by the order of their members
    [A, measured elsewhere].
    """
    values, wanted = _list(arguments[0], "ArrayContains"), java_text(arguments[1])
    return any(java_text(value) == wanted for value in values)


def _array_range(arguments: list[Any], env: Environment) -> Json:
    first, last, step = [_truncated(value, "ArrayRange") for value in arguments]
    if step == 0 or (last - first) // step + 1 > _MAX_RANGE:
        raise _refusal("ArrayRange")
    return list(range(first, last + (1 if step > 0 else -1), step))


def _array_get_item(arguments: list[Any], env: Environment) -> Json:
    values = _list(arguments[0], "ArrayGetItem")
    index = _truncated(arguments[1], "ArrayGetItem")
    if not values:
        return None  # [A, measured elsewhere], whatever the index
    if not 0 <= index < len(values):
        raise _refusal("ArrayGetItem")
    return values[index]


def _array_length(arguments: list[Any], env: Environment) -> Json:
    return len(_list(arguments[0], "ArrayLength"))


def _array_unique(arguments: list[Any], env: Environment) -> Json:
    return distinct(_list(arguments[0], "ArrayUnique"))


def _base64_encode(arguments: list[Any], env: Environment) -> Json:
    """MIME alphabet, no line breaks [A, measured elsewhere]."""
    text = _short_text(arguments[0], "Base64Encode")
    return base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")


def _base64_decode(arguments: list[Any], env: Environment) -> Json:
    """Nothing is refused [A, measured elsewhere]: foreign characters are skipped, padding may be missing and ends the
    data; `-` and `_` count as `+` and `/`, and a lone last character is dropped [U].
    """
    text = _short_text(arguments[0], "Base64Decode").partition("=")[0].replace("-", "+").replace("_", "/")
    text = re.sub(r"[^A-Za-z0-9+/]", "", text)
    if len(text) % 4 == 1:
        text = text[:-1]
    return base64.b64decode(text + "=" * (-len(text) % 4)).decode("utf-8", "replace")


def _hash(arguments: list[Any], env: Environment) -> Json:
    """A value that is no text is hashed as its compact JSON [U]."""
    value, algorithm = arguments
    data = value if isinstance(value, str) else json_text(value)
    data = _short_text(data, "Hash")
    digest = _DIGESTS.get(algorithm) if isinstance(algorithm, str) else None
    if digest is None:
        raise _refusal("Hash")
    return hashlib.new(digest, data.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def _json_merge(arguments: list[Any], env: Environment) -> Json:
    """The flag only has not to be true: another value than a boolean passes for false [A, measured elsewhere]."""
    left, right, deep = arguments
    if not isinstance(left, dict) or not isinstance(right, dict) or deep is True:
        raise _refusal("JsonMerge")
    return {**left, **right}


def _math_random(arguments: list[Any], env: Environment) -> Json:
    start, end = [_int32(_truncated(value, "MathRandom"), "MathRandom") for value in arguments[:2]]
    if start >= end:
        raise _refusal("MathRandom")
    if len(arguments) == 3:
        return _java_random(_truncated(arguments[2], "MathRandom"), start, end)
    return start + min(math.floor(env.random() * (end - start)), end - start - 1)


def _java_random(seed: int, start: int, end: int) -> int:
    """`new java.util.Random(seed).nextInt(start, end)`, which gives what AWS gives [A, measured elsewhere]."""
    state = (seed ^ 0x5DEECE66D) & _MASK_48
    count = end - start
    while True:
        state = (state * 0x5DEECE66D + 0xB) & _MASK_48
        drawn = state >> 16
        if count & (count - 1) == 0:
            return start + (drawn & (count - 1))
        if count >= 2**31:  # wider than an int: draw until one falls inside
            value = drawn - 2**32 if drawn >= 2**31 else drawn
            if start <= value < end:
                return value
            continue
        drawn >>= 1
        if drawn - drawn % count + count - 1 < 2**31:
            return start + drawn % count


def _math_add(arguments: list[Any], env: Environment) -> Json:
    """Arguments and sum are 32 bit integers [A, measured elsewhere]."""
    left, right = [_int32(round_half_up(_number(value, "MathAdd")), "MathAdd") for value in arguments]
    return _int32(left + right, "MathAdd")


def _string_split(arguments: list[Any], env: Environment) -> Json:
    """Every character of the second text separates; empty pieces are dropped [A]."""
    text, separators = _text(arguments[0], "StringSplit"), _text(arguments[1], "StringSplit")
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
    """How a function runs, and how many arguments it takes (most: None for any number)."""

    run: _Run
    least: int
    most: int | None

    def takes(self, count: int) -> bool:
        return self.least <= count and (self.most is None or count <= self.most)

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
    "States.UUID": _Function(_uuid, 0, None),  # arguments are ignored [A, measured elsewhere]
}

INTRINSIC_NAMES: Final = tuple(sorted(_FUNCTIONS))
"""All function names, for suggestions of near misses."""
