"""The check of a definition: every finding at once, in AWS's words where they are known, in document order.

`validation/` holds the rules, one story per file; the model's variable references are read here as well.
Errors are what AWS refuses; warnings never refuse. Source: api.md section 8, validators.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asfn.language.diagnostics import Diagnostic
from asfn.language.document import Document, json_fault
from asfn.language.validation.findings import Findings, pointer
from asfn.language.validation.machine import check_definition, check_single_state
from asfn.language.validation.references import variable_references
from asfn.language.validation.scope import Definition

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asfn._json import Json
    from asfn.language.model import QueryLanguage
    from asfn.language.validation.scope import MachineType

__all__ = ["invalid_definition_text", "validate", "validate_state", "variable_references"]


def validate(document: Document | Json, *, type: MachineType = "STANDARD") -> list[Diagnostic]:
    """Every finding about a definition, errors and warnings, in document order.

    Lines and columns are there when the document was read from a text.
    """
    if not isinstance(document, Document):
        document = Document(document)
    findings = Findings()
    value = document.value
    fault = json_fault(value) if document.text is None else None
    if not isinstance(value, dict) or fault:
        message = "Definition must be a valid JSON object"
        return [Diagnostic("ERROR", "SCHEMA_VALIDATION_FAILED", message, suggestion=fault)]
    definition = Definition(findings, type, "JSONPath")
    return _run(document, findings, lambda: check_definition(definition, value))


def validate_state(
    document: Document | Json,
    *,
    name: str = "StateName",
    type: MachineType = "STANDARD",
    query_language: QueryLanguage = "JSONPath",
) -> list[Diagnostic]:
    """Every finding about one state by itself, at `/States/<name>`, as TestState reports them [A].

    Its targets are not looked for; the machines nested in it are checked whole.
    """
    document = document if isinstance(document, Document) else Document(document)
    fault = json_fault(document.value)
    if fault:
        message = "Definition must be a valid JSON object"
        return [Diagnostic("ERROR", "SCHEMA_VALIDATION_FAILED", message, suggestion=fault)]
    wrapped = Document({"States": {name: document.value}})
    findings = Findings()
    definition = Definition(findings, type, query_language)
    place = ("States", name)
    return _run(wrapped, findings, lambda: check_single_state(definition, place, name, document.value))


def invalid_definition_text(diagnostics: Sequence[Diagnostic]) -> str:
    """The errors as CreateStateMachine joins them, `CODE: message at location, …`; no location is `null` [A]."""
    errors = [item for item in diagnostics if item.severity == "ERROR"]
    return ", ".join(f"{item.code}: {item.message} at {item.pointer or 'null'}" for item in errors)


def _run(document: Document, findings: Findings, check: Callable[[], None]) -> list[Diagnostic]:
    try:
        check()
    except RecursionError:
        return [Diagnostic("ERROR", "TOO_DEEPLY_NESTED", "The definition is nested too deeply")]
    _report_repeats(document, findings)
    return findings.diagnostics(document)


def _report_repeats(document: Document, findings: Findings) -> None:
    """Names that stand twice in one object. The last one counts; a state that is lost so is an error [U]."""
    for tokens, (line, _) in document.repeated_names():
        name = str(tokens[-1])
        if len(tokens) > 1 and tokens[-2] == "States":
            message = f"Duplicate State name: {name}"
            findings.error(tokens, message, code="DUPLICATE_STATE_NAME", suggestion=f"It stands again in line {line}.")
        else:
            message = f"The field '{name}' stands more than once in {pointer(tokens[:-1])}; the last one counts"
            findings.warning(tokens, message, code="DUPLICATE_FIELD", suggestion=f"It stands again in line {line}.")
