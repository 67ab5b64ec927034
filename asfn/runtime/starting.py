"""What a start is made of: its input as a payload, and the row of the new execution. Nothing here waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asfn._json import JsonError, Payload
from asfn.arn import Arns, check_name, new_uuid, ordered_uuid
from asfn.errors import InvalidExecutionInput, InvalidParameter
from asfn.runtime.texts import input_refusal
from asfn.store.records import ExecutionRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asfn._json import Json
    from asfn.limits import Limits
    from asfn.store.records import StateMachineRow

_PRIORITIES: Final = 2**31  # below and above 0


def read_input(value: Json | None, text: str | None, limits: Limits) -> Payload:
    """The input of an execution, from a JSON value or from JSON text. Raises InvalidExecutionInput."""
    if text is not None and value is not None:
        raise TypeError("give input or input_text, not both")
    try:
        payload = Payload.parse(text) if text is not None else Payload.copy_of({} if value is None else value)
        size = payload.size_bytes
    except JsonError as error:
        if text is not None:
            raise InvalidExecutionInput(input_refusal(text, error)) from error
        raise InvalidExecutionInput(f"Invalid State Machine Execution Input: '{error}'") from error
    if size > limits.payload_bytes:
        raise InvalidExecutionInput(
            f"Invalid State Machine Execution Input: the input has {size} bytes, the limit is {limits.payload_bytes}"
        )
    return payload


def new_row(
    key: int,
    arns: Arns,
    machine: StateMachineRow,
    name: str | None,
    payload: Payload,
    attributes: Mapping[str, str],
    priority: int,
    now: float,
    owner: int,
) -> ExecutionRow:
    """The row of a new execution. Raises InvalidName, and InvalidParameter for its priority."""
    name = check_name(name) if name is not None else ordered_uuid(now)
    arn = (
        arns.express(machine.name, name, new_uuid())
        if machine.type == "EXPRESS"
        else arns.execution(machine.name, name)
    )
    return ExecutionRow(
        key,
        arn,
        name,
        machine.arn,
        machine.digest,
        machine.type,
        machine.role_arn,
        payload,
        now,
        owner=owner,
        attributes=attributes,
        priority=priority if priority == 0 and type(priority) is int else check_priority(priority),
    )


def check_priority(priority: int) -> int:
    """Raises InvalidParameter for what is not a whole number that a store can order by."""
    if isinstance(priority, bool) or not isinstance(priority, int) or not -_PRIORITIES <= priority < _PRIORITIES:
        raise InvalidParameter(f"priority must be a whole number of 32 bits, not {priority!r}")
    return priority
