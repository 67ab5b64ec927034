"""`asfn test-state`: one state of a definition run by itself, with every stage of its data."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from asfn._json import encode
from asfn.arn import Arns
from asfn.cli.definitions import finding_line, read_definition
from asfn.cli.exits import CODES, FAILED, Refused
from asfn.cli.inputs import read_input, read_text
from asfn.cli.output import give, give_json, plain, tell
from asfn.cli.run import UNROUTED_CURE
from asfn.cli.session import Routes, Session, route_options
from asfn.cli.stages import told
from asfn.errors import DefinitionError, UnroutedResource, UnsupportedState

if TYPE_CHECKING:
    from asfn import Engine
    from asfn.runtime.single_state import StateRun

_GOOD: Final = ("SUCCEEDED", "CAUGHT_ERROR")


@click.command("test-state", epilog=CODES)
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--state", metavar="NAME", help="The state; without it FILE holds the definition of a single state.")
@click.option(
    "--input", "-i", "given", default="{}", metavar="JSON|@FILE|-", show_default=True,
    help="The state's input: JSON text, a file after @, or - for stdin.",
)  # fmt: skip
@click.option("--variables", metavar="JSON|@FILE", help='The variables, as an object: \'{"name": "value"}\'.')
@click.option("--mock", metavar="JSON|@FILE", help="The result of the Task, Map or Parallel, in place of its work.")
@click.option("--mock-error", metavar="NAME", help="Let the work fail with this error name.")
@click.option("--mock-cause", metavar="TEXT", help="The cause that goes with --mock-error.")
@click.option(
    "--field-validation",
    type=click.Choice(["STRICT", "PRESENT", "NONE"], case_sensitive=False),
    help="How a mocked result is held against the service's API: every required field, the fields that are there,"
    " or not at all. STRICT by default.",
)
@click.option("--context", metavar="JSON|@FILE", help="The context object to use; only with a mock.")
@click.option("--retry-count", type=click.IntRange(0), help="Retries made before this attempt; only with a mock.")
@click.option("--failed-iterations", type=click.IntRange(0), help="Iterations of a mocked Map that failed.")
@click.option("--reader-data", metavar="JSON|@FILE", help="What the ItemReader of a mocked Map has read.")
@click.option("--caused-by", metavar="NAME", help="The inner state that --mock-error of a Map or Parallel comes from.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer of AWS's TestState instead, as JSON.")
@click.option(
    "--level",
    type=click.Choice(["INFO", "DEBUG", "TRACE"], case_sensitive=False),
    default="DEBUG",
    show_default=True,
    help="How much --json tells.",
)
@route_options
def test_state(
    file: str,
    functions: tuple[str, ...],
    lambda_endpoint: str | None,
    aws: bool,
    region: str | None,
    as_json: bool,
    **options: Any,  # Any: what click has parsed
) -> None:
    """Run one state by itself and show what each path, expression and Choice rule saw and gave.

    FILE is a definition, JSON or YAML. Nothing is stored, and a Wait is not waited for. A Task without a mock is
    really called: give --functions or another way to it. The exit code is 1 when the state fails or would be retried.

    \b
    asfn test-state order.asl.json --state Charge --input '{"id": 7}' --mock '{"ok": true}'
    """
    request = _request(file, options)
    routes = Routes(functions, lambda_endpoint, aws, region)

    async def work(engine: Engine) -> StateRun:
        return await engine.test_state(request, waits=False)

    async def main(session: Session) -> StateRun:
        return await session.in_engine("memory://", routes, work, parked=lambda: None)

    try:
        run = Session.run(main)
    except DefinitionError as error:
        for finding in error.diagnostics:
            tell(finding_line(file, finding))
        raise Refused("the definition has errors; nothing was run") from error
    except UnroutedResource as error:
        raise Refused(f"{error}. --mock gives the Task a result without a call. {UNROUTED_CURE}") from error
    except UnsupportedState as error:
        raise Refused(f"{error} Give --mock or --mock-error") from error
    if as_json:
        give_json(run.response)
    else:
        for line in told(run):
            give(line)
    if run.response["status"] not in _GOOD:
        sys.exit(FAILED)


def _request(file: str, options: dict[str, Any]) -> dict[str, Any]:  # Any: AWS's request, checked by the engine
    """AWS's request for the options. Raises Refused."""
    try:
        document = read_definition(file)
    except DefinitionError as error:
        for finding in error.diagnostics:
            tell(finding_line(file, finding))
        raise Refused("the definition cannot be read; nothing was run") from error
    text, value = document.text, document.value
    states = value.get("States") if isinstance(value, dict) else None
    if options["state"] is None and isinstance(states, dict):
        names = ", ".join(plain(name) for name in states)
        raise Refused(f"{plain(file)} holds a state machine: name one of its states with --state ({names})")
    if text is None or not text.lstrip().startswith("{"):
        text = encode(value)
    mock: dict[str, Any] = {
        "result": _text(options, "mock", "mocked result"),
        "fieldValidationMode": options["field_validation"],
    }
    if options["mock_error"] is not None or options["mock_cause"] is not None:
        mock["errorOutput"] = _present({"error": options["mock_error"], "cause": options["mock_cause"]})
    configuration = {
        "retrierRetryCount": options["retry_count"],
        "mapIterationFailureCount": options["failed_iterations"],
        "mapItemReaderData": _reader_data(options["reader_data"]),
        "errorCausedByState": options["caused_by"],
    }
    request = {
        "definition": text,
        "stateName": options["state"],
        "roleArn": Arns().role(),
        "input": read_input(options["given"]),
        "variables": _text(options, "variables", "text of --variables"),
        "context": _text(options, "context", "context object"),
        "inspectionLevel": options["level"],
        "mock": _present(mock),
        "stateConfiguration": _present(configuration),
    }
    return {name: value for name, value in request.items() if value is not None and value != {}}


def _reader_data(given: str | None) -> str | None:
    return read_text(given, "reader data") if given is not None else None


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _text(options: dict[str, Any], name: str, what: str) -> str | None:
    given = options[name]
    return read_input(given, what) if given is not None else None
