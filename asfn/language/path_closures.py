"""Paths that are no reference paths, as closures over lists of values: made from the trees of `path_nodes.py`.

Each step maps all values found so far to all values it finds in them, in the order of the nodes' own `find`; what it
costs is counted the same way. Shapes that real machines have, such as `[?(@.price < 5)]` and `..name`, take a closure
of their own. Results are equal to those of `find`, which a test draws paths and documents for.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from jsonpath_ng.jsonpath import Child, JSONPath, This

from asfn._json import Json
from asfn.language.path_nodes import (
    COMPARISONS_PER_VISIT,
    ELEMENTS_PER_VISIT,
    MAX_VISITS,
    AggregateNode,
    CallNode,
    ElementsNode,
    EveryNode,
    FilterNode,
    MembersNode,
    ScanNode,
    SliceNode,
    TooManyVisits,
    children_of,
    matches,
    pick_names,
    route_that_must_select,
    tree_of,
)
from asfn.language.path_operators import COMPARISONS, FUNCTIONS, MISSING, CannotApply, weight
from asfn.language.path_steps import (
    Call,
    Compare,
    Constant,
    Element,
    Every,
    Exists,
    Junction,
    Member,
    Negation,
    Operand,
    Pattern,
    Step,
    Test,
    is_definite,
)

# Any: Json, MISSING or a pattern, which the functions of path_operators tell apart.
_Select: TypeAlias = Callable[[list[Any], "_Run"], list[Any]]
_Read: TypeAlias = Callable[[Any, "_Run"], Any]
_Holds: TypeAlias = Callable[[Any, "_Run"], bool]


class _Run:
    """One evaluation: the document that `$` in a filter means, and how many values may still be visited."""

    __slots__ = ("document", "visits_left")

    def __init__(self, document: Json) -> None:
        self.document = document
        self.visits_left = MAX_VISITS

    def spend(self, visits: int) -> None:
        self.visits_left -= visits
        if self.visits_left < 0:
            raise TooManyVisits


def compile_values(steps: tuple[Step, ...]) -> Callable[[Json], list[Json]]:
    """The steps as a function from a document to all values they select, in Jayway's order.

    It raises TooManyVisits, CannotApply and RecursionError; a step that fits nothing selects nothing.
    """
    select = _select(tree_of(steps))
    return lambda document: select([document], _Run(document))


def compile_call(call: Call) -> Callable[[Json, Json], Json]:
    """A function step as a function of the value before it and the document. It raises as `compile_values`."""
    apply = _applying(call)
    return lambda value, document: apply(value, _Run(document))


# Nodes.


def _select(node: JSONPath) -> _Select:
    selects = []
    while isinstance(node, Child):
        selects.append(_one_step(node.right))
        node = node.left
    if not isinstance(node, This):
        selects.append(_one_step(node))
    if not selects:
        return lambda values, run: values
    if len(selects) == 1:
        return selects[0]
    selects.reverse()

    def select(values: list[Any], run: _Run) -> list[Any]:
        for step in selects:
            values = step(values, run)
        return values

    return select


def _one_step(node: JSONPath) -> _Select:
    return _STEPS[type(node)](node)


def _members(node: MembersNode) -> _Select:
    names = node.names
    if node.merged:
        return lambda values, run: [pick_names(value, names) for value in values if isinstance(value, dict)]
    if len(names) == 1:
        (name,) = names
        return lambda values, run: [value[name] for value in values if isinstance(value, dict) and name in value]

    def select(values: list[Any], run: _Run) -> list[Any]:
        found: list[Any] = []
        for value in values:
            if isinstance(value, dict):
                members = [value[name] for name in names if name in value]
                run.spend(len(members))
                found += members
        return found

    return select


def _every(_: EveryNode) -> _Select:
    def select(values: list[Any], run: _Run) -> list[Any]:
        found: list[Any] = []
        for value in values:
            if isinstance(value, (dict, list)):
                run.spend(len(value))
                found += value.values() if isinstance(value, dict) else value
        return found

    return select


def _elements(node: ElementsNode) -> _Select:
    indexes = node.indexes
    counted = len(indexes) > 1

    def select(values: list[Any], run: _Run) -> list[Any]:
        found: list[Any] = []
        for value in values:
            if isinstance(value, list):
                length = len(value)
                elements = [value[at] for at in indexes if -length <= at < length]
                if counted:
                    run.spend(len(elements))
                found += elements
        return found

    return select


def _slice(node: SliceNode) -> _Select:
    start, stop = node.start, node.stop

    def select(values: list[Any], run: _Run) -> list[Any]:
        found: list[Any] = []
        for value in values:
            if isinstance(value, list):
                indexes = node.indexes(len(value))
                run.spend(len(indexes))
                found += [value[at] for at in indexes if -len(value) <= at]
        return found

    return select if start is not None and stop is not None else _open_slice(slice(start, stop))


def _open_slice(span: slice) -> _Select:
    """`[from:]`, `[:to]`: Python's own slices."""

    def select(values: list[Any], run: _Run) -> list[Any]:
        found: list[Any] = []
        for value in values:
            if isinstance(value, list):
                elements = value[span]
                run.spend(len(elements))
                found += elements
        return found

    return select


def _filter(node: FilterNode) -> _Select:
    holds = _holds(node.test)
    visits = node.visits

    def select(values: list[Any], run: _Run) -> list[Any]:
        found: list[Any] = []
        for value in values:
            if isinstance(value, list):
                run.spend(len(value) * visits)
                found += [element for element in value if holds(element, run)]
            elif isinstance(value, dict):
                run.spend(visits)
                if holds(value, run):
                    found.append(value)
        return found

    return select


def _scan(node: ScanNode) -> _Select:
    """First what the step finds in each value and its descendants, then all further steps on that at once."""
    rest = _select(node.rest) if node.rest is not None else None
    first = _scanned(node)

    def select(values: list[Any], run: _Run) -> list[Any]:
        found: list[Any] = []
        for value in values:
            found += first(_holders(value, run), run)
        return found if rest is None else rest(found, run)

    return select


def _scanned(node: ScanNode) -> _Select:
    """The step behind `..`, on objects and lists in the order of the scan; the quirks are told at the node."""
    step = node.step
    select = _one_step(node.first)
    if isinstance(step, Every) or (isinstance(step, Element) and node.rest is None):
        return select
    if isinstance(step, Element):
        every = _every(EveryNode())
        return lambda holders, run: every([holder for holder in holders if isinstance(holder, list)], run)
    if isinstance(step, Member) and len(step.names) == 1:
        return select
    if isinstance(step, Member) and node.rest is None:
        names = step.names
        return lambda holders, run: [
            pick_names(holder, names)
            for holder in holders
            if isinstance(holder, dict) and all(name in holder for name in names)
        ]
    return lambda holders, run: select([holder for holder in holders if isinstance(holder, dict)], run)


_SCALARS: Final = frozenset({str, int, float, bool, type(None)})  # asking for the type is cheaper than isinstance


def _holders(value: Any, run: _Run) -> list[Any]:
    """A value and its descendants, parents first, but for those that hold nothing."""
    run.spend(1)
    if not isinstance(value, (dict, list)):
        return []
    holders: list[Any] = []
    waiting = [value]
    visits_left = run.visits_left
    while waiting:
        value = waiting.pop()
        holders.append(value)
        visits_left -= len(value)
        if visits_left < 0:
            raise TooManyVisits
        for child in reversed(value.values()) if isinstance(value, dict) else reversed(value):
            if type(child) not in _SCALARS and isinstance(child, (dict, list)):
                waiting.append(child)  # noqa: PERF401  # until Python 3.12 a comprehension costs a frame for each value
    run.visits_left = visits_left
    return holders


def _call(node: CallNode) -> _Select:
    apply = _applying(node.call)
    return lambda values, run: [apply(value, run) for value in values]


def _aggregate(node: AggregateNode) -> _Select:
    find, apply, counts = _select(node.values), _applying(node.call), node.counts

    def aggregate(value: Any, run: _Run) -> Any:
        found = find([value], run)
        return apply(children_of(found) if counts else found, run)

    def select(values: list[Any], run: _Run) -> list[Any]:
        return [aggregate(value, run) for value in values]

    return select


def _applying(call: Call) -> _Read:
    reads = [_reader(argument) for argument in call.arguments]
    apply = FUNCTIONS[call.name]

    def result(value: Any, run: _Run) -> Json:
        arguments = [read(run.document, run) for read in reads]
        if any(argument is MISSING for argument in arguments):
            raise CannotApply(f"an argument of {call.name}() selects nothing")
        for operand in (value, *arguments):
            if isinstance(operand, list):
                run.spend(len(operand) // ELEMENTS_PER_VISIT)
        return apply(value, arguments)

    return result


_STEPS: Final[dict[type[JSONPath], Callable[[Any], _Select]]] = {  # Any: the node of the type in front of it
    MembersNode: _members,
    EveryNode: _every,
    ElementsNode: _elements,
    SliceNode: _slice,
    FilterNode: _filter,
    ScanNode: _scan,
    CallNode: _call,
    AggregateNode: _aggregate,
}


# Filters.


def _holds(test: Test) -> _Holds:
    if isinstance(test, Exists):
        read = _reader(route_that_must_select(test.route))
        return lambda item, run: read(item, run) is not MISSING
    if isinstance(test, Negation):
        inner = _holds(test.test)
        return lambda item, run: not inner(item, run)
    if isinstance(test, Junction):
        return _junction(test.every, [_holds(part) for part in test.tests])
    if test.operator == "=~":
        left, right = _reader(test.left), _reader(test.right)
        return lambda item, run: matches(left(item, run), right(item, run), run)
    return _comparison(test)


def _junction(every: bool, tests: list[_Holds]) -> _Holds:
    def holds(item: Any, run: _Run) -> bool:
        for test in tests:
            if test(item, run) is not every:
                return not every
        return every

    return holds


def _reader(operand: Operand) -> _Read:
    if isinstance(operand, Constant):
        value = operand.value
        return lambda item, run: value
    if isinstance(operand, Pattern):
        regex = operand.regex
        return lambda item, run: regex
    steps, from_item = operand.steps, operand.from_item
    if not steps:
        return (lambda item, run: item) if from_item else (lambda item, run: run.document)
    if from_item and len(steps) == 1 and (name := _only_name(steps)) is not None:
        return lambda item, run: item.get(name, MISSING) if isinstance(item, dict) else MISSING
    select = _select(tree_of(steps))
    if not is_definite(steps):
        return lambda item, run: select([item if from_item else run.document], run)

    def read(item: Any, run: _Run) -> Any:
        found = select([item if from_item else run.document], run)
        return found[0] if found else MISSING

    return read


def _only_name(steps: tuple[Step, ...]) -> str | None:
    (step,) = steps
    return step.names[0] if isinstance(step, Member) and len(step.names) == 1 else None


def _comparison(test: Compare) -> _Holds:
    """One comparison, paying for the work that large operands make."""
    left, right = _reader(test.left), _reader(test.right)
    compare = COMPARISONS[test.operator]

    def holds(item: Any, run: _Run) -> bool:
        first, second = left(item, run), right(item, run)
        if isinstance(first, (dict, list)) or isinstance(second, (dict, list)):
            run.spend(weight(first) * weight(second) // COMPARISONS_PER_VISIT)
        return compare(first, second)

    kinds, plain = _plain_comparison(test)
    if plain is None or not isinstance(test.right, Constant):
        return holds
    constant: Any = test.right.value
    compare_plainly = plain

    def holds_mostly(item: Any, run: _Run) -> bool:
        first = left(item, run)
        if type(first) in kinds:
            return bool(compare_plainly(first, constant))
        if isinstance(first, (dict, list)):
            run.spend(weight(first) // COMPARISONS_PER_VISIT)
        return compare(first, constant)

    return holds_mostly


_NUMBERS: Final = (int, float)  # by `type() in`, which leaves booleans out
_OF_NUMBERS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "===": operator.eq,
    "!=": operator.ne,
    "!==": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OF_TEXTS: Final = {sign: _OF_NUMBERS[sign] for sign in ("==", "===", "!=", "!==")}


def _plain_comparison(test: Compare) -> tuple[tuple[type, ...], Callable[[Any, Any], Any] | None]:
    """For a constant on the right: types of the left side for which Python compares as Jayway does, and how."""
    if isinstance(test.right, Constant):
        if type(test.right.value) in _NUMBERS:
            return _NUMBERS, _OF_NUMBERS.get(test.operator)
        if isinstance(test.right.value, str):
            return (str,), _OF_TEXTS.get(test.operator)
    return (), None
