"""The order workflow's three functions in Python, and three orders: one delivered, one unpaid, one out of stock.

    asfn run order.asl.json --functions asfn.examples.order:FUNCTIONS --input '{"order_id": "1001", ...}'

The definition beside this file names them as Lambda functions; on AWS it runs unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from asfn import TaskContext, TaskFailed

DEFINITION: Final = Path(__file__).with_name("order.asl.json")

Order = dict[str, Any]  # Any: an order is JSON, read as the functions need it

_REFUSED_CARD: Final = "4000-0000-0000-0002"
_STOCK: Final = {"notebook": 40, "pencil": 900, "globe": 0}


async def verify_payment(order: Order) -> Order:
    """Charge the order's card. Raises TaskFailed PaymentVerificationFailed when the bank says no."""
    await asyncio.sleep(0.02)  # the bank takes its time
    if order["card"] == _REFUSED_CARD:
        raise TaskFailed("PaymentVerificationFailed", "the bank refused the card")
    return {**order, "paid": True}


def update_inventory(order: Order) -> Order:
    """Reserve the order's goods. Raises TaskFailed InventoryUpdateFailed when something is not in stock.

    An ordinary function: it runs in a thread of the engine, and may block.
    """
    for item, quantity in order["items"].items():
        if _STOCK.get(item, 0) < quantity:
            raise TaskFailed("InventoryUpdateFailed", f"{quantity} {item} ordered, {_STOCK.get(item, 0)} left")
    return {**order, "reserved": True}


async def notify_customer(order: Order, ctx: TaskContext) -> Order:
    """Tell the customer. The key is the same when a crash makes this call twice: a mail service drops the second."""
    return {**order, "notified": True, "message_id": ctx.idempotency_key}


FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "VerifyPaymentFunction": verify_payment,
    "UpdateInventoryFunction": update_inventory,
    "NotifyCustomerFunction": notify_customer,
}

ORDERS: Final[dict[str, Order]] = {
    "delivered": {"order_id": "1001", "card": "4242-4242-4242-4242", "items": {"notebook": 3, "pencil": 12}},
    "payment-refused": {"order_id": "1002", "card": _REFUSED_CARD, "items": {"notebook": 1}},
    "out-of-stock": {"order_id": "1003", "card": "4242-4242-4242-4242", "items": {"globe": 1}},
}
