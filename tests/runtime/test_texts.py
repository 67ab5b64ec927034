"""Texts that cannot be kept are refused where they are given, and nothing of them is kept."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from asfn._json import JsonObject
from asfn.engine import Engine
from asfn.errors import (
    AsfnError,
    DefinitionError,
    ExecutionDoesNotExist,
    ExecutionFailed,
    InvalidExecutionInput,
    InvalidName,
    InvalidOutput,
    InvalidParameter,
    StateMachineDoesNotExist,
)
from asfn.runtime.tokens import new_token
from asfn.testing.loop import VirtualClock, run
from tests.runtime.workflows import machine

LONE = "a\ud800b"
NAP: JsonObject = {"Type": "Wait", "Seconds": 30, "End": True}

REFUSED: list[tuple[str, type[AsfnError], Any]] = [
    ("error", InvalidParameter, lambda engine, execution: execution.stop(LONE)),
    ("cause", InvalidParameter, lambda engine, execution: execution.stop("E", LONE)),
    ("error .*256", InvalidParameter, lambda engine, execution: execution.stop("e" * 257)),
    ("'cause' .*32768", InvalidParameter, lambda engine, execution: execution.stop(None, "c" * 32_769)),
    ("error", InvalidParameter, lambda engine, execution: execution.stop(7)),
    ("error", InvalidParameter, lambda engine, execution: engine.tasks.fail(new_token(), LONE)),
    ("cause", InvalidParameter, lambda engine, execution: engine.tasks.fail(new_token(), None, LONE)),
    ("Output", InvalidOutput, lambda engine, execution: engine.tasks.succeed(new_token(), {"a": LONE})),
    ("Output", InvalidOutput, lambda engine, execution: engine.tasks.succeed(new_token(), {LONE: 1})),
    ("Output", InvalidOutput, lambda engine, execution: engine.tasks.succeed(new_token(), output_text=f'"{LONE}"')),
    ("Input", InvalidExecutionInput, lambda engine, execution: engine.start("m", {"a": LONE})),
    ("Input", InvalidExecutionInput, lambda engine, execution: engine.start("m", input_text=f'"{LONE}"')),
    ("Name", InvalidName, lambda engine, execution: engine.start("m", name=LONE)),
    ("attribute", InvalidParameter, lambda engine, execution: engine.start("m", attributes={"a": LONE})),
    ("attribute", InvalidParameter, lambda engine, execution: engine.start("m", attributes={LONE: "a"})),
    ("Name", InvalidName, lambda engine, execution: engine.create_state_machine(LONE, machine(("Nap", NAP)))),
    ("Definition", DefinitionError, lambda engine, execution: engine.create_state_machine("n", machine((LONE, NAP)))),
    ("Name", InvalidName, lambda engine, execution: engine.activities.create(LONE)),
    ("Exist", AsfnError, lambda engine, execution: engine.activities.describe(LONE)),
    ("Exist", ExecutionDoesNotExist, lambda engine, execution: engine.execution(LONE)),
    ("Exist", StateMachineDoesNotExist, lambda engine, execution: engine.start(LONE)),
    ("Exist", StateMachineDoesNotExist, lambda engine, execution: engine.describe_state_machine(LONE)),
    ("name", InvalidParameter, lambda engine, execution: engine.list_executions(name=LONE)),
    ("clientToken", InvalidParameter, lambda engine, execution: execution.redrive(client_token=LONE)),
    ("role", InvalidParameter, lambda engine, execution: engine.update_state_machine("m", role_arn=LONE)),
]


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize(("match", "error", "ask"), REFUSED)
def test_it_is_refused_in_a_sentence_that_can_be_printed(
    match: str, error: type[AsfnError], ask: Any, kind: str, tmp_path: Path
) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine("memory://" if kind == "memory" else f"sqlite:///{tmp_path / 'a.db'}", clock=clock) as engine:
            await engine.create_state_machine("m", machine(("Nap", NAP)))
            execution = await engine.start("m", name="x")
            await asyncio.sleep(1)
            with pytest.raises(error, match=match) as refused:
                await ask(engine, execution)
            str(refused.value).encode()
            assert len(await engine.list_executions()) == 1
            assert [info.name for info in await engine.list_state_machines()] == ["m"]
            assert (await execution.describe()).status == "RUNNING"
            assert await execution.result() == {}

    run(main)


def test_what_can_be_kept_is_kept_to_the_last_character() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", machine(("Nap", NAP)))
            execution = await engine.start("m")
            error, cause = "\U0001f600" * 256, "ÿ\n\x01" * 10_922
            await execution.stop(error, cause)
            info = await execution.describe()
            assert (info.error, info.cause) == (error, cause)

    run(main)


def test_the_texts_of_a_field_that_fails_are_cut_to_awss_lengths() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            each: JsonObject = {"Type": "Map", "Items": "{% $states.input %}", "End": True}
            each["ItemProcessor"] = machine(
                ("Nap", {"Type": "Pass", "Output": {"k" * 300: "{% $gone %}"}, "End": True})
            )
            await engine.create_state_machine("m", {**machine(("Each", each)), "QueryLanguage": "JSONata"})
            for given, cause, location in (("c" * 40_000, 32_768, 5), ([1], None, 256)):
                execution = await engine.start("m", given)
                with pytest.raises(ExecutionFailed):
                    await execution.result()
                (details,) = [
                    event["evaluationFailedEventDetails"]
                    for event in await execution.history()
                    if event["type"] == "EvaluationFailed"
                ]
                assert isinstance(details, dict)
                assert cause is None or len(str(details["cause"])) == cause == len(
                    (await execution.describe()).cause or ""
                )
                assert len(str(details["location"])) == location

    run(main)
