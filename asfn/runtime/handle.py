"""What a program holds of an execution: wait for it, look at it, follow it, stop it."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from asfn.errors import ExecutionDoesNotExist, ExecutionFailed, InvalidArn
from asfn.runtime.history import shapes
from asfn.runtime.redrive import find_refusal
from asfn.runtime.texts import check_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from asfn._json import Json, JsonObject
    from asfn.limits import Limits
    from asfn.runtime.clock import Clock
    from asfn.runtime.execution import Run
    from asfn.runtime.redrive import RedriveStatus
    from asfn.store.protocol import Store
    from asfn.store.records import ExecutionRow, ExecutionStatus, Final, MachineType, MessageKind

_SEGMENTS_PER_READ = 64


class ExecutionInfo(Struct, frozen=True):
    """What DescribeExecution tells. Points in time are epoch seconds, UTC; input and output are JSON values.

    input_text, output_text: the same as JSON text, as it came or as AWS prints it; no output yet: None.
    state: the state whose failure ended the execution, where one did.   key: its place in the file, for paging.
    attributes: those it was started with, to find it by.
    paused: it takes no new step until it is resumed.   parked: it only waits, and no engine holds it in memory.
    queued: it has not begun, a limit holds it back.
    redrive_status, redrive_status_reason: REDRIVABLE, or NOT_REDRIVABLE and AWS's sentence why. Only from `describe`,
    and None for an Express execution.
    """

    arn: str
    name: str
    state_machine_arn: str
    type: MachineType
    status: ExecutionStatus
    started_at: float
    stopped_at: float | None
    input: Json
    input_text: str
    output: Json
    output_text: str | None
    error: str | None
    cause: str | None
    state: str | None
    redrive_count: int
    key: int
    redriven_at: float | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    paused: bool = False
    parked: bool = False
    queued: bool = False
    redrive_status: RedriveStatus | None = None
    redrive_status_reason: str | None = None

    @classmethod
    def of(cls, row: ExecutionRow) -> ExecutionInfo:
        return cls(
            arn=row.arn,
            name=row.name,
            state_machine_arn=row.state_machine_arn,
            type=row.type,
            status=row.status,
            started_at=row.started_at,
            stopped_at=row.stopped_at,
            input=row.input.value,
            input_text=row.input.text,
            output=row.output.value if row.output is not None else None,
            output_text=row.output.text if row.output is not None else None,
            error=row.error,
            cause=row.cause,
            state=row.failed_state,
            redrive_count=row.redrive_count,
            key=row.key,
            redriven_at=row.redriven_at,
            attributes=row.attributes,
            paused=row.paused,
            parked=row.wake_at is not None and not row.queued,
            queued=row.queued,
        )


class Executions(Protocol):
    """What a handle needs of its engine."""

    store: Store
    clock: Clock
    limits: Limits

    def running(self, arn: str) -> Run | None:
        """The run of this execution in this engine, None when it runs elsewhere or has ended."""

    def follow(self) -> asyncio.Future[None]:
        """A future that is done when other engines may have written: call it, look, then await it."""

    async def take(self, row: ExecutionRow) -> None:
        """Run an execution here, if this engine can, that waits and is in nobody's hands."""

    def begun(self, arn: str) -> asyncio.Future[None]:
        """A future that is done when an execution begins to run here; a cancelled one is forgotten."""

    async def ask(self, arn: str, kind: MessageKind, error: str | None = None, cause: str | None = None) -> None:
        """Stop, pause or resume an execution, whichever engine runs it."""

    async def redrive(
        self, row: ExecutionRow, client_token: str | None, from_state: str | None, input: Json | None
    ) -> float:
        """Redrive an execution; when that was."""


class Execution:
    """A handle on one execution, running or ended, of this engine or another on the same file."""

    __slots__ = ("_engine", "_express", "arn", "name", "state_machine_arn")

    def __init__(self, engine: Executions, row: ExecutionRow, express: Run | None = None) -> None:
        self._engine = engine
        self._express = express
        self.arn = row.arn
        self.name = row.name
        self.state_machine_arn = row.state_machine_arn

    def __repr__(self) -> str:
        return f"Execution({self.arn!r})"

    async def result(self, timeout: float | None = None) -> Json:
        """The output, when the execution has succeeded.

        timeout: seconds to wait; TimeoutError then, while the execution goes on. Raises ExecutionFailed(status, error,
        cause, state) when it failed, timed out or was stopped; and whatever stopped the engine from running it, such as
        UnroutedResource.
        """
        async with asyncio.timeout(timeout):
            while True:
                run = self._express or self._engine.running(self.arn)
                if run is not None:
                    final = await run.wait()
                    return self._output(final.status, final)
                with self._news() as news:
                    row = await self._row()
                    if row.status != "RUNNING":
                        return self._output(row.status, row)
                    if not await self._taken(row):
                        await asyncio.wait(news, return_when=asyncio.FIRST_COMPLETED)

    @staticmethod
    def _output(status: ExecutionStatus, end: Final | ExecutionRow) -> Json:
        if status != "SUCCEEDED":
            raise ExecutionFailed(status, end.error, end.cause, end.failed_state)
        return end.output.value if end.output is not None else None

    async def _taken(self, row: ExecutionRow) -> bool:
        """Whether an execution that was parked runs here now. One that is queued keeps its place."""
        if not row.queued:
            await self._engine.take(row)
        return self._engine.running(self.arn) is not None

    @contextmanager
    def _news(self) -> Iterator[tuple[asyncio.Future[None], ...]]:
        """Futures that are done when others may have written, and when the execution begins to run here; for one that
        does not. Ask before looking.
        """
        news = (self._engine.follow(), self._engine.begun(self.arn))
        try:
            yield news
        finally:
            for future in news:
                future.cancel()

    async def _row(self) -> ExecutionRow:
        if self._express is not None:
            row, final = self._express.row, self._express.final
            if final is not None:
                row.status, row.stopped_at, row.output = final.status, final.stopped_at, final.output
                row.error, row.cause, row.failed_state = final.error, final.cause, final.failed_state
            return row
        row_or_none = await self._engine.store.execution(self.arn)
        if row_or_none is None:
            raise ExecutionDoesNotExist(f"Execution Does Not Exist: '{self.arn}'")
        return row_or_none

    async def describe(self) -> ExecutionInfo:
        """Status, dates, input, output, error and cause as they are now."""
        row = await self._row()
        info = ExecutionInfo.of(row)
        if row.type == "EXPRESS":
            return info
        reason = await find_refusal(self._engine.store, row, self._engine.clock.now(), self._engine.limits)
        return replace(
            info, redrive_status="REDRIVABLE" if reason is None else "NOT_REDRIVABLE", redrive_status_reason=reason
        )

    async def history(self, *, after: int = 0, limit: int | None = None) -> list[JsonObject]:
        """The committed events with an id above `after`, oldest first, in GetExecutionHistory's shapes.

        `timestamp` is epoch seconds. Raises InvalidArn for an Express execution that is not stored: it has no history.
        """
        self._refuse_express()
        run = self._engine.running(self.arn)
        row = run.row if run is not None else await self._row()
        events: list[JsonObject] = []
        async for page in self._pages(row.key, after):
            events += page
            if limit is not None and len(events) >= limit:
                break
        return events if limit is None else events[:limit]

    async def _pages(self, key: int, after: int) -> AsyncIterator[list[JsonObject]]:
        """The committed events above `after`, some commits at a time: a long history is never in memory as a whole."""
        while True:
            segments = await self._engine.store.segments(key, after_id=after, limit=_SEGMENTS_PER_READ)
            if segments:
                yield [event for segment in segments for event in shapes(segment) if _id(event) > after]
                after = segments[-1].last_id
            if len(segments) < _SEGMENTS_PER_READ:
                return

    async def events(self, *, after: int = 0) -> AsyncIterator[JsonObject]:
        """Replay the history above `after`, then follow it, commit by commit, until the execution has ended.

        Raises EngineClosed when the engine is left before, and what stopped the engine from running it.
        """
        self._refuse_express()
        while True:
            run = self._engine.running(self.arn)
            with _watching(run) if run is not None and run.error is None else self._news() as news:
                row = await self._row()  # read before the events, so that an end is never missed
                async for page in self._pages(row.key, after):
                    for event in page:
                        after = _id(event)
                        yield event
                if row.status != "RUNNING":
                    return
                if run is not None and run.error is not None:
                    raise run.error
                if self._engine.running(self.arn) is run if run is not None else not await self._taken(row):
                    await asyncio.wait(news, return_when=asyncio.FIRST_COMPLETED)

    async def stop(self, error: str | None = None, cause: str | None = None) -> None:
        """End the execution as ABORTED: every branch, task and wait of it. Returns when that is durable.

        Stopping an execution that has ended changes nothing. One that another process runs is stopped by that one, or
        by whoever goes on with it: while there is nobody, this waits. Raises InvalidParameter for texts that cannot be
        kept: over AWS's lengths, 256 and 32,768 characters, or not Unicode.
        """
        for name, text, longest in (
            ("error", error, self._engine.limits.error_characters),
            ("cause", cause, self._engine.limits.cause_characters),
        ):
            check_text(text, name, longest)
        if self._express is not None:
            await self._express.stop(error, cause)
        else:
            await self._engine.ask(self.arn, "stop", error, cause)

    async def redrive(
        self, *, client_token: str | None = None, from_state: str | None = None, input: Json | None = None
    ) -> float:
        """Run a failed, aborted or timed-out execution again from where it failed; gives the moment of that.

        Finished branches and iterations stay, retriers count from 0, timeouts start again; definition and input of the
        execution are the old ones. client_token: the same one within 15 minutes changes nothing.
        Beyond AWS: from_state goes on at a state of the outermost machine instead, with the variables as they are;
        input replaces what that state, or without from_state the one that failed, was entered with. ExecutionRedriven
        says so in the history.
        Raises ExecutionNotRedrivable, and InvalidParameter for a state or a token that cannot be.
        """
        row = await self._row()
        if row.type == "EXPRESS":  # stored or not [D]
            raise _not_for_express()
        return await self._engine.redrive(row, client_token, from_state, input)

    async def pause(self) -> None:
        """Take no new step until `resume`; durable when this returns, also across restarts.

        No state is entered and no task called; calls, jobs, waits and callbacks in flight end and are recorded, which
        may end the execution. No deadline moves: a Wait or a TimeoutSeconds that passes meanwhile has passed.
        Pausing what is paused or has ended changes nothing. What another process runs is paused there, as `stop` does.
        """
        self._refuse_express()
        await self._engine.ask(self.arn, "pause")

    async def resume(self) -> None:
        """Go on after `pause`; durable when this returns. What is not paused, or has ended, is left alone."""
        self._refuse_express()
        await self._engine.ask(self.arn, "resume")

    def _refuse_express(self) -> None:
        if self._express is not None:
            raise _not_for_express()


def _not_for_express() -> InvalidArn:
    return InvalidArn("Invalid Arn: 'Resource type not valid in this context: express'")


@contextmanager
def _watching(run: Run) -> Iterator[tuple[asyncio.Future[None], ...]]:
    """A future that is done after the next commit of a run. Whoever goes away lets the execution be parked."""
    watch = run.watch()
    try:
        yield (watch,)
    finally:
        watch.cancel()
        run.waits()


def _id(event: JsonObject) -> int:
    value = event["id"]
    assert isinstance(value, int)
    return value
