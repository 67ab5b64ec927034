"""`asfn list`, `asfn show` and `asfn history`: looking at executions, without running anything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import click

from asfn._json import encode
from asfn.cli.database import db_option, looking_at
from asfn.cli.exits import Refused
from asfn.cli.output import coloured, duration, give, give_json, moment, plain, table, tell
from asfn.cli.progress import Progress
from asfn.cli.views import error_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asfn import Execution, ExecutionInfo
    from asfn._json import Json, JsonObject
    from asfn.cli.progress import Visit
    from asfn.store.records import ExecutionStatus

_PAGE: Final = 1000
_TEXT_WIDTH: Final = 2000
_DETAIL_WIDTH: Final = 100
_STATUSES: Final = ("RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")
_EXECUTION_HELP: Final = "EXECUTION is a name, an ARN, or the beginning of one that fits no other."

_database = db_option(required=True, help="The SQLite file to look into. Nothing in it is run or changed.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")


@click.command("list")
@_database
@click.option("--machine", metavar="NAME|ARN", help="Only executions of this state machine.")
@click.option("--status", type=click.Choice(_STATUSES, case_sensitive=False), help="Only executions in this status.")
@click.option(
    "--attribute", "pairs", multiple=True, metavar="NAME=VALUE", help="Only those started with it; may be repeated."
)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@_json
def list_(
    database: str,
    machine: str | None,
    status: ExecutionStatus | None,
    pairs: tuple[str, ...],
    limit: int,
    as_json: bool,
) -> None:
    """List executions, newest first."""
    asyncio.run(_list(database, machine, status, _attributes(pairs), limit, as_json))


def _attributes(pairs: tuple[str, ...]) -> dict[str, str]:
    """What `--attribute` asks for. Raises Refused."""
    attributes: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise Refused(f"--attribute {plain(pair)!r}: write NAME=VALUE")
        if attributes.setdefault(name, value) != value:
            raise Refused(f"--attribute {plain(name)!r}: an execution has one value of it, and two are asked for")
    return attributes


async def _list(
    database: str,
    machine: str | None,
    status: ExecutionStatus | None,
    attributes: dict[str, str],
    limit: int,
    as_json: bool,
) -> None:
    async with looking_at(database) as look:
        wanted = look.executions(machine=machine, status=status, attributes=attributes, limit=limit + 1)
        found = [info async for info in wanted]
        now = look.clock.now()
    infos = found[:limit]
    if as_json:
        give_json([_summary(info) for info in infos])
    elif not infos:
        tell(f"no executions in {plain(database)}" + (" that fit" if machine or status or attributes else ""))
    else:
        rows = [_row(info, now) for info in infos]
        for text in table(rows, head=("NAME", "STATUS", "STATE MACHINE", "STARTED", "TOOK", "ERROR")):
            give(text)
    if len(found) > limit:
        tell(f"the newest {limit} are shown; --limit shows more")


def _row(info: ExecutionInfo, now: float) -> list[str]:
    end = info.stopped_at if info.stopped_at is not None else now
    return [
        plain(info.name),
        coloured(info.status),
        plain(_machine(info)),
        moment(info.started_at),
        duration(end - info.started_at),
        plain(info.error or "", 60),
    ]


def _machine(info: ExecutionInfo) -> str:
    return info.state_machine_arn.rpartition(":")[2]


def _summary(info: ExecutionInfo) -> JsonObject:
    """What ListExecutions tells, in asfn's own names."""
    return {
        "name": info.name,
        "arn": info.arn,
        "state_machine_arn": info.state_machine_arn,
        "status": info.status,
        "started_at": info.started_at,
        "stopped_at": info.stopped_at,
        "error": info.error,
        "attributes": dict(info.attributes),
    }


@click.command(epilog=_EXECUTION_HELP)
@click.argument("execution")
@_database
@_json
def show(execution: str, database: str, as_json: bool) -> None:
    """Show one execution: status, times, input, output or error, and the states it stands in."""
    asyncio.run(_show(execution, database, as_json))


async def _show(wanted: str, database: str, as_json: bool) -> None:
    async with looking_at(database) as look:
        execution = await look.find(wanted)
        info = await execution.describe()
        visits = await _open_visits(execution) if info.status == "RUNNING" else []
        now = look.clock.now()
    if as_json:
        give_json({**_summary(info), **_details(info), "standing_in": [_visit(visit) for visit in visits]})
        return
    for name, text in [*_description(info, now), *(("stands in", _standing(visit, now)) for visit in visits)]:
        give(click.style(f"{name:14}", bold=True) + text)


async def _open_visits(execution: Execution) -> list[Visit]:
    progress = Progress()
    async for event in _events(execution):
        progress.apply(event)
    return progress.open_visits()


def _details(info: ExecutionInfo) -> JsonObject:
    return {
        "type": info.type,
        "input": info.input,
        "output": info.output,
        "cause": info.cause,
        "state": info.state,
        "redrive_count": info.redrive_count,
    }


def _visit(visit: Visit) -> JsonObject:
    return {
        "state": visit.name,
        "type": visit.kind,
        "index": visit.index,
        "entered_at": visit.entered_at,
        "standing": visit.standing,
        "attempts": visit.attempts,
    }


def _description(info: ExecutionInfo, now: float) -> list[tuple[str, str]]:
    end = info.stopped_at if info.stopped_at is not None else now
    lines = [
        ("name", plain(info.name)),
        ("arn", plain(info.arn)),
        ("state machine", plain(_machine(info))),
        ("status", coloured(info.status)),
        ("started", moment(info.started_at)),
    ]
    if info.stopped_at is not None:
        lines.append(("stopped", moment(info.stopped_at)))
    if info.attributes:
        shown = "  ".join(f"{name}={value}" for name, value in info.attributes.items())
        lines.append(("attributes", plain(shown, _TEXT_WIDTH)))
    lines += [("took", duration(end - info.started_at)), ("input", plain(info.input_text, _TEXT_WIDTH))]
    if info.output_text is not None:
        lines.append(("output", plain(info.output_text, _TEXT_WIDTH)))
    failed = [("failed in", info.state), ("error", info.error), ("cause", info.cause)]
    return lines + [(name, plain(text, _TEXT_WIDTH)) for name, text in failed if text is not None]


def _standing(visit: Visit, now: float) -> str:
    text = f"{plain(visit.label)} ({visit.kind}, {visit.standing} for {duration(now - visit.entered_at)}"
    text += f", attempt {visit.attempts})" if visit.attempts > 1 else ")"
    error = error_text(visit)
    return f"{text}: {error}" if error else text


@click.command(epilog=_EXECUTION_HELP)
@click.argument("execution")
@_database
@_json
def history(execution: str, database: str, as_json: bool) -> None:
    """Print an execution's events, oldest first, as AWS's GetExecutionHistory names them.

    With --json one list of events in GetExecutionHistory's shapes, `timestamp` in epoch seconds.
    """
    asyncio.run(_history(execution, database, as_json))


async def _history(wanted: str, database: str, as_json: bool) -> None:
    async with looking_at(database) as look:
        execution = await look.find(wanted)
        if as_json:
            await _give_events(execution)
            return
        rows: list[list[str]] = []
        began: float | None = None
        async for event in _events(execution):
            at = _seconds(event["timestamp"])
            began = at if began is None else began
            rows.append([str(event["id"]), f"{at - began:.3f} s", str(event["type"]), *_columns(event)])
    for text in table(rows, head=("ID", "TIME", "EVENT", "STATE", "DETAILS")):
        give(text)


async def _give_events(execution: Execution) -> None:
    """One JSON list, printed as it is read: a history may be longer than memory likes."""
    separator = "["
    async for event in _events(execution):
        give(separator + encode(event))
        separator = ","
    give("]" if separator == "," else "[]")


async def _events(execution: Execution) -> AsyncIterator[JsonObject]:
    """The history as it stands, page by page."""
    after = 0
    while page := await execution.history(after=after, limit=_PAGE):
        for event in page:
            yield event
        last = page[-1]["id"]
        assert isinstance(last, int)
        after = last


def _seconds(value: Json) -> float:
    assert isinstance(value, (int, float))
    return float(value)


def _columns(event: JsonObject) -> tuple[str, str]:
    """The event's state, and the rest of its details in one cell."""
    details: JsonObject = {}
    for name, value in event.items():
        if name.endswith("EventDetails") and isinstance(value, dict):
            details = value
    shown: list[str] = []
    for name, value in details.items():
        if name == "name" or (name.endswith("Details") and isinstance(value, dict)):
            continue
        shown.append(f"{name}={value if isinstance(value, str) else encode(value)}")
    state = details.get("name", details.get("state", ""))
    return plain(str(state)), plain("  ".join(shown), _DETAIL_WIDTH)
