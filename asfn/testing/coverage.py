"""Which states and which ways out of them the tests have used: counted from the histories of all executions.

A way is what leads from a state: Next, the rules and the Default of a Choice, each catcher and each retrier. Rules
of one Choice with the same target are one way, because a history does not tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakKeyDictionary

from asfn.engine import Engine
from asfn.errors import DefinitionError
from asfn.language.model import ChoiceState, MapState, ParallelState, WorkState
from asfn.language.reader import load
from asfn.plan.effects import Failure
from asfn.plan.policy import matches
from asfn.testing.recording import RecordingStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from asfn.language.model import Catcher, Retrier, State, StateMachine
    from asfn.store.protocol import Store
    from asfn.store.records import ExecutionRow
    from asfn.testing.recording import Observer, Seen

_FAILED: Final = ("Failed", "TimedOut", "EvaluationFailed")
_BEGINS: Final = frozenset(
    {"TaskScheduled", "LambdaFunctionScheduled", "ActivityScheduled", "ParallelStateStarted", "MapStateStarted"}
)


@dataclass(frozen=True, slots=True)
class Way:
    """One way out of a state, to another. by: `Next`, `Choices[1], Default`, `Catch[0]` or `Retry[0]`."""

    state: str
    by: str
    to: str

    def __str__(self) -> str:
        return f"{self.state} -- {self.by} -> {self.to}" if self.to != self.state else f"{self.state} -- {self.by}"


@dataclass
class MachineCoverage:
    """What is known of one definition.

    digest: of its text; two definitions under one name are two machines.   states: all names, nested ones too.
    """

    name: str
    digest: str
    states: list[str]
    ways: list[Way]
    model: Mapping[str, State]
    entered: set[str] = field(default_factory=set)
    taken: set[Way] = field(default_factory=set)

    @classmethod
    def of(cls, name: str, digest: str, machine: StateMachine) -> MachineCoverage:
        model = dict(_states(machine))
        return cls(name, digest, list(model), [way for state in model.values() for way in _ways(state)], model)

    @property
    def covered(self) -> int:
        """How many of its states and ways were used."""
        return len(self.entered) + len(self.taken)

    @property
    def total(self) -> int:
        """How many states and ways it has."""
        return len(self.states) + len(self.ways)

    @property
    def missed(self) -> list[str]:
        """The states never entered, then the ways never taken out of those that were, as text."""
        missed = [f"{state} was never entered" for state in self.states if state not in self.entered]
        return missed + [str(way) for way in self.ways if way not in self.taken and way.state in self.entered]


class Coverage:
    """The state machines that were registered or run, and what was used of them. One per test session."""

    def __init__(self) -> None:
        self._machines: dict[tuple[str, str], MachineCoverage] = {}
        self._traces: dict[str, dict[int, _Trace]] = {}  # by database file
        self._memories: WeakKeyDictionary[object, dict[int, _Trace]] = WeakKeyDictionary()

    @property
    def machines(self) -> list[MachineCoverage]:
        """By name."""
        return [self._machines[key] for key in sorted(self._machines)]

    @property
    def percent(self) -> float:
        """Of all states and ways, those that were used; 0 when there are none."""
        total = sum(machine.total for machine in self._machines.values())
        return 100 * sum(machine.covered for machine in self._machines.values()) / total if total else 0.0

    def observer(self, store: Store) -> Observer:
        """Counts what the executions of one store do; of the same store again, it goes on with them."""
        innermost: Any = store  # Any: wrappers such as FaultyStore name what they wrap `store`
        while hasattr(innermost, "store"):
            innermost = innermost.store
        path = getattr(innermost, "path", None)
        if path is not None:
            return _StoreObserver(self, self._traces.setdefault(str(path), {}))
        return _StoreObserver(self, self._memories.setdefault(innermost, {}))

    def machine(self, name: str, digest: str, definition: str) -> MachineCoverage | None:
        """The counts of one definition, made when it is first seen; None for one that is not valid."""
        machine = self._machines.get((name, digest))
        if machine is None:
            try:
                machine = MachineCoverage.of(name, digest, load(definition))
            except DefinitionError:  # a database may hold one from a time of other rules
                return None
            self._machines[name, digest] = machine
        return machine

    # --- over processes --------------------------------------------------------------------------------------------

    def dump(self) -> list[dict[str, Any]]:  # Any: plain JSON
        """What was counted, as JSON, for `merge` in another process."""
        return [
            {
                "name": machine.name,
                "digest": machine.digest,
                "states": machine.states,
                "ways": [[way.state, way.by, way.to] for way in machine.ways],
                "entered": sorted(machine.entered),
                "taken": [[way.state, way.by, way.to] for way in machine.taken],
            }
            for machine in self._machines.values()
        ]

    def merge(self, dumped: Iterable[Mapping[str, Any]]) -> None:
        """Add what another process counted."""
        for item in dumped:
            key = item["name"], item["digest"]
            if key not in self._machines:
                ways = [Way(*way) for way in item["ways"]]
                self._machines[key] = MachineCoverage(item["name"], item["digest"], item["states"], ways, {})
            self._machines[key].entered |= set(item["entered"])
            self._machines[key].taken |= {Way(*way) for way in item["taken"]}

    # --- the report ------------------------------------------------------------------------------------------------

    def report(self) -> list[str]:
        """The lines of the table: each state machine with what was missed below it, and the sum."""
        rows = [(self._title(machine), *_counts([machine]), machine.missed) for machine in self.machines]
        rows.append(("TOTAL", *_counts(self.machines), []))
        width = max(len("state machine"), *(len(row[0]) for row in rows))
        lines = [f"{'state machine':{width}}  {'states':>9}  {'ways':>9}  {'cover':>5}"]
        for title, states, ways, percent, missed in rows:
            lines.append(f"{title:{width}}  {states:>9}  {ways:>9}  {percent:>5}")
            lines += [f"    {text}" for text in missed]
        return lines

    def _title(self, machine: MachineCoverage) -> str:
        """The name; with some of the digest where tests gave several definitions the same name."""
        several = sum(name == machine.name for name, _ in self._machines) > 1
        return f"{machine.name} ({machine.digest[:8]})" if several else machine.name


class _StoreObserver:
    """Follows the executions of one store."""

    def __init__(self, coverage: Coverage, traces: dict[int, _Trace]) -> None:
        self._coverage = coverage
        self._traces = traces

    def registered(self, name: str, digest: str, definition: str) -> None:
        self._coverage.machine(name, digest, definition)

    def started(self, row: ExecutionRow, definition: str) -> None:
        machine = self._coverage.machine(row.state_machine_arn.rpartition(":")[2], row.digest, definition)
        if machine is not None:
            self._traces[row.key] = _Trace(machine)

    def recorded(self, key: int, events: Sequence[Seen]) -> None:
        trace = self._traces.get(key)  # None: an execution that another process started, or of no valid definition
        if trace is not None:
            trace.follow(events)

    def ended(self, key: int) -> None:
        self._traces.pop(key, None)


class _Trace:
    """Follows one execution through its machine, by the links between its events."""

    def __init__(self, machine: MachineCoverage) -> None:
        self._machine = machine
        self._events: dict[int, Seen] = {}

    def follow(self, events: Sequence[Seen]) -> None:
        for event in events:
            self._events[event.id] = event
            name = event.name
            if event.type.endswith("StateEntered") and name is not None and name in self._machine.model:
                self._machine.entered.add(name)
                self._enter(event, name)
            elif event.type in _BEGINS:
                self._begin(event)
            elif event.type == "EvaluationFailed":
                self._evaluate(event)

    def _enter(self, event: Seen, name: str) -> None:
        left = self._events.get(event.previous)
        if left is None or not left.type.endswith("StateExited") or left.name is None:
            return  # the first state of a machine or branch
        ways = [way for way in self._machine.ways if way.state == left.name and way.to == name]
        ways = [way for way in ways if not way.by.startswith("Retry")]
        if len(ways) > 1:
            ways = self._narrow(ways, left)
        self._machine.taken.update(ways[:1])

    def _narrow(self, ways: list[Way], left: Seen) -> list[Way]:
        """Next and catchers with the same target: what happened last in the state decides."""
        state = self._machine.model[cast("str", left.name)]
        error = self._error_before(left)
        catches = [way for way in ways if way.by.startswith("Catch")]
        if error is None:
            succeeded = not isinstance(state, WorkState) or self._succeeded(left)
            return [way for way in ways if way not in catches] or ways if succeeded else catches[-1:] or ways
        assert isinstance(state, WorkState)
        index = _first_match(state.catch, error)
        return [way for way in catches if way.by == f"Catch[{index}]"] or catches or ways

    def _succeeded(self, left: Seen) -> bool:
        before = self._events.get(left.previous)
        return before is not None and before.type.endswith("Succeeded")

    def _error_before(self, event: Seen) -> Seen | None:
        """The event with the error that this one follows from, when it does."""
        before = self._events.get(event.previous)
        while before is not None and before.type in ("ParallelStateFailed", "MapStateFailed"):
            before = self._events.get(before.previous)  # it carries no error; what it links to does
        return before if before is not None and before.type.endswith(_FAILED) else None

    def _begin(self, event: Seen) -> None:
        """A second beginning of the same visit, linked to an error, is a retry."""
        error = self._error_before(event)
        if error is not None:
            self._retried(self._owner(event), error)

    def _evaluate(self, event: Seen) -> None:
        """A field that fails to evaluate after an error of the same visit has been retried: nothing else shows it."""
        error = self._error_before(event)
        if error is not None:
            self._retried(event.name, error)

    def _retried(self, name: str | None, error: Seen) -> None:
        state = self._machine.model.get(name) if name is not None else None
        if isinstance(state, WorkState):
            by = f"Retry[{_first_match(state.retry, error)}]"
            self._machine.taken.update(way for way in self._machine.ways if way.state == name and way.by == by)

    def _owner(self, event: Seen) -> str | None:
        """The state that begins again: of a Task the one entered before; of a fan-out the one around its children."""
        kind = event.type.removesuffix("Started")
        depth = 1
        before = self._events.get(event.previous)
        while before is not None:
            if event.type.endswith("Scheduled"):
                if before.type in ("TaskStateEntered", "EvaluationFailed"):
                    return before.name
            elif before.type == f"{kind}Failed":
                depth += 1  # one of the same kind inside failed as a whole
            elif before.type == f"{kind}Entered":
                depth -= 1
                if depth == 0:
                    return before.name
            before = self._events.get(before.previous)
        return None


def watch_engines(coverage: Coverage) -> Callable[[], None]:
    """Count what every Engine made from now on runs, until the function that is returned is called."""
    original = Engine.__init__

    def watched(self: Engine, *args: Any, **options: Any) -> None:  # Any: Engine's own
        original(self, *args, **options)
        self.store = cast("Store", RecordingStore(self.store, coverage.observer(self.store)))

    def undo() -> None:
        Engine.__init__ = original  # type: ignore[method-assign]  # a session's own instrumentation, taken back

    Engine.__init__ = watched  # type: ignore[method-assign]
    return undo


def _states(machine: StateMachine) -> Iterator[tuple[str, State]]:
    """All states; their names are unique across nested machines too (asl.md, validators.md rule 19)."""
    for name, state in machine.states.items():
        yield name, state
        nested = [state.processor] if isinstance(state, MapState) else []
        if isinstance(state, ParallelState):
            nested = list(state.branches)
        for inner in nested:
            yield from _states(inner)


def _ways(state: State) -> Iterator[Way]:
    if state.next is not None:
        yield Way(state.name, "Next", state.next)
    if isinstance(state, ChoiceState):
        targets: dict[str, list[str]] = {}
        for index, rule in enumerate(state.choices):
            targets.setdefault(rule.next, []).append(f"Choices[{index}]")
        if state.default is not None:
            targets.setdefault(state.default, []).append("Default")
        for target, rules in targets.items():
            yield Way(state.name, ", ".join(rules), target)
    if isinstance(state, WorkState):
        for index, catcher in enumerate(state.catch):
            yield Way(state.name, f"Catch[{index}]", catcher.next)
        for index, retrier in enumerate(state.retry):
            if retrier.max_attempts:
                yield Way(state.name, f"Retry[{index}]", state.name)


def _first_match(policies: Sequence[Catcher | Retrier], error: Seen) -> int | None:
    """The position of the retrier or catcher that takes an error. A late heartbeat looks like any other timeout."""
    late = error.type.endswith("TimedOut")
    failure = Failure(error.error, None, "heartbeat" if late else "task")
    for index, policy in enumerate(policies):
        if matches(policy.error_equals, failure):
            return index
    return None


def _counts(machines: Sequence[MachineCoverage]) -> tuple[str, str, str]:
    entered, states = sum(len(one.entered) for one in machines), sum(len(one.states) for one in machines)
    taken, ways = sum(len(one.taken) for one in machines), sum(len(one.ways) for one in machines)
    total = states + ways
    percent = int(100 * (entered + taken) / total) if total else 0  # 99.6 is not all
    return f"{entered}/{states}", f"{taken}/{ways}", f"{percent}%"
