"""ItemBatcher: the items of a distributed Map gathered into the inputs of its children (asl.md 8.5). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asfn._json import Json, JsonObject, encode
from asfn.language.jsonata import compile_value
from asfn.language.paths import compile_path
from asfn.language.templates import compile_template
from asfn.plan.dataflow import select
from asfn.plan.numbers import integer_of, literal_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asfn.plan.dataflow import Source
    from asfn.plan.scope import Scope

MAX_CHILD_INPUT_BYTES = 262_144


def batches(batcher: JsonObject, items: Sequence[Json], scope: Scope, document: Source, *, jsonata: bool) -> list[Json]:
    """The children's inputs, `{"BatchInput": {...}, "Items": [...]}`; without BatchInput only Items [A].

    A batch closes at whichever limit is reached first; an item that is too large by itself stands alone [U].
    Raises StateFailed.
    """
    shared: JsonObject = {}
    if "BatchInput" in batcher:
        template = batcher["BatchInput"]
        if jsonata:
            shared["BatchInput"] = compile_value(template, "ItemBatcher/BatchInput").evaluate(
                scope, input=scope.input.value
            )
        else:
            shared["BatchInput"] = compile_template(template).evaluate(document(scope).value, scope)
    most_items = _limit(batcher, "MaxItemsPerBatch", scope, document, jsonata=jsonata)
    most_bytes = _limit(batcher, "MaxInputBytesPerBatch", scope, document, jsonata=jsonata)
    room = min(most_bytes or MAX_CHILD_INPUT_BYTES, MAX_CHILD_INPUT_BYTES) - _bytes({**shared, "Items": []})
    found: list[Json] = []
    batch: list[Json] = []
    used = 0
    for item in items:
        size = _bytes(item) + 1  # its comma
        if batch and (len(batch) == most_items or used + size - 1 > room):
            found.append({**shared, "Items": batch})
            batch, used = [], 0
        batch.append(item)
        used += size
    if batch:
        found.append({**shared, "Items": batch})
    return found


def _limit(batcher: JsonObject, field: str, scope: Scope, document: Source, *, jsonata: bool) -> int | None:
    path_text = batcher.get(f"{field}Path")
    if isinstance(path_text, str):
        path = compile_path(path_text)
        return integer_of(select(path, document(scope).value, scope), f"{field}Path", path_text)
    value = batcher.get(field)
    if not isinstance(value, (int, float, str)):
        return None
    number = int(value) if isinstance(value, float) else value
    return literal_number(number, f"ItemBatcher/{field}", jsonata, minimum=1)(scope)


def _bytes(value: Json) -> int:
    return len(encode(value).encode())
