"""The data flow of a state, compiled: from the raw input to the work's input, and from its result to the output.

JSONPath: InputPath -> Parameters -> work -> ResultSelector -> ResultPath -> OutputPath (asl.md 2.1).
JSONata: Arguments -> work -> Output (asl.md 2.3). Assign beside both (asl.md 2.4). Nothing is copied that need not be:
a step that changes nothing hands on the very same Payload, with its text.

A `Watch` given while compiling is told what each stage gives (`inspect.py`); without one the closures are as they were.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from asfn._json import EMPTY_OBJECT, Payload
from asfn.errors import StateFailed
from asfn.language.jsonata import compile_value
from asfn.language.model import MISSING
from asfn.language.paths import NULL_INPUT, Path, PathNotFound, compile_path, compile_result_path
from asfn.language.templates import compile_template
from asfn.plan.effects import Success, Transition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asfn._json import Json, JsonObject
    from asfn.language.model import Catcher, ChoiceRule, Missing, State
    from asfn.plan.effects import Failure
    from asfn.plan.scope import Scope

Source: TypeAlias = Callable[["Scope"], Payload]
"""Gives the payload a state works on."""
Finish: TypeAlias = Callable[["Scope", Payload], "Transition | Success"]
"""Takes the raw result of a state's work to the step that leaves the state."""
Assign: TypeAlias = Callable[["Scope", Payload], "dict[str, Payload]"]
Watch: TypeAlias = Callable[[str, Payload], object]
"""Told what a stage gave, by the name of its field: `InputPath`, `Output`, `Choices[1]/Assign`."""


_MEMBER_PATH: Final = re.compile(r"\$\.([A-Za-z_]\w*)", re.ASCII)


def raw_input(scope: Scope) -> Payload:
    """The state input as it came."""
    return scope.input


def no_input(scope: Scope) -> Payload:
    """What `InputPath: null` leaves."""
    return EMPTY_OBJECT


def select(path: Path, document: Json, scope: Scope) -> Json:
    """What a path of InputPath, OutputPath or a ...Path field selects. Raises StateFailed in AWS's words."""
    if document is None and path.root == "$":
        raise StateFailed("States.Runtime", NULL_INPUT)
    try:
        return path.select(document, scope)
    except PathNotFound as error:
        raise StateFailed("States.Runtime", f"Invalid path '{path.text}' : {error.reason}") from None


def watched(source: Source, field: str, watch: Watch | None) -> Source:
    """The source, told of by `watch` each time it is used; the very same one without a watch."""
    if watch is None:
        return source

    def seen(scope: Scope) -> Payload:
        payload = source(scope)
        watch(field, payload)
        return payload

    return seen


def within(watch: Watch | None, prefix: str) -> Watch | None:
    """The watch for the fields of a part of a state, such as a catcher: their names get the prefix."""
    if watch is None or not prefix:
        return watch
    return lambda field, payload: watch(prefix + field, payload)


def input_path(text: str | None, watch: Watch | None = None) -> Source:
    """InputPath: `$` gives the input itself, null an empty object."""
    if watch is not None:
        return watched(input_path(text), "InputPath", watch)
    if text is None:
        return no_input
    if text == "$":
        return raw_input
    path = compile_path(text)
    return lambda scope: Payload(select(path, scope.input.value, scope))


def effective_input(path_text: str | None, parameters: Json | Missing, watch: Watch | None = None) -> Source:
    """InputPath, then Parameters."""
    return watched(_effective_input(input_path(path_text, watch), parameters), "Parameters", watch)


def _effective_input(source: Source, parameters: Json | Missing) -> Source:
    if parameters is MISSING:
        return source
    template = compile_template(parameters)
    if template.is_literal:
        literal = Payload(parameters)
        if source is raw_input or source is no_input:
            return lambda scope: literal

        def checked(scope: Scope) -> Payload:
            source(scope)  # a path that selects nothing fails the state, whether its value is used or not
            return literal

        return checked
    evaluate = template.evaluate
    if source is raw_input:
        return lambda scope: Payload(evaluate(scope.input.value, scope))
    return lambda scope: Payload(evaluate(source(scope).value, scope))


def result_path(text: str | None) -> Callable[[Scope, Payload], Payload]:
    """ResultPath: places a result into the raw input; null throws it away, `$` replaces everything."""
    if text is None:
        return lambda scope, result: scope.input
    if text == "$":
        return lambda scope, result: result
    place = compile_result_path(text)
    name = _member(text)
    if name is None:
        return lambda scope, result: Payload(place(scope.input.value, result.value))

    def put(scope: Scope, result: Payload) -> Payload:
        document = scope.input
        if type(document.value) is dict:
            return document.with_member(name, result)
        return Payload(place(document.value, result.value))

    return put


def _member(text: str | None) -> str | None:
    """The name in a path of the form `$.name`."""
    path = _MEMBER_PATH.fullmatch(text) if text is not None else None
    return path[1] if path is not None else None


def output_path(text: str | None) -> Callable[[Scope, Payload], Payload] | None:
    """OutputPath; None where it changes nothing."""
    if text == "$":
        return None
    if text is None:
        return lambda scope, payload: EMPTY_OBJECT
    path = compile_path(text)
    return lambda scope, payload: Payload(select(path, payload.value, scope))


def _watched_assign(assign: Assign | None, watch: Watch | None) -> Assign | None:
    if assign is None or watch is None:
        return assign

    def seen(scope: Scope, document: Payload) -> dict[str, Payload]:
        values = assign(scope, document)
        watch("Assign", Payload({name: payload.value for name, payload in values.items()}))
        return values

    return seen


def path_assign(assign: JsonObject | None, watch: Watch | None = None) -> Assign | None:
    """Assign of a JSONPath state: all right sides first, then all assignments at once."""
    if not assign:
        return None
    if watch is not None:
        return _watched_assign(path_assign(assign), watch)
    evaluate = compile_template(assign).evaluate

    def assigned(scope: Scope, document: Payload) -> dict[str, Payload]:
        values = evaluate(document.value, scope)
        assert isinstance(values, dict)
        return {name: Payload(value) for name, value in values.items()}

    return assigned


def _leave(output: Callable[[Scope, Payload], Payload] | None, assign: Assign | None, next: str | None) -> Finish:
    """The closure that ends a state: specialised so that the plain case is one call."""

    def finish(scope: Scope, result: Payload) -> Transition | Success:
        assigned = assign(scope, result) if assign is not None else None
        payload = output(scope, result) if output is not None else result
        return Success(payload, assigned) if next is None else Transition(next, payload, assigned)

    def transition(scope: Scope, result: Payload) -> Transition:
        return Transition(next, output(scope, result) if output is not None else result)  # type: ignore[arg-type]

    return transition if assign is None and next is not None else finish


def _set_member(name: str, next: str, put: Callable[[Scope, Payload], Payload]) -> Finish:
    """What most states with a ResultPath end in: one member of the input is set, nothing else."""

    def transition(scope: Scope, result: Payload) -> Transition:
        document = scope.input
        if type(document.value) is dict:
            return Transition(next, document.with_member(name, result))
        return Transition(next, put(scope, result))

    return transition


def path_finish(
    *,
    next: str | None,
    assign: JsonObject | None,
    out: str | None,
    place: str | None = "$",
    selector: Json | Missing = MISSING,
    watch: Watch | None = None,
) -> Finish:
    """ResultSelector, ResultPath, OutputPath and Assign of a JSONPath state; `$` in Assign is the raw result."""
    if watch is not None:
        return _leave(_watched_output(out, place, selector, watch), path_assign(assign, watch), next)
    put = result_path(place)
    cut = output_path(out)
    if selector is not MISSING:
        evaluate = compile_template(selector).evaluate

        def output(scope: Scope, result: Payload) -> Payload:
            placed = put(scope, Payload(evaluate(result.value, scope)))
            return placed if cut is None else cut(scope, placed)

        return _leave(output, path_assign(assign), next)
    if cut is None:
        if not assign and next is not None and (name := _member(place)) is not None:
            return _set_member(name, next, put)
        return _leave(None if place == "$" else put, path_assign(assign), next)
    cutter = cut

    def cut_output(scope: Scope, result: Payload) -> Payload:
        return cutter(scope, put(scope, result))

    return _leave(cut_output, path_assign(assign), next)


def _watched_output(
    out: str | None, place: str | None, selector: Json | Missing, watch: Watch
) -> Callable[[Scope, Payload], Payload]:
    """The same three stages as in `path_finish`, none of them left out, each one told of."""
    choose = compile_template(selector).evaluate if selector is not MISSING else None
    put = result_path(place)
    cut = output_path(out)

    def output(scope: Scope, result: Payload) -> Payload:
        payload = Payload(choose(result.value, scope)) if choose is not None else result
        watch("ResultSelector", payload)
        payload = put(scope, payload)
        watch("ResultPath", payload)
        if cut is not None:
            payload = cut(scope, payload)
        watch("OutputPath", payload)
        return payload

    return output


def value_source(value: Json | Missing, field: str, default: Source = raw_input, watch: Watch | None = None) -> Source:
    """Arguments and the like of a JSONata state, evaluated on entry."""
    if watch is not None:
        return watched(value_source(value, field, default), field, watch)
    if value is MISSING:
        return default
    compiled = compile_value(value, field)
    if compiled.is_literal:
        literal = Payload(value)
        return lambda scope: literal
    evaluate = compiled.evaluate
    return lambda scope: Payload(evaluate(scope, input=scope.input.value))


def value_finish(
    *,
    next: str | None,
    output: Json | Missing,
    assign: JsonObject | None,
    extra: str | None,
    prefix: str = "",
    watch: Watch | None = None,
) -> Finish:
    """Output and Assign of a JSONata state, both on the same snapshot.

    extra: what the result is called there: "result" (Task, Parallel, Map), "errorOutput" (a catcher), or None where
    only `$states.input` is offered.   prefix: of the field names in causes, such as "Catch[0]/".
    """
    if output is MISSING:
        give = None
    else:
        compiled = compile_value(output, f"{prefix}Output")
        give = _with_states(compiled.evaluate, extra, Payload(output) if compiled.is_literal else None)
    if watch is not None:
        give = _watched_give(give, watch)
    return _leave(give, _watched_assign(_value_assign(assign, extra, prefix), watch), next)


def _watched_give(
    give: Callable[[Scope, Payload], Payload] | None, watch: Watch
) -> Callable[[Scope, Payload], Payload]:
    def seen(scope: Scope, result: Payload) -> Payload:
        payload = give(scope, result) if give is not None else result
        watch("Output", payload)
        return payload

    return seen


def _value_assign(assign: JsonObject | None, extra: str | None, prefix: str) -> Assign | None:
    if not assign:
        return None
    evaluate = compile_value(assign, f"{prefix}Assign").evaluate

    def assigned(scope: Scope, result: Payload) -> dict[str, Payload]:
        states = {"input": scope.input.value}
        if extra is not None:
            states[extra] = result.value
        values = evaluate(scope, **states)
        assert isinstance(values, dict)
        return {name: Payload(value) for name, value in values.items()}

    return assigned


def _with_states(
    evaluate: Callable[..., Json], extra: str | None, literal: Payload | None
) -> Callable[[Scope, Payload], Payload]:
    if literal is not None:
        return lambda scope, result: literal
    if extra == "result":
        return lambda scope, result: Payload(evaluate(scope, input=scope.input.value, result=result.value))
    if extra == "errorOutput":
        return lambda scope, result: Payload(evaluate(scope, input=scope.input.value, errorOutput=result.value))
    return lambda scope, result: Payload(evaluate(scope, input=scope.input.value))


def simple_finish(state: State, watch: Watch | None = None) -> Finish:
    """The way out of a Wait, Succeed or Choice (Default): OutputPath, or Output without a result."""
    if state.query_language == "JSONata":
        return value_finish(next=state.next, output=state.output, assign=state.assign, extra=None, watch=watch)
    return path_finish(next=state.next, assign=state.assign, out=state.output_path, watch=watch)


def rule_finish(state: State, rule: ChoiceRule, index: int, watch: Watch | None = None) -> Finish:
    """The way out of a Choice by one of its rules."""
    prefix = f"Choices[{index}]/"
    watch = within(watch, prefix)
    if state.query_language == "JSONata":
        return value_finish(
            next=rule.next, output=rule.output, assign=rule.assign, extra=None, prefix=prefix, watch=watch
        )
    return path_finish(next=rule.next, assign=rule.assign, out=state.output_path, watch=watch)


def catch_finish(
    state: State, catcher: Catcher, index: int, watch: Watch | None = None
) -> Callable[[Scope, Failure], Transition]:
    """The way out of a failed state by one of its catchers; the state's own output fields play no part [A]."""
    prefix = f"Catch[{index}]/"
    watch = within(watch, prefix)
    if state.query_language == "JSONata":
        finish = value_finish(
            next=catcher.next,
            output=catcher.output,
            assign=catcher.assign,
            extra="errorOutput",
            prefix=prefix,
            watch=watch,
        )
    else:
        finish = path_finish(next=catcher.next, assign=catcher.assign, out="$", place=catcher.result_path, watch=watch)

    def caught(scope: Scope, failure: Failure) -> Transition:
        step = finish(scope, Payload(failure.error_output()))
        assert isinstance(step, Transition)
        return step

    return caught


def variables_size(variables: Mapping[str, Payload]) -> int:
    """UTF-8 bytes of all values together, the measure of asl.md 2.4."""
    return sum(payload.size_bytes for payload in variables.values())
