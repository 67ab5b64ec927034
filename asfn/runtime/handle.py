"""What a program holds of an execution: wait for it, look at it, follow it, stop it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from asfn.errors import ExecutionDoesNotExist, ExecutionFailed, InvalidArn
from asfn.runtime.history import shapes
from asfn.runtime.redrive import find_refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from asfn._json import Json, JsonObject
    from asfn.limits import Limits
    from asfn.runtime.clock import Clock
    from asfn.runtime.execution import Run
    from asfn.runtime.redrive import RedriveStatus
    from asfn.store.protocol import Store
    from asfn.store.records import ExecutionRow, ExecutionStatus, Final, MachineType

_SEGMENTS_PER_READ = 64
_LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class ExecutionInfo:
    """What DescribeExecution tells. Points in time are epoch seconds, UTC; input and output are JSON values.

    input_text, output_text: the same as JSON text, as it came or as AWS prints it; no output yet: None.
    state: the state whose failure ended the execution, where one did.   key: its place in the file, for paging.
    attributes: those it was started with, to find it by.
    paused: it takes no new step until it is resumed.
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
        )


class Executions(Protocol):
    """What a handle needs of its engine."""

    store: Store
    clock: Clock
    limits: Limits

    def running(self, arn: str) -> Run | None:
        """The run of this execution in this engine, None when it runs elsewhere or has ended."""

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
            run = self._express or self._engine.running(self.arn)
            if run is not None:
                final = await run.wait()
                return self._output(final.status, final)
            row = await self._wait_elsewhere()
            return self._output(row.status, row)

    @staticmethod
    def _output(status: ExecutionStatus, end: Final | ExecutionRow) -> Json:
        if status != "SUCCEEDED":
            raise ExecutionFailed(status, end.error, end.cause, end.failed_state)
        return end.output.value if end.output is not None else None

    async def _wait_elsewhere(self) -> ExecutionRow:
        """The row of an execution that another engine runs, once it has ended."""
        while True:
            row = await self._row()
            if row.status != "RUNNING":
                return row
            await self._engine.clock.sleep_until(self._engine.clock.now() + _LOOK_SECONDS)

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

        `timestamp` is epoch seconds. Raises InvalidArn for an Express execution, which has no history.
        """
        self._refuse_express()
        run = self._engine.running(self.arn)
        row = run.row if run is not None else await self._row()
        events: list[JsonObject] = []
        while limit is None or len(events) < limit:
            segments = await self._engine.store.segments(row.key, after_id=after, limit=_SEGMENTS_PER_READ)
            for segment in segments:
                events += [event for event in shapes(segment) if _id(event) > after]
                after = segment.last_id
            if len(segments) < _SEGMENTS_PER_READ:
                break
        return events if limit is None else events[:limit]

    async def events(self, *, after: int = 0) -> AsyncIterator[JsonObject]:
        """Replay the history above `after`, then follow it, commit by commit, until the execution has ended.

        Raises EngineClosed when the engine is left before, and what stopped the engine from running it.
        """
        self._refuse_express()
        while True:
            run = self._engine.running(self.arn)
            watch = run.watch() if run is not None and run.error is None else None
            status = (await self._row()).status  # read before the events, so that an end is never missed
            for event in await self.history(after=after):
                after = _id(event)
                yield event
            if status != "RUNNING":
                return
            if run is not None and run.error is not None:
                raise run.error
            if watch is None:
                await self._engine.clock.sleep_until(self._engine.clock.now() + _LOOK_SECONDS)
            elif self._engine.running(self.arn) is run:
                await watch

    async def stop(self, error: str | None = None, cause: str | None = None) -> None:
        """End the execution as ABORTED: every branch, task and wait of it. Returns when that is durable.

        Stopping an execution that has ended changes nothing.
        """
        run = self._express or self._engine.running(self.arn)
        if run is not None:
            await run.stop(error, cause)
            return
        row = await self._row()
        if row.status == "RUNNING":
            raise InvalidArn(f"{self.arn} is run by another engine; stop it there")

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
        self._refuse_express()
        return await self._engine.redrive(await self._row(), client_token, from_state, input)

    async def pause(self) -> None:
        """Take no new step until `resume`; durable when this returns, also across restarts.

        No state is entered and no task called; calls, jobs, waits and callbacks in flight end and are recorded, which
        may end the execution. No deadline moves: a Wait or a TimeoutSeconds that passes meanwhile has passed.
        Pausing what is paused or has ended changes nothing. Raises InvalidArn when another engine runs it.
        """
        run = await self._run("pause")
        if run is not None:
            await run.pause()

    async def resume(self) -> None:
        """Go on after `pause`; durable when this returns. What is not paused, or has ended, is left alone."""
        run = await self._run("resume")
        if run is not None:
            await run.resume()

    async def _run(self, verb: str) -> Run | None:
        """The run of a Standard execution here; None when it has ended. Raises InvalidArn."""
        self._refuse_express()
        run = self._engine.running(self.arn)
        if run is None and (await self._row()).status == "RUNNING":
            raise InvalidArn(f"{self.arn} is run by another engine; {verb} it there")
        return run

    def _refuse_express(self) -> None:
        if self._express is not None:
            raise InvalidArn("Invalid Arn: 'Resource type not valid in this context: express'")


def _id(event: JsonObject) -> int:
    value = event["id"]
    assert isinstance(value, int)
    return value
