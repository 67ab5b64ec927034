"""Evaluation of paths that are no reference paths, with jsonpath-ng's nodes and our own for what it lacks.

Semantics are Jayway's (asl.md 4.2): loose `==`, filters that test an object itself, one object for several
names, scans in document order. Imported by `paths.py` on use only: importing jsonpath_ng costs tens of
milliseconds. One evaluation visits a bounded number of values.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Final, TypeAlias

from jsonpath_ng.jsonpath import Child, DatumInContext, Index, JSONPath, This, Wildcard

from asfn._json import Json
from asfn.language.linear_regex import LinearRegex, RegexError
from asfn.language.numbers import is_number, number_text, same
from asfn.language.path_grammar import (
    Call,
    Compare,
    Comparison,
    Constant,
    Element,
    Every,
    Exists,
    Filter,
    Junction,
    Member,
    Negation,
    Operand,
    Pattern,
    Route,
    Scan,
    Span,
    Step,
    Test,
    is_definite,
)

_MAX_VISITS: Final = 500_000  # one to two seconds
_COMPARISONS_PER_VISIT: Final = 4
_REGEX_STEPS_PER_VISIT: Final = 64

_Reader: TypeAlias = Callable[[DatumInContext], Any]  # Json, or _MISSING
_Tester: TypeAlias = Callable[[DatumInContext], bool]
_MISSING: Final = object()
_BELOW: Final = This()  # nobody asks for the full path of a match, so its last step need not be told
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?")


class TooManyVisits(Exception):
    """A path looks at more values than one evaluation may: a guard against definitions made to hang."""


class CannotApply(Exception):
    """A function cannot be applied to its value, for example `max()` to a text. `str()` says why."""


def compile_values(steps: tuple[Step, ...]) -> Callable[[Json], list[Json]]:
    """The steps as a function from a document to all values they select, in Jayway's order.

    It raises TooManyVisits, CannotApply and RecursionError; a step that fits nothing selects nothing.
    """
    node = _tree(steps)

    def values(document: Json) -> list[Json]:
        return [datum.value for datum in node.find(_Start(document))]

    return values


def compile_call(call: Call) -> Callable[[Json, Json], Json]:
    """A function step as a function of the value before it and the document. It raises as `compile_values`."""
    readers = [_reader(argument) for argument in call.arguments]
    apply = _FUNCTIONS[call.name]

    def result(value: Json, document: Json) -> Json:
        start = _Start(document)
        arguments = [reader(start) for reader in readers]
        if any(argument is _MISSING for argument in arguments):
            raise CannotApply(f"an argument of {call.name}() selects nothing")
        return apply(value, arguments)

    return result


def pick_names(value: dict[str, Json], names: tuple[str, ...]) -> Json:
    """One object with those of the named members that the value has."""
    return {name: value[name] for name in names if name in value}


# Nodes.


class _Start(DatumInContext):
    """The document at the top of every context chain; counts the values that may still be visited."""

    def __init__(self, value: Json) -> None:
        super().__init__(value, path=This(), context=None)
        self.visits_left = _MAX_VISITS

    def spend(self, visits: int) -> None:
        self.visits_left -= visits
        if self.visits_left < 0:
            raise TooManyVisits


def _start_of(datum: DatumInContext) -> _Start:
    while (context := datum.context) is not None:
        datum = context
    if not isinstance(datum, _Start):
        raise AssertionError("an evaluation begins with _Start")
    return datum


class _Members(JSONPath):
    """Names: several make one object at the end of a path, one match each before. `*` is a plain name.

    Used instead of jsonpath-ng's Fields, which takes a name "*" for a wildcard and four times as long.
    """

    def __init__(self, names: tuple[str, ...], merged: bool) -> None:
        self.names = names
        self.merged = merged

    def find(self, datum: DatumInContext) -> list[DatumInContext]:
        value = datum.value
        if not isinstance(value, dict):
            return []
        if self.merged:
            return [_below(datum, pick_names(value, self.names), _BELOW)]
        return [_below(datum, value[name], _BELOW) for name in self.names if name in value]


class _Every(Wildcard):
    """`*`, counted."""

    def find(self, datum: DatumInContext) -> list[DatumInContext]:
        found: list[DatumInContext] = super().find(datum)
        _start_of(datum).spend(len(found))
        return found


class _Elements(JSONPath):
    """Single elements of a list; an index out of range selects nothing."""

    def __init__(self, indexes: tuple[int, ...]) -> None:
        self.indexes = indexes

    def find(self, datum: DatumInContext) -> list[DatumInContext]:
        value = datum.value
        if not isinstance(value, list):
            return []
        length = len(value)
        return [_below(datum, value[at], Index(at)) for at in self.indexes if -length <= at < length]


class _Slice(JSONPath):
    """`[from:]`, `[:to]`, `[from:to]`.

    Jayway counts from the end in the first two only: a negative bound in `[from:to]` is out of range.
    """

    def __init__(self, start: int | None, stop: int | None) -> None:
        self.start = start
        self.stop = stop

    def find(self, datum: DatumInContext) -> list[DatumInContext]:
        value = datum.value
        if not isinstance(value, list):
            return []
        if self.start is not None and self.stop is not None:
            indexes = range(self.start, min(self.stop, len(value)))
        else:
            indexes = range(*slice(self.start, self.stop).indices(len(value)))
        _start_of(datum).spend(len(indexes))
        return [_below(datum, value[at], Index(at)) for at in indexes if -len(value) <= at]


class _Filter(JSONPath):
    """`[?(...)]`: the matching elements of a list; an object is tested itself."""

    def __init__(self, tester: _Tester) -> None:
        self.tester = tester

    def find(self, datum: DatumInContext) -> list[DatumInContext]:
        value = datum.value
        if isinstance(value, list):
            _start_of(datum).spend(len(value))
            elements = [_below(datum, element, Index(at)) for at, element in enumerate(value)]
            return [element for element in elements if self.tester(element)]
        if isinstance(value, dict) and self.tester(datum):
            return [datum]
        return []


class _Scan(JSONPath):
    """`..`: `step`, then `rest`, on the value and all its descendants, parents first.

    Jayway's quirk is kept: at a list an index or `*` that is not the last step lets all elements through.
    """

    def __init__(self, step: Step, node: JSONPath, rest: JSONPath | None) -> None:
        self.step = step
        self.merged = rest is None
        self.node = node if rest is None else Child(node, rest)
        self.at_list = self.node if rest is None else Child(_Every(), rest)

    def find(self, datum: DatumInContext) -> list[DatumInContext]:
        start = _start_of(datum)
        found: list[DatumInContext] = []
        waiting = [datum]
        while waiting:
            here = waiting.pop()
            start.spend(1)
            value = here.value
            if isinstance(value, dict):
                if not self.lacks_names(value):
                    found.extend(self.node.find(here))
                children = [_below(here, member, _BELOW) for member in value.values()]
            elif isinstance(value, list):
                if isinstance(self.step, (Element, Every)):
                    found.extend(self.at_list.find(here))
                children = [_below(here, element, _BELOW) for element in value]
            else:
                continue
            children.reverse()
            waiting.extend(children)
        return found

    def lacks_names(self, value: dict[str, Json]) -> bool:
        """Behind `..` an object without all of several last names does not count (Jayway)."""
        step = self.step
        return self.merged and isinstance(step, Member) and any(name not in value for name in step.names)


class _Call(JSONPath):
    """A function of each value."""

    def __init__(self, call: Call) -> None:
        self.apply = compile_call(call)

    def find(self, datum: DatumInContext) -> list[DatumInContext]:
        return [_below(datum, self.apply(datum.value, _start_of(datum).value), _BELOW)]


class _Aggregate(JSONPath):
    """`$..x.sum()`: the function of the list of all values in front of it."""

    def __init__(self, steps: tuple[Step, ...], call: Call) -> None:
        self.values = _tree(steps)
        self.apply = compile_call(call)

    def find(self, datum: DatumInContext) -> list[DatumInContext]:
        values = [match.value for match in self.values.find(datum)]
        return [_below(datum, self.apply(values, _start_of(datum).value), _BELOW)]


def _below(datum: DatumInContext, value: Json, path: JSONPath) -> DatumInContext:
    return DatumInContext(value, path=path, context=datum)


def _tree(steps: tuple[Step, ...]) -> JSONPath:
    if steps and isinstance(steps[0], Scan) and isinstance(steps[-1], Call):
        return _Aggregate(steps[:-1], steps[-1])
    tree: JSONPath = This()
    for place, step in enumerate(steps):
        if isinstance(step, Scan):
            rest = steps[place + 2 :]
            node = _node(steps[place + 1], last=not rest)
            return Child(tree, _Scan(steps[place + 1], node, _tree(rest) if rest else None))
        tree = Child(tree, _node(step, last=place == len(steps) - 1))
    return tree


def _node(step: Step, *, last: bool) -> JSONPath:
    if isinstance(step, Member):
        return _Members(step.names, merged=last and len(step.names) > 1)
    if isinstance(step, Element):
        return _Elements(step.indexes)
    if isinstance(step, Span):
        return _Slice(step.start, step.stop)
    if isinstance(step, Filter):
        return _Filter(_tester(step.test))
    if isinstance(step, Call):
        return _Call(step)
    return _Every()


# Filters.


def _tester(test: Test) -> _Tester:
    if isinstance(test, Exists):
        return _existence(test.route)
    if isinstance(test, Negation):
        inner = _tester(test.test)
        return lambda item: not inner(item)
    if isinstance(test, Junction):
        testers = [_tester(part) for part in test.tests]
        if test.every:
            return lambda item: all(tester(item) for tester in testers)
        return lambda item: any(tester(item) for tester in testers)
    return _comparison(test)


def _existence(route: Route) -> _Tester:
    """A definite path exists when it selects; any other when its leading definite part does (Jayway)."""
    steps = route.steps
    if not is_definite(steps):
        steps = steps[: next(place for place in range(len(steps)) if not is_definite(steps[: place + 1]))]
    read = _reader(Route(route.from_item, steps))
    return lambda item: read(item) is not _MISSING


def _reader(operand: Operand) -> _Reader:
    if isinstance(operand, Constant):
        value = operand.value
        return lambda _: value
    if isinstance(operand, Pattern):
        regex = operand.regex
        return lambda _: regex
    node = _tree(operand.steps)
    definite = is_definite(operand.steps)
    from_item = operand.from_item

    def read(item: DatumInContext) -> Any:
        origin = item if from_item else _start_of(item)
        matches = node.find(origin)
        if definite:
            return matches[0].value if matches else _MISSING
        return [match.value for match in matches]

    return read


def _comparison(test: Compare) -> _Tester:
    left, right = _reader(test.left), _reader(test.right)
    compare = _COMPARISONS.get(test.operator, _equal)

    def holds(item: DatumInContext) -> bool:
        first, second = left(item), right(item)
        if isinstance(first, _HEAVY) or isinstance(second, _HEAVY):
            _start_of(item).spend(_weight(first) * _weight(second) // _COMPARISONS_PER_VISIT)
        return compare(first, second)

    def matches(item: DatumInContext) -> bool:
        first, second = left(item), right(item)
        regex, value = (first, second) if isinstance(first, LinearRegex) else (second, first)
        texts = value if isinstance(value, list) else [value]
        found = False
        for text in map(_regex_text, texts):
            _start_of(item).spend(1 + regex.size * len(text) // _REGEX_STEPS_PER_VISIT)
            found = found or _matches(regex, text)
        return found

    return matches if test.operator == "=~" else holds


def _weight(value: Any) -> int:
    """How many values there are in a value: the work of comparing it."""
    weight = 0
    waiting = [value]
    while waiting:
        value = waiting.pop()
        weight += 1
        if isinstance(value, (dict, list)):
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return weight


def _equal(left: Any, right: Any) -> bool:
    """Jayway's `==`: a number equals a text that reads as it; what is missing equals nothing."""
    if left is _MISSING or right is _MISSING:
        return False
    if isinstance(left, str) and is_number(right):
        return left == number_text(right)
    if is_number(left) and isinstance(right, str):
        return _DECIMAL.fullmatch(right) is not None and Decimal(right) == Decimal(repr(left))
    return same(left, right)


def _strictly_equal(left: Any, right: Any) -> bool:
    kinds = [
        "number" if is_number(value) else "json" if isinstance(value, (dict, list)) else type(value)
        for value in (left, right)
    ]
    return kinds[0] == kinds[1] and _equal(left, right)


def _ordered(holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Numbers by value, texts by UTF-16, a number with a text as texts, everything else unordered."""

    def compare(left: Any, right: Any) -> bool:
        if is_number(left) and is_number(right):
            return holds(left, right)
        texts = [number_text(value) if is_number(value) else value for value in (left, right)]
        if not all(isinstance(text, str) for text in texts):
            return False
        return holds(*(text.encode("utf-16-be", "surrogatepass") for text in texts))

    return compare


def _matches(regex: LinearRegex, text: str) -> bool:
    try:
        return regex.full_match(text)
    except RegexError as error:
        raise CannotApply(str(error)) from None


def _regex_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if is_number(value) else ""


def _among(value: Any, values: Any) -> bool:
    return isinstance(values, list) and any(_equal(value, element) for element in values)


def _contains(left: Any, right: Any) -> bool:
    if isinstance(left, str):
        return isinstance(right, str) and right in left
    return _among(right, left)


def _has_size(left: Any, right: Any) -> bool:
    if not is_number(right) or not isinstance(left, (str, list)):
        return False
    return len(left) == int(right)


def _is_empty(left: Any, right: Any) -> bool:
    return isinstance(left, (str, list, dict)) and isinstance(right, bool) and (not left) == right


def _lists(holds: Callable[[list[Any], list[Any]], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: isinstance(left, list) and isinstance(right, list) and holds(left, right)


_HEAVY: Final = (dict, list)
_COMPARISONS: Final[dict[Comparison, Callable[[Any, Any], bool]]] = {
    "==": _equal,
    "!=": lambda left, right: not _equal(left, right),
    "===": _strictly_equal,
    "!==": lambda left, right: not _strictly_equal(left, right),
    "<": _ordered(lambda left, right: bool(left < right)),
    "<=": _ordered(lambda left, right: bool(left <= right)),
    ">": _ordered(lambda left, right: bool(left > right)),
    ">=": _ordered(lambda left, right: bool(left >= right)),
    "in": _among,
    "nin": lambda left, right: not _among(left, right),
    "contains": _contains,
    "all": _lists(lambda left, right: all(_among(value, left) for value in right)),
    "size": _has_size,
    "empty": _is_empty,
    "subsetof": _lists(lambda left, right: all(_among(value, right) for value in left)),
    "anyof": _lists(lambda left, right: any(_among(value, right) for value in left)),
    "noneof": _lists(lambda left, right: not any(_among(value, right) for value in left)),
}


# Functions at the tail. AWS's guide calls them unsupported; users report that they work in templates [R].


def _numbers(value: Any, arguments: Iterable[Any]) -> list[float]:
    numbers = [float(element) for element in (value if isinstance(value, list) else []) if is_number(element)]
    for argument in arguments:
        numbers.extend(float(one) for one in (argument if isinstance(argument, list) else [argument]) if is_number(one))
    if not numbers:
        raise CannotApply("Aggregation function attempted to calculate value using empty array")
    return numbers


def _aggregation(combine: Callable[[list[float]], float]) -> Callable[[Any, list[Any]], Json]:
    return lambda value, arguments: combine(_numbers(value, arguments))


def _length(value: Any, arguments: list[Any]) -> Json:
    target = arguments[0] if arguments else value
    return len(target) if isinstance(target, (list, dict)) else None


def _keys(value: Any, _: list[Any]) -> Json:
    return list(value) if isinstance(value, dict) else None


def _concat(value: Any, arguments: list[Any]) -> Json:
    parts = [*(value if isinstance(value, list) else []), *arguments]
    return "".join(part for part in parts if isinstance(part, str))


def _append(value: Any, arguments: list[Any]) -> Json:
    return [*value, *arguments] if isinstance(value, list) else value


def _at(value: Any, index: int) -> Json:
    if not isinstance(value, list) or not -len(value) <= index < len(value):
        raise CannotApply(f"there is no element {index}")
    element: Json = value[index]
    return element


def _index(value: Any, arguments: list[Any]) -> Json:
    if len(arguments) != 1 or isinstance(arguments[0], bool) or not isinstance(arguments[0], int):
        raise CannotApply("index() needs one integer")
    return _at(value, arguments[0])


_FUNCTIONS: Final[dict[str, Callable[[Any, list[Any]], Json]]] = {
    "length": _length,
    "size": _length,
    "min": _aggregation(min),
    "max": _aggregation(max),
    "avg": _aggregation(statistics.fmean),
    "sum": _aggregation(sum),
    "stddev": _aggregation(statistics.pstdev),
    "keys": _keys,
    "concat": _concat,
    "append": _append,
    "first": lambda value, _: _at(value, 0),
    "last": lambda value, _: _at(value, -1),
    "index": _index,
}
