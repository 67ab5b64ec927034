"""One execution from its start to its final status: the task that runs it, stop, timeout, and the way to wait for it.

The final status is written once, behind any barrier in flight. A cancellation without a reason is the engine closing:
nothing is written, and the execution goes on from its rows wherever the file is opened next.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from asfn.errors import EngineClosed
from asfn.plan.effects import Failure, FanOut, Success
from asfn.plan.scope import Scope
from asfn.runtime.clock import fulfil
from asfn.runtime.fan_out import adopt
from asfn.runtime.frames import Frame, restore
from asfn.runtime.history import error_details
from asfn.runtime.redrive import revive
from asfn.store.records import Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asfn.errors import EngineFenced
    from asfn.plan.states import CompiledMachine
    from asfn.runtime.clock import Timer
    from asfn.runtime.interpreter import Interpreter
    from asfn.runtime.redrive import Detour
    from asfn.store.records import ExecutionRow, FrameRow

logger = logging.getLogger("asfn.execution")


class Run:
    """An execution that this engine is running.

    final: set when the end is decided, before it is durable.   error: what stopped the run without ending the execution
    (a fault, an unrouted resource, the store); the execution stays resumable.
    """

    __slots__ = (
        "_begun",
        "_deadline",
        "_ended",
        "_interpreter",
        "_machine",
        "_on_end",
        "_root",
        "_stopping",
        "_task",
        "error",
        "final",
        "row",
    )

    def __init__(
        self,
        row: ExecutionRow,
        machine: CompiledMachine,
        interpreter: Interpreter,
        on_end: Callable[[Run], None],
        frames: Sequence[FrameRow] | None = None,
    ) -> None:
        self.row = row
        self.final: Final | None = None
        self.error: BaseException | None = None
        self._machine = machine
        self._interpreter = interpreter
        self._on_end = on_end
        self._begun = False
        self._stopping: Final | None = None
        self._deadline: Timer | None = None
        self._ended: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._root = self._restore(frames) if frames else None
        interpreter.paused = row.paused

    def start(self) -> None:
        """Create the task. Called once, on the engine's loop."""
        self._task = asyncio.get_running_loop().create_task(self._main(), name=self.row.name)
        self._task.add_done_callback(self._over)  # not in the task: one cancelled before its first step never runs

    @property
    def interpreter(self) -> Interpreter:
        return self._interpreter

    async def wait(self) -> Final:
        """How the execution ended, once that is durable. Raises what stopped the run, if something did."""
        if self._task is not None and not self._task.done():
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._ended.append(future)
            await future
        if self.error is not None:
            raise self.error
        if self.final is None:
            raise EngineClosed("the engine was left before the execution ended; it goes on where it stands")
        return self.final

    async def stop(self, error: str | None, cause: str | None) -> None:
        """End as ABORTED, unless the end is decided already; returns when it is durable."""
        self._end_early(Final("ABORTED", self._interpreter.clock.now(), None, error, cause))
        await self.wait()

    def redrive(self, detour: Detour | None) -> asyncio.Future[ExecutionRow | None]:
        """Set the restored frames of an ended execution going again, before `start`; the future says whether that is
        durable, as `store.records.Redrive` does. `row` is what it is to be.
        """
        if self._root is None:
            self._root = self._interpreter.root_frame(self._machine, 0)
        revive(self._interpreter, self._root, self.row.redrive_count, detour)
        return self._interpreter.journal.redrive(self.row)

    async def pause(self) -> None:
        """Take no new step from now on; returns when that is durable. What is in flight ends and is recorded."""
        if self.final is not None:
            return
        self._interpreter.paused = True
        try:
            await asyncio.shield(self._interpreter.journal.hold(True))
        except Exception:
            self._interpreter.resume()
            raise
        self._interpreter.paused = True  # also after a resume that was under way

    async def resume(self) -> None:
        """Go on, as soon as that is durable."""
        if self.final is None:
            lifting = self._interpreter.journal.hold(False)
            lifting.add_done_callback(self._lifted)  # also when the caller goes away
            await asyncio.shield(lifting)

    def _lifted(self, lifting: asyncio.Future[ExecutionRow | None]) -> None:
        if not lifting.cancelled() and lifting.exception() is None:
            self._interpreter.resume()

    def park(self, error: EngineFenced | None = None) -> asyncio.Task[None] | None:
        """Cancel the task without writing anything; the rows in the store say where to go on.

        One whose end is decided is left alone: it only waits for its last commit. error: what those who wait for the
        execution are told, when it is not that the engine was left.
        """
        if self.error is None:
            self.error = error
        if self._task is not None and self.final is None and self._stopping is None:
            self._task.cancel()
        return self._task

    def checkpoint(self) -> None:
        """Hand what stands to the writer, without waiting: between two awaits events and frames agree."""
        self._interpreter.journal.flush()

    def watch(self) -> asyncio.Future[None]:
        """A future that is done after the next commit."""
        return self._interpreter.journal.watch()

    # --- the task --------------------------------------------------------------------------------------------------

    async def _main(self) -> None:
        try:
            root = self._begin()
            if root.outcome is None:
                self._arm()
            if self._stopping is not None:  # stopped before the first step, or overdue when it was resumed
                self.final = self._stopping
                self._interpreter.cancel_jobs(root)
            elif root.outcome is None:
                await self._run(root)
            await self._finish(root)
        except asyncio.CancelledError:
            if self.final is None:
                logger.debug("%s is parked", self.row.arn)
        except BaseException as error:  # a fault stops this execution alone, loudly, and leaves it resumable
            self.error = _first(error)
            self.final = None
            logger.error("%s stopped and can be resumed: %r", self.row.arn, self.error, exc_info=self.error)
            if not isinstance(error, Exception | BaseExceptionGroup):
                raise

    def _over(self, _: asyncio.Task[None]) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._on_end(self)
        self._interpreter.journal.wake_watchers()
        for future in self._ended:
            fulfil(future, None)

    def _begin(self) -> Frame:
        """The root frame: a restored one as it stands, a new one after its first turn of pure states."""
        row, interpreter = self.row, self._interpreter
        if self._root is None:
            # 1<0; the first Entered links to 0, not to it (history.md rule 1)
            extra = {"roleArn": row.role_arn}
            interpreter.journal.record("ExecutionStarted", 0, row.started_at, payload=row.input, extra=extra)
            self._root = interpreter.root_frame(self._machine, 0)
            interpreter.advance(self._root)
        return self._root

    def _arm(self) -> None:
        """Set the clock of an execution that takes longer than one turn; a deadline that has passed ends it at once."""
        clock, deadline_at = self._interpreter.clock, self._interpreter.deadline_at
        if deadline_at <= clock.now():
            self._time_out()
        else:
            self._deadline = clock.call_at(deadline_at, self._time_out)

    async def _run(self, root: Frame) -> None:
        self._begun = True
        try:
            await self._interpreter.run_frame(root)
        except asyncio.CancelledError:
            if self._stopping is None:
                raise
            self.final = self._stopping

    async def _finish(self, root: Frame) -> None:
        journal, now = self._interpreter.journal, self._interpreter.clock.now()
        outcome = root.outcome
        if self.final is not None:
            stopped = Failure(self.final.error, self.final.cause)
            type_ = "ExecutionAborted" if self.final.status == "ABORTED" else "ExecutionTimedOut"
            journal.record(type_, 0, now, extra=error_details(stopped))
            if self.final.status == "TIMED_OUT":  # DescribeExecution has neither error nor cause then [A]
                self.final.error = None
        elif isinstance(outcome, Success):
            self.final = Final("SUCCEEDED", now, outcome.output)
            journal.record("ExecutionSucceeded", root.last_id, now, payload=outcome.output)
        else:
            assert isinstance(outcome, Failure)
            self.final = Final("FAILED", now, None, outcome.error, outcome.cause, outcome.state)
            journal.record("ExecutionFailed", root.last_id, now, extra=error_details(outcome))
        self._interpreter.forget_tokens()
        await journal.finish(self.final)

    def _time_out(self) -> None:
        # stopDate is startDate plus TimeoutSeconds exactly [A]
        self._end_early(Final("TIMED_OUT", self._interpreter.deadline_at, None, "States.Timeout"))

    def _end_early(self, final: Final) -> None:
        if self.final is not None or self._stopping is not None or self._task is None or self._task.done():
            return
        self._stopping = final
        self._interpreter.stopping = True
        if self._begun:
            self._task.cancel()

    # --- resume ----------------------------------------------------------------------------------------------------

    def _restore(self, rows: Sequence[FrameRow]) -> Frame:
        """The tree of frames as the store has it."""
        below: dict[str, list[tuple[int, FrameRow]]] = {}
        root = self._interpreter.root_frame(self._machine, 0)
        for row in rows:
            if row.path:
                fan_out_path, _, index = row.path.rpartition("/")
                below.setdefault(fan_out_path, []).append((int(index), row))
            else:
                restore(root, row)
                self._interpreter.expect_token(root.token)
        self._restore_children(root, below)
        return root

    def _restore_children(self, frame: Frame, below: dict[str, list[tuple[int, FrameRow]]]) -> None:
        if not isinstance(frame.effect, FanOut):
            return
        children: list[Frame] = []
        for index, row in below.get(frame.fan_out_path, ()):
            machine = frame.state.branches[0 if frame.state.kind == "Map" else index]
            scope = Scope(frame.scope.facts, frame.scope.input, frame.scope.rng, frame.scope)
            child = Frame(machine, scope, frame.last_id, frame, row.path, index)
            restore(child, row)
            self._interpreter.expect_token(child.token)
            self._restore_children(child, below)
            children.append(child)
        adopt(frame, children)


def _first(error: BaseException) -> BaseException:
    """The error inside the groups that task groups wrap around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
