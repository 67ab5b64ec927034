"""AWS's "Step Functions Execution Status Change" event, as EventBridge delivers it (history.md section 7).

For programs that listen for these events on AWS and shall be fed the same ones here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from asfn._json import encode
from asfn.arn import new_uuid
from asfn.runtime.observers import Observer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asfn._json import JsonObject
    from asfn.runtime.handle import ExecutionInfo

EVENT_BYTES: Final = 248 * 1024
"""An input or output whose escaped form is larger is left out of the event."""

# api.md section 7: why an execution cannot be redriven; the others can.
_NOT_REDRIVABLE: Final = {
    "RUNNING": "Execution is RUNNING and cannot be redriven",
    "SUCCEEDED": "Execution is SUCCEEDED and cannot be redriven",
}


class StatusEvents(Observer):
    """Hands each status change of a Standard execution to a function, asynchronous or not, as AWS's event.

    include_execution_data: whether input, output, error and cause are in it, as on AWS.
    """

    def __init__(
        self, send: Callable[[JsonObject], Awaitable[None] | None], *, include_execution_data: bool = True
    ) -> None:
        self._send = send
        self._include = include_execution_data

    def status_changed(self, execution: ExecutionInfo) -> Awaitable[None] | None:
        """Send the event; AWS sends none of Express executions."""
        if execution.type == "EXPRESS":
            return None
        return self._send(status_event(execution, include_execution_data=self._include))


def status_event(execution: ExecutionInfo, *, include_execution_data: bool = True) -> JsonObject:
    """The event of the status an execution has now, with an id of its own.

    `{"version": "0", "id": ..., "detail-type": "Step Functions Execution Status Change", "source": "aws.states",
    "account": ..., "time": "2019-02-26T19:42:21Z", "region": ..., "resources": [ARN], "detail": {...}}`; dates in
    `detail` are epoch milliseconds. That `detail` holds null for what is missing is of AWS's documented examples [D].
    """
    _, _, _, region, account, *_ = execution.arn.split(":")
    at = execution.stopped_at if execution.stopped_at is not None else execution.redriven_at or execution.started_at
    return {
        "version": "0",
        "id": new_uuid(),
        "detail-type": "Step Functions Execution Status Change",
        "source": "aws.states",
        "account": account,
        "time": datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": region,
        "resources": [execution.arn],
        "detail": _detail(execution, include_execution_data),
    }


def _detail(execution: ExecutionInfo, include_data: bool) -> JsonObject:
    input_text, input_details = _data(execution.input_text, include_data)
    output_text, output_details = _data(execution.output_text, include_data)
    reason = execution.redrive_status_reason or _NOT_REDRIVABLE.get(execution.status)
    return {
        "executionArn": execution.arn,
        "stateMachineArn": execution.state_machine_arn,
        "name": execution.name,
        "status": execution.status,
        "startDate": _milliseconds(execution.started_at),
        "stopDate": _milliseconds(execution.stopped_at),
        "input": input_text,
        "output": output_text,
        "inputDetails": input_details,
        "outputDetails": output_details,
        "stateMachineVersionArn": None,
        "stateMachineAliasArn": None,
        "redriveCount": execution.redrive_count,
        "redriveDate": _milliseconds(execution.redriven_at),
        "redriveStatus": "NOT_REDRIVABLE" if reason is not None else "REDRIVABLE",
        "redriveStatusReason": reason,
        "error": execution.error if include_data else None,
        "cause": execution.cause if include_data else None,
    }


def _data(text: str | None, include: bool) -> tuple[str | None, JsonObject | None]:
    """A payload's text and its details: null and null where there is none."""
    if text is None:
        return None, None
    if not include or len(encode(text).encode()) > EVENT_BYTES:
        return None, {"included": False}
    return text, {"included": True}


def _milliseconds(at: float | None) -> int | None:
    return None if at is None else round(at * 1000)
