"""TaskCalls as the interpreter would make them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asfn._json import Payload
from asfn.arn import parse_task_resource
from asfn.tasks.protocol import TaskCall

if TYPE_CHECKING:
    from collections.abc import Callable

FUNCTION_ARN = "arn:aws:lambda:us-east-1:111111111111:function:charge-card"
INVOKE = "arn:aws:states:::lambda:invoke"


def task_call(
    payload: Any = None,
    resource: str = FUNCTION_ARN,
    *,
    text: str | None = None,
    attempt: int = 0,
    deadline_at: float | None = None,
    role_arn: str | None = None,
    token: str | None = None,
    heartbeat: Callable[[], None] = lambda: None,
) -> TaskCall:
    """A call of state `Charge` with this payload, or this JSON text."""
    return TaskCall(
        resource=parse_task_resource(resource),
        payload=Payload(payload) if text is None else Payload.parse(text),
        execution_arn="arn:aws:states:us-east-1:111111111111:execution:orders:order-7",
        execution_name="order-7",
        state_machine_arn="arn:aws:states:us-east-1:111111111111:stateMachine:orders",
        state_name="Charge",
        attempt=attempt,
        idempotency_key=f"order-7/0/Charge.{attempt}",
        deadline_at=deadline_at,
        heartbeat_seconds=None,
        role_arn=role_arn,
        token=token,
        heartbeat=heartbeat,
    )
