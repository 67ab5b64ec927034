r"""Regular expression literals for the pure engine: groups and lazy quantifiers, without the backtracking that hangs.

A pattern with at most one unbounded repeat goes to Python's `re`. Any other is simulated by an automaton that keeps
one thread per program place, in priority order, so that the first match by the usual rules is found in time linear
in the text. Look-around and back references exist in `re` only, so beside several repeats they are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

_MAX_PROGRAM: Final = 3_000
_MAX_WORK: Final = 3_000_000
_MAX_NESTING: Final = 40
_UNBOUNDED: Final = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|([*+]|\{\d+,\d*\})", re.DOTALL)
_HEX2: Final = re.compile(r"[0-9a-fA-F]{2}")
_HEX4: Final = re.compile(r"[0-9a-fA-F]{4}")
_CLASSES: Final = frozenset("dDwWsS")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0"}


class PatternError(ValueError):
    """A pattern is malformed or not supported."""


class PatternTooCostly(Exception):
    """One match would take too long."""


@dataclass(frozen=True, slots=True)
class Match:
    """One match. groups: the text of each group, None when it took no part."""

    start: int
    end: int
    text: str
    groups: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class _Char:
    accepts: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class _Place:
    kind: str


@dataclass(frozen=True, slots=True)
class _Split:
    first: int
    second: int


@dataclass(frozen=True, slots=True)
class _Jump:
    target: int


@dataclass(frozen=True, slots=True)
class _Save:
    slot: int


_Instruction: TypeAlias = _Char | _Place | _Split | _Jump | _Save | None
_Emit: TypeAlias = Callable[[list[_Instruction]], None]


class Pattern:
    """A compiled pattern. `find` gives its matches from left to right, empty ones included."""

    def __init__(self, source: str, fast: re.Pattern[str] | None, program: list[_Instruction], groups: int) -> None:
        self.source = source
        self._fast = fast
        self._program = program
        self._groups = groups

    @classmethod
    def compile(cls, source: str, *, ignore_case: bool = False, multiline: bool = False) -> Pattern:
        """A pattern of the usual syntax. Raises PatternError."""
        flags = (re.IGNORECASE if ignore_case else 0) | (re.MULTILINE if multiline else 0)
        python = re.sub(r"\\.|\(\?<(?=[^=!])", lambda m: "(?P<" if m.group() == "(?<" else m.group(), source)
        if sum(1 for match in _UNBOUNDED.finditer(source) if match.group(1)) <= 1:
            try:
                return cls(source, re.compile(python, flags), [], 0)
            except (re.error, OverflowError, RecursionError) as error:
                raise PatternError(f"invalid regular expression: {error}") from None
        reader = _Reader(source, ignore_case, multiline)
        program: list[_Instruction] = [_Save(0)]
        reader.whole()(program)
        program += [_Save(1), None]
        return cls(source, None, program, reader.groups)

    def find(self, text: str) -> Iterator[Match]:
        """All matches that do not overlap. Raises PatternTooCostly."""
        if self._fast is not None:
            for match in self._fast.finditer(text):
                yield Match(match.start(), match.end(), match.group(), match.groups())
            return
        place, budget = 0, [_MAX_WORK]
        while place <= len(text):
            slots = self._search(text, place, budget)
            if slots is None:
                return
            start, end = slots[0], slots[1]
            groups = tuple(
                text[slots[i] : slots[i + 1]] if slots[i] >= 0 and slots[i + 1] >= 0 else None
                for i in range(2, len(slots), 2)
            )
            yield Match(start, end, text[start:end], groups)
            place = end if end > start else end + 1

    def _search(self, text: str, place: int, budget: list[int]) -> list[int] | None:
        program, best = self._program, None
        threads: list[tuple[int, list[int]]] = []
        empty = [-1] * (2 + 2 * self._groups)
        while True:
            seen: set[int] = set()
            current: list[tuple[int, list[int]]] = []
            for at, slots in threads:
                self._follow(at, slots, text, place, seen, current)
            if best is None:
                self._follow(0, empty, text, place, seen, current)
            budget[0] -= len(seen) + 1
            if budget[0] < 0:
                raise PatternTooCostly
            threads = []
            for at, slots in current:
                instruction = program[at]
                if instruction is None:
                    best = slots
                    break  # threads behind this one have lower priority
                if place < len(text) and isinstance(instruction, _Char) and instruction.accepts(text[place]):
                    threads.append((at + 1, slots))
            if place >= len(text) or (not threads and best is not None):
                return best
            place += 1

    def _follow(
        self, at: int, slots: list[int], text: str, place: int, seen: set[int], found: list[tuple[int, list[int]]]
    ) -> None:
        """Add the places reachable from `at` without reading, in priority order."""
        stack = [(at, slots)]
        while stack:
            at, slots = stack.pop()
            if at in seen:
                continue
            seen.add(at)
            instruction = self._program[at]
            if isinstance(instruction, _Jump):
                stack.append((instruction.target, slots))
            elif isinstance(instruction, _Split):
                stack.append((instruction.second, slots))
                stack.append((instruction.first, slots))
            elif isinstance(instruction, _Save):
                changed = list(slots)
                changed[instruction.slot] = place
                stack.append((at + 1, changed))
            elif isinstance(instruction, _Place):
                if _holds(instruction.kind, text, place):
                    stack.append((at + 1, slots))
            else:
                found.append((at, slots))


def _holds(kind: str, text: str, place: int) -> bool:
    if kind == "^":
        return place == 0
    if kind == "$":
        return place == len(text)
    if kind == "<":
        return place == 0 or text[place - 1] == "\n"
    if kind == ">":
        return place == len(text) or text[place] == "\n"
    before = place > 0 and _is_word(text[place - 1])
    after = place < len(text) and _is_word(text[place])
    return (before != after) == (kind == "b")


def _is_word(character: str) -> bool:
    return character == "_" or (character.isascii() and character.isalnum())


class _Reader:
    """Recursive descent over a pattern; every method gives a function that emits instructions."""

    def __init__(self, text: str, ignore_case: bool, multiline: bool) -> None:
        self.text = text
        self.at = 0
        self.groups = 0
        self.ignore_case = ignore_case
        self.multiline = multiline

    def whole(self) -> _Emit:
        emit = self.choices(0)
        if self.at < len(self.text):
            raise PatternError(f"invalid regular expression: unexpected {self.text[self.at]!r}")
        return emit

    def choices(self, depth: int) -> _Emit:
        if depth > _MAX_NESTING:
            raise PatternError("invalid regular expression: nested too deeply")
        options = [self.sequence(depth)]
        while self.text[self.at : self.at + 1] == "|":
            self.at += 1
            options.append(self.sequence(depth))
        return options[0] if len(options) == 1 else _either(options)

    def sequence(self, depth: int) -> _Emit:
        parts: list[_Emit] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            parts.append(self.repeated(self.atom(depth)))
        return _all(parts)

    def repeated(self, part: _Emit) -> _Emit:
        match = re.compile(r"([*+?]|\{(\d+)(,(\d*))?\})(\??)").match(self.text, self.at)
        if match is None:
            return part
        self.at = match.end()
        sign = match.group(1)
        if sign in "*+?":
            least, most = (1 if sign == "+" else 0), (1 if sign == "?" else None)
        else:
            least = int(match.group(2))
            most = least if match.group(3) is None else (int(match.group(4)) if match.group(4) else None)
        if max(least, most or 0) > 1_000:
            raise PatternError("invalid regular expression: too many repeats")
        return _repeat(part, least, most, lazy=bool(match.group(5)))

    def atom(self, depth: int) -> _Emit:
        character = self.text[self.at]
        self.at += 1
        if character == "(":
            return self.group(depth)
        if character == "[":
            return _one(self.char_class())
        if character == ".":
            return _one(lambda c: c not in "\n\r\u2028\u2029")
        if character in "^$":
            kind = character if not self.multiline else ("<" if character == "^" else ">")
            return lambda program: program.append(_Place(kind))
        if character in "*+?":
            raise PatternError("invalid regular expression: nothing to repeat")
        if character == "\\":
            return self.escape()
        return _one(self.literal(character))

    def group(self, depth: int) -> _Emit:
        capture = True
        if self.text.startswith("?:", self.at):
            self.at += 2
            capture = False
        elif (named := re.compile(r"\?<([A-Za-z]\w*)>").match(self.text, self.at)) is not None:
            self.at = named.end()
        elif self.text.startswith("?", self.at):
            raise PatternError("invalid regular expression: look-around is not supported beside several repeats")
        if capture:
            self.groups += 1
        slot = 2 * self.groups
        inner = self.choices(depth + 1)
        if self.text[self.at : self.at + 1] != ")":
            raise PatternError("invalid regular expression: missing )")
        self.at += 1
        return _captured(inner, slot) if capture else inner

    def escape(self) -> _Emit:
        character = self.text[self.at : self.at + 1]
        if character in ("b", "B"):
            self.at += 1
            return lambda program: program.append(_Place(character))
        if character.isdigit() and character != "0":
            raise PatternError("invalid regular expression: back references are not supported beside several repeats")
        return _one(self.escaped())

    def escaped(self) -> Callable[[str], bool]:
        character = self.text[self.at : self.at + 1]
        if not character:
            raise PatternError("invalid regular expression: it ends in a backslash")
        self.at += 1
        if character in _CLASSES:
            return _class(character)
        if character in "ux" and (code := (_HEX4 if character == "u" else _HEX2).match(self.text, self.at)):
            self.at = code.end()
            return self.literal(chr(int(code.group(), 16)))
        return self.literal(_ESCAPES.get(character, character))

    def literal(self, character: str) -> Callable[[str], bool]:
        if self.ignore_case:
            lower = character.lower()
            return lambda c: c.lower() == lower
        return lambda c: c == character

    def char_class(self) -> Callable[[str], bool]:
        negated = self.text[self.at : self.at + 1] == "^"
        self.at += negated
        tests: list[Callable[[str], bool]] = []
        first = True
        while first or self.text[self.at : self.at + 1] != "]":
            first = False
            if self.at >= len(self.text):
                raise PatternError("invalid regular expression: missing ]")
            if self.text[self.at] == "]" and not tests:
                break
            tests.append(self.class_item())
        self.at += 1
        return lambda c: any(test(c) for test in tests) != negated

    def class_item(self) -> Callable[[str], bool]:
        start = self.at
        test = self.class_part()
        low = self._single(start)
        if low is None or self.text[self.at : self.at + 1] != "-" or self.text[self.at + 1 : self.at + 2] in ("]", ""):
            return test
        self.at += 1
        start = self.at
        self.class_part()
        high = self._single(start)
        if high is None or high < low:
            raise PatternError("invalid regular expression: bad character range")
        if self.ignore_case:
            return lambda c: low <= c <= high or low <= c.lower() <= high or low <= c.upper() <= high
        return lambda c: low <= c <= high

    def class_part(self) -> Callable[[str], bool]:
        character = self.text[self.at]
        self.at += 1
        if character != "\\":
            return self.literal(character)
        if self.text[self.at : self.at + 1] == "b":
            self.at += 1
            return self.literal("\b")
        return self.escaped()

    def _single(self, start: int) -> str | None:
        """The one character written from `start` to here, None for a class such as \\d."""
        written = self.text[start : self.at]
        if len(written) == 1:
            return written
        if written[1] in _CLASSES:
            return None
        if written[1] in "ux" and len(written) > 2:
            return chr(int(written[2:], 16))
        return "\b" if written[1] == "b" else _ESCAPES.get(written[1], written[1])


def _class(name: str) -> Callable[[str], bool]:
    tests: dict[str, Callable[[str], bool]] = {
        "d": lambda c: "0" <= c <= "9",
        "w": _is_word,
        "s": str.isspace,
    }
    test = tests[name.lower()]
    return test if name.islower() else lambda c: not test(c)


def _one(accepts: Callable[[str], bool]) -> _Emit:
    def emit(program: list[_Instruction]) -> None:
        if len(program) > _MAX_PROGRAM:
            raise PatternError("invalid regular expression: too large")
        program.append(_Char(accepts))

    return emit


def _all(parts: list[_Emit]) -> _Emit:
    def emit(program: list[_Instruction]) -> None:
        for part in parts:
            part(program)

    return emit


def _captured(inner: _Emit, slot: int) -> _Emit:
    def emit(program: list[_Instruction]) -> None:
        program.append(_Save(slot))
        inner(program)
        program.append(_Save(slot + 1))

    return emit


def _either(options: list[_Emit]) -> _Emit:
    def emit(program: list[_Instruction]) -> None:
        exits: list[int] = []
        for option in options[:-1]:
            fork = len(program)
            program.append(None)
            option(program)
            exits.append(len(program))
            program.append(None)
            program[fork] = _Split(fork + 1, len(program))
        options[-1](program)
        for place in exits:
            program[place] = _Jump(len(program))

    return emit


def _repeat(part: _Emit, least: int, most: int | None, *, lazy: bool) -> _Emit:
    def fork(program: list[_Instruction], place: int, over: int) -> None:
        program[place] = _Split(over, place + 1) if lazy else _Split(place + 1, over)

    def emit(program: list[_Instruction]) -> None:
        for _ in range(least):
            part(program)
        if most is None:
            start = len(program)
            program.append(None)
            part(program)
            program.append(_Jump(start))
            fork(program, start, len(program))
            return
        forks: list[int] = []
        for _ in range(most - least):
            forks.append(len(program))
            program.append(None)
            part(program)
        for place in forks:
            fork(program, place, len(program))

    return emit
