"""ItemBatcher: how items become the inputs of children."""

from __future__ import annotations

import random
from typing import Any

import pytest

from asfn._json import Payload, encode
from asfn.errors import StateFailed
from asfn.plan.batches import batches
from asfn.plan.dataflow import raw_input
from asfn.plan.scope import ExecutionFacts, Scope


def scope(value: Any) -> Scope:
    facts = ExecutionFacts("arn:x", "x", "role", 0.0, Payload(value), "arn:m", "m")
    return Scope(facts, Payload(value), random.Random(1))


def batched(batcher: dict[str, Any], items: list[Any], value: Any = None, *, jsonata: bool = False) -> list[Any]:
    return batches(batcher, items, scope(value), raw_input, jsonata=jsonata)


def test_batches_hold_at_most_so_many_items_in_order() -> None:
    assert batched({"MaxItemsPerBatch": 2}, [1, 2, 3]) == [{"Items": [1, 2]}, {"Items": [3]}]


def test_no_items_make_no_batch() -> None:
    assert batched({"MaxItemsPerBatch": 2}, []) == []


def test_the_byte_limit_counts_the_whole_child_input() -> None:
    batcher = {"MaxInputBytesPerBatch": 30, "BatchInput": {"k": 1}}
    found = batched({**batcher, "MaxInputBytesPerBatch": 45}, ["abc", "def", "ghi"])
    assert [batch["Items"] for batch in found] == [["abc", "def"], ["ghi"]]
    assert all(len(encode(batch)) <= 45 for batch in found)
    assert len(encode({"BatchInput": {"k": 1}, "Items": ["abc", "def", "ghi"]})) > 45


def test_whichever_limit_is_reached_first_closes_a_batch() -> None:
    assert batched({"MaxItemsPerBatch": 1, "MaxInputBytesPerBatch": 100}, [1, 2]) == [{"Items": [1]}, {"Items": [2]}]


def test_batch_input_is_a_template_or_has_expressions() -> None:
    assert batched({"MaxItemsPerBatch": 9, "BatchInput": {"x.$": "$.a"}}, [1], {"a": 7}) == [
        {"BatchInput": {"x": 7}, "Items": [1]}
    ]
    found = batched({"MaxItemsPerBatch": 9, "BatchInput": {"x": "{% 3 * 2 %}"}}, [1], jsonata=True)
    assert found == [{"BatchInput": {"x": 6}, "Items": [1]}]


@pytest.mark.parametrize("size", [2, "2"])
def test_path_limits_may_be_texts_of_numbers(size: Any) -> None:
    found = batched({"MaxItemsPerBatchPath": "$.size"}, [1, 2, 3], {"size": size})
    assert [batch["Items"] for batch in found] == [[1, 2], [3]]


def test_a_path_limit_that_is_no_number_fails_the_state() -> None:
    with pytest.raises(StateFailed) as caught:
        batched({"MaxItemsPerBatchPath": "$.size"}, [1], {"size": "many"})
    assert caught.value.cause == (
        'The MaxItemsPerBatchPath field refers to value "many" which is not a valid integer: $.size'
    )
