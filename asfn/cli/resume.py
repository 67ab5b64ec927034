"""`asfn resume`: go on with everything in a database that has not ended."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import click

from asfn.cli.database import db_option, looking_at, url_of_existing
from asfn.cli.exits import CODES, FAILED, REFUSED
from asfn.cli.output import coloured, command, give_json, plain, tell
from asfn.cli.run import UNROUTED_CURE
from asfn.cli.session import Routes, Session, route_options
from asfn.cli.views import Lines, Nothing, error_text, watch
from asfn.errors import AsfnError, ExecutionFailed, StoreError

if TYPE_CHECKING:
    from asfn import Engine, Execution
    from asfn._json import JsonObject
    from asfn.cli.views import View

_MOST_DRAWN: Final = 20


@click.command(epilog=CODES)
@db_option(required=True, help="The SQLite file whose executions go on.")
@route_options
@click.option("--quiet", "-q", is_flag=True, help="Do not show the states on stderr.")
def resume(
    database: str,
    functions: tuple[str, ...],
    lambda_endpoint: str | None,
    aws: bool,
    region: str | None,
    quiet: bool,
) -> None:
    """Continue whatever is unfinished, each from where it stands, until all of it has ended.

    Prints one JSON object per execution on stdout: name, arn, status, and output or error and cause. Executions that
    another process is running are left to it. Exits with 1 when one of them failed, with 2 when one could not go on.
    """
    job = _Job(database, url_of_existing(database), Routes(functions, lambda_endpoint, aws, region), quiet)
    Session.run(job.run)
    for answer in job.ended:
        give_json(answer)
    if job.stuck:
        sys.exit(REFUSED)
    if any(answer["status"] != "SUCCEEDED" for answer in job.ended):
        sys.exit(FAILED)


@dataclass(slots=True)
class _Job:
    """What the arguments ask for, and what has come of it. stuck: names of executions that could not go on."""

    database: str
    url: str
    routes: Routes
    quiet: bool
    ended: list[JsonObject] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)

    async def run(self, session: Session) -> None:
        unfinished = await self._unfinished()
        if not unfinished:
            tell(f"nothing is unfinished in {plain(self.database)}")
            return

        async def work(engine: Engine) -> None:
            await self._finish(engine, unfinished)

        await session.in_engine(self.url, self.routes, work, parked=self._tell_parked)

    async def _unfinished(self) -> dict[str, int]:
        """ARN of every execution that has not ended -> id of its last event; oldest first."""
        async with looking_at(self.database) as look:
            arns = [info.arn async for info in look.executions(status="RUNNING")]
            if len(arns) > _MOST_DRAWN or self.quiet:
                return dict.fromkeys(reversed(arns), 0)
            return {arn: await _last_id(await look.find(arn)) for arn in reversed(arns)}

    async def _finish(self, engine: Engine, unfinished: dict[str, int]) -> None:
        view: View = Nothing() if self.quiet or len(unfinished) > _MOST_DRAWN else Lines(named=len(unfinished) > 1)
        async with asyncio.TaskGroup() as tasks:
            for arn, last_id in unfinished.items():
                tasks.create_task(self._follow(engine, arn, view, last_id))

    async def _follow(self, engine: Engine, arn: str, view: View, last_id: int) -> None:
        """See one execution to its end, or find out why it has none."""
        execution = await engine.execution(arn)
        failed: ExecutionFailed | None = None
        info = await execution.describe()
        if info.status == "RUNNING" and engine.running(arn) is None and not (info.parked or info.queued):
            self._tell_stuck(execution, "another process runs it, or it could not be resumed (see above)")
            return
        try:
            failed = await watch(execution, view, after=last_id)
        except StoreError:
            raise
        except AsfnError as error:
            self._tell_stuck(execution, f"{error}. {UNROUTED_CURE}")
            return
        info = await execution.describe()
        answer: JsonObject = {"name": info.name, "arn": info.arn, "status": info.status}
        if failed is None:
            self.ended.append({**answer, "output": info.output})
            tell(f"{plain(info.name)}: {coloured(info.status)}")
        else:
            self.ended.append({**answer, "error": info.error, "cause": info.cause})
            tell(f"{plain(info.name)}: {coloured(info.status)}  {error_text(failed)}")

    def _tell_stuck(self, execution: Execution, reason: str) -> None:
        self.stuck.append(execution.name)
        tell(f"asfn: {plain(execution.name)} does not go on here: {plain(reason)}")

    def _tell_parked(self) -> None:
        words = command("resume", "--db", self.database, *self.routes.words())
        tell(f"asfn: what has not ended is parked in {plain(self.database)}. To go on:\n  {words}")


async def _last_id(execution: Execution) -> int:
    last = 0
    while page := await execution.history(after=last, limit=1000):
        id_ = page[-1]["id"]
        assert isinstance(id_, int)
        last = id_
    return last
