"""Structured logs through `logging`: every event of an execution as AWS's CloudWatch log entry (history.md section 6).

Data of an execution reaches a log only where `include_execution_data` asks for it. `ExecutionContext` adds execution
and state to whatever the functions of Tasks log themselves.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from asfn._json import encode
from asfn.runtime.observers import Observer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from asfn._json import Json, JsonObject
    from asfn.runtime.handle import ExecutionInfo
    from asfn.runtime.observers import StateVisit
    from asfn.tasks.protocol import TaskCall

LogLevel = Literal["ALL", "ERROR", "FATAL", "OFF"]

ENTRY_BYTES: Final = 248 * 1024
"""An entry whose escaped form is larger has its data cut, and says so by `truncated`."""

_FATAL: Final = frozenset({"ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut"})
_ERRORS: Final = ("Failed", "Aborted", "TimedOut")
# What an event's details hold of an execution's data. input and output are AWS's [A]; of the others no log with
# includeExecutionData false was recorded, and they are data as well [U].
_DATA: Final = ("input", "output", "parameters", "assignedVariables")

_current: ContextVar[StateVisit | None] = ContextVar("asfn-state-visit", default=None)


def is_logged(type: str, level: LogLevel) -> bool:
    """Whether AWS logs an event of this type at this level."""
    if level == "ALL":
        return True
    if level == "ERROR":
        return type.endswith(_ERRORS) or type == "FailStateEntered"
    return level == "FATAL" and type in _FATAL


def log_entry(
    event: JsonObject, execution_arn: str, redrive_count: int = 0, *, include_execution_data: bool = False
) -> JsonObject:
    """The log entry of an event in GetExecutionHistory's shape with `timestamp` in epoch seconds.

    `{"id": "2", "type": "PassStateEntered", "details": {"name": "A"}, "previous_event_id": "0", "event_timestamp":
    "1718026515000", "execution_arn": ..., "redrive_count": "0"}`: every number is a text.
    """
    at = event["timestamp"]
    assert isinstance(at, int | float)
    details = _details(event)
    entry: JsonObject = {
        "id": str(event["id"]),
        "type": event["type"],
        "details": details if include_execution_data else _without_data(details),
        "previous_event_id": str(event["previousEventId"]),
        "event_timestamp": str(round(at * 1000)),
        "execution_arn": execution_arn,
        "redrive_count": str(redrive_count),
    }
    return entry if _size(entry) <= ENTRY_BYTES else {**entry, "details": _cut(entry)}


def _details(event: JsonObject) -> JsonObject:
    """The details object under whatever name it has; empty for an event without."""
    for name, value in event.items():
        if name.endswith("EventDetails") and isinstance(value, dict):
            return value
    return {}


def _without_data(details: JsonObject) -> JsonObject:
    hidden = {name for data in _DATA for name in (data, f"{data}Details")}
    return {name: value for name, value in details.items() if name not in hidden}


def _size(value: Json) -> int:
    """Bytes of a value as JSON inside a JSON text, which is how a log service gets it."""
    return len(encode(encode(value)).encode())


def _cut(entry: JsonObject) -> JsonObject:
    """The details with their data cut so that the entry fits. Where AWS cuts is not known [U]."""
    details = entry["details"]
    assert isinstance(details, dict)
    data = [name for name in _DATA if name in details]
    rest = {name: value for name, value in details.items() if name not in data}
    if not data:  # a long cause
        return rest
    marks: JsonObject = {f"{name}Details": {"truncated": True} for name in data if name != "parameters"}
    empty: JsonObject = {name: "" if isinstance(details[name], str) else {} for name in data}
    texts = {name: value for name in data if isinstance(value := details[name], str)}  # variables go as a whole
    space = ENTRY_BYTES - _size({**entry, "details": {**rest, **empty, **marks}})
    cut: JsonObject = {name: _beginning(text, space // len(texts)) for name, text in texts.items()}
    return {**rest, **empty, **cut, **marks}


def _beginning(text: str, space: int) -> str:
    """As much of a text as adds no more than so many bytes to the escaped form of an empty one."""
    low, high = 0, max(min(len(text), space), 0)
    while low < high:
        middle = (low + high + 1) // 2
        if _size(text[:middle]) - _size("") <= space:
            low = middle
        else:
            high = middle - 1
    return text[:low]


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged of a state machine's executions: AWS's loggingConfiguration without its destination."""

    level: LogLevel = "ALL"
    include_execution_data: bool = False

    def __post_init__(self) -> None:
        if self.level not in get_args(LogLevel):
            raise ValueError(f"log level {self.level!r}: use one of {', '.join(get_args(LogLevel))}")

    @classmethod
    def of(cls, configuration: Mapping[str, Any]) -> LogSettings:  # Any: JSON values
        """Settings from `{"level": "ERROR", "includeExecutionData": true}`, AWS's defaults for what is missing."""
        return cls(configuration.get("level", "OFF"), bool(configuration.get("includeExecutionData", False)))


class ExecutionLogs(Observer):
    """Logs the events of executions, once they are durable, with execution and state in `extra`.

    A record has execution_arn, execution_name, state_machine_arn, event_id, event_type, state (None where an event
    names none) and entry, the CloudWatch log entry. Failures are logging.ERROR, all else logging.INFO.
    logger: a Logger or its name.   level, include_execution_data: as AWS's loggingConfiguration has them.
    machines: other settings for the state machines of these names or ARNs.
    """

    def __init__(
        self,
        logger: logging.Logger | str = "asfn.executions",
        *,
        level: LogLevel = "ALL",
        include_execution_data: bool = False,
        machines: Mapping[str, LogSettings] | None = None,
    ) -> None:
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._settings = LogSettings(level, include_execution_data)
        self._machines = dict(machines or {})

    def events_committed(self, execution: ExecutionInfo, events: Sequence[JsonObject]) -> None:
        """Log those that the level lets through."""
        arn = execution.state_machine_arn
        settings = self._machines.get(arn) or self._machines.get(arn.rpartition(":")[2]) or self._settings
        for event in events:
            type_ = str(event["type"])
            if is_logged(type_, settings.level):
                level = logging.ERROR if is_logged(type_, "ERROR") else logging.INFO
                if self._logger.isEnabledFor(level):
                    self._log(level, type_, event, execution, settings)

    def _log(self, level: int, type_: str, event: JsonObject, execution: ExecutionInfo, settings: LogSettings) -> None:
        details = _details(event)
        state = details.get("name", details.get("state"))
        extra = {
            "execution_arn": execution.arn,
            "execution_name": execution.name,
            "state_machine_arn": execution.state_machine_arn,
            "state": state,
            "event_id": event["id"],
            "event_type": type_,
            "entry": log_entry(
                event,
                execution.arn,
                execution.redrive_count,
                include_execution_data=settings.include_execution_data,
            ),
        }
        where = f"{execution.name}:{state}" if state is not None else execution.name
        self._logger.log(level, "%s %s", where, type_, extra=extra)

    def task_called(self, visit: StateVisit, call: TaskCall, at: float) -> AbstractContextManager[None]:
        """Let `ExecutionContext` know which state a function works for."""
        return _working_for(visit)


@contextmanager
def _working_for(visit: StateVisit) -> Iterator[None]:
    token = _current.set(visit)
    try:
        yield
    finally:
        _current.reset(token)


class ExecutionContext(logging.Filter):
    """A filter for a logging.Handler: what a Task's function logs gets the execution and state it works for.

    Adds execution_arn, execution_name, state_machine_arn, state and attempt to records that have none; lets all pass.
    Needs an engine with ExecutionLogs.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the members."""
        visit = _current.get()
        if visit is not None and not hasattr(record, "execution_arn"):
            record.execution_arn = visit.execution.arn
            record.execution_name = visit.execution.name
            record.state_machine_arn = visit.execution.state_machine_arn
            record.state = visit.name
            record.attempt = visit.attempt
        return True


_CONTEXT: Final = ("execution_arn", "execution_name", "state_machine_arn", "state", "attempt")


class JsonFormatter(logging.Formatter):
    """One JSON text per line: the log entry of an execution's event as AWS has it, any other record as an object.

    Others: `{"timestamp": "2025-01-01T00:00:00.000Z", "level": "INFO", "logger": ..., "message": ...}`, with the
    execution and state where `ExecutionContext` gave them, and `exception` where there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        entry: JsonObject | None = getattr(record, "entry", None)
        if isinstance(entry, dict) and "event_timestamp" in entry:
            return encode(entry)
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: JsonObject = {
            "timestamp": at.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name in _CONTEXT if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return encode(_printable(line))


def _printable(line: JsonObject) -> JsonObject:
    """The same with what UTF-8 cannot hold spelled out: a message may hold anything."""
    return {
        name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for name, value in line.items()
    }
