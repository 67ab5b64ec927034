"""Python functions against what AWS recorded of Lambda tasks (`../shared/conformance`, read in place)."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asfn.errors import TaskFailed
from asfn.tasks.function import FunctionHandler
from asfn.tasks.protocol import Done
from tests.tasks.calls import INVOKE, task_call

if TYPE_CHECKING:
    from collections.abc import Iterator

THREADS = ThreadPoolExecutor(1)
CASES = Path(__file__).parents[3] / "shared" / "conformance" / "asl"

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the recorded cases are not beside this checkout")


def attempts() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every recorded attempt of a Lambda task, with the name of its case."""
    for path in sorted(CASES.glob("*/*.json")):
        case = json.loads(path.read_text())
        tasks = case.get("tasks") if isinstance(case, dict) else None
        for recorded in tasks.values() if isinstance(tasks, dict) else ():
            for attempt in recorded:
                if attempt["resource"] == INVOKE or ":lambda:" in attempt["resource"]:
                    yield path.stem, attempt


def handler(function: Any) -> FunctionHandler:
    return FunctionHandler(function, executor=THREADS, now=lambda: 1e9)


def shape(value: Any) -> Any:
    """The member names of an object in order, without what the service and the network made."""
    return {key: shape(member) for key, member in value.items()} if isinstance(value, dict) else None


async def test_lambda_invoke_answers_in_every_recorded_shape() -> None:
    compared = 0
    for name, attempt in attempts():
        recorded = attempt["outcome"].get("output")
        if attempt["resource"] != INVOKE or not isinstance(recorded, dict) or "SdkHttpMetadata" not in recorded:
            continue

        async def function(event: Any, recorded: Any = recorded) -> Any:
            return recorded["Payload"]

        answer = await handler(function).submit(task_call(attempt["parameters"], INVOKE))
        assert isinstance(answer, Done)
        value: Any = answer.value.value
        assert json.dumps(shape(value)) == json.dumps(shape(recorded)), name
        assert value["Payload"] == recorded["Payload"], name
        assert type(value["Payload"]) is type(recorded["Payload"]), name
        assert value["StatusCode"] == recorded["StatusCode"], name
        assert value["ExecutedVersion"] == recorded["ExecutedVersion"], name
        length = recorded["SdkHttpMetadata"]["HttpHeaders"]["Content-Length"]
        assert value["SdkHttpMetadata"]["HttpHeaders"]["Content-Length"] == length, name
        compared += 1
    assert compared >= 10


async def test_an_exception_is_told_in_the_recorded_words() -> None:
    def same(text: str) -> str:
        """Without the request's id and the place of the code, which differ."""
        text = re.sub(r'"requestId":( ?)"[^"]*"', r'"requestId":\1"<id>"', text)
        return re.sub(r'File \\"[^"]*", line \d+, in \w+', r"File", text)

    class CustomException(Exception):
        pass

    def fails(event: Any) -> None:
        raise Exception("Some exception was raised.")

    def fails_otherwise(event: Any) -> None:
        raise CustomException

    functions = {"Exception": fails, "CustomException": fails_otherwise}
    compared = set()
    for name, attempt in attempts():
        outcome = attempt["outcome"]
        if outcome.get("error") not in functions:
            continue
        compact = '{"errorMessage":"' in outcome["cause"]
        if compact != (attempt["resource"] == INVOKE):
            continue  # decoded by the recorder, printed again: its blanks are not AWS's
        call = task_call(attempt.get("parameters", attempt.get("input")), attempt["resource"])
        with pytest.raises(TaskFailed) as failed:
            await handler(functions[outcome["error"]]).submit(call)
        recorded, told = same(outcome["cause"]), same(failed.value.cause or "")
        assert failed.value.error == outcome["error"], name
        assert told.partition('"stackTrace"')[0] == recorded.partition('"stackTrace"')[0], name
        assert list(json.loads(failed.value.cause or "")) == list(json.loads(outcome["cause"])), name
        compared.add((outcome["error"], compact))
    assert compared == {("Exception", True), ("Exception", False), ("CustomException", False)}
