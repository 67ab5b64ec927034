"""The state machines that are measured, and the yardsticks beside them.

A yardstick does the least that any engine would have to do for the same work: the same dicts made and encoded in a bare
coroutine, or the same rows and bytes written through aiosqlite behind the same barriers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiosqlite
import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:price"

PASS_CHAIN: dict[str, Any] = {
    "StartAt": "S0",
    "States": {
        f"S{index}": {
            "Type": "Pass",
            "Result": {"value": index},
            "ResultPath": f"$.step{index}",
            **({"Next": f"S{index + 1}"} if index < 4 else {"End": True}),
        }
        for index in range(5)
    },
}
PASS_CHAIN_STATES = 5

ORDER: dict[str, Any] = {
    "StartAt": "Large?",
    "States": {
        "Large?": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.total", "NumericGreaterThan": 100, "Next": "Price"}],
            "Default": "Price",
        },
        "Price": {"Type": "Task", "Resource": FUNCTION, "ResultPath": "$.price", "Next": "Both"},
        "Both": {
            "Type": "Parallel",
            "ResultPath": "$.both",
            "Branches": [
                {"StartAt": name, "States": {name: {"Type": "Pass", "Result": {"done": True}, "End": True}}}
                for name in ("Reserve", "Notify")
            ],
            "Next": "Items",
        },
        "Items": {
            "Type": "Map",
            "ItemsPath": "$.items",
            "ItemProcessor": {
                "StartAt": "Mark",
                "States": {"Mark": {"Type": "Pass", "Result": True, "ResultPath": "$.marked", "End": True}},
            },
            "End": True,
        },
    },
}
ORDER_STATES = 16
ORDER_INPUT: dict[str, Any] = {"total": 120, "items": [{"id": index} for index in range(10)]}

SLEEPER: dict[str, Any] = {
    "StartAt": "Sleep",
    "States": {"Sleep": {"Type": "Wait", "SecondsPath": "$.seconds", "End": True}},
}

_encode = msgspec.json.Encoder().encode


async def bare_chain(index: int) -> bytes:
    """What W1 cannot do without: five objects made from the one before, each encoded once."""
    value: dict[str, Any] = {"id": index}
    text = _encode(value)
    for step in range(PASS_CHAIN_STATES):
        value = {**value, f"step{step}": {"value": step}}
        text = _encode(value)
    return text


async def bare_order(index: int) -> bytes:
    """What W2 cannot do without: one awaited call, and the objects of 16 states, each encoded once."""
    value: dict[str, Any] = {**ORDER_INPUT, "id": index}
    _encode(value)
    price = await asyncio.get_running_loop().create_task(_price(value))
    value = {**value, "price": price}
    _encode(value)
    for _ in range(2):
        _encode({"done": True})
    value = {**value, "both": [{"done": True}, {"done": True}]}
    _encode(value)
    marked = []
    for item in value["items"]:
        entry = {**item, "marked": True}
        _encode(item)
        _encode(entry)
        marked.append(entry)
    return _encode(marked)


async def _price(event: dict[str, Any]) -> dict[str, Any]:
    return {"amount": event["total"]}


class BareWriter:
    """Groups whatever is waiting into one transaction of the same rows and bytes, through aiosqlite."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._waiting: list[tuple[list[tuple[int, str]], asyncio.Future[None]]] = []
        self._wake = asyncio.Event()

    async def run(self) -> None:
        async with aiosqlite.connect(self._path, isolation_level=None) as connection:
            await connection.execute("PRAGMA journal_mode=WAL")
            await connection.execute("PRAGMA synchronous=FULL")
            await connection.execute("CREATE TABLE rows (execution INTEGER, body TEXT)")
            await connection.execute("CREATE INDEX by_execution ON rows (execution)")
            while True:
                await self._wake.wait()
                self._wake.clear()
                group, self._waiting = self._waiting[:1000], self._waiting[1000:]
                if self._waiting:
                    self._wake.set()
                await connection.execute("BEGIN IMMEDIATE")
                await connection.executemany(
                    "INSERT INTO rows VALUES (?, ?)", [row for rows, _ in group for row in rows]
                )
                await connection.execute("COMMIT")
                for _, future in group:
                    future.set_result(None)

    async def write(self, rows: list[tuple[int, str]]) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, future))
        self._wake.set()
        await future


async def bare_durable(writer: BareWriter, index: int, barriers: Sequence[Sequence[int]]) -> None:
    """One execution's barriers: at each, rows of these many bytes are durable before it goes on."""
    for sizes in barriers:
        await writer.write([(index, "x" * size) for size in sizes])
