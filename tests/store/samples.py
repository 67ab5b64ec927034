"""Rows for the store's tests: small, and different where a test must tell them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asfn._json import Payload
from asfn.store.records import (
    EngineRow,
    ExecutionRow,
    ExecutionStatus,
    Final,
    FrameRow,
    Progress,
    Segment,
    Start,
    StateMachineRow,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asfn._json import Json
    from asfn.store.protocol import Store

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:orders"
LARGE_TEXT = '{"large": "' + "x" * 2_000 + '"}'
OTHER = MACHINE.replace("orders", "others")
THIRD = MACHINE.replace("orders", "thirds")


def execution_arn(name: str) -> str:
    return f"arn:aws:states:us-east-1:123456789012:execution:orders:{name}"


def machine_row(name: str = "orders", **changes: Any) -> StateMachineRow:
    arn = f"arn:aws:states:us-east-1:123456789012:stateMachine:{name}"
    return StateMachineRow(arn, name, "STANDARD", "d1", "arn:aws:iam::123456789012:role/r", 10.0, 11.5, **changes)


def row(key: int, engine: EngineRow | None = None, *, name: str | None = None, **changes: Any) -> ExecutionRow:
    """An execution owned by `engine`, started at second `key` unless told otherwise."""
    name = name or f"order-{key}"
    members: dict[str, Any] = {
        "key": key,
        "arn": execution_arn(name),
        "name": name,
        "state_machine_arn": MACHINE,
        "digest": "d1",
        "type": "STANDARD",
        "role_arn": "arn:aws:iam::123456789012:role/r",
        "input": Payload.parse('{"id": ' + str(key) + "}"),
        "started_at": float(key),
        "owner": engine.id if engine is not None else None,
    }
    return ExecutionRow(**(members | changes))


def start(key: int, engine: EngineRow | None = None, **changes: Any) -> Start:
    return Start(row(key, engine, **changes))


def segment(first_id: int, last_id: int, *texts: str) -> Segment:
    return Segment(first_id, last_id, f'[{first_id},{last_id},"ü"]', [Payload.parse(text) for text in texts])


def frame(path: str, *texts: str, body: Json = 1) -> FrameRow:
    return FrameRow(path, f'{{"body":{body}}}', [Payload.parse(text) for text in texts])


def progress(key: int, first_id: int, last_id: int, **members: Any) -> Progress:
    return Progress(key, segment(first_id, last_id), **members)


def final(status: ExecutionStatus = "SUCCEEDED", output: str | None = '{"ok": true}', **members: Any) -> Final:
    return Final(status, 99.5, Payload.parse(output) if output is not None else None, **members)


def texts(payloads: Any) -> list[str]:
    """The texts of a row's payloads."""
    return [payload.text for payload in payloads]


def parking(key: int, wake_at: float | None) -> Progress:
    return Progress(key, parked=True, wake_at=wake_at)


def queued(key: int, **changes: Any) -> Start:
    return Start(row(key, queued=True, **changes))


def keys(rows: Sequence[ExecutionRow]) -> list[int]:
    return [item.key for item in rows]


async def read(store: Store, key: int) -> ExecutionRow:
    """The execution that `row` makes for this key, as it is stored."""
    execution = await store.execution(execution_arn(f"order-{key}"))
    assert execution is not None
    return execution


async def park(store: Store, engine: EngineRow, wakes: dict[int, float | None]) -> None:
    """Start executions and park them until the moments given by their keys."""
    await store.apply(engine, [start(key, engine) for key in wakes])
    await store.apply(engine, [parking(key, wake_at) for key, wake_at in wakes.items()])
