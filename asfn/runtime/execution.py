"""One execution from its start to its final status: the task that runs it, stop, timeout, and the way to wait for it.

The final status is written once, behind any barrier in flight. A cancellation without a reason is the engine closing:
nothing is written, and the execution goes on from its rows wherever the file is opened next.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from inspect import CORO_CREATED, getcoroutinestate
from typing import TYPE_CHECKING

from asfn.errors import EngineClosed
from asfn.plan.effects import Failure, FanOut, SleepUntil, Success
from asfn.plan.scope import Scope
from asfn.runtime.clock import fulfil
from asfn.runtime.fan_out import adopt
from asfn.runtime.frames import Frame, restore
from asfn.runtime.history import error_details
from asfn.runtime.parking import waits_until
from asfn.runtime.performing import cancel_jobs
from asfn.runtime.redrive import revive
from asfn.store.records import Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

    from asfn.errors import EngineFenced
    from asfn.plan.states import CompiledMachine
    from asfn.runtime.clock import Timer
    from asfn.runtime.interpreter import Interpreter
    from asfn.runtime.journal import Barrier
    from asfn.runtime.parking import Parking
    from asfn.runtime.redrive import Detour
    from asfn.store.records import ExecutionRow, FrameRow

logger = logging.getLogger("asfn.execution")


class Run:
    """An execution that this engine is running.

    final: set when the end is decided, before it is durable.   error: what stopped the run without ending the execution
    (a fault, an unrouted resource, the store); the execution stays resumable.   parked: it has been let go, and is to
    be taken back from its rows.
    """

    __slots__ = (
        "_asked",
        "_context",
        "_deadline",
        "_ended",
        "_held",
        "_interpreter",
        "_left",
        "_live",
        "_machine",
        "_on_end",
        "_parking",
        "_rest",
        "_root",
        "_stopping",
        "_task",
        "_turn",
        "error",
        "final",
        "parked",
        "row",
    )

    def __init__(
        self,
        row: ExecutionRow,
        machine: CompiledMachine,
        interpreter: Interpreter,
        on_end: Callable[[Run], None],
        frames: Sequence[FrameRow] | None = None,
        parking: Parking | None = None,
    ) -> None:
        self.row = row
        self.parked = False
        self.final: Final | None = None
        self.error: BaseException | None = None
        self._machine = machine
        self._interpreter = interpreter
        self._on_end = on_end
        self._live = False
        self._left = False  # it is not to go on here
        self._turn: asyncio.Handle | None = None
        self._stopping: Final | None = None
        self._deadline: Timer | None = None
        self._ended: list[asyncio.Future[None]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._rest: Timer | None = None  # while the root frame sleeps; there is no task then
        self._context: Context | None = None  # what it rests in
        self._root = self._restore(frames) if frames else None
        self._asked = 0
        self._held: Callable[[], None] | None = None
        self._parking = parking
        interpreter.paused = row.paused
        interpreter.host = self if parking is not None else None

    def start(self) -> None:
        """Begin with the next turn of the engine's loop. Called once."""
        self._live = True
        if self._root is None:
            self._turn = asyncio.get_running_loop().call_soon(self._first_turn)
        else:  # nothing is run in this turn: its task takes the next one
            self._first_turn()

    def hold(self, begin: Callable[[], None]) -> None:
        """Wait for a place: `begin_held` calls `begin`, which starts the run. Its deadline counts already."""
        self._held = begin
        self._deadline = self._interpreter.clock.call_at(self._interpreter.deadline_at, self._time_out)

    def begin_held(self) -> bool:
        """Start what waits for a place; False when it has started, because it was ended before."""
        begin, self._held = self._held, None
        if begin is None:
            return False
        if self._deadline is not None:
            self._deadline.cancel()
        begin()
        return True

    @property
    def interpreter(self) -> Interpreter:
        return self._interpreter

    async def wait(self) -> Final:
        """How the execution ended, once that is durable. Raises what stopped the run, if something did."""
        if self._held is not None or self._live:
            try:
                await self._ending()
            except asyncio.CancelledError:
                self.waits()  # nobody here may want it any more
                raise
        if self.error is not None:
            raise self.error
        if self.final is None:
            raise EngineClosed("the engine was left before the execution ended; it goes on where it stands")
        return self.final

    async def stop(self, error: str | None, cause: str | None) -> None:
        """End as ABORTED, unless the end is decided already; returns when it is durable."""
        self.stop_nowait(error, cause)
        await self.wait()

    def stop_nowait(self, error: str | None, cause: str | None) -> None:
        """Begin to end as ABORTED, as `stop` does."""
        self._end_early(Final("ABORTED", self._interpreter.clock.now(), None, error, cause))

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
            await self.wait()  # until its end is durable a crash would undo it, and nothing would be paused
            return
        self._interpreter.paused = True
        self._asked += 1
        try:
            await asyncio.shield(self._interpreter.journal.hold(True))
        except Exception:
            self._interpreter.resume()
            raise
        finally:
            self._asked -= 1
            self.waits()
        self._interpreter.paused = True  # also after a resume that was under way

    async def resume(self) -> None:
        """Go on, as soon as that is durable."""
        if self.final is not None:
            await self.wait()
            return
        lifting = self._interpreter.journal.hold(False)
        self._asked += 1
        lifting.add_done_callback(self._lifted)  # also when the caller goes away
        await asyncio.shield(lifting)

    def _lifted(self, lifting: asyncio.Future[ExecutionRow | None]) -> None:
        self._asked -= 1
        self.waits()
        if not lifting.cancelled() and lifting.exception() is None:
            self._interpreter.resume()

    def abandon(self, error: EngineFenced | None = None) -> asyncio.Future[None] | None:
        """Cancel the task without writing anything; the rows in the store say where to go on. The future is done when
        nothing runs any more, None: nothing does.

        One whose end is decided is left alone: it only waits for its last commit. error: what those who wait for the
        execution are told, when it is not that the engine was left.
        """
        if self.error is None:
            self.error = error
        if self._held is not None:
            self._held = None
            self._tell_ended()
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.cancel()
            if self._stopping is None:
                self._over()
            else:
                self._first_turn()
        elif self.final is None and self._stopping is None:
            self._left = True
            task = self._awake()
            if task is not None:
                task.cancel()
        return self._ending() if self._live else None

    def _ending(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._ended is None:
            self._ended = []
        self._ended.append(future)
        return future

    def checkpoint(self) -> None:
        """Hand what stands to the writer, without waiting: between two awaits events and frames agree."""
        self._interpreter.journal.flush()

    def watch(self) -> asyncio.Future[None]:
        """A future that is done after the next commit."""
        return self._interpreter.journal.watch()

    # --- parking ---------------------------------------------------------------------------------------------------

    def may_wait_parked(self, until: float) -> bool:
        """Whether a wait until a moment is long enough to be parked."""
        parking = self._parking
        return parking is not None and parking.allows(min(until, self._interpreter.deadline_at))

    def waits(self) -> None:
        """A branch has begun to wait, or nobody here waits for the execution any more: it may be parked later."""
        if self._parking is not None and self._live:
            self._parking.consider(self)

    def park(self, until: float) -> bool:
        """Let the execution go until a moment, or its own deadline, in one commit with all that was recorded.

        False, and nothing is done, while somebody here waits for it. The caller ends the task.
        """
        interpreter, parking = self._interpreter, self._parking
        if self.parked or self._wanted or interpreter.calls.closing or not self.may_wait_parked(until):
            return False
        assert parking is not None
        self.parked = True
        interpreter.forget_tokens()
        if self._deadline is not None:
            self._deadline.cancel()
        parking.leave(self, interpreter.journal.park(min(until, interpreter.deadline_at)))
        return True

    def park_if_it_waits(self) -> None:
        """Let the execution go if all its branches wait, and none is due soon."""
        if self._root is None or (self._rest is None and (self._task is None or self._task.done())):
            return
        until = waits_until(self._interpreter, self._root)
        if until is not None and self.park(until):
            task = self._awake()
            assert task is not None
            task.cancel()

    @property
    def _wanted(self) -> bool:
        """Whether somebody here waits for the execution, or it is about to change."""
        if self._stopping is not None or self._asked or self._interpreter.journal.watched:
            return True
        self._ended = [future for future in self._ended or () if not future.done()] or None
        return self._ended is not None

    # --- the task --------------------------------------------------------------------------------------------------

    def _first_turn(self) -> None:
        """Run the pure states that the execution begins with. A task goes on, if that is not all of it."""
        self._turn = None
        try:
            root = self._begin()
            if root.outcome is None:
                self._arm()
            if self._stopping is not None:  # stopped before the first step, or overdue when it was resumed
                self.final = self._stopping
                cancel_jobs(self._interpreter, root)
            if root.outcome is None and self.final is None:
                self._work()
            else:
                self._end(root)
        except BaseException as error:
            self._stop_by(error)

    def _work(self, rested: bool = False) -> None:
        """Let a task of its own run the root frame on. rested: the frame has slept."""
        assert self._root is not None
        # The frame's own coroutine, and none around it: each takes a quarter of a kilobyte.
        work = self._interpreter.run_frame(self._root, rested)
        self._task = asyncio.get_running_loop().create_task(work, name=self.row.name)
        self._task.add_done_callback(self._after_frames)

    def _after_frames(self, task: asyncio.Task[None]) -> None:
        """The root frame sleeps, has an outcome, or was cancelled: to be stopped, parked, or left where it stands."""
        root = self._root
        assert root is not None
        try:
            if not task.cancelled():
                task.result()
            elif self._stopping is None and not self.parked:
                logger.debug("%s is parked", self.row.arn)
                self._over()
                return
            if self.parked or (self._left and root.outcome is None and self._stopping is None):
                self._over()
            elif root.outcome is None and self._stopping is None:
                self._rest_until(root)
            else:
                if root.outcome is None or task.cancelled():
                    self.final = self._stopping
                self._end(root)
        except BaseException as error:
            self._stop_by(error)

    def _rest_until(self, root: Frame) -> None:
        """Hold no task while the root frame sleeps: that is three quarters of a kilobyte less."""
        assert isinstance(root.effect, SleepUntil)
        self._task = None
        self._context = copy_context()
        self._rest = self._interpreter.clock.call_at(root.effect.at, self._rested)

    def _rested(self) -> None:
        self._end_rest(rested=True)

    def _end_rest(self, *, rested: bool) -> None:
        rest, context, self._rest, self._context = self._rest, self._context, None, None
        assert rest is not None
        assert context is not None
        rest.cancel()  # harmless when it has run
        context.run(self._work, rested)

    def _awake(self) -> asyncio.Task[None] | None:
        """The task; what rests has it again, and is where it was before."""
        if self._rest is not None:
            self._end_rest(rested=False)
        return self._task

    def _stop_by(self, error: BaseException) -> None:
        """A fault stops this execution alone, loudly, and leaves it resumable."""
        self._fail(error)
        self._over()
        if not isinstance(error, Exception | BaseExceptionGroup):
            raise error

    def _fail(self, error: BaseException) -> None:
        self.error = _first(error)
        self.final = None
        logger.error("%s stopped and can be resumed: %r", self.row.arn, self.error, exc_info=self.error)

    def _over(self) -> None:
        self._live = False
        if self._parking is not None:
            self._parking.forget(self)
        self._interpreter.host = None
        self._on_end(self)
        self._tell_ended()

    def _tell_ended(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._interpreter.journal.wake_watchers()
        for future in self._ended or ():
            fulfil(future, None)

    def _begin(self) -> Frame:
        """The root frame: a restored one as it stands, a new one after its first turn of pure states."""
        row, interpreter = self.row, self._interpreter
        if self._root is None:
            # 1<0; the first Entered links to 0, not to it (history.md rule 1)
            extra = {"roleArn": row.role_arn}
            interpreter.journal.record("ExecutionStarted", 0, row.started_at, payload=row.input, extra=extra)
            self._root = interpreter.root_frame(self._machine, 0)
            overdue = interpreter.deadline_at <= interpreter.clock.now()
            if self._stopping is None and not overdue and not interpreter.paused:
                interpreter.advance(self._root)
            else:  # that came while it was queued
                interpreter.journal.touch(self._root)
        return self._root

    def _arm(self) -> None:
        """Set the clock of an execution that takes longer than one turn; a deadline that has passed ends it at once."""
        clock, deadline_at = self._interpreter.clock, self._interpreter.deadline_at
        if deadline_at <= clock.now():
            self._time_out()
        else:
            self._deadline = clock.call_at(deadline_at, self._time_out)

    def _end(self, root: Frame) -> None:
        """Record how the execution ends, and hand that over; it is over when that is durable."""
        barrier = self._record_end(root)
        if barrier is None:
            self._over()
        else:
            barrier.then(self._end_durable)

    def _end_durable(self, barrier: Barrier) -> None:
        if isinstance(barrier.error, asyncio.CancelledError):  # it is not: the engine was torn down
            self.final = None
        elif barrier.error is not None:
            self._fail(barrier.error)
        self._over()

    def _record_end(self, root: Frame) -> Barrier | None:
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
        return journal.finish(self.final)

    def _time_out(self) -> None:
        # stopDate is startDate plus TimeoutSeconds exactly [A]
        self._end_early(Final("TIMED_OUT", self._interpreter.deadline_at, None, "States.Timeout"))

    def _end_early(self, final: Final) -> None:
        if self.final is not None or self._stopping is not None or self.parked:
            return
        if self._held is None and not self._live:
            return
        self._stopping = final
        self._interpreter.stopping = True
        task = self._awake() if not self.begin_held() else None
        if task is not None:
            if getcoroutinestate(task.get_coro()) == CORO_CREATED:  # type: ignore[arg-type]
                # It will never know what it is to cancel.
                assert self._root is not None
                cancel_jobs(self._interpreter, self._root)
            task.cancel()

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
