"""`asfn demo`: the order workflow three times, with Python functions, on a SQLite file."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from typing import TYPE_CHECKING, Final

import click

from asfn.cli.database import url_of
from asfn.cli.exits import CODES, FAILED
from asfn.cli.output import command, plain, tell
from asfn.cli.session import Routes, Session
from asfn.cli.views import Lines, watch
from asfn.errors import StateMachineAlreadyExists

if TYPE_CHECKING:
    from asfn import Engine

_MACHINE: Final = "demo-order"
_FUNCTIONS: Final = "asfn.examples.order:FUNCTIONS"
_EXPECTED: Final = {
    "delivered": ("SUCCEEDED", None),
    "payment-refused": ("FAILED", "PaymentVerificationFailed"),
    "out-of-stock": ("FAILED", "InventoryUpdateFailed"),
}


@click.command(epilog=CODES)
@click.option("--db", "database", metavar="PATH|URL", help="The SQLite file to use; by default a new temporary one.")
def demo(database: str | None) -> None:
    """Run an order workflow three times: delivered, payment refused, out of stock.

    The three tasks are Python functions; the definition is one that AWS would take as it is. Everything is kept in a
    SQLite file, which stays, and the commands to look closer are printed at the end.
    """
    if database is None:
        database = os.path.join(tempfile.mkdtemp(prefix="asfn-demo-"), "demo.db")
    ended = Session.run(_Demo(database, url_of(database)).run)
    sys.exit(0 if ended == _EXPECTED else FAILED)


class _Demo:
    def __init__(self, database: str, url: str) -> None:
        self._database = database
        self._url = url
        self._names: dict[str, str] = {}
        self._stdout = sys.stdout  # while an engine runs, what functions print goes to stderr

    def _say(self, text: str) -> None:
        click.echo(text, file=self._stdout)

    async def run(self, session: Session) -> dict[str, tuple[str, str | None]]:
        """How each order ended: status and error."""
        from asfn.examples.order import DEFINITION

        self._say(f"The workflow is {plain(str(DEFINITION))}, its functions are in order.py beside it.\n")
        routes = Routes((_FUNCTIONS,))
        ended = await session.in_engine(self._url, routes, self._work, parked=self._tell_parked)
        self._tell_how_to_look()
        return ended

    async def _work(self, engine: Engine) -> dict[str, tuple[str, str | None]]:
        from asfn.examples.order import DEFINITION, ORDERS

        try:
            await engine.create_state_machine(_MACHINE, DEFINITION)
        except StateMachineAlreadyExists:  # an older asfn ran its demo in this file
            await engine.update_state_machine(_MACHINE, DEFINITION)
        suffix = secrets.token_hex(3)
        ended: dict[str, tuple[str, str | None]] = {}
        for kind, order in ORDERS.items():
            execution = await engine.start(_MACHINE, order, name=f"{kind}-{suffix}")
            self._names[kind] = execution.name
            self._say(click.style(execution.name, bold=True))
            failed = await watch(execution, Lines(write=self._say))
            info = await execution.describe()
            ended[kind] = (info.status, info.error)
            if failed is None:
                self._say(f"{'output':>12}  {plain(info.output_text or '', 160)}")
            self._say("")
        return ended

    def _tell_how_to_look(self) -> None:
        self._say(f"Three executions have finished and are kept in {plain(self._database)}. To look closer:")
        self._say(f"  {command('list', '--db', self._database)}")
        for name in self._names.values():
            self._say(f"  {command('history', name, '--db', self._database)}")
        self._say(f"  {command('show', self._names['delivered'], '--db', self._database)}")

    def _tell_parked(self) -> None:
        words = command("resume", "--db", self._database, "--functions", _FUNCTIONS)
        tell(f"asfn: the demo is parked in {plain(self._database)}. To go on:\n  {words}")
