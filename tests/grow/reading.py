"""What reading and checking a definition may come to: a DefinitionError, or a model that compiles.

`judge` says which it was and raises Broken for everything else. Definitions that are accepted have to survive being
printed and read again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, cast

from asfn._json import encode
from asfn.errors import DefinitionError
from asfn.language.reader import build, load, read_document
from asfn.language.validate import invalid_definition_text, validate, variable_references
from asfn.limits import Limits
from asfn.plan.states import compile_machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asfn._json import JsonObject
    from asfn.language.diagnostics import Diagnostic
    from asfn.language.model import StateMachine
    from tests.grow.mutations import Input

Verdict = Literal["unreadable", "refused", "accepted"]

_LIMITS = Limits.aws()


class Broken(AssertionError):
    """An invariant does not hold; the text says which."""


def judge(case: Input) -> tuple[Verdict, JsonObject | None]:
    """Read, check and compile one input: what came of it, and the definition where it was accepted.

    Raises Broken, or whatever undocumented comes out of the language.
    """
    try:
        document = read_document(case.source, format=case.format)
    except DefinitionError as error:
        _check_diagnostics(error)
        return "unreadable", None
    try:
        machine = load(document, type=case.type)
    except DefinitionError as error:
        _check_diagnostics(error)
        return "refused", None
    for diagnostic in validate(document, type=case.type):
        _check_diagnostic(diagnostic)
        if diagnostic.severity == "ERROR":
            raise Broken("load took a definition that validate refuses")
    compile_machine(machine, _LIMITS)
    variable_references(machine)
    definition = cast("JsonObject", document.value)
    check_survives_printing(definition, machine)
    return "accepted", definition


def check_survives_printing(value: JsonObject, machine: StateMachine) -> None:
    """Printed and read again, a definition gives the same value and the same model."""
    for text in (encode(value), json.dumps(value, indent=1)):
        again = read_document(text, format="json")
        if again.value != value or build(again.value) != machine:
            raise Broken("the definition does not survive being printed and read again")


def _check_diagnostics(error: DefinitionError) -> None:
    diagnostics: Sequence[Diagnostic] = error.diagnostics
    if not any(diagnostic.severity == "ERROR" for diagnostic in diagnostics):
        raise Broken("a DefinitionError without an error")
    for diagnostic in diagnostics:
        _check_diagnostic(diagnostic)
    for text in (str(error), invalid_definition_text(diagnostics)):
        _check_text(text, "the text of the error")


def _check_diagnostic(diagnostic: Diagnostic) -> None:
    if diagnostic.severity not in ("ERROR", "WARNING") or not diagnostic.code or not diagnostic.message:
        raise Broken(f"an incomplete diagnostic: {diagnostic!r}")
    for text in (diagnostic.message, diagnostic.pointer, diagnostic.suggestion):
        if text is not None:
            _check_text(text, f"a diagnostic {diagnostic.code}")
    if (diagnostic.line is None) != (diagnostic.column is None):
        raise Broken(f"a line without a column: {diagnostic!r}")
    if diagnostic.line is not None and diagnostic.column is not None and min(diagnostic.line, diagnostic.column) < 1:
        raise Broken(f"a place outside the text: {diagnostic!r}")


def _check_text(text: str, what: str) -> None:
    """It can be printed, stored and sent."""
    try:
        encode(text)
    except ValueError as error:
        raise Broken(f"{what} cannot be written as UTF-8: {text[:200]!r}") from error
