"""`asfn validate`: every finding about definition files, for people, programs and code hosts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import click

from asfn.cli.definitions import STDIN, finding_line, read_definition
from asfn.cli.exits import FAILED, REFUSED, Refused
from asfn.cli.output import give, give_json, in_utf8, tell
from asfn.errors import DefinitionError
from asfn.language.diagnostics import Diagnostic
from asfn.language.validate import validate as check

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asfn._json import Json, JsonObject

UNREADABLE: Final = "UNREADABLE_FILE"
"""Code of the finding about a file that could not be opened; the only one that is not about its content."""

Report: TypeAlias = "tuple[str, Sequence[Diagnostic]]"


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(allow_dash=True))
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "sarif", "github"]),
    default="text",
    show_default=True,
    help="text: file:line:column lines.  json: one list, for programs.  sarif: SARIF 2.1.0, for code scanning."
    "  github: annotations of GitHub Actions.",
)
@click.option(
    "--type",
    "machine_type",
    type=click.Choice(["STANDARD", "EXPRESS"], case_sensitive=False),
    default="STANDARD",
    show_default=True,
    help="What kind of state machine the definitions are for; AWS refuses more in Express ones.",
)
def validate(files: tuple[str, ...], form: str, machine_type: str) -> None:
    """Check definitions, JSON or YAML, and print every finding. `-` reads stdin.

    Exits with 1 when there are errors (warnings alone are no error), with 2 when a file cannot be read.
    """
    kind: Literal["STANDARD", "EXPRESS"] = "EXPRESS" if machine_type.upper() == "EXPRESS" else "STANDARD"
    reports: list[Report] = [(path, _findings(path, kind)) for path in files]
    _FORMATS[form](reports)
    findings = [finding for _, findings in reports for finding in findings]
    if any(finding.code == UNREADABLE for finding in findings):
        sys.exit(REFUSED)
    if any(finding.severity == "ERROR" for finding in findings):
        sys.exit(FAILED)


def _findings(path: str, kind: Literal["STANDARD", "EXPRESS"]) -> Sequence[Diagnostic]:
    try:
        return check(read_definition(path), type=kind)
    except DefinitionError as error:
        return error.diagnostics
    except Refused as error:
        return [Diagnostic("ERROR", UNREADABLE, error.message)]


def _as_text(reports: Sequence[Report]) -> None:
    for path, findings in reports:
        for finding in findings:
            if finding.code == UNREADABLE:
                tell(f"asfn: {finding.message}")
            else:
                give(finding_line(path, finding))
    errors, warnings = (_count(reports, severity) for severity in ("ERROR", "WARNING"))
    files = f"{len(reports)} {'file' if len(reports) == 1 else 'files'}"
    tell(f"{files}: {errors} {_plural('error', errors)}, {warnings} {_plural('warning', warnings)}")


def _count(reports: Sequence[Report], severity: str) -> int:
    return sum(finding.severity == severity for _, findings in reports for finding in findings)


def _plural(word: str, number: int) -> str:
    return word if number == 1 else f"{word}s"


def _as_json(reports: Sequence[Report]) -> None:
    """`[{"file", "diagnostics": [{"severity", "code", "pointer", "line", "column", "message", "suggestion"}]}]`."""
    give_json([{"file": in_utf8(path), "diagnostics": [_json(each) for each in found]} for path, found in reports])


def _json(finding: Diagnostic) -> JsonObject:
    return {
        "severity": finding.severity,
        "code": finding.code,
        "pointer": None if finding.pointer is None else in_utf8(finding.pointer),
        "line": finding.line,
        "column": finding.column,
        "message": in_utf8(finding.message),
        "suggestion": finding.suggestion,
    }


def _as_sarif(reports: Sequence[Report]) -> None:
    """Source: SARIF 2.1.0 (OASIS), the members that code scanning of GitHub reads."""
    codes = dict.fromkeys(finding.code for _, findings in reports for finding in findings)
    rules: Json = [{"id": code, "shortDescription": {"text": _sentence(code)}} for code in codes]
    results: Json = [_sarif_result(path, finding) for path, findings in reports for finding in findings]
    driver: Json = {"name": "asfn", "rules": rules}
    give_json(
        {
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
        }
    )


def _sentence(code: str) -> str:
    return code.replace("_", " ").capitalize()


def _sarif_result(path: str, finding: Diagnostic) -> JsonObject:
    place: JsonObject = {"artifactLocation": {"uri": in_utf8("stdin" if path == STDIN else path).replace("\\", "/")}}
    if finding.line is not None:
        place["region"] = {"startLine": finding.line, "startColumn": finding.column or 1}
    location: JsonObject = {"physicalLocation": place}
    if finding.pointer is not None:
        location["logicalLocations"] = [{"fullyQualifiedName": in_utf8(finding.pointer)}]
    return {
        "ruleId": finding.code,
        "level": finding.severity.lower(),
        "message": {"text": in_utf8(_with_hint(finding))},
        "locations": [location],
    }


def _with_hint(finding: Diagnostic) -> str:
    return f"{finding.message} {finding.suggestion}" if finding.suggestion else finding.message


def _as_github(reports: Sequence[Report]) -> None:
    """Source: GitHub Actions, "Workflow commands": `%`, CR and LF are escaped, in properties `:` and `,` too."""
    for path, findings in reports:
        for finding in findings:
            where = f"file={_property(path)},line={finding.line or 1},col={finding.column or 1}"
            give(f"::{finding.severity.lower()} {where},title={_property(finding.code)}::{_data(_with_hint(finding))}")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


_FORMATS: Final[dict[str, Callable[[Sequence[Report]], None]]] = {
    "text": _as_text,
    "json": _as_json,
    "sarif": _as_sarif,
    "github": _as_github,
}
