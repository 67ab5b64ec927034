"""The model of a valid definition: JSON members become the frozen dataclasses of `model.py`.

Nothing is checked here; `validate` has been. A definition that would not pass it gives any exception at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from asfn.language.model import (
    MISSING,
    Catcher,
    ChoiceRule,
    ChoiceState,
    FailState,
    MapState,
    ParallelState,
    PassState,
    QueryLanguage,
    Retrier,
    State,
    StateMachine,
    SucceedState,
    TaskState,
    WaitState,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from asfn._json import JsonObject

DISTRIBUTED_FIELDS: Final = (
    "ItemReader",
    "ItemBatcher",
    "ResultWriter",
    "Label",
    "ToleratedFailurePercentage",
    "ToleratedFailurePercentagePath",
    "ToleratedFailureCount",
    "ToleratedFailureCountPath",
)
_NOT_COMPARED: Final = frozenset({"Next", "Assign", "Comment", "Output"})

_Fields = dict[str, Any]  # Any: the fields of one object of a definition that was checked before


def build(document_value: JsonObject) -> StateMachine:
    """The model of an already valid definition."""
    return _machine(cast("_Fields", document_value), _language(document_value.get("QueryLanguage")))


def build_state(name: str, fields: JsonObject, query_language: QueryLanguage = "JSONPath") -> State:
    """The model of one valid state, in a machine of the given language."""
    return _state(name, cast("_Fields", fields), query_language)


def _language(value: object) -> QueryLanguage:
    return "JSONata" if value == "JSONata" else "JSONPath"


def _machine(fields: _Fields, language: QueryLanguage) -> StateMachine:
    states = {name: _state(name, state, language) for name, state in fields["States"].items()}
    return StateMachine(
        start_at=fields["StartAt"],
        states=states,
        comment=fields.get("Comment"),
        timeout_seconds=_integer(fields.get("TimeoutSeconds")),
        query_language=language,
    )


def _state(name: str, fields: _Fields, machine_language: QueryLanguage) -> State:
    language = _language(fields.get("QueryLanguage", machine_language))
    shared: _Fields = {
        "name": name,
        "query_language": language,
        "comment": fields.get("Comment"),
        "next": fields.get("Next"),
        "input_path": fields.get("InputPath", "$"),
        "output_path": fields.get("OutputPath", "$"),
        "output": fields.get("Output", MISSING),
        "assign": fields.get("Assign"),
    }
    return _BUILDERS[fields["Type"]](fields, shared, machine_language)


def _pass(fields: _Fields, shared: _Fields, _: QueryLanguage) -> State:
    return PassState(
        **shared,
        parameters=fields.get("Parameters", MISSING),
        result=fields.get("Result", MISSING),
        result_path=fields.get("ResultPath", "$"),
    )


def _succeed(fields: _Fields, shared: _Fields, _: QueryLanguage) -> State:
    return SucceedState(**shared)


def _fail(fields: _Fields, shared: _Fields, _: QueryLanguage) -> State:
    return FailState(
        **shared,
        error=fields.get("Error"),
        cause=fields.get("Cause"),
        error_path=fields.get("ErrorPath"),
        cause_path=fields.get("CausePath"),
    )


def _wait(fields: _Fields, shared: _Fields, _: QueryLanguage) -> State:
    return WaitState(
        **shared,
        seconds=_integer(fields.get("Seconds")),
        timestamp=fields.get("Timestamp"),
        seconds_path=fields.get("SecondsPath"),
        timestamp_path=fields.get("TimestampPath"),
    )


def _choice(fields: _Fields, shared: _Fields, _: QueryLanguage) -> State:
    return ChoiceState(
        **shared,
        choices=tuple(_rule(rule, shared["query_language"]) for rule in fields["Choices"]),
        default=fields.get("Default"),
    )


def _rule(fields: _Fields, language: QueryLanguage) -> ChoiceRule:
    if language == "JSONata":
        condition, comparison = fields.get("Condition", MISSING), None
    else:
        condition = MISSING
        comparison = {key: value for key, value in fields.items() if key not in _NOT_COMPARED}
    return ChoiceRule(
        next=fields["Next"],
        comparison=comparison,
        condition=condition,
        output=fields.get("Output", MISSING),
        assign=fields.get("Assign"),
    )


def _task(fields: _Fields, shared: _Fields, _: QueryLanguage) -> State:
    return TaskState(
        **_work(fields, shared),
        resource=fields["Resource"],
        timeout_seconds=_integer(fields.get("TimeoutSeconds")),
        timeout_seconds_path=fields.get("TimeoutSecondsPath"),
        heartbeat_seconds=_integer(fields.get("HeartbeatSeconds")),
        heartbeat_seconds_path=fields.get("HeartbeatSecondsPath"),
        credentials=fields.get("Credentials", MISSING),
    )


def _parallel(fields: _Fields, shared: _Fields, machine_language: QueryLanguage) -> State:
    branches = tuple(_machine(branch, machine_language) for branch in fields["Branches"])
    return ParallelState(**_work(fields, shared), branches=branches)


def _map(fields: _Fields, shared: _Fields, machine_language: QueryLanguage) -> State:
    processor = fields["ItemProcessor"] if "ItemProcessor" in fields else fields["Iterator"]
    config = processor.get("ProcessorConfig", {})
    work = _work(fields, shared)
    work["arguments"] = MISSING
    return MapState(
        **work,
        processor=_machine(processor, machine_language),
        items=fields.get("Items", MISSING),
        items_path=fields.get("ItemsPath"),
        item_selector=fields.get("ItemSelector", fields.get("Parameters", MISSING)),
        max_concurrency=_integer(fields.get("MaxConcurrency")),
        max_concurrency_path=fields.get("MaxConcurrencyPath"),
        mode=config.get("Mode", "INLINE"),
        execution_type=config.get("ExecutionType", "STANDARD"),
        distributed={name: fields[name] for name in DISTRIBUTED_FIELDS if name in fields},
    )


def _work(fields: _Fields, shared: _Fields) -> _Fields:
    """What Task, Parallel and Map share."""
    return {
        **shared,
        "arguments": fields.get("Arguments", fields.get("Parameters", MISSING)),
        "result_selector": fields.get("ResultSelector", MISSING),
        "result_path": fields.get("ResultPath", "$"),
        "retry": tuple(_retrier(retrier) for retrier in fields.get("Retry", ())),
        "catch": tuple(_catcher(catcher) for catcher in fields.get("Catch", ())),
    }


def _retrier(fields: _Fields) -> Retrier:
    return Retrier(
        error_equals=tuple(fields["ErrorEquals"]),
        interval_seconds=int(fields.get("IntervalSeconds", 1)),
        max_attempts=int(fields.get("MaxAttempts", 3)),
        backoff_rate=float(fields.get("BackoffRate", 2.0)),
        max_delay_seconds=_integer(fields.get("MaxDelaySeconds")),
        full_jitter=fields.get("JitterStrategy") == "FULL",
    )


def _catcher(fields: _Fields) -> Catcher:
    return Catcher(
        error_equals=tuple(fields["ErrorEquals"]),
        next=fields["Next"],
        result_path=fields.get("ResultPath", "$"),
        output=fields.get("Output", MISSING),
        assign=fields.get("Assign"),
    )


def _integer(value: Any) -> Any:  # Any: a number, an expression, or None
    """3.0 for an integer field means 3 [U]."""
    return int(value) if isinstance(value, float) else value


_BUILDERS: Final[dict[str, Callable[[_Fields, _Fields, QueryLanguage], State]]] = {
    "Pass": _pass,
    "Succeed": _succeed,
    "Fail": _fail,
    "Wait": _wait,
    "Choice": _choice,
    "Task": _task,
    "Parallel": _parallel,
    "Map": _map,
}
