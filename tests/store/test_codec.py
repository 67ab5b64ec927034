"""Codecs: nothing of a payload stands in the file as it is, and no file is opened with a codec that is not its own."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from asfn._json import Payload
from asfn.engine import Engine
from asfn.errors import ExecutionFailed, StoreError, TaskFailed
from asfn.store.codec import GzipCodec
from asfn.store.records import ActivityTaskRow, Progress, Segment, Settlement, TokenChanges, TokenRow
from asfn.store.sqlite import SqliteStore
from tests.store.samples import LARGE_TEXT, execution_arn, final, frame, progress, start, texts

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "correct horse battery staple"


class Cipher:
    """A toy that behaves as authenticated encryption does: a new nonce each time, and a wrong key is an error."""

    name = "toy-cipher"

    def __init__(self, key: bytes) -> None:
        self._key = key

    def _stream(self, nonce: bytes, data: bytes) -> bytes:
        blocks = range(len(data) // 32 + 1)
        stream = b"".join(hashlib.sha256(self._key + nonce + block.to_bytes(8, "big")).digest() for block in blocks)
        return bytes(a ^ b for a, b in zip(data, stream, strict=False))

    def encode(self, data: bytes) -> bytes:
        nonce = secrets.token_bytes(12)
        body = nonce + self._stream(nonce, data)
        return hmac.new(self._key, body, hashlib.sha256).digest() + body

    def decode(self, data: bytes) -> bytes:
        if not hmac.compare_digest(hmac.new(self._key, data[32:], hashlib.sha256).digest(), data[:32]):
            raise ValueError("the tag does not fit")
        return self._stream(data[32:44], data[44:])


def leaks(folder: Path, *secrets_: str) -> list[str]:
    """Which of these texts stand in any file of the folder, the write-ahead log included."""
    content = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    return [text for text in secrets_ if text.encode() in content]


async def opened(path: Path, codec: Any = None) -> SqliteStore:  # Any: a codec, or none
    store = SqliteStore(path, codec=codec)
    await store.open()
    return store


async def refused(path: Path, codec: Any = None) -> str:
    store = SqliteStore(path, codec=codec)
    with pytest.raises(StoreError) as caught:
        await store.open()
    await store.close()
    return str(caught.value)


async def test_nothing_that_an_execution_leaves_can_be_read_in_the_file(path: Path) -> None:
    store = await opened(path, Cipher(b"key"))
    engine = await store.register_engine(0.0, 30.0)
    words = [f"{SECRET} {number}" for number in range(12)]
    large = '{"large": "' + words[0] * 100 + '"}'
    secret = [Payload(word) for word in words]
    tokens = TokenChanges(
        opened=[TokenRow("t1", 1, "", 1.0), TokenRow("t2", 1, "", 1.0)],
        queued=[ActivityTaskRow("t2", "activity", 1, f'"{words[6]}"', 1.0)],
    )
    await store.apply(
        engine,
        [
            start(1, engine, input=secret[1]),
            start(2, engine, input=Payload.parse(large)),
            Progress(1, Segment(1, 1, f'["{words[2]}"]', [secret[3], Payload.parse(large)]), tokens=tokens),
            progress(1, 2, 2, frames=[frame("", f'"{words[4]}"', large)]),
        ],
    )
    await store.settle_tokens([Settlement("t1", "completed", f'"{words[5]}"', 2.0)])
    ended = final("FAILED", f'"{words[7]}"', error=words[8], cause=words[9])
    await store.apply(engine, [progress(2, 1, 1, final=ended)])

    digest = Payload.parse(large).digest
    assert leaks(path.parent, SECRET, digest) == []

    [answered] = await store.tokens(["t1"])
    assert answered is not None
    assert answered.outcome == f'"{words[5]}"'
    assert texts((await store.segments(1))[0].texts) == [secret[3].text, large]
    assert (await store.segments(1))[0].body == f'["{words[2]}"]'
    assert texts((await store.frames(1))[0].texts) == [f'"{words[4]}"', large]
    found = await store.execution(execution_arn("order-2"))
    assert found is not None
    assert (found.input.text, found.error, found.cause) == (large, words[8], words[9])
    assert found.output == Payload(words[7])
    await store.close()
    assert leaks(path.parent, SECRET, digest) == []


@pytest.mark.real_time
async def test_a_whole_engine_keeps_its_secrets_and_goes_on_in_its_file(path: Path) -> None:
    definition = {
        "StartAt": "Call",
        "States": {
            "Call": {
                "Type": "Task", "Resource": "arn:aws:lambda:us-east-1:123456789012:function:call",
                "Assign": {"kept.$": "$.word"}, "Next": "Wait",
            },
            "Wait": {"Type": "Wait", "SecondsPath": "$.seconds", "Next": "Fail"},
            "Fail": {"Type": "Fail", "ErrorPath": "$.word", "CausePath": "$.word"},
        },
    }  # fmt: skip

    async def engine_of(codec: Any) -> Engine:
        engine = Engine(f"sqlite:///{path}", codec=codec, drain_seconds=0)
        engine.register("call", lambda event: {**event, "answer": SECRET + " answer"})
        return engine

    async with await engine_of(Cipher(b"key")) as engine:
        await engine.create_state_machine("orders", definition)
        parked = await engine.start("orders", {"word": SECRET, "seconds": 1}, name="parked")
        failing = await engine.start("orders", {"word": SECRET, "seconds": 0}, name="failing")
        with pytest.raises(ExecutionFailed, match=SECRET):
            await failing.result(10)

    async with await engine_of(Cipher(b"key")) as engine:
        with pytest.raises(ExecutionFailed, match=SECRET):
            await (await engine.execution(parked.arn)).result(10)
        history = await (await engine.execution(parked.arn)).history()
        assert history[0]["executionStartedEventDetails"]["input"] == '{"word":"' + SECRET + '","seconds":1}'  # type: ignore[index,call-overload]

    assert leaks(path.parent, SECRET) == []
    async with Engine(f"sqlite:///{path.with_name('open.db')}") as engine:
        engine.register("call", _fail)
        await engine.create_state_machine("orders", definition)
        with pytest.raises(ExecutionFailed):
            await (await engine.start("orders", {"word": SECRET, "seconds": 0})).result(10)
    assert leaks(path.parent, SECRET) == [SECRET]  # the same without a codec: the search does find it


async def _fail(event: object) -> None:
    raise TaskFailed("Bad", SECRET)


async def test_gzip_makes_large_payloads_small(path: Path) -> None:
    store = await opened(path, GzipCodec())
    engine = await store.register_engine(0.0, 30.0)
    await store.apply(engine, [start(1, engine, input=Payload.parse(LARGE_TEXT))])
    with closing(sqlite3.connect(path)) as connection:
        [(size,)] = connection.execute("SELECT length(text) FROM payloads").fetchall()
    assert size < len(LARGE_TEXT) / 10
    found = await store.execution(execution_arn("order-1"))
    assert found is not None
    assert found.input.text == LARGE_TEXT
    await store.close()


async def test_a_large_payload_is_kept_once_with_a_codec_too(path: Path) -> None:
    store = await opened(path, Cipher(b"key"))
    engine = await store.register_engine(0.0, 30.0)
    await store.apply(engine, [start(1, engine, input=Payload.parse(LARGE_TEXT))])
    await store.apply(engine, [progress(1, 1, 1, final=final(output=LARGE_TEXT))])
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM payloads").fetchall() == [(1,)]
    await store.close()


async def test_a_file_is_opened_with_its_own_codec_alone(path: Path) -> None:
    store = await opened(path, Cipher(b"key"))
    await store.close()

    assert "was written with the codec 'toy-cipher': open it with that codec" in await refused(path)
    assert "was written with the codec 'toy-cipher', not 'gzip'" in await refused(path, GzipCodec())
    assert "'toy-cipher' cannot read what the file holds: is it the right key" in await refused(path, Cipher(b"other"))
    await (await opened(path, Cipher(b"key"))).close()


async def test_a_file_with_executions_takes_no_codec(path: Path) -> None:
    store = await opened(path)
    engine = await store.register_engine(0.0, 30.0)
    await store.apply(engine, [start(1, engine)])
    await store.retire_engine(engine)
    await store.close()

    assert "is used without a codec: begin a new file with the codec 'gzip'" in await refused(path, GzipCodec())
    store = await opened(path)
    assert await store.execution(execution_arn("order-1")) is not None
    await store.close()


async def test_a_file_without_executions_takes_a_codec_and_then_no_engine_without_it(path: Path) -> None:
    plain = await opened(path)
    coded = await opened(path, GzipCodec())

    with pytest.raises(StoreError, match="taken into use with another codec meanwhile"):
        await plain.register_engine(0.0, 30.0)
    assert (await coded.register_engine(0.0, 30.0)).id == 1
    await plain.close()
    await coded.close()


async def test_a_damaged_text_is_a_clear_error(path: Path) -> None:
    store = await opened(path, Cipher(b"key"))
    engine = await store.register_engine(0.0, 30.0)
    await store.apply(engine, [start(1, engine)])
    await store._file.write("UPDATE executions SET input = 'AAAA'", {})

    with pytest.raises(StoreError, match="cannot read what the file holds"):
        await store.execution(execution_arn("order-1"))
    await store.close()


def test_a_store_of_ones_own_brings_its_codec_along(path: Path) -> None:
    with pytest.raises(ValueError, match="give the codec to the store"):
        Engine(SqliteStore(path), codec=GzipCodec())
