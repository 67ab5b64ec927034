"""`asfn run`: one execution of a definition file, watched to its end."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from asfn.cli.database import db_option, url_of
from asfn.cli.definitions import STDIN, finding_line, read_definition
from asfn.cli.exits import CODES, FAILED, Refused
from asfn.cli.inputs import read_input
from asfn.cli.output import command, give, plain, tell
from asfn.cli.session import Routes, Session, route_options
from asfn.cli.views import VIEWS, choose, error_text, watch
from asfn.errors import DefinitionError, ExecutionFailed, StateMachineAlreadyExists, StoreError, UnroutedResource
from asfn.language.validate import validate

if TYPE_CHECKING:
    from asfn import Engine, Execution
    from asfn.cli.views import ViewName
    from asfn.language.document import Document

_TEMPORARY: Final = "run.db"
_FORBIDDEN: Final = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME: Final = 80


@click.command(epilog=CODES)
@click.argument("file", type=click.Path())
@click.option(
    "--input", "-i", "given", default="{}", metavar="JSON|@FILE|-", show_default=True,
    help="The input: JSON text, a file after @, or - for stdin.",
)  # fmt: skip
@route_options
@db_option(
    required=False,
    help="The SQLite file that keeps the execution; made when it is not there. Without it a temporary one, which is"
    " removed when the execution has succeeded.",
)
@click.option("--name", metavar="NAME", help="The execution's name; a UUID by default.")
@click.option(
    "--view",
    type=click.Choice(VIEWS),
    default="auto",
    show_default=True,
    help="How to show the states on stderr: a table that changes in place, a line for each change, or not at all."
    "  auto: live on a terminal, else lines.",
)
def run(
    file: str,
    given: str,
    functions: tuple[str, ...],
    lambda_endpoint: str | None,
    aws: bool,
    region: str | None,
    database: str | None,
    name: str | None,
    view: ViewName,
) -> None:
    """Run a state machine once and print its output, as JSON, on stdout.

    FILE is a definition, JSON or YAML; the state machine gets the file's name. States are shown on stderr as they
    enter, wait, retry and leave. Ctrl-C parks the execution and prints the command that continues it.
    """
    routes = Routes(functions, lambda_endpoint, aws, region)
    document = _checked(file)
    text = read_input(given)
    temporary = None if database is not None else os.path.join(tempfile.mkdtemp(prefix="asfn-"), _TEMPORARY)
    path = database if database is not None else str(temporary)
    job = _Job(document, machine_name(file), text, name, url_of(path), path, routes, view)
    try:
        output, failed = Session.run(job.run)
    except BaseException:
        if temporary is not None and job.execution is None:
            _remove(temporary)
        raise
    if failed is None:
        if temporary is not None:
            _remove(temporary)
        give(output)
        return
    _tell_failure(job, failed)
    sys.exit(FAILED)


@dataclass(slots=True)
class _Job:
    """What the arguments ask for. execution: its name, once it has been started."""

    document: Document
    machine: str
    input_text: str
    name: str | None
    url: str
    path: str
    routes: Routes
    view: ViewName
    execution: str | None = None

    async def run(self, session: Session) -> tuple[str, ExecutionFailed | None]:
        """The output's JSON text, or how the execution failed."""
        return await session.in_engine(self.url, self.routes, self.work, parked=self.tell_parked, resume=False)

    async def work(self, engine: Engine) -> tuple[str, ExecutionFailed | None]:
        await self._register(engine)
        try:
            execution = await engine.start(self.machine, name=self.name, input_text=self.input_text)
        except UnroutedResource as error:
            raise Refused(f"{error}. {UNROUTED_CURE}") from error
        self.execution = execution.name
        try:
            return await self._follow(execution)
        except StoreError as error:
            raise Refused(f"{error}; to go on: {self.resume_command()}") from error

    async def _follow(self, execution: Execution) -> tuple[str, ExecutionFailed | None]:
        async with choose(self.view) as view:
            failed = await watch(execution, view)
        info = await execution.describe()
        return info.output_text or "null", failed

    async def _register(self, engine: Engine) -> None:
        """Register the definition under the file's name; a changed file changes the state machine of that name."""
        text, value = self.document.text, self.document.value
        assert isinstance(value, dict)
        definition: str | dict[str, object] = dict(value)
        if text is not None and text.lstrip().startswith("{"):
            definition = text
        try:
            await engine.create_state_machine(self.machine, definition)
        except StateMachineAlreadyExists:
            await engine.update_state_machine(self.machine, definition)

    def resume_command(self) -> str:
        return command("resume", "--db", self.path, *self.routes.words())

    def tell_parked(self) -> None:
        if self.execution is None:
            tell("asfn: stopped before the execution was started; nothing has to be continued")
        else:
            tell(f"asfn: {plain(self.execution)} is parked in {plain(self.path)}. To go on:\n  {self.resume_command()}")


UNROUTED_CURE: Final = (
    "On the command line: --functions MODULE[:ATTR] for Python functions, --lambda-endpoint URL or --aws for Lambda"
)


def machine_name(file: str) -> str:
    """The state machine's name for a file: `flows/order.asl.json` is `order`; what AWS forbids becomes `-`."""
    stem = os.path.basename(file).split(".")[0]
    return _FORBIDDEN.sub("-", stem)[:_LONGEST_NAME].strip("-") or "machine"


def _checked(file: str) -> Document:
    """The definition of a file, without errors; prints its findings. Raises Refused."""
    if file == STDIN:
        raise Refused("give the definition as a file; stdin is for the input")
    try:
        document = read_definition(file)
        findings = validate(document)
    except DefinitionError as error:
        findings = list(error.diagnostics)
    for finding in findings:
        tell(finding_line(file, finding))
    errors = sum(finding.severity == "ERROR" for finding in findings)
    if errors:
        raise Refused(f"{plain(file)} has {errors} {'error' if errors == 1 else 'errors'}: nothing was run")
    return document


def _tell_failure(job: _Job, failed: ExecutionFailed) -> None:
    where = f" in state {plain(failed.state)}" if failed.state else ""
    what = error_text(failed)
    tell(f"asfn: the execution {failed.status}{where}" + (f": {what}" if what else ""))
    tell(f"  {command('history', str(job.execution), '--db', job.path)}")


def _remove(path: str) -> None:
    folder = os.path.dirname(path)
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    os.rmdir(folder)
