r"""Regular expressions that cannot hang: a full match in linear time, by simulating an automaton.

Made for filters of paths (`=~ /x/i`): definition and data may both be hostile, and Python's `re` backtracks.
Java's syntax without what needs backtracking: back references, look-around, possessive and atomic groups are
refused, and so are class intersections and `\p{...}`. Counts, sizes and the work of one match are bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

_MAX_PROGRAM: Final = 2_000
_MAX_REPEAT: Final = 1_000
_MAX_NESTING: Final = 30
_MAX_CACHED: Final = 5_000
_MAX_WORK: Final = 1_000_000

_Range: TypeAlias = tuple[int, int]
_Accepts: TypeAlias = Callable[[str], bool]

_DIGITS: Final[list[_Range]] = [(48, 57)]
_WORD: Final[list[_Range]] = [(48, 57), (65, 90), (95, 95), (97, 122)]
_SPACE: Final[list[_Range]] = [(9, 13), (32, 32)]
_LINE_ENDS: Final = frozenset("\n\r\u0085\u2028\u2029")
_CONTROL: Final = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "a": "\a", "e": "\x1b"}
_CLASSES: Final = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
_LAST: Final = 0x10FFFF


class RegexError(ValueError):
    """A pattern is malformed, unsupported or too large; or one match would take too long."""


@dataclass(frozen=True, slots=True)
class _One:
    """Exactly one character that passes."""

    accepts: _Accepts


@dataclass(frozen=True, slots=True)
class _Place:
    r"""A place between characters: `^`, `$`, `b` (\b), `B`, and `<`, `>` for the borders of lines."""

    kind: str


@dataclass(frozen=True, slots=True)
class _All:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Any:
    choices: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    part: _Node
    least: int
    most: int | None


_Node: TypeAlias = _One | _Place | _All | _Any | _Repeat


@dataclass(frozen=True, slots=True)
class _Fork:
    """Go on at every target."""

    targets: tuple[int, ...]


_Instruction: TypeAlias = _One | _Place | _Fork


class LinearRegex:
    """One compiled pattern. It keeps a bounded cache of automaton states; matching has no other effect."""

    __slots__ = ("_cache", "_places", "_program", "_start", "pattern")

    def __init__(self, pattern: str, program: list[_Instruction]) -> None:
        self.pattern = pattern
        self._program = program
        self._places = any(isinstance(instruction, _Place) for instruction in program)
        self._cache: dict[tuple[frozenset[int], str], frozenset[int]] = {}
        self._start: frozenset[int] | None = None

    @classmethod
    def compile(cls, pattern: str, flags: str = "") -> LinearRegex:
        """The automaton of a Java pattern. Raises RegexError.

        flags: any of `i` (ASCII letters), `u` (with `i`: all letters), `s`, `m`; `(?i)` in front works too.
        """
        for flag in flags:
            if flag not in "iusm":
                raise RegexError(f"flag '{flag}' is not supported")
        if pattern.startswith("(?") and (end := pattern.find(")")) > 2 and set(pattern[2:end]) <= set("iusm"):
            flags, pattern_rest = flags + pattern[2:end], pattern[end + 1 :]
        else:
            pattern_rest = pattern
        node = _Reader(pattern_rest, flags).whole()
        program: list[_Instruction] = []
        _emit(node, program)
        return cls(pattern, program)

    def full_match(self, text: str) -> bool:
        """Whether the pattern matches the whole text. RegexError when that takes too long."""
        return self.match_within(text, _MAX_WORK)[0]

    def match_within(self, text: str, allowance: int) -> tuple[bool, int]:
        """Whether the pattern matches the whole text, and the work that took. RegexError above the allowance.

        Work is counted in steps of the automaton, about a microsecond each; states seen before cost none.
        """
        end = len(self._program)
        work = 0
        states = self._begin(text)
        for place, character in enumerate(text):
            if not states:
                return False, work
            key = (states, character)
            following = self._cache.get(key)
            if following is None:
                work += len(self._program)
                if work > allowance:
                    raise RegexError("the match takes too long")
                following = self._step(states, text, place, character)
                if not self._places and len(self._cache) < _MAX_CACHED:
                    self._cache[key] = following
            states = following
        return end in states, work

    def _begin(self, text: str) -> frozenset[int]:
        if self._places:
            return self._closure([0], text, 0)
        if self._start is None:
            self._start = self._closure([0], text, 0)
        return self._start

    def _step(self, states: frozenset[int], text: str, place: int, character: str) -> frozenset[int]:
        moved = []
        for state in states:
            if state < len(self._program):
                instruction = self._program[state]
                if isinstance(instruction, _One) and instruction.accepts(character):
                    moved.append(state + 1)
        return self._closure(moved, text, place + 1)

    def _closure(self, states: list[int], text: str, place: int) -> frozenset[int]:
        """All states reachable without reading; `len(program)` among them means accepted so far."""
        found = set(states)
        waiting = states
        while waiting:
            state = waiting.pop()
            if state == len(self._program):
                continue
            instruction = self._program[state]
            targets: Iterable[int] = ()
            if isinstance(instruction, _Fork):
                targets = instruction.targets
            elif isinstance(instruction, _Place) and _holds(instruction.kind, text, place):
                targets = (state + 1,)
            for target in targets:
                if target not in found:
                    found.add(target)
                    waiting.append(target)
        return frozenset(found)


def _holds(kind: str, text: str, place: int) -> bool:
    if kind == "^":
        return place == 0
    if kind == "$":
        return place == len(text) or (place == len(text) - 1 and text[place] in _LINE_ENDS)
    if kind == "<":
        return place == 0 or (text[place - 1] in _LINE_ENDS and place < len(text))
    if kind == ">":
        return place == len(text) or text[place] in _LINE_ENDS
    before = place > 0 and _is_word(text[place - 1])
    behind = place < len(text) and _is_word(text[place])
    return (before != behind) == (kind == "b")


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _emit(node: _Node, program: list[_Instruction]) -> None:
    """Append the instructions of a node; control falls out behind the last one."""
    if len(program) > _MAX_PROGRAM:
        raise RegexError("the pattern is too large")
    if isinstance(node, _All):
        for part in node.parts:
            _emit(part, program)
    elif isinstance(node, _Any):
        _emit_choices(node.choices, program)
    elif isinstance(node, _Repeat):
        for _ in range(node.least):
            size = len(program)
            _emit(node.part, program)
            if len(program) == size:
                break  # an empty part: a thousand repetitions of nothing are nothing
        if node.most is None:
            _emit_star(node.part, program)
        else:
            _emit_options(node.part, node.most - node.least, program)
    else:
        program.append(node)


def _emit_choices(choices: tuple[_Node, ...], program: list[_Instruction]) -> None:
    fork = len(program)
    program.append(_Fork(()))
    starts, ends = [], []
    for choice in choices:
        starts.append(len(program))
        _emit(choice, program)
        ends.append(len(program))
        program.append(_Fork(()))
    program[fork] = _Fork(tuple(starts))
    for end in ends:
        program[end] = _Fork((len(program),))


def _emit_star(part: _Node, program: list[_Instruction]) -> None:
    fork = len(program)
    program.append(_Fork(()))
    _emit(part, program)
    program.append(_Fork((fork,)))
    program[fork] = _Fork((fork + 1, len(program)))


def _emit_options(part: _Node, count: int, program: list[_Instruction]) -> None:
    forks = []
    for _ in range(count):
        forks.append(len(program))
        program.append(_Fork(()))
        _emit(part, program)
    for fork in forks:
        program[fork] = _Fork((fork + 1, len(program)))


class _Reader:
    """Recursive descent over one pattern."""

    __slots__ = ("flags", "place", "text")

    def __init__(self, text: str, flags: str) -> None:
        self.text = text
        self.flags = flags
        self.place = 0

    def peek(self) -> str:
        return self.text[self.place] if self.place < len(self.text) else ""

    def take(self) -> str:
        character = self.peek()
        if not character:
            raise RegexError("the pattern ends too early")
        self.place += 1
        return character

    def whole(self) -> _Node:
        node = self.choices(0)
        if self.peek():
            raise RegexError("a ')' without '('")
        return node

    def choices(self, depth: int) -> _Node:
        if depth > _MAX_NESTING:
            raise RegexError("nested too deeply")
        choices = [self.sequence(depth)]
        while self.peek() == "|":
            self.place += 1
            choices.append(self.sequence(depth))
        return choices[0] if len(choices) == 1 else _Any(tuple(choices))

    def sequence(self, depth: int) -> _Node:
        parts: list[_Node] = []
        while (character := self.peek()) and character not in "|)":
            parts.append(self.repeated(self.atom(depth)))
        return _All(tuple(parts))

    def repeated(self, node: _Node) -> _Node:
        bounds = self.bounds()
        if bounds is None:
            return node
        if self.peek() == "+":
            raise RegexError("possessive repetition is not supported")
        if self.peek() == "?":
            self.place += 1  # lazy or greedy is the same for a full match
        if self.peek() in ("*", "+", "?"):
            raise RegexError("nothing to repeat")
        return _Repeat(node, *bounds)

    def bounds(self) -> tuple[int, int | None] | None:
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        character = self.peek()
        if character in simple:
            self.place += 1
            return simple[character]
        if character != "{":
            return None
        end = self.text.find("}", self.place)
        least, comma, most = self.text[self.place + 1 : max(end, self.place)].partition(",")
        if end < 0 or not _is_count(least) or not (most == "" or _is_count(most)):
            raise RegexError("a repetition must look like {2}, {2,} or {2,5}")
        self.place = end + 1
        low = int(least)
        high = low if not comma else (int(most) if most else None)
        if max(low, high or 0) > _MAX_REPEAT or (high is not None and high < low):
            raise RegexError("a repetition is too large or upside down")
        return low, high

    def atom(self, depth: int) -> _Node:
        character = self.take()
        if character == "(":
            return self.group(depth)
        if character == "[":
            return self.char_class()
        if character == "\\":
            return self.escape()
        if character == ".":
            return _One(_anything if "s" in self.flags else _not_a_line_end)
        if character in "^$":
            by_lines = {"^": "<", "$": ">"}
            return _Place(by_lines[character] if "m" in self.flags else character)
        if character in "*+?{":
            raise RegexError("nothing to repeat")
        return self.ranges([(ord(character), ord(character))])

    def group(self, depth: int) -> _Node:
        if self.peek() == "?":
            self.place += 1
            kind = self.take()
            if kind == "<":
                name_end = self.text.find(">", self.place)
                if not self.text[self.place : max(name_end, self.place)].isalnum():
                    raise RegexError("look-around is not supported")
                self.place = name_end + 1
            elif kind != ":":
                raise RegexError(f"'(?{kind}' is not supported")
        node = self.choices(depth + 1)
        if self.take() != ")":
            raise RegexError("a group is not closed")
        return node

    def escape(self) -> _Node:
        character = self.take()
        if character in "bB":
            return _Place(character)
        if character in ("A", "z", "Z"):
            return _Place("^" if character == "A" else "$")
        return self.ranges(self.escaped_ranges(character))

    def escaped_ranges(self, character: str) -> list[_Range]:
        if character.lower() in _CLASSES:
            ranges = _CLASSES[character.lower()]
            return _inverted(ranges) if character.isupper() else ranges
        code = ord(_CONTROL.get(character, character))
        if character in ("x", "u"):
            digits = self.text[self.place : self.place + (2 if character == "x" else 4)]
            try:
                code = int(digits, 16)
            except ValueError:
                raise RegexError(f"'\\{character}' needs hexadecimal digits") from None
            self.place += len(digits)
        elif character.isalnum() and character not in _CONTROL:
            raise RegexError(f"'\\{character}' is not supported")
        return [(code, code)]

    def char_class(self) -> _Node:
        negated = self.peek() == "^"
        self.place += negated
        ranges: list[_Range] = []
        while True:
            character = self.take()
            if character == "]" and ranges:
                break
            if character == "[" or self.text.startswith("&&", self.place - 1):
                raise RegexError("nested character classes are not supported")
            item = self.escaped_ranges(self.take()) if character == "\\" else [(ord(character), ord(character))]
            single = len(item) == 1 and item[0][0] == item[0][1]
            if single and self.peek() == "-" and self.text[self.place + 1 : self.place + 2] not in ("]", ""):
                self.place += 1
                item = [(item[0][0], self.range_end())]
                if item[0][1] < item[0][0]:
                    raise RegexError("a character range is upside down")
            ranges.extend(item)
        return self.ranges(ranges, negated)

    def class_item(self, character: str) -> list[_Range]:
        return self.escaped_ranges(self.take()) if character == "\\" else [(ord(character), ord(character))]

    def range_end(self) -> int:
        character = self.take()
        item = self.class_item(character)
        if len(item) != 1 or item[0][0] != item[0][1]:
            raise RegexError("a character range needs two characters")
        return item[0][1]

    def ranges(self, ranges: list[_Range], negated: bool = False) -> _One:
        return _One(_accepting(ranges, negated, "i" in self.flags, "u" in self.flags))


def _accepting(ranges: list[_Range], negated: bool, any_case: bool, unicode_case: bool) -> _Accepts:
    def inside(character: str) -> bool:
        code = ord(character)
        return any(low <= code <= high for low, high in ranges)

    def accepts(character: str) -> bool:
        found = inside(character)
        if not found and any_case and (unicode_case or character.isascii()):
            other = character.swapcase()
            found = len(other) == 1 and inside(other)
        return found != negated

    return accepts


def _inverted(ranges: list[_Range]) -> list[_Range]:
    inverted = []
    following = 0
    for low, high in ranges:
        if low > following:
            inverted.append((following, low - 1))
        following = high + 1
    return [*inverted, (following, _LAST)]


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5


def _anything(_: str) -> bool:
    return True


def _not_a_line_end(character: str) -> bool:
    return character not in _LINE_ENDS
