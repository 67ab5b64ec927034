"""The validator against answers recorded on AWS, and against the corpus of real definitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asfn.errors import DefinitionError
from asfn.language.diagnostics import Diagnostic
from asfn.language.reader import build, read_document
from asfn.language.validate import invalid_definition_text, validate, validate_state, variable_references
from tests.corpus import CORPUS, SHARED, WANTED_SHARE, judge, main, unexplained

CASES = SHARED / "conformance" / "asl"

needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="the recorded cases are not beside the project")
needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus is not beside the project")


def _cases(*kinds: str) -> list[Any]:
    found = []
    for path in sorted(CASES.glob("*/*.json")) if CASES.is_dir() else []:
        case = json.loads(path.read_text())
        if case["kind"] in kinds:
            found.append(pytest.param(case, id=path.stem))
    return found


def _text(case: dict[str, Any]) -> str:
    return case["definition_text"] if "definition_text" in case else json.dumps(case["definition"])


def _errors(text: str, machine_type: str) -> list[Diagnostic]:
    try:
        found = validate(
            read_document(text, format="json"), type="EXPRESS" if machine_type == "EXPRESS" else "STANDARD"
        )
    except DefinitionError as error:
        found = list(error.diagnostics)
    return [item for item in found if item.severity == "ERROR"]


def _wire(item: Diagnostic) -> dict[str, str]:
    answer = {"severity": item.severity, "code": item.code, "message": item.message}
    return answer if item.pointer is None else {**answer, "location": item.pointer}


@needs_cases
@pytest.mark.parametrize("case", _cases("validation"))
def test_recorded_validations_are_answered_word_for_word(case: dict[str, Any]) -> None:
    errors = _errors(_text(case), case.get("type") or "STANDARD")
    if "response" in case["expected"]:
        answer = {"diagnostics": [_wire(item) for item in errors], "result": "FAIL" if errors else "OK"}
        assert answer == {name: case["expected"]["response"][name] for name in answer}
    else:
        said = f"Invalid State Machine Definition: '{invalid_definition_text(errors)}'"
        assert said == case["expected"]["error"]["message"].replace("<partition>", "aws")


@needs_cases
def test_every_machine_that_aws_ran_is_accepted_and_built() -> None:
    refused = {}
    for param in _cases("execution", "express_sync"):
        case = param.values[0]
        if not isinstance(case.get("definition"), dict):
            continue
        errors = _errors(json.dumps(case["definition"]), case.get("type") or "STANDARD")
        if errors:
            refused[param.id] = invalid_definition_text(errors)
        else:
            assert build(case["definition"]).start_at == case["definition"]["StartAt"]
    assert refused == {}


@needs_cases
@pytest.mark.parametrize("case", _cases("test_state"))
def test_states_that_aws_tested_are_judged_as_it_did(case: dict[str, Any]) -> None:
    definition = case["definition"]
    whole = "States" in definition
    found = validate(definition) if whole else validate_state(definition)
    errors = [item for item in found if item.severity == "ERROR"]
    said = f"Invalid State Machine Definition: '{invalid_definition_text(errors)}'"
    expected = case["expected"].get("error", {})
    if expected.get("message", "").startswith("Invalid State Machine Definition"):
        assert said == expected["message"]
    else:
        assert errors == []


@needs_cases
@pytest.mark.parametrize("case", [case for case in _cases("api") if "api_variable_references" in case.values[0]["id"]])
def test_variable_references_are_those_that_aws_describes(case: dict[str, Any]) -> None:
    texts = [step["params"]["definition"] for step in case["steps"] if "definition" in step["params"]]
    answers = [step["expected"]["response"] for step in case["steps"] if step["operation"] == "DescribeStateMachine"]
    definition = texts[0] if isinstance(texts[0], dict) else json.loads(texts[0])
    assert answers
    assert variable_references(build(definition)) == answers[0].get("variableReferences", {})


@needs_corpus
def test_no_valid_definition_of_the_corpus_is_refused_and_nearly_every_invalid_one_is() -> None:
    report = judge([CORPUS])
    assert report.crashes == {}
    assert unexplained(report) == []
    assert report.asfn.caught >= WANTED_SHARE * report.asfn.invalid, report.asfn.missed


@needs_corpus
def test_every_valid_definition_of_the_corpus_becomes_a_model() -> None:
    for path in sorted(Path(CORPUS).glob("*.json")):
        entry = json.loads(path.read_text())
        if entry.get("verdict") == "valid":
            machine = build(entry["definition"])
            assert list(machine.states) == list(entry["definition"]["States"])
            variable_references(machine)


def test_the_runner_counts_writes_and_fails_by_what_it_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}
    entries = [("g", "valid", good), ("b", "invalid", {"StartAt": "A"}), ("w", "valid", {"StartAt": "A"})]
    for identity, verdict, definition in entries:
        entry = {"id": identity, "verdict": verdict, "definition": definition, "peers": {"peer": "accept"}}
        (tmp_path / f"{identity}.json").write_text(json.dumps(entry))
    out = tmp_path / "out" / "scores.json"
    out.parent.mkdir()
    assert main([str(tmp_path), "--json", str(out)]) == 1
    scores = json.loads(out.read_text())
    assert scores["asfn"] == {"valid": 2, "invalid": 1, "refused_valid": ["w"], "missed": []}
    assert scores["peers"]["peer"]["missed"] == ["b"]
    assert "1/2 (50.0 %)" in capsys.readouterr().out
    assert main([str(out.parent / "none")]) == 2
