"""`asfn purge`, `export`, `import`, `doctor` and `backup`: keeping a database small, whole and elsewhere.

All of them work while engines run on the file; none of them runs an execution.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import sys
from contextlib import suppress
from functools import partial
from typing import IO, TYPE_CHECKING, Final

import click

from asfn._json import JsonError, decode, encode
from asfn.cli.database import codec_in_use, db_option, looking_at, url_of, url_of_existing
from asfn.cli.exits import CODES, FAILED, Refused
from asfn.cli.output import give, give_json, plain, tell
from asfn.limits import Limits
from asfn.runtime.archive import export_execution, import_execution
from asfn.runtime.clock import SystemClock
from asfn.runtime.history import shapes
from asfn.runtime.liveness import has_died
from asfn.runtime.retention import Retention
from asfn.store.backup import back_up
from asfn.store.doctor import examine, repair
from asfn.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from asfn._json import JsonObject
    from asfn.store.doctor import Report
    from asfn.store.protocol import Store
    from asfn.store.records import ExecutionRow, Segment

_SQLITE: Final = "sqlite:///"
_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)([wdhms])")
_DAYS: Final = {"w": 7.0, "d": 1.0, "h": 1 / 24, "m": 1 / 1440, "s": 1 / 86400}

_database = db_option(required=True, help="The SQLite file.")


def _days(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """The days of a text such as `90d` or `12h`."""
    if value is None:
        return None
    match = _AGE.fullmatch(value.strip().lower())
    if match is None:
        raise click.BadParameter(f"{plain(value)!r} is no age: write a number and w, d, h, m or s, as in 90d or 12h")
    return float(match[1]) * _DAYS[match[2]]


@click.command(epilog=CODES)
@_database
@click.option(
    "--older-than", "days", metavar="AGE", callback=_days,
    help="Ended at least so long ago: 90d, 12h, 2w. By default each state machine's own retention counts.",
)  # fmt: skip
@click.option("--machine", metavar="NAME|ARN", help="Only executions of this state machine.")
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
def purge(database: str, days: float | None, machine: str | None, dry_run: bool) -> None:
    """Delete executions that ended long ago, with their histories, payloads and tokens.

    Running executions are never touched. The work is done in small steps, so that engines on the same file go on
    meanwhile. The file keeps its size, and new executions fill the space. Running engines purge by themselves once an
    hour; this is for files that none runs on, and for now.
    """
    asyncio.run(_purge(database, days, machine, dry_run))


async def _purge(database: str, days: float | None, machine: str | None, dry_run: bool) -> None:
    async with looking_at(database) as look:
        arn = await _machine(look.store, machine) if machine is not None else None
        retention = Retention(look.store, look.clock, Limits.aws().retention_days)
        work = retention.count if dry_run else retention.purge
        count = await work(older_than_days=days, state_machine_arn=arn)
    give(f"{count} {'execution' if count == 1 else 'executions'} {'to delete' if dry_run else 'deleted'}")


async def _machine(store: Store, wanted: str) -> str:
    arns = await store.machines_of_executions()
    found = [arn for arn in arns if wanted in (arn, arn.rpartition(":")[2])]
    if len(found) != 1:
        several = f"may be one of {plain(', '.join(found))}: say which" if found else "has no executions here"
        raise Refused(f"the state machine {plain(wanted)!r} {several}")
    return found[0]


@click.command(epilog=CODES)
@click.argument("execution")
@_database
@click.option("--output", "-o", type=click.Path(dir_okay=False), metavar="FILE", help="Write here, not on stdout.")
def export(execution: str, database: str, output: str | None) -> None:
    """Write one execution as one JSON document: its row, definition, history, and all that is needed to import it.

    EXECUTION is a name, an ARN, or the beginning of one that fits no other. The document holds every payload as plain
    text, and the tokens of open callbacks.
    """
    document = encode(asyncio.run(_export(execution, database)))
    if output is None:
        give(document)
    else:
        _write_whole(output, document)


async def _export(wanted: str, database: str) -> JsonObject:
    async with looking_at(database) as look:
        execution = await look.find(wanted)
        return await export_execution(look.store, execution.arn, look.clock.now())


def _write_whole(path: str, text: str) -> None:
    """Write a file that is there whole, or not at all."""
    part = f"{path}.{secrets.token_hex(4)}.part"
    try:
        with open(part, "x", encoding="utf-8") as file:
            file.write(text + "\n")
        os.replace(part, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(part)


@click.command("import", epilog=CODES)
@click.argument("file", type=click.File("rb"))
@_database
def import_(file: IO[bytes], database: str) -> None:
    """Take an exported execution into a database, which is made when it is not there.

    FILE is what `asfn export` wrote, or - for stdin. An execution whose ARN the database has already is refused. An
    unfinished one goes on here when an engine opens the database next: see that it does not also go on where it came
    from. The state machine itself is not registered by this.
    """
    try:
        document = decode(file.read())
    except JsonError as error:
        raise Refused(f"{plain(file.name)} is not JSON: {error}") from error
    row = asyncio.run(_import(database, document))
    give(plain(row.arn))
    if row.status == "RUNNING":
        tell("it is unfinished, and goes on when an engine opens this database")


async def _import(database: str, document: object) -> ExecutionRow:
    store = SqliteStore(url_of(database).removeprefix(_SQLITE), codec=codec_in_use())
    await store.open()
    try:
        return await import_execution(store, document, SystemClock().now())  # type: ignore[arg-type]  # decoded JSON
    finally:
        await store.close()


@click.command(epilog=CODES)
@click.argument("target", type=click.Path())
@_database
@click.option("--force", is_flag=True, help="Replace TARGET if it exists.")
def backup(target: str, database: str, force: bool) -> None:
    """Copy a database to TARGET while engines run on it.

    The copy is one file, checked and complete, or not there at all. What was unfinished goes on when an engine opens
    the copy, also when the original runs it still: open a copy to look into it with `asfn list`, `show` and `history`.
    """
    path = url_of_existing(database).removeprefix(_SQLITE)
    folder = os.path.dirname(target)
    if folder and not os.path.isdir(folder):
        raise Refused(f"there is no folder {plain(folder)}; make it first")
    if os.path.isdir(target):
        raise Refused(f"{plain(target)} is a folder: give the path of a file in it")
    size_bytes = asyncio.run(back_up(path, target, force=force))
    give(f"{plain(target)}: {size_bytes} bytes")


@click.command(epilog=CODES)
@_database
@click.option("--repair", "mend", is_flag=True, help="Mend what can be mended without loss.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")
def doctor(database: str, mend: bool, as_json: bool) -> None:
    """Check that a database holds together, and print every finding.

    Checked are SQLite's own structures, histories without gaps, payloads against their digests, definitions, rows that
    belong to no execution, what finished executions left, and engines that died. Nothing is changed without --repair,
    which gives up what dead engines own, and deletes what belongs to nothing. Exits with 1 when something is found.
    """
    path = url_of_existing(database).removeprefix(_SQLITE)
    now = SystemClock().now()
    died = partial(_has_died, path, now)
    codec = codec_in_use()
    report = examine(path, has_died=died, codec=codec, events=_count_events)
    mended = 0
    if mend:
        mended = sum(finding.repairable for finding in report.findings)
        repair(path, report, has_died=died)
        asyncio.run(_sweep(path))
        report = examine(path, has_died=died, codec=codec, events=_count_events)
    if as_json:
        give_json(_as_json(report))
    else:
        _tell_report(path, report, mended)
    if report.findings:
        sys.exit(FAILED)


def _has_died(path: str, now: float, engine_id: int, lease_until: float) -> bool:
    return has_died(path, engine_id, lease_until, now)


def _count_events(segment: Segment) -> int:
    return len(shapes(segment))


async def _sweep(path: str) -> None:
    """Delete what purged executions and orphans left."""
    store = SqliteStore(path, codec=codec_in_use())
    await store.open()
    try:
        while await store.sweep(1_000):
            pass
    finally:
        await store.close()


def _tell_report(path: str, report: Report, mended: int) -> None:
    for finding in report.findings:
        give(f"{finding.kind}: {plain(finding.message)}" + (" (--repair mends this)" if finding.repairable else ""))
    for kind, count in report.counts.items():
        listed = sum(finding.kind == kind for finding in report.findings)
        if count > listed:
            give(f"{kind}: and {count - listed} more")
    if mended:
        tell(f"{mended} {'finding was' if mended == 1 else 'findings were'} mended")
    if not report.current:
        tell(f"{plain(path)} is of an older version (schema {report.version}): an engine that opens it brings it up to "
             "date, and the rest can be checked then")  # fmt: skip
    if not report.findings:
        tell(f"{plain(path)} is sound: {report.executions} executions, {report.running} of them unfinished")


def _as_json(report: Report) -> JsonObject:
    return {
        "schema": report.version,
        "current": report.current,
        "executions": report.executions,
        "running": report.running,
        "findings": [
            {"kind": item.kind, "message": item.message, "repairable": item.repairable} for item in report.findings
        ],
        "counts": dict(report.counts),
    }
