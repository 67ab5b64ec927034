"""What an engine can be watched with: structured logs, AWS's status events, OpenTelemetry.

Each is an `Observer`, given to `Engine(observers=[...])` or `engine.observe(...)`; subclass `Observer` for another.
"""

from __future__ import annotations

from asfn.observe.logs import ExecutionContext, ExecutionLogs, JsonFormatter, LogSettings, is_logged, log_entry
from asfn.observe.metrics import Metrics
from asfn.observe.spans import Spans
from asfn.observe.status import StatusEvents, status_event
from asfn.observe.telemetry import Telemetry
from asfn.runtime.observers import CallEnd, Observer, StateVisit

__all__ = [
    "CallEnd",
    "ExecutionContext",
    "ExecutionLogs",
    "JsonFormatter",
    "LogSettings",
    "Metrics",
    "Observer",
    "Spans",
    "StateVisit",
    "StatusEvents",
    "Telemetry",
    "is_logged",
    "log_entry",
    "status_event",
]
