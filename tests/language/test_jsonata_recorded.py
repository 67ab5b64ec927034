"""Recorded cases and real definitions: causes, expressions that compile, and the reference's own suite."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asfn.errors import StateFailed
from asfn.language.jsonata import check_expression, compile_expression, compile_value, is_expression, unexpected_type
from tests.jsonata_suite import MARKS, cases, outside_the_dialect, run
from tests.language.jsonata_support import Surroundings

SHARED = Path(__file__).resolve().parents[3] / "shared"
RECORDED = SHARED / "conformance" / "asl"
SUITE = SHARED / "conformance" / "jsonata"
ALL = frozenset(("input", "context", "result", "errorOutput"))


def recorded() -> Iterator[dict[str, Any]]:
    if not RECORDED.is_dir():
        pytest.skip(f"no recorded cases at {RECORDED}")
    for path in sorted(RECORDED.glob("*/*.json")):
        yield json.loads(path.read_text("utf-8"))


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from strings(member)


def test_every_expression_of_a_machine_that_aws_ran_compiles_and_is_allowed() -> None:
    seen = 0
    for case in recorded():
        if case["kind"] != "execution" or not isinstance(case.get("definition"), dict):
            continue
        if '"JSONata"' not in json.dumps(case["definition"]):
            continue
        for text in filter(is_expression, strings(case["definition"])):
            if "$$.Map.Item" in text:
                continue  # a text in a state of the other language
            seen += 1
            assert check_expression(compile_expression(text, "Output"), allowed=ALL) == (), text
    assert seen > 50


@pytest.mark.parametrize("name", ["rust", "pure"])
def test_pass_states_give_the_output_that_aws_recorded(name: Any) -> None:
    seen = 0
    for case in recorded():
        definition = case.get("definition")
        if case["kind"] != "execution" or not isinstance(definition, dict) or len(definition.get("States", {})) != 1:
            continue
        (state,) = definition["States"].values()
        language = state.get("QueryLanguage") or definition.get("QueryLanguage")
        if language != "JSONata" or state["Type"] != "Pass" or "output" not in case["expected"]:
            continue
        if "uuid" in json.dumps(state) or "random" in json.dumps(state) or "context" in json.dumps(state):
            continue
        seen += 1
        value = compile_value(state.get("Output", "{% $states.input %}"), "Output", engine=name)
        assert value.evaluate(Surroundings(), input=case.get("input", {})) == case["expected"]["output"], case["id"]
    assert seen > 20


def test_causes_of_evaluation_failures_are_the_recorded_ones() -> None:
    pattern = re.compile(r"(The JSONata expression '(.*?)' specified for the field '([^']*)' .*)", re.DOTALL)
    seen = 0
    for case in recorded():
        for event in case.get("expected", {}).get("history") or ():
            details = event.get("evaluationFailedEventDetails") or {}
            match = pattern.search(str(details.get("cause")))
            if match is None:
                continue
            cause, source, field = match.groups()
            seen += 1
            assert details["location"] == field
            assert failure_of(source, field, case) == cause, case["id"]
    assert seen >= 10


def failure_of(source: str, field: str, case: dict[str, Any]) -> str:
    """The cause of the failure, with the variables that the machine's first state assigns."""
    expression = compile_expression(f"{{% {source} %}}", field)
    document = case.get("input", {})
    definition = case["definition"]
    assigned = compile_value(definition["States"][definition["StartAt"]].get("Assign", {}), "Assign")
    try:
        variables: Any = assigned.evaluate(Surroundings(), input=document)
        value = expression.evaluate(Surroundings(variables), input=document)
    except StateFailed as error:
        return error.cause
    return unexpected_type(expression, value, "array").cause


def test_every_expression_in_real_definitions_compiles() -> None:
    corpus = SHARED / "corpus"
    if not corpus.is_dir():
        pytest.skip(f"no real definitions at {corpus}")
    seen = 0
    for path in sorted(corpus.rglob("*.json")):
        text = path.read_text("utf-8")
        if '"JSONata"' not in text or "invalid" in path.name:
            continue
        try:
            document = json.loads(text)
        except ValueError:
            continue
        for expression in filter(is_expression, strings(document)):
            compile_expression(expression, "Output")
            seen += 1
    assert seen > 50


@pytest.mark.parametrize("name", ["rust", "pure"])
def test_a_sample_of_the_references_suite_passes(name: str) -> None:
    """Every seventh case; `python -m tests.jsonata_suite` runs them all."""
    if not SUITE.is_dir():
        pytest.skip(f"no suite at {SUITE}")
    sample = [case for case in list(cases(SUITE))[::7] if outside_the_dialect(case) is None]
    sample = [case for case in sample if not case.name.startswith(("performance", "tail-recursion"))]
    faults = [f"{case.name}: {fault}" for case in sample if (fault := run(case, name)) is not None]
    assert len(sample) > 150
    assert 1 - len(faults) / len(sample) >= MARKS[name], faults
