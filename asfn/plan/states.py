"""The eight state types, each compiled to closures over its own data flow.

`begin(scope)` is called on entry and again for each retry; `settle(scope, result)` takes the good result of the effect
that `begin` asked for; `recover(scope, failure)` decides on Retry and Catch. All raise StateFailed, and nothing else.
With a `Watch` the same closures tell what each of their stages gave; `inspect.py` is the one that gives one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from asfn._json import Payload, encode
from asfn.arn import TaskResource, parse_task_resource
from asfn.errors import StateFailed
from asfn.language.choice import compile_comparison
from asfn.language.jsonata import compile_expression, compile_value, is_expression, unexpected_type
from asfn.language.model import (
    MISSING,
    ChoiceState,
    FailState,
    MapState,
    ParallelState,
    PassState,
    SucceedState,
    TaskState,
    WaitState,
)
from asfn.language.paths import PathNotFound, compile_path, reference_conflict
from asfn.language.templates import compile_template, compile_text_source
from asfn.language.timestamps import parse_timestamp
from asfn.plan.dataflow import (
    Source,
    Watch,
    catch_finish,
    effective_input,
    input_path,
    path_finish,
    raw_input,
    rule_finish,
    simple_finish,
    value_finish,
    value_source,
    watched,
)
from asfn.plan.effects import CallTask, Failure, FanOut, SleepUntil, Step, Success, Transition
from asfn.plan.numbers import MAX_SECONDS, concurrency, literal_number, seconds, text_of
from asfn.plan.policy import choose_retrier, matches, retry_delay

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asfn._json import Json, JsonObject
    from asfn.language.model import ChoiceRule, Missing, State, StateMachine, WorkState
    from asfn.limits import Limits
    from asfn.plan.scope import Scope

    ChildInput = Callable[[Scope, FanOut, int], Payload]
    Items = Callable[[Scope], list[Json] | JsonObject]

_LONG: Final = re.compile(r"[+-]?[0-9]{1,19}")

Begin = Callable[["Scope"], Step]
Settle = Callable[["Scope", Payload], Step]
Recover = Callable[["Scope", Failure], Step]


class CompiledState(Struct, eq=False):
    """One state, ready to run. It holds nothing of any execution.

    kind: the state's Type.   settle: of a Pass, how a redrive leaves it without running it.
    recover: None where AWS offers no Retry and Catch.
    resource: of a Task.   branches: of a Parallel; of a Map the item processor alone.
    child_input: gives a branch's or iteration's input.   counts_retries: the context object has State.RetryCount.
    takes_token: a task token is to be there before it begins; a `.sync` job may be ended by one too.
    """

    name: str
    kind: str
    begin: Begin
    settle: Settle | None = None
    recover: Recover | None = None
    resource: TaskResource | None = None
    branches: Sequence[CompiledMachine] = ()
    child_input: ChildInput | None = None
    counts_retries: bool = False
    takes_token: bool = False


class CompiledMachine(Struct, eq=False):
    """The outermost machine, a branch, or an item processor."""

    start_at: str
    states: Mapping[str, CompiledState]
    timeout_seconds: int | None = None


def compile_machine(machine: StateMachine, limits: Limits) -> CompiledMachine:
    """Compile a checked definition. Raises nothing that the validator has not reported before."""
    states = {name: _BUILDERS[type(state)](state, limits, None) for name, state in machine.states.items()}
    return CompiledMachine(machine.start_at, states, machine.timeout_seconds)


def compile_watched(state: State, limits: Limits, watch: Watch, items: Items | None = None) -> CompiledState:
    """Compile one state so that `watch` is told what each stage gives. The machines inside it are left out.

    items: of a Map, where they do not come from its input but were read elsewhere.
    """
    if isinstance(state, MapState):
        return _map(state, limits, watch, items)
    compiled: CompiledState = _BUILDERS[type(state)](state, limits, watch)
    return compiled


# --- Pass, Succeed, Fail -------------------------------------------------------------------------------------------


def _pass(state: PassState, limits: Limits, watch: Watch | None) -> CompiledState:
    compiled = CompiledState(state.name, "Pass", _pass_begin(state, watch))
    compiled.settle = lambda scope, result: Transition(state.next, result) if state.next else Success(result)
    return compiled


def _pass_begin(state: PassState, watch: Watch | None) -> Begin:
    if state.query_language == "JSONata":
        finish = simple_finish(state, watch)
        return lambda scope: finish(scope, scope.input)
    finish = path_finish(
        next=state.next, assign=state.assign, out=state.output_path, place=state.result_path, watch=watch
    )
    source = effective_input(state.input_path, state.parameters, watch)
    if state.result is not MISSING:
        literal = Payload(state.result)
        if state.parameters is MISSING and source is raw_input:
            return lambda scope: finish(scope, literal)

        def begin(scope: Scope) -> Step:
            source(scope)  # its paths are checked though Result is what goes on
            return finish(scope, literal)

        return begin
    return lambda scope: finish(scope, source(scope))


def _succeed(state: SucceedState, limits: Limits, watch: Watch | None) -> CompiledState:
    finish = simple_finish(state, watch)
    source = input_path(state.input_path, watch)
    return CompiledState(state.name, "Succeed", lambda scope: finish(scope, source(scope)))


def _fail(state: FailState, limits: Limits, watch: Watch | None) -> CompiledState:
    error = _watched_text(_fail_text(state, state.error, state.error_path, "Error"), "Error", watch)
    cause = _watched_text(_fail_text(state, state.cause, state.cause_path, "Cause"), "Cause", watch)

    def begin(scope: Scope) -> Step:
        name, why = error(scope), cause(scope)
        # Cut to AWS's lengths, as a task's error and cause are [U].
        return Failure(
            name[: limits.error_characters] if name is not None else None,
            why[: limits.cause_characters] if why is not None else None,
            "fail",
        )

    return CompiledState(state.name, "Fail", begin)


def _watched_text(
    text: Callable[[Scope], str | None], field: str, watch: Watch | None
) -> Callable[[Scope], str | None]:
    if watch is None:
        return text

    def seen(scope: Scope) -> str | None:
        value = text(scope)
        if value is not None:
            watch(field, Payload(value))
        return value

    return seen


def _fail_text(state: FailState, literal: str | None, path: str | None, field: str) -> Callable[[Scope], str | None]:
    if path is not None:
        source = compile_text_source(path, f"{field}Path")

        def from_path(scope: Scope) -> str:
            value = source.evaluate(scope.input.value, scope)
            if not isinstance(value, str):  # [U] wording
                raise StateFailed(
                    "States.Runtime",
                    f"The {field}Path parameter does not reference a string value: {path} == {text_of(value)}",
                )
            return value

        return from_path
    if literal is not None and state.query_language == "JSONata" and is_expression(literal):
        expression = compile_expression(literal, field)

        def from_expression(scope: Scope) -> str:
            value = expression.evaluate(scope, input=scope.input.value)
            if not isinstance(value, str):
                raise unexpected_type(expression, value, "string")
            return value

        return from_expression
    return lambda scope: literal


# --- Wait ----------------------------------------------------------------------------------------------------------


def _wait(state: WaitState, limits: Limits, watch: Watch | None) -> CompiledState:
    finish = simple_finish(state, watch)
    source = input_path(state.input_path, watch)
    until = _wait_until(state)
    selects = source is not raw_input

    def begin(scope: Scope) -> Step:
        if selects:
            source(scope)  # a path that selects nothing fails the state now, not when the wait is over
        at = until(scope)
        if at - scope.now > limits.wait_seconds:
            raise StateFailed("States.Runtime", "Wait state delay is too long.")
        return SleepUntil(at, "settle")

    return CompiledState(state.name, "Wait", begin, settle=lambda scope, result: finish(scope, source(scope)))


def _wait_until(state: WaitState) -> Callable[[Scope], float]:
    if state.timestamp is not None:
        if state.query_language == "JSONata" and is_expression(state.timestamp):
            return _expression_timestamp(state.timestamp)
        at = parse_timestamp(state.timestamp)
        assert at is not None  # the validator refused anything else
        return lambda scope: at
    if state.seconds is not None:
        delay = literal_number(
            state.seconds, "Seconds", state.query_language == "JSONata", minimum=0, maximum=MAX_SECONDS
        )
        return lambda scope: scope.now + delay(scope)
    source = input_path(state.input_path)
    if state.timestamp_path is not None:
        return _timestamp_path(state.timestamp_path, source)
    assert state.seconds_path is not None
    return _seconds_path(state.seconds_path, source)


def _referenced(text: str, field: str, source: Source) -> Callable[[Scope], Json]:
    """What the path of a Wait refers to. That AWS makes no difference between null and nothing is [U]."""
    path = compile_path(text)

    def value_of(scope: Scope) -> Json:
        try:
            value = path.select(source(scope).value, scope)
        except PathNotFound:
            value = None
        if value is None:
            raise StateFailed("States.Runtime", f"The {field} parameter does not reference an input value: {path.text}")
        return value

    return value_of


def _timestamp_path(text: str, source: Source) -> Callable[[Scope], float]:
    value_of = _referenced(text, "TimestampPath", source)

    def until(scope: Scope) -> float:
        value = value_of(scope)
        at = parse_timestamp(value) if isinstance(value, str) else None
        if at is None:
            raise StateFailed(
                "States.Runtime",
                "The TimestampPath parameter does not reference a valid ISO-8601 extended offset date-time "
                f"format string: {text} == {text_of(value)}",
            )
        return at

    return until


def _seconds_path(text: str, source: Source) -> Callable[[Scope], float]:
    value_of = _referenced(text, "SecondsPath", source)

    def until(scope: Scope) -> float:
        value = value_of(scope)
        found = f"{text} == {text_of(value)}"
        if isinstance(value, str) and _LONG.fullmatch(value):
            value = int(value)  # [R]
        if isinstance(value, bool) or not isinstance(value, int):
            raise StateFailed("States.Runtime", f"The SecondsPath parameter cannot be parsed as a long value: {found}")
        if value < 0:
            raise StateFailed("States.Runtime", f"The SecondsPath parameter references a negative value: {found}")
        return scope.now + value

    return until


def _expression_timestamp(text: str) -> Callable[[Scope], float]:
    expression = compile_expression(text, "Timestamp")

    def timestamp(scope: Scope) -> float:
        value = expression.evaluate(scope, input=scope.input.value)
        if not isinstance(value, str):
            raise unexpected_type(expression, value, "string")
        at = parse_timestamp(value)
        if at is None:
            raise StateFailed(
                "States.QueryEvaluationError",
                f"The Timestamp field cannot be parsed as an ISO-8601 extended offset date-time format string: {value}",
                location="Timestamp",
                evaluated=True,
            )
        return at

    return timestamp


# --- Choice --------------------------------------------------------------------------------------------------------


def _choice(state: ChoiceState, limits: Limits, watch: Watch | None) -> CompiledState:
    default = simple_finish(_with_next(state), watch) if state.default is not None else None

    def unmatched() -> StateFailed:
        return StateFailed(
            "States.Runtime",
            "Failed to transition out of the state. The state does not point to a next state.",
        )

    if state.query_language == "JSONata":
        conditions = [
            (_condition(rule.condition, f"Choices[{index}]/Condition", watch), rule_finish(state, rule, index, watch))
            for index, rule in enumerate(state.choices)
        ]

        def begin_jsonata(scope: Scope) -> Step:
            for holds, finish in conditions:
                if holds(scope):
                    return finish(scope, scope.input)
            if default is None:
                raise unmatched()
            return default(scope, scope.input)

        return CompiledState(state.name, "Choice", begin_jsonata)

    source = input_path(state.input_path, watch)
    rules = [
        (_comparison(rule, f"Choices[{index}]", watch), rule_finish(state, rule, index, watch))
        for index, rule in enumerate(state.choices)
    ]

    def begin(scope: Scope) -> Step:
        document = source(scope)
        for compares, finish in rules:
            if compares(document.value, scope):
                return finish(scope, document)
        if default is None:
            raise unmatched()
        return default(scope, document)

    return CompiledState(state.name, "Choice", begin)


def _with_next(state: ChoiceState) -> State:
    """The Choice as a state that goes to Default: its own Output and Assign run only then."""
    return SucceedState(
        name=state.name,
        query_language=state.query_language,
        next=state.default,
        output_path=state.output_path,
        output=state.output,
        assign=state.assign,
    )


def _comparison(rule: ChoiceRule, field: str, watch: Watch | None) -> Callable[[Json, Scope], bool]:
    compares = compile_comparison(rule.comparison or {})
    if watch is None:
        return compares

    def seen(document: Json, scope: Scope) -> bool:
        outcome = compares(document, scope)
        watch(field, Payload(outcome))
        return outcome

    return seen


def _condition(condition: Json | Missing, field: str, watch: Watch | None) -> Callable[[Scope], bool]:
    if isinstance(condition, bool):
        constant = condition
        if watch is None:
            return lambda scope: constant
        literal = Payload(constant)

        def told(scope: Scope) -> bool:
            watch(field, literal)
            return constant

        return told
    assert isinstance(condition, str)
    expression = compile_expression(condition, field)

    def holds(scope: Scope) -> bool:
        value = expression.evaluate(scope, input=scope.input.value)
        if watch is not None:
            watch(field, Payload(value))
        if not isinstance(value, bool):
            raise unexpected_type(expression, value, "boolean")
        return value

    return holds


# --- Task, Parallel, Map -------------------------------------------------------------------------------------------


def _work_finish(state: WorkState, watch: Watch | None) -> Settle:
    if state.query_language == "JSONata":
        return value_finish(next=state.next, output=state.output, assign=state.assign, extra="result", watch=watch)
    return path_finish(
        next=state.next,
        assign=state.assign,
        out=state.output_path,
        place=state.result_path,
        selector=state.result_selector,
        watch=watch,
    )


def _recover(state: WorkState, watch: Watch | None) -> Recover:
    catchers = [
        (catcher.error_equals, catch_finish(state, catcher, index, watch)) for index, catcher in enumerate(state.catch)
    ]
    retriers = state.retry

    def recover(scope: Scope, failure: Failure) -> Step:
        chosen = choose_retrier(retriers, failure, scope.retries) if retriers else None
        if chosen is not None:
            index, retrier = chosen
            draw = scope.random() if retrier.full_jitter else 0.0
            delay = retry_delay(retrier, scope.retries.get(index, 0) + 1, draw)
            return SleepUntil(scope.now + delay, "begin", index)
        for error_equals, caught in catchers:
            if matches(error_equals, failure):
                return caught(scope, failure)
        return failure

    return recover


def _arguments(state: WorkState, watch: Watch | None) -> Source:
    if state.query_language == "JSONata":
        return value_source(state.arguments, "Arguments", watch=watch)
    return effective_input(state.input_path, state.arguments, watch)


def _task(state: TaskState, limits: Limits, watch: Watch | None) -> CompiledState:
    resource = parse_task_resource(state.resource)
    source = _arguments(state, watch)
    jsonata = state.query_language == "JSONata"
    document = raw_input if jsonata else input_path(state.input_path)
    timeout = seconds(state.timeout_seconds, state.timeout_seconds_path, "TimeoutSeconds", jsonata, document, watch)
    heartbeat = seconds(
        state.heartbeat_seconds, state.heartbeat_seconds_path, "HeartbeatSeconds", jsonata, document, watch
    )
    role = _role(state.credentials, jsonata, document, watch)

    def begin(scope: Scope) -> Step:
        payload = source(scope)
        timeout_seconds = timeout(scope) if timeout is not None else None
        return CallTask(
            payload,
            timeout_seconds,
            scope.now + timeout_seconds if timeout_seconds is not None else None,
            heartbeat(scope) if heartbeat is not None else None,
            role(scope) if role is not None else None,
            scope.token,
        )

    return CompiledState(
        state.name,
        "Task",
        begin,
        _work_finish(state, watch),
        _recover(state, watch),
        resource=resource,
        counts_retries=True,
        takes_token=bool(resource.pattern),
    )


def _role(
    credentials: Json | Missing, jsonata: bool, document: Source, watch: Watch | None
) -> Callable[[Scope], str] | None:
    if credentials is MISSING:
        return None
    if jsonata:
        compiled = compile_value(credentials, "Credentials")
        whole = compiled.sole_expression
        named = next((part for part in compiled.expressions if part.field == "Credentials/RoleArn"), None)

        def evaluate(scope: Scope) -> Json:
            value = compiled.evaluate(scope, input=scope.input.value)
            if whole is not None and not isinstance(value, dict):
                raise unexpected_type(whole, value, "object")
            if named is not None and isinstance(value, dict) and not isinstance(value["RoleArn"], str):
                raise unexpected_type(named, value["RoleArn"], "string")
            return value
    else:
        template = compile_template(credentials)

        def evaluate(scope: Scope) -> Json:
            return template.evaluate(document(scope).value, scope)

    def role(scope: Scope) -> str:
        value = evaluate(scope)
        if watch is not None:
            watch("Credentials", Payload(value))
        arn = value.get("RoleArn") if isinstance(value, dict) else None
        if not isinstance(arn, str):  # [U] wording
            raise StateFailed(
                "States.Runtime", f"The RoleArn of the field 'Credentials' is not a string: {text_of(arn)}"
            )
        return arn

    return role


def _parallel(state: ParallelState, limits: Limits, watch: Watch | None) -> CompiledState:
    source = _arguments(state, watch)
    branches = [compile_machine(branch, limits) for branch in state.branches] if watch is None else []
    count = len(state.branches)
    return CompiledState(
        state.name,
        "Parallel",
        lambda scope: FanOut(count, count, source(scope)),
        _work_finish(state, watch),
        _recover(state, watch),
        branches=branches,
        child_input=lambda scope, fan_out, index: fan_out.document,
        counts_retries=True,
    )


def _map(state: MapState, limits: Limits, watch: Watch | None, items: Items | None = None) -> CompiledState:
    jsonata = state.query_language == "JSONata"
    document = raw_input if jsonata else input_path(state.input_path)
    first = watched(document, "InputPath", watch)  # the watch is told once, however often the fields look there
    if items is None:
        items = _expression_items(state) if jsonata else _path_items(state, first)
    wanted = concurrency(state, document, watch)

    def begin(scope: Scope) -> Step:
        found = items(scope)
        if watch is not None:
            watch("Items" if jsonata else "ItemsPath", Payload(found))
        at_once = wanted(scope) if wanted is not None else 0
        limit = min(at_once, limits.inline_concurrency) if at_once else limits.inline_concurrency
        if isinstance(found, dict):
            return FanOut(len(found), limit, document(scope), Payload(list(found.values())), list(found))
        return FanOut(len(found), limit, document(scope), Payload(found))

    return CompiledState(
        state.name,
        "Map",
        begin,
        _work_finish(state, watch),
        _recover(state, watch),
        branches=[compile_machine(state.processor, limits)] if watch is None else [],
        child_input=_item_input(state, jsonata),
        counts_retries=True,
    )


def _path_items(state: MapState, document: Source) -> Callable[[Scope], list[Json]]:
    text = state.items_path if state.items_path is not None else "$"
    path = compile_path(text)
    shown = text.removeprefix("$") if text.startswith("$$") else text  # [A] `$$` is shown with one `$`

    def items(scope: Scope) -> list[Json]:
        found = document(scope).value
        try:
            value = path.select(found, scope)
        except PathNotFound as error:
            raise reference_conflict(path, found, scope, error) from None
        if not isinstance(value, list):
            # Recorded by TestState alone, whose causes have no prefix; elsewhere with one, as all States.Runtime [U].
            raise StateFailed("States.Runtime", f'Reference path "{shown}" must point to array.')
        return value

    return items


def _expression_items(state: MapState) -> Items:
    if state.items is MISSING:

        def from_input(scope: Scope) -> list[Json]:
            value = scope.input.value
            if not isinstance(value, list):
                raise StateFailed(
                    "States.QueryEvaluationError",
                    f"Map state input must be an array but was: {encode(value)}",
                    evaluation=True,
                )
            return value

        return from_input
    if isinstance(state.items, str) and is_expression(state.items):
        expression = compile_expression(state.items, "Items")

        def from_expression(scope: Scope) -> list[Json]:
            value = expression.evaluate(scope, input=scope.input.value)
            if not isinstance(value, list):
                raise unexpected_type(expression, value, "array")
            return value

        return from_expression
    compiled = compile_value(state.items, "Items")

    def from_literal(scope: Scope) -> list[Json] | JsonObject:
        # The members of an object are items too [D], where an expression that gives an object fails [A].
        value = compiled.evaluate(scope, input=scope.input.value)
        assert isinstance(value, (list, dict))  # the validator refused anything else
        return value

    return from_literal


def _item_input(state: MapState, jsonata: bool) -> ChildInput:
    """An iteration's input: the item, or ItemSelector evaluated with `$$.Map.Item` of that item."""
    selector = state.item_selector
    if selector is MISSING:

        def item(scope: Scope, fan_out: FanOut, index: int) -> Payload:
            assert fan_out.items is not None
            if fan_out.item_keys is not None:
                return Payload({"Key": fan_out.item_keys[index], "Value": fan_out.items[index]})  # [U] the shape
            return Payload(fan_out.items[index])

        return item
    if jsonata:
        compiled = compile_value(selector, "ItemSelector")
        return lambda scope, fan_out, index: Payload(
            compiled.evaluate(scope.with_item(map_item(fan_out, index)), input=scope.input.value)
        )
    template = compile_template(selector)
    return lambda scope, fan_out, index: Payload(
        template.evaluate(fan_out.document.value, scope.with_item(map_item(fan_out, index)))
    )


def map_item(fan_out: FanOut, index: int) -> dict[str, Json]:
    """The `Map` member of the context object for one iteration (asl.md section 6)."""
    assert fan_out.items is not None
    item: dict[str, Json] = {"Index": index, "Value": fan_out.items[index]}
    if fan_out.item_keys is not None:
        item["Key"] = fan_out.item_keys[index]
    return {"Item": item}


_BUILDERS: dict[type[State], Callable[..., CompiledState]] = {
    PassState: _pass,
    SucceedState: _succeed,
    FailState: _fail,
    WaitState: _wait,
    ChoiceState: _choice,
    TaskState: _task,
    ParallelState: _parallel,
    MapState: _map,
}

__all__ = ["CompiledMachine", "CompiledState", "compile_machine", "compile_watched", "map_item"]
