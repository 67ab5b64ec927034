"""The tree of a path that is no reference path: jsonpath-ng's nodes, and our own for what it lacks.

Semantics are Jayway's (asl.md 4.2): loose `==`, filters that test an object itself, one object for several
names, scans in document order. `find` of the nodes says it plainly, one match at a time; what evaluates paths is
`path_closures.py`, made of the same tree and ten times as fast, and tests hold the two together. Imported on use only:
jsonpath_ng costs tens of milliseconds. One evaluation visits a bounded number of values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

from jsonpath_ng.jsonpath import Child, DatumInContext, Index, JSONPath, This, Wildcard

from asfn._json import Json
from asfn.language.linear_regex import LinearRegex, RegexError
from asfn.language.path_operators import COMPARISONS, FUNCTIONS, MISSING, CannotApply, regex_text, weight
from asfn.language.path_steps import (
    Call,
    Compare,
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

MAX_VISITS: Final = 500_000  # half a second at most
COMPARISONS_PER_VISIT: Final = 4
REGEX_STEPS_PER_VISIT: Final = 2
CHARACTERS_PER_VISIT: Final = 20
STEPS_PER_VISIT: Final = 8  # of the tests in a filter
ELEMENTS_PER_VISIT: Final = 8  # of a list that a function is applied to

_Reader: TypeAlias = Callable[[DatumInContext], Any]  # Any: Json, MISSING or a pattern
_Tester: TypeAlias = Callable[[DatumInContext], bool]
_BELOW: Final = This()  # nobody asks for the full path of a match, so its last step need not be told


class TooManyVisits(Exception):
    """A path looks at more values than one evaluation may: a guard against definitions made to hang."""


def find_values(steps: tuple[Step, ...], document: Json) -> list[Json]:
    """All values that the steps select of a document, in Jayway's order, by `find` of the nodes.

    Raises TooManyVisits, CannotApply and RecursionError; a step that fits nothing selects nothing.
    """
    return [datum.value for datum in tree_of(steps).find(_Start(document))]


def pick_names(value: dict[str, Json], names: tuple[str, ...]) -> Json:
    """One object with those of the named members that the value has."""
    return {name: value[name] for name in names if name in value}


# Nodes.


class _Start(DatumInContext):
    """The document at the top of every context chain; counts the values that may still be visited."""

    def __init__(self, value: Json) -> None:
        super().__init__(value, path=This(), context=None)
        self.visits_left = MAX_VISITS

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


class MembersNode(JSONPath):
    """Names: several make one object at the end of a path, one match each before. `*` is a plain name.

    Used instead of jsonpath-ng's Fields, which takes a name "*" for a wildcard. Several are counted, because names
    may repeat: `['a','a']['a','a']` doubles at each step.
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
        found = [_below(datum, value[name], _BELOW) for name in self.names if name in value]
        if len(self.names) > 1:
            _start_of(datum).spend(len(found))
        return found


class EveryNode(Wildcard):
    """`*`, counted."""

    def find(self, datum: DatumInContext) -> list[DatumInContext]:
        found: list[DatumInContext] = super().find(datum)
        _start_of(datum).spend(len(found))
        return found


class ElementsNode(JSONPath):
    """Single elements of a list; an index out of range selects nothing. Several are counted, as several names are."""

    def __init__(self, indexes: tuple[int, ...]) -> None:
        self.indexes = indexes

    def find(self, datum: DatumInContext) -> list[DatumInContext]:
        value = datum.value
        if not isinstance(value, list):
            return []
        length = len(value)
        found = [_below(datum, value[at], Index(at)) for at in self.indexes if -length <= at < length]
        if len(self.indexes) > 1:
            _start_of(datum).spend(len(found))
        return found


class SliceNode(JSONPath):
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
        indexes = self.indexes(len(value))
        _start_of(datum).spend(len(indexes))
        return [_below(datum, value[at], Index(at)) for at in indexes if -len(value) <= at]

    def indexes(self, length: int) -> range:
        """Of a list of so many elements; those below -length select nothing."""
        if self.start is not None and self.stop is not None:
            return range(self.start, min(self.stop, length))
        return range(*slice(self.start, self.stop).indices(length))


class FilterNode(JSONPath):
    """`[?(...)]`: the matching elements of a list; an object is tested itself."""

    def __init__(self, test: Test) -> None:
        self.test = test
        self.tester = _tester(test)
        self.visits = 1 + _steps_of(test) // STEPS_PER_VISIT

    def find(self, datum: DatumInContext) -> list[DatumInContext]:
        value = datum.value
        if isinstance(value, list):
            _start_of(datum).spend(len(value) * self.visits)
            elements = [_below(datum, element, Index(at)) for at, element in enumerate(value)]
            return [element for element in elements if self.tester(element)]
        if isinstance(value, dict):
            _start_of(datum).spend(self.visits)
            return [datum] if self.tester(datum) else []
        return []


class ScanNode(JSONPath):
    """`..`: `step`, then `rest`, on the value and all its descendants, parents first.

    Jayway's quirk is kept: at a list an index or `*` that is not the last step lets all elements through.
    """

    def __init__(self, step: Step, node: JSONPath, rest: JSONPath | None) -> None:
        self.step = step
        self.first = node
        self.rest = rest
        self.merged = rest is None
        self.node = node if rest is None else Child(node, rest)
        self.at_list = self.node if rest is None else Child(EveryNode(), rest)

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


class CallNode(JSONPath):
    """A function of each value."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.apply = _applying(call)

    def find(self, datum: DatumInContext) -> list[DatumInContext]:
        return [_below(datum, self.apply(datum.value, _start_of(datum)), _BELOW)]


class AggregateNode(JSONPath):
    """`$..x.sum()`: the function of the list of all values in front of it.

    `$..x.length()` counts the members and elements of all those values (Jayway).
    """

    def __init__(self, steps: tuple[Step, ...], call: Call) -> None:
        self.call = call
        self.values = tree_of(steps)
        self.apply = _applying(call)
        self.counts = call.name in ("length", "size") and not call.arguments

    def find(self, datum: DatumInContext) -> list[DatumInContext]:
        values = [match.value for match in self.values.find(datum)]
        if self.counts:
            values = children_of(values)
        return [_below(datum, self.apply(values, _start_of(datum)), _BELOW)]


def children_of(values: list[Json]) -> list[Json]:
    """The names of objects and the elements of lists, as many as there are children."""
    return [child for value in values if isinstance(value, (list, dict)) for child in value]


def _applying(call: Call) -> Callable[[Json, _Start], Json]:
    readers = [_reader(argument) for argument in call.arguments]
    apply = FUNCTIONS[call.name]

    def result(value: Json, start: _Start) -> Json:
        arguments = [reader(start) for reader in readers]
        if any(argument is MISSING for argument in arguments):
            raise CannotApply(f"an argument of {call.name}() selects nothing")
        for operand in (value, *arguments):
            if isinstance(operand, list):
                start.spend(len(operand) // ELEMENTS_PER_VISIT)
        return apply(value, arguments)

    return result


def _below(datum: DatumInContext, value: Json, path: JSONPath) -> DatumInContext:
    return DatumInContext(value, path=path, context=datum)


def tree_of(steps: tuple[Step, ...]) -> JSONPath:
    if steps and isinstance(steps[0], Scan) and isinstance(steps[-1], Call):
        return AggregateNode(steps[:-1], steps[-1])
    tree: JSONPath = This()
    for place, step in enumerate(steps):
        if isinstance(step, Scan):
            rest = steps[place + 2 :]
            node = _node(steps[place + 1], last=not rest)
            return Child(tree, ScanNode(steps[place + 1], node, tree_of(rest) if rest else None))
        tree = Child(tree, _node(step, last=place == len(steps) - 1))
    return tree


def _node(step: Step, *, last: bool) -> JSONPath:
    if isinstance(step, Member):
        return MembersNode(step.names, merged=last and len(step.names) > 1)
    if isinstance(step, Element):
        return ElementsNode(step.indexes)
    if isinstance(step, Span):
        return SliceNode(step.start, step.stop)
    if isinstance(step, Filter):
        return FilterNode(step.test)
    if isinstance(step, Call):
        return CallNode(step)
    return EveryNode()


# Filters.


def _steps_of(test: Test) -> int:
    """How much there is to do for one item: its comparisons, and the steps of their paths."""
    if isinstance(test, Junction):
        return sum(map(_steps_of, test.tests))
    if isinstance(test, Negation):
        return _steps_of(test.test)
    operands = (test.route,) if isinstance(test, Exists) else (test.left, test.right)
    return 1 + sum(len(operand.steps) for operand in operands if isinstance(operand, Route))


def route_that_must_select(route: Route) -> Route:
    """What a test of existence asks for: a definite path whole, of any other its leading definite part (Jayway)."""
    steps = route.steps
    if not is_definite(steps):
        steps = steps[: next(place for place in range(len(steps)) if not is_definite(steps[: place + 1]))]
    return Route(route.from_item, steps)


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
    read = _reader(route_that_must_select(route))
    return lambda item: read(item) is not MISSING


def _reader(operand: Operand) -> _Reader:
    if isinstance(operand, Constant):
        value = operand.value
        return lambda _: value
    if isinstance(operand, Pattern):
        regex = operand.regex
        return lambda _: regex
    node = tree_of(operand.steps)
    definite = is_definite(operand.steps)
    from_item = operand.from_item

    def read(item: DatumInContext) -> Any:
        origin = item if from_item else _start_of(item)
        matches = node.find(origin)
        if definite:
            return matches[0].value if matches else MISSING
        return [match.value for match in matches]

    return read


def _comparison(test: Compare) -> _Tester:
    """One comparison, paying for the work that large operands make."""
    left, right = _reader(test.left), _reader(test.right)
    if test.operator == "=~":
        return lambda item: matches(left(item), right(item), _start_of(item))
    compare = COMPARISONS[test.operator]

    def holds(item: DatumInContext) -> bool:
        first, second = left(item), right(item)
        if isinstance(first, (dict, list)) or isinstance(second, (dict, list)):
            _start_of(item).spend(weight(first) * weight(second) // COMPARISONS_PER_VISIT)
        return compare(first, second)

    return holds


class Budget(Protocol):
    """How many values one evaluation may still visit."""

    visits_left: int

    def spend(self, visits: int) -> None: ...


def matches(first: Any, second: Any, budget: Budget) -> bool:
    """Whether the one of the two that is a pattern matches the other; a list matches when one of its elements does."""
    regex, value = (first, second) if isinstance(first, LinearRegex) else (second, first)
    for element in value if isinstance(value, list) else [value]:
        text = regex_text(element)
        try:
            found, work = regex.match_within(text, budget.visits_left * REGEX_STEPS_PER_VISIT)
        except RegexError:
            raise TooManyVisits from None
        budget.spend(1 + len(text) // CHARACTERS_PER_VISIT + work // REGEX_STEPS_PER_VISIT)
        if found:
            return True
    return False
