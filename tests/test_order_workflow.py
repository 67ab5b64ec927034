"""The order workflow, one file run in two ways: with Python functions, and with functions behind Lambda's protocol."""

from __future__ import annotations

import copy
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from asfn import Engine, ExecutionFailed
from asfn.examples.order import DEFINITION, FUNCTIONS, ORDERS
from tests.lambda_server import LambdaServer, raises, returns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from asfn import Execution

PAYMENT_CAUSE = "Payment verification failed. Please check payment details."
INVENTORY_CAUSE = "Inventory update failed. Please check stock availability."


class Way:
    """An engine for one order, and the names of the functions it has called so far."""

    def __init__(self, engine: Engine, called: list[str]) -> None:
        self.engine = engine
        self.called = called

    async def run(self, kind: str) -> Execution:
        await self.engine.create_state_machine("order", DEFINITION)
        return await self.engine.start("order", ORDERS[kind], name=kind)


@asynccontextmanager
async def in_python(kind: str, database: str) -> AsyncIterator[Way]:
    called: list[str] = []
    engine = Engine(database)

    def counting(name: str, function: Any) -> Any:  # Any: a registered function's own types
        async def call(event: Any, ctx: Any) -> Any:
            called.append(name)
            answer = function(event, ctx) if name == "NotifyCustomerFunction" else function(event)
            return await answer if hasattr(answer, "__await__") else answer

        return call

    for name, function in FUNCTIONS.items():
        engine.register(name, counting(name, function))
    async with engine:
        yield Way(engine, called)


@asynccontextmanager
async def behind_http(kind: str, database: str) -> AsyncIterator[Way]:
    order = ORDERS[kind]
    paid, reserved = {**order, "paid": True}, {**order, "paid": True, "reserved": True}
    refused = raises("PaymentVerificationFailed", "the bank refused the card")
    out_of_stock = raises("InventoryUpdateFailed", "1 globe ordered, 0 left")
    async with LambdaServer() as server:
        server.function("VerifyPaymentFunction", refused if kind == "payment-refused" else returns(paid))
        server.function("UpdateInventoryFunction", out_of_stock if kind == "out-of-stock" else returns(reserved))
        server.function("NotifyCustomerFunction", returns({**reserved, "notified": True}))
        engine = Engine(database)
        remote = engine.aws_lambda(
            endpoint_url=server.url, region="us-east-1", access_key_id="local", secret_access_key="local"
        )
        engine.route("arn:aws:lambda:*", to=remote)
        called: list[str] = []
        async with engine:
            yield Way(engine, called)
            called += [request.path.split("/")[3].rpartition("%3A")[2] for request in server.requests]
            if kind == "delivered":
                assert [request.event for request in server.requests] == [order, paid, reserved]


WAYS = pytest.mark.parametrize("way", [in_python, behind_http])


@WAYS
async def test_an_order_that_is_paid_and_in_stock_is_delivered(way: Any, tmp_path: Path) -> None:
    before = copy.deepcopy(ORDERS)
    async with way("delivered", f"sqlite:///{tmp_path}/flows.db") as order:
        execution = await order.run("delivered")
        output = await execution.result(timeout=30)
        events = await execution.history()
    assert isinstance(output, dict)
    assert (output["order_id"], output["paid"], output["reserved"], output["notified"]) == ("1001", True, True, True)
    assert order.called == ["VerifyPaymentFunction", "UpdateInventoryFunction", "NotifyCustomerFunction"]
    assert [event["type"] for event in events] == [
        "ExecutionStarted",
        *[
            "TaskStateEntered",
            "LambdaFunctionScheduled",
            "LambdaFunctionStarted",
            "LambdaFunctionSucceeded",
            "TaskStateExited",
        ]
        * 3,
        "ExecutionSucceeded",
    ]
    assert before == ORDERS


@WAYS
@pytest.mark.parametrize(
    ("kind", "state", "error", "cause", "called"),
    [
        (
            "payment-refused",
            "NotifyCustomerFailedPayment",
            "PaymentVerificationFailed",
            PAYMENT_CAUSE,
            ["VerifyPaymentFunction"],
        ),
        (
            "out-of-stock",
            "HandleInventoryError",
            "InventoryUpdateFailed",
            INVENTORY_CAUSE,
            ["VerifyPaymentFunction", "UpdateInventoryFunction"],
        ),
    ],
)
async def test_an_order_that_cannot_be_delivered_fails_with_the_words_of_its_fail_state(
    way: Any, tmp_path: Path, kind: str, state: str, error: str, cause: str, called: list[str]
) -> None:
    async with way(kind, f"sqlite:///{tmp_path}/flows.db") as order:
        execution = await order.run(kind)
        with pytest.raises(ExecutionFailed) as raised:
            await execution.result(timeout=30)
        events = await execution.history()
    failed = raised.value
    assert (failed.status, failed.state, failed.error, failed.cause) == ("FAILED", state, error, cause)
    assert order.called == called
    assert [event["type"] for event in events[-4:]] == [
        "LambdaFunctionFailed",
        "TaskStateExited",
        "FailStateEntered",
        "ExecutionFailed",
    ]
    assert events[-1]["executionFailedEventDetails"] == {"error": error, "cause": cause}
    told = events[-4]["lambdaFunctionFailedEventDetails"]
    assert isinstance(told, dict)
    assert told["error"] == error
    caught = events[-3]["stateExitedEventDetails"]
    assert isinstance(caught, dict)
    assert json.loads(str(caught["output"]))["Error"] == error


def test_the_definition_is_the_one_that_was_agreed() -> None:
    definition = json.loads(DEFINITION.read_text())
    function = "arn:aws:lambda:us-east-1:123456789012:function:"
    states = definition["States"]
    assert definition["StartAt"] == "VerifyPayment"
    assert {name: state.get("Resource") for name, state in states.items()} == {
        "VerifyPayment": function + "VerifyPaymentFunction",
        "UpdateInventory": function + "UpdateInventoryFunction",
        "NotifyCustomer": function + "NotifyCustomerFunction",
        "NotifyCustomerFailedPayment": None,
        "HandleInventoryError": None,
    }
    assert states["VerifyPayment"]["Catch"] == [
        {"ErrorEquals": ["PaymentVerificationFailed"], "Next": "NotifyCustomerFailedPayment"}
    ]
    assert states["UpdateInventory"]["Catch"] == [
        {"ErrorEquals": ["InventoryUpdateFailed"], "Next": "HandleInventoryError"}
    ]
    assert states["NotifyCustomerFailedPayment"]["Cause"] == PAYMENT_CAUSE
    assert states["HandleInventoryError"]["Cause"] == INVENTORY_CAUSE
