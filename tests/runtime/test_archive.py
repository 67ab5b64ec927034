"""Export and import of one execution: lossless, checked, and able to go on."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asfn._json import Json, JsonObject, Payload, decode, encode
from asfn.engine import Engine
from asfn.errors import ExecutionAlreadyExists, ExecutionDoesNotExist, ExecutionFailed, InvalidParameter
from asfn.runtime.archive import export_execution, import_execution
from asfn.store.codec import GzipCodec
from asfn.store.memory import MemoryStore
from asfn.store.records import ExecutionRow, Message, Start
from asfn.store.sqlite import SqliteStore
from asfn.testing.loop import VirtualClock, run

if TYPE_CHECKING:
    from collections.abc import Callable

FLOW: JsonObject = {
    "StartAt": "Each",
    "States": {
        "Each": {
            "Type": "Map",
            "ItemsPath": "$.items",
            "Iterator": {
                "StartAt": "Wait",
                "States": {
                    "Wait": {"Type": "Wait", "SecondsPath": "$.seconds", "Next": "Call"},
                    "Call": {
                        "Type": "Task",
                        "Resource": "arn:aws:lambda:us-east-1:123456789012:function:call",
                        "Assign": {"large.$": "$.text"},
                        "End": True,
                    },
                },
            },
            "Next": "End",
        },
        "End": {"Type": "Pass", "End": True},
    },
}
CALLBACK: JsonObject = {
    "StartAt": "Ask",
    "States": {
        "Ask": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
            "Parameters": {"FunctionName": "ask", "Payload": {"token.$": "$$.Task.Token"}},
            "End": True,
        }
    },
}
ITEMS: Json = {"items": [{"seconds": number, "text": "ä" * 2_000} for number in (1, 200, 300)]}


def engine_on(path: Path | None, clock: VirtualClock, **options: Any) -> Engine:  # Any: the engine's options
    database = "memory://" if path is None else f"sqlite:///{path}"
    engine = Engine(database, clock=clock, drain_seconds=0, **options)
    engine.register("call", lambda event: event)
    return engine


async def exported(engine: Engine, arn: str) -> JsonObject:
    """The document, through its text."""
    document = decode(encode(await export_execution(engine.store, arn, engine.clock.now())))
    assert isinstance(document, dict)
    return document


def test_a_finished_execution_reads_back_the_same(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        async with engine_on(tmp_path / "a.db", clock) as engine:
            await engine.create_state_machine("flow", FLOW)
            execution = await engine.start("flow", ITEMS, name="x", attributes={"customer": "7"})
            await execution.result()
            info, history = await execution.describe(), await execution.history()
            document = await exported(engine, execution.arn)
            with pytest.raises(ExecutionAlreadyExists):
                await import_execution(engine.store, document, 5.0)
        assert document["history"] == decode(encode(history))  # type: ignore[arg-type]  # events are JSON
        assert "ä" * 2_000 not in encode(document["segments"])
        assert encode(document["payloads"]).count("ä" * 2_000) < encode(history).count("ä" * 2_000) / 2  # type: ignore[arg-type]

        async with engine_on(tmp_path / "b.db", clock, codec=GzipCodec()) as other:
            row = await import_execution(other.store, document, clock.now())
            copy = await other.execution(row.arn)
            assert await copy.history() == history
            found = await copy.describe()
            assert (found.status, found.input_text, found.output_text) == (
                info.status, info.input_text, info.output_text
            )  # fmt: skip
            assert [item.name for item in await other.list_executions(attributes={"customer": "7"})] == ["x"]
            again = await exported(other, row.arn)
        for document_ in (document, again):
            del document_["exported_at"], document_["digest"]
        assert again == document

    run(main)


@pytest.mark.parametrize("source", ["sqlite", "memory"])
def test_an_unfinished_execution_goes_on_where_it_was_imported(tmp_path: Path, source: str) -> None:
    async def main(clock: VirtualClock) -> None:
        async with engine_on(tmp_path / "a.db" if source == "sqlite" else None, clock) as engine:
            await engine.create_state_machine("flow", FLOW)
            execution = await engine.start("flow", ITEMS, name="x")
            await clock.sleep_until(clock.now() + 100)
            document = await exported(engine, execution.arn)
            expected = await execution.result()
        assert document["frames"] != []

        target = engine_on(tmp_path / "b.db", clock)
        await target.store.open()
        row = await import_execution(target.store, document, clock.now())
        await target.store.close()
        async with target:
            copy = await target.execution(row.arn)
            assert await copy.result() == expected
            events = await copy.history()
        assert [event["id"] for event in events] == list(range(1, len(events) + 1))
        assert (
            sum(event["type"] == "TaskScheduled" or event["type"] == "LambdaFunctionScheduled" for event in events) == 3
        )

    run(main)


def test_an_open_callback_can_be_answered_where_it_was_imported(tmp_path: Path) -> None:
    tokens: list[str] = []

    async def main(clock: VirtualClock) -> None:
        async with engine_on(tmp_path / "a.db", clock) as engine:
            engine.register("ask", lambda event: tokens.append(event["token"]))
            await engine.create_state_machine("flow", CALLBACK)
            execution = await engine.start("flow", name="x")
            await clock.sleep_until(clock.now() + 1)
            document = await exported(engine, execution.arn)
        target = engine_on(tmp_path / "b.db", clock)
        await target.store.open()
        row = await import_execution(target.store, document, clock.now())
        await target.store.close()
        async with target:
            await target.tasks.succeed(tokens[0], {"answer": 42})
            assert await (await target.execution(row.arn)).result() == {"answer": 42}

    run(main)


async def test_a_place_in_the_queue_and_messages_come_along(tmp_path: Path) -> None:
    source, target = MemoryStore(), SqliteStore(tmp_path / "target.db")
    definition = encode({"StartAt": "A", "States": {"A": {"Type": "Succeed"}}})
    digest = hashlib.sha256(definition.encode()).hexdigest()
    await source.put_definition(digest, definition)
    arn = "arn:aws:states:us-east-1:123456789012:execution:m:n"
    machine = "arn:aws:states:us-east-1:123456789012:stateMachine:m"
    row = ExecutionRow(
        5, arn, "n", machine, digest, "STANDARD", "role", Payload({}), 7.0, queued=True, priority=-3, paused=True
    )
    await source.apply(await source.register_engine(0.0, 30.0), [Start(row)])
    await source.post(Message(5, "stop", '{"error": "E"}', 8.0))

    document = decode(encode(await export_execution(source, arn, 9.0)))
    await target.open()
    imported = await import_execution(target, document, 10.0)

    engine = await target.register_engine(10.0, 30.0)
    assert await target.claim(engine, 10.0) == []
    [found] = await target.admit(engine, 10.0, limit=9)
    assert (found.key, found.priority, found.paused) == (imported.key, -3, True)
    [message] = await target.messages(engine)
    assert (message.execution, message.kind, message.body, message.at) == (found.key, "stop", '{"error": "E"}', 8.0)
    await target.close()


def test_a_failed_execution_keeps_its_error(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        fail: JsonObject = {"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "Bad", "Cause": "luck"}}}
        async with engine_on(None, clock) as engine:
            await engine.create_state_machine("flow", fail)
            execution = await engine.start("flow", name="x")
            with pytest.raises(ExecutionFailed):
                await execution.result()
            document = await exported(engine, execution.arn)
        async with engine_on(None, clock) as other:
            row = await import_execution(other.store, document, clock.now())
            with pytest.raises(ExecutionFailed, match="Bad: luck"):
                await (await other.execution(row.arn)).result()

    run(main)


def test_nothing_is_exported_of_an_unknown_execution() -> None:
    async def main(clock: VirtualClock) -> None:
        async with engine_on(None, clock) as engine:
            with pytest.raises(ExecutionDoesNotExist):
                await export_execution(engine.store, "arn:aws:states:us-east-1:1:execution:a:b", 0.0)

    run(main)


def sign(document: Any) -> None:  # Any: a document under change
    """Make the digest fit again, as somebody who means harm would."""
    rest = {name: value for name, value in document.items() if name != "digest"}
    document["digest"] = hashlib.sha256(encode(rest).encode()).hexdigest()


def drop_segment(document: Any) -> None:
    del document["segments"][0]


def change_payload(document: Any) -> None:
    [digest, *_] = document["payloads"]
    document["payloads"][digest] = '"other"'


def lose_payloads(document: Any) -> None:
    document["payloads"] = {}


def change_definition(document: Any) -> None:
    document["definition"] = '{"StartAt": "X"}'


def change_history(document: Any) -> None:
    document["history"][0]["timestamp"] = 5


def change_status(document: Any) -> None:
    document["execution"]["status"] = "RUNNING"


def change_type(document: Any) -> None:
    document["execution"]["input"] = 7


def spoil_body(document: Any) -> None:
    document["segments"][0]["body"] = "[[1]]"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_segment, "has a gap after event 0"),
        (change_payload, "is not what its digest"),
        (lose_payloads, "does not hold together"),
        (change_definition, "is not the one its execution ran"),
        (change_history, "is not that of its segments"),
        (change_status, "is RUNNING, and other parts"),
        (change_type, "does not hold together"),
        (spoil_body, "the segments in the export cannot be read"),
    ],
)
def test_a_document_that_does_not_hold_together_is_refused(change: Callable[[Any], None], message: str) -> None:
    async def main(clock: VirtualClock) -> None:
        async with engine_on(None, clock) as engine:
            await engine.create_state_machine("flow", FLOW)
            execution = await engine.start("flow", ITEMS, name="x")
            await execution.result()
            document = await exported(engine, execution.arn)
        async with engine_on(None, clock) as other:
            change(document)
            with pytest.raises(InvalidParameter, match="was changed or cut since it was written"):
                await import_execution(other.store, document, clock.now())
            sign(document)
            with pytest.raises(InvalidParameter, match=message):
                await import_execution(other.store, document, clock.now())
            assert await other.list_executions() == []

    run(main)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (7, "not an execution that asfn exported"),
        ({}, "not an execution that asfn exported"),
        ({"format": "asfn-execution", "version": 2}, "version 2; this asfn reads version 1: upgrade asfn"),
        ({"format": "asfn-execution", "version": 1}, "was changed or cut"),
    ],
)
async def test_what_is_no_export_is_refused(document: Json, message: str) -> None:
    async with Engine() as engine:
        with pytest.raises(InvalidParameter, match=message):
            await import_execution(engine.store, json.loads(json.dumps(document)), 0.0)


def test_two_imports_at_once_let_one_in(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        async with engine_on(None, clock) as engine:
            await engine.create_state_machine("flow", FLOW)
            execution = await engine.start("flow", ITEMS, name="x")
            await execution.result()
            document = await exported(engine, execution.arn)
        async with engine_on(tmp_path / "b.db", clock) as other:
            answers = await asyncio.gather(
                *(import_execution(other.store, document, clock.now()) for _ in range(5)), return_exceptions=True
            )
            assert sum(isinstance(answer, ExecutionAlreadyExists) for answer in answers) == 4
            assert len(await other.list_executions()) == 1

    run(main)
