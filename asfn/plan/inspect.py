"""TestState's data: one state run by itself, with everything that its stages saw and gave.

Pure, like the plan it watches: an `Inspector` runs the very closures that an execution runs, compiled with a watch.
Who mocks or performs the work between `begin` and `settle` is `runtime/single_state.py`. Source: api.md section 9.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asfn._json import Json, JsonObject, Payload
from asfn.errors import StateFailed
from asfn.language.choice import compile_comparison
from asfn.language.jsonata import compile_value, is_expression
from asfn.language.model import MISSING, ChoiceState, FailState, MapState, PassState, TaskState, WorkState
from asfn.language.paths import PathNotFound, compile_path
from asfn.language.source_json import JsonSyntaxError, parse_positions
from asfn.language.templates import compile_template
from asfn.plan.batches import batches
from asfn.plan.dataflow import input_path
from asfn.plan.effects import CallTask, Failure, FanOut, SleepUntil, Success, Transition
from asfn.plan.numbers import tolerated_count, tolerated_percentage
from asfn.plan.policy import matches
from asfn.plan.states import compile_watched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asfn.language.model import QueryLanguage, State
    from asfn.limits import Limits
    from asfn.plan.effects import FailureKind, Step
    from asfn.plan.scope import Scope


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage gave. field: its name in the definition: `InputPath`, `Choices[0]`, `Catch[1]/Output`."""

    field: str
    gave: Payload


@dataclass(frozen=True, slots=True)
class Recovery:
    """What Retry and Catch make of a failure.

    retry_index: the retrier that matches, if one does.   delay_seconds: until it tries again, None when its attempts
    are used up.   catch_index: the catcher that took the failure.   step: where that leaves the state.
    """

    step: Step
    retry_index: int | None = None
    delay_seconds: float | None = None
    catch_index: int | None = None


class Inspector:
    """Runs one state by itself and remembers what each stage gave, in `stages`, in order.

    reader_items: what the ItemReader of a Map is taken to have read; None without a reader.
    Raises nothing that the validator has not reported before: a field that cannot be evaluated is a `Failure`.
    """

    def __init__(self, state: State, limits: Limits, scope: Scope, reader_items: list[Json] | None = None) -> None:
        self.state = state
        self.scope = scope
        self.stages: list[Stage] = []
        self.fan_out: FanOut | None = None
        self.result: Payload | None = None
        self.tolerated_count: int | None = None
        self.tolerated_percentage: float | None = None
        self._limits = limits
        self._reader_items = reader_items
        from_reader = isinstance(state, MapState) and "ItemReader" in state.distributed
        self._compiled = compile_watched(state, limits, self._see, self._read_items if from_reader else None)
        scope.counts_retries = self._compiled.counts_retries

    @property
    def jsonata(self) -> bool:
        return self.state.query_language == "JSONata"

    def gave(self, field: str) -> Payload | None:
        """What the stage of this field gave; None when it was not come to."""
        return next((stage.gave for stage in reversed(self.stages) if stage.field == field), None)

    def begin(self) -> Step:
        """The state up to its work: the effect it asks for, or, without work, where it goes on."""
        if isinstance(self.state, FailState) and not self.jsonata:
            self._see("InputPath", self.scope.input)  # a Fail has no InputPath, and AWS shows it all the same [A]
        try:
            step = self._compiled.begin(self.scope)
            if isinstance(step, FanOut):
                self.fan_out = step
                self._see_iterations(step)
            elif isinstance(step, CallTask):
                self._check_size(step.payload)
        except StateFailed as error:
            return _failure_of(error)
        return self._left(step)

    def settle(self, result: Payload) -> Step:
        """The state from the result of its work on."""
        assert self._compiled.settle is not None
        self.result = result
        if isinstance(self.state, WorkState):
            self._see("result", result)
        if isinstance(self.state, TaskState) and result.size_bytes > self._limits.payload_bytes:
            return self._refused_result()
        try:
            return self._left(self._compiled.settle(self.scope, result))
        except StateFailed as error:
            return _failure_of(error)

    def recover(self, failure: Failure) -> Recovery:
        """What the state's Retry and Catch make of a failure; the failure itself where they do nothing."""
        if not isinstance(self.state, WorkState) or self._compiled.recover is None:
            return Recovery(failure)
        retry_index = _first_match([retrier.error_equals for retrier in self.state.retry], failure)
        try:
            step = self._compiled.recover(self.scope, failure)
        except StateFailed as error:
            return Recovery(_failure_of(error), retry_index)
        if isinstance(step, SleepUntil):
            return Recovery(step, retry_index, step.at - self.scope.now)
        if isinstance(step, Failure):
            return Recovery(step, retry_index)
        catch_index = _first_match([catcher.error_equals for catcher in self.state.catch], failure)
        return Recovery(step, retry_index, catch_index=catch_index)

    def exceeds_tolerance(self, failed: int, total: int) -> bool:
        """Whether so many failed iterations fail the Map. Without any tolerance field they never do here [A]."""
        if self.tolerated_count is not None and failed > self.tolerated_count:
            return True
        percentage = self.tolerated_percentage
        return percentage is not None and total > 0 and failed / total * 100 > percentage

    def _see(self, field: str, gave: Payload) -> None:
        if field in ("Items", "ItemsPath") and self._from_reader:
            return  # the reader's list has been told of, and ItemsPath plays no part beside it [A]
        self.stages.append(Stage(field, self._as_written(gave) if field == "ItemsPath" else gave))

    @property
    def _from_reader(self) -> bool:
        return isinstance(self.state, MapState) and "ItemReader" in self.state.distributed

    def _as_written(self, items: Payload) -> Payload:
        """The items in the text that they have in the input [A] (test_state_machine_with_state_error)."""
        assert isinstance(self.state, MapState)
        path = compile_path(self.state.items_path or "$")
        document = self.gave("InputPath")
        if path.root != "$" or not path.is_reference or document is None:
            return items
        return Payload(items.value, _excerpt(document.text, path.keys))

    def _read_items(self, scope: Scope) -> list[Json]:
        """The items of a Map with an ItemReader. The reader's own arguments are evaluated, and nothing is read."""
        assert isinstance(self.state, MapState)
        document = scope.input
        if not self.jsonata:
            document = input_path(self.state.input_path, self._see)(scope)
        reader = self.state.distributed["ItemReader"]
        assert isinstance(reader, dict)
        name = "Arguments" if self.jsonata else "Parameters"
        if name in reader:
            field = f"ItemReader/{name}"
            if self.jsonata:
                arguments = compile_value(reader[name], field).evaluate(scope, input=scope.input.value)
            else:
                arguments = compile_template(reader[name]).evaluate(document.value, scope)
            self._see(field, Payload(arguments))
        items = self._reader_items if self._reader_items is not None else []
        if self._reader_items is not None:
            config = reader.get("ReaderConfig")
            pointed = isinstance(config, dict) and "ItemsPointer" in config
            self._see("ItemsPointer" if pointed else "ItemReader", Payload(items))
        return items

    def _see_iterations(self, step: FanOut) -> None:
        """What a Map tells of its iterations before they begin; a Parallel tells nothing."""
        state = self.state
        if not isinstance(state, MapState):
            return
        document = input_path("$" if self.jsonata else state.input_path)
        count, percentage = tolerated_count(state, document), tolerated_percentage(state, document)
        if count is not None:
            self.tolerated_count = count(self.scope)
            self._see("ToleratedFailureCount", Payload(self.tolerated_count))
        if percentage is not None:
            self.tolerated_percentage = percentage(self.scope)
            self._see("ToleratedFailurePercentage", Payload(self.tolerated_percentage))
        assert self._compiled.child_input is not None
        inputs = [self._compiled.child_input(self.scope, step, index).value for index in range(step.count)]
        if state.item_selector is not MISSING:
            self._see("ItemSelector", Payload(inputs))
        batcher = state.distributed.get("ItemBatcher")
        if isinstance(batcher, dict):
            self._see("ItemBatcher", Payload(batches(batcher, inputs, self.scope, document, jsonata=self.jsonata)))

    def _left(self, step: Step) -> Step:
        if isinstance(step, (Transition, Success)):
            self._check_size(step.output)
        return step

    def _refused_result(self) -> Failure:
        """A task result over the limit is an ordinary task failure, by the recording (asl.md 7.10)."""
        resource = self._compiled.resource
        assert resource is not None
        name = resource.text if resource.family != "service" else resource.service
        kind: FailureKind = "limit" if self._limits.data_limit_is_terminal else "task"
        return Failure("States.DataLimitExceeded", _too_large(name), kind)

    def _check_size(self, payload: Payload) -> None:
        if payload.size_bytes > self._limits.payload_bytes:
            raise StateFailed("States.DataLimitExceeded", _too_large(self.state.name))


def _too_large(name: str) -> str:
    return f"The state/task '{name}' returned a result with a size exceeding the maximum number of bytes service limit."


def _failure_of(error: StateFailed) -> Failure:
    """A field's failure. TestState's causes have no "An error occurred while executing the state" in front [A]."""
    if error.evaluation:
        return Failure(error.error, error.cause, "evaluation", error.location)
    return Failure(error.error, error.cause, "limit" if error.error == "States.DataLimitExceeded" else "runtime")


def _first_match(patterns: list[tuple[str, ...]], failure: Failure) -> int | None:
    return next((index for index, error_equals in enumerate(patterns) if matches(error_equals, failure)), None)


def _excerpt(text: str, keys: tuple[str | int, ...]) -> str | None:
    """The part of a JSON text that stands at a path of names and indexes, as it is written there."""
    try:
        node = parse_positions(text).find(keys)
    except JsonSyntaxError:  # nesting that the decoder still took
        return None
    if node is None:
        return None
    _, end = json.JSONDecoder().raw_decode(text, node.offset)
    return text[node.offset : end]


# --- AWS's inspectionData ------------------------------------------------------------------------------------------

_INPUT: Final = (("afterInputPath", "InputPath"),)
_RESULT: Final = (("afterResultSelector", "ResultSelector"), ("afterResultPath", "ResultPath"))
_ITEMS: Final = (("afterItemsPointer", "ItemsPointer"),)
_ITERATIONS: Final = (("afterItemSelector", "ItemSelector"), ("afterItemBatcher", "ItemBatcher"))

# Type of the state -> members and the stages they show. What stands in both columns is recorded per type [A].
_PATH_MEMBERS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "Pass": (*_INPUT, ("afterParameters", "Parameters"), *_RESULT),
    "Task": (*_INPUT, ("afterParameters", "Parameters"), *_RESULT),
    "Parallel": _RESULT,
    "Map": (*_INPUT, *_ITEMS, ("afterItemsPath", "ItemsPath"), *_ITERATIONS, *_RESULT),
}
_JSONATA_MEMBERS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "Task": (("afterArguments", "Arguments"),),
    "Map": (*_ITEMS, *_ITERATIONS),
}


def inspection_data(inspector: Inspector, variables: Payload | None, recovery: Recovery | None) -> JsonObject:
    """`inspectionData` of TestState at the levels DEBUG and TRACE.

    variables: those given and those assigned, None when there are none.   recovery: of a failed state.
    """
    state = inspector.state
    kind = type(state).__name__.removesuffix("State")
    members = _JSONATA_MEMBERS.get(kind, ()) if inspector.jsonata else _PATH_MEMBERS.get(kind, _INPUT)
    data: JsonObject = {"input": inspector.scope.input.text}
    if isinstance(state, PassState) and state.result is not MISSING and inspector.gave("ResultSelector"):
        data["result"] = Payload(state.result).text
        members = _RESULT
    elif kind == "Task" and inspector.result is not None:
        data["result"] = inspector.result.text
    for member, field in members:
        gave = inspector.gave(field)
        if gave is not None:
            data[member] = gave.text
    if inspector.fan_out is not None and kind == "Map":
        concurrency = inspector.gave("MaxConcurrency") or inspector.gave("MaxConcurrencyPath")
        data["maxConcurrency"] = concurrency.value if concurrency is not None else 0
        if inspector.tolerated_count is not None:
            data["toleratedFailureCount"] = inspector.tolerated_count
        if inspector.tolerated_percentage is not None:
            data["toleratedFailurePercentage"] = inspector.tolerated_percentage
    if variables is not None:
        data["variables"] = variables.text
    details = _error_details(recovery) if recovery is not None else {}
    if details:
        data["errorDetails"] = details
    return data


def _error_details(recovery: Recovery) -> JsonObject:
    """Which retrier or catcher took the failure; a catcher behind a used-up retrier stands alone [U]."""
    if recovery.catch_index is not None:
        return {"catchIndex": recovery.catch_index}
    if recovery.retry_index is None:
        return {}
    if recovery.delay_seconds is None:
        return {"retryIndex": recovery.retry_index}
    # The model knows whole seconds only; that a fraction is cut off is a guess [U].
    seconds = math.floor(recovery.delay_seconds + 1e-6)
    return {"retryIndex": recovery.retry_index, "retryBackoffIntervalSeconds": seconds}


# --- what people want to see ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reading:
    """One path or expression and its value. place: where it stands in its field, `` or `/a/0/b`."""

    place: str
    source: str
    value: Json


def readings(written: Json, gave: Json, query_language: QueryLanguage, place: str = "") -> Iterator[Reading]:
    """Every path, call and expression of a template with what it gave, found beside each other in the two values."""
    if isinstance(written, str):
        if query_language == "JSONata" and is_expression(written):
            yield Reading(place, written, gave)
    elif isinstance(written, list) and isinstance(gave, list):
        for index, (member, value) in enumerate(zip(written, gave, strict=False)):
            yield from readings(member, value, query_language, f"{place}/{index}")
    elif isinstance(written, dict) and isinstance(gave, dict):
        for key, member in written.items():
            name = key.removesuffix(".$") if query_language == "JSONPath" else key
            if name not in gave:
                continue
            if name != key and isinstance(member, str):
                yield Reading(f"{place}/{key}", member, gave[name])
            else:
                yield from readings(member, gave[name], query_language, f"{place}/{key}")


@dataclass(frozen=True, slots=True)
class Test:
    """A Choice rule, or a part of one, as it was evaluated.

    outcome: None when it was not come to, because something before it decided, or when it could not be evaluated.
    saw: the paths it reads, each with the value there, or MISSING.
    """

    __test__ = False  # no test case of pytest's

    text: str
    outcome: bool | None
    saw: tuple[tuple[str, Json | object], ...] = ()
    parts: tuple[Test, ...] = ()


def explain_choice(inspector: Inspector) -> list[Test]:
    """What each rule of a Choice that was begun evaluated to, with the parts of the JSONPath ones."""
    state = inspector.state
    assert isinstance(state, ChoiceState)
    tests = []
    for index, rule in enumerate(state.choices):
        if inspector.jsonata:
            gave = inspector.gave(f"Choices[{index}]/Condition")
            outcome = gave.value if gave is not None and isinstance(gave.value, bool) else None
            tests.append(Test(Payload(_json(rule.condition)).text, outcome))
            continue
        document = inspector.gave("InputPath")
        decided = any(test.outcome for test in tests)
        reached = document is not None and not decided
        tests.append(_test(rule.comparison or {}, document.value if document else None, inspector.scope, reached))
    return tests


def _json(value: object) -> Json:
    return None if value is MISSING else value  # type: ignore[return-value]


def _test(rule: JsonObject, document: Json, scope: Scope, reached: bool) -> Test:
    outcome: bool | None = None
    if reached:
        try:
            outcome = compile_comparison(rule)(document, scope)
        except StateFailed:
            outcome = None
    for name in ("And", "Or", "Not"):
        if name in rule:
            return Test(name, outcome, parts=tuple(_parts(name, rule[name], document, scope, reached)))
    variable = rule.get("Variable")
    operator = next((key for key in rule if key not in ("Variable", "Comment")), "")
    operand = rule.get(operator)
    text = f"{variable} {operator} {Payload(operand).text}"
    paths = [variable, operand] if operator.endswith("Path") else [variable]
    saw = [(path, _look(path, document, scope)) for path in paths if isinstance(path, str)] if reached else []
    return Test(text, outcome, tuple(saw))


def _parts(name: str, inner: Json, document: Json, scope: Scope, reached: bool) -> Iterator[Test]:
    """The rules inside And, Or and Not, up to the one that decides."""
    for rule in inner if isinstance(inner, list) else [inner]:
        assert isinstance(rule, dict)
        test = _test(rule, document, scope, reached)
        yield test
        if test.outcome is None or (name == "And" and not test.outcome) or (name == "Or" and test.outcome):
            reached = False


def _look(path: str, document: Json, scope: Scope) -> Json | object:
    try:
        return compile_path(path).select(document, scope)
    except PathNotFound:
        return MISSING
