"""Parallel and Map: children, at most `concurrency` of them alive, and what their end means for the state.

Children that never wait are run inline; an anyio task group is opened only for those that do (DESIGN section 3).
When one fails, the others are cancelled and AWS's Aborted events written, from the siblings' frames. On resume every
child stands where its row says, living ones start before new ones, and a child stored as failed starts no sibling.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Literal

from asfn._json import Payload
from asfn.errors import StateFailed
from asfn.plan.effects import Failure, Success
from asfn.plan.scope import Scope
from asfn.plan.states import map_item
from asfn.runtime.frames import Frame
from asfn.runtime.history import ABORTED
from asfn.runtime.performing import cancel_jobs

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from asfn.plan.effects import FanOut, Outcome
    from asfn.plan.states import CompiledState
    from asfn.runtime.interpreter import Interpreter
    from asfn.runtime.journal import Journal

# Children started in one go before others get a turn.
_CHILDREN_PER_TURN: Final = 64


class Children:
    """The children of one fan-out in progress.

    freed_by: the event that the next MapIterationStarted links to when it takes a freed slot (rule 4).
    last_id: the event the state's end links to (rules 5, 6).   failed: the child that failed first, if one did.
    error: what the fan-out itself met (ItemSelector, a full history); recorded when it ends, with what comes of it.
    """

    __slots__ = (
        "alive",
        "done",
        "error",
        "failed",
        "failure",
        "frames",
        "freed_by",
        "group",
        "last_id",
        "next",
        "over",
        "started_id",
        "waiting",
    )

    def __init__(self, count: int, started_id: int) -> None:
        self.frames: list[Frame | None] = [None] * count
        self.started_id = started_id
        self.freed_by = started_id
        self.last_id = started_id
        self.next = 0
        self.alive = 0
        self.done = 0
        self.failed: Frame | None = None
        self.failure: Failure | None = None
        self.error: StateFailed | None = None
        self.waiting: list[Frame] = []
        self.group: TaskGroup | None = None
        self.over = asyncio.Event()

    @property
    def stopped(self) -> bool:
        """Whether no further child is started, because something failed."""
        return self.failure is not None or self.error is not None


def start_fan_out(interpreter: Interpreter, frame: Frame, state: CompiledState, effect: FanOut) -> None:
    """Record that the fan-out begins. A retry records it again, linked to the error (rule 10)."""
    extra = {"length": effect.count} if state.kind == "Map" else None
    frame.last_id = interpreter.journal.record(f"{state.kind}StateStarted", frame.last_id, frame.scope.now, extra=extra)
    frame.children = None


async def run_fan_out(interpreter: Interpreter, frame: Frame, effect: FanOut) -> Outcome:
    """Run all children to their end, or to the first failure; the events up to ...StateSucceeded are recorded."""
    children = frame.children
    frame.scope.now = interpreter.clock.now()  # ItemSelector may read it, and a restored frame has none
    if children is None:
        children = frame.children = Children(effect.count, frame.last_id)
    fan_out = _FanOut(interpreter, frame, effect, children)
    if interpreter.paused and children.waiting and not children.stopped:
        await fan_out.wait(pumps=True)  # restored children: what is in flight goes on, the rest starts when resumed
        return fan_out.end()
    await fan_out.pump()
    if children.alive and not children.stopped:
        await fan_out.wait()
    return fan_out.end()


def leave_children(interpreter: Interpreter, frame: Frame, fan_out_path: str) -> None:
    """The state has left its fan-out behind, or begins it again: the children and their rows go."""
    children = frame.children
    if children is None:
        return
    if any(child is not None and child.stored for child in children.frames):
        interpreter.journal.drop(fan_out_path)
    _forget(interpreter, children, drop=True)
    frame.children = None


def keep_children(interpreter: Interpreter, frame: Frame, effect: FanOut) -> None:
    """Nobody has caught the failure of the fan-out: its children stay, for a redrive or until one above goes on."""
    frame.effect = effect
    if frame.children is not None:
        _forget(interpreter, frame.children, drop=False)


def _forget(interpreter: Interpreter, children: Children, drop: bool) -> None:
    for child in children.frames:
        if child is not None:
            if drop:
                interpreter.journal.forget(child)
            interpreter.close_token(child.token)
            if child.children is not None:
                _forget(interpreter, child.children, drop)


def adopt(frame: Frame, children: list[Frame]) -> None:
    """Give a restored frame its restored children: where each stands, who failed, which are alive."""
    effect = frame.effect
    state = Children(effect.count, frame.last_id)  # type: ignore[union-attr]  # the caller checked that it is a FanOut
    for child in children:
        state.frames[child.index] = child
        state.next = max(state.next, child.index + 1)
        if child.outcome is None:
            state.alive += 1
            state.waiting.append(child)
            continue
        state.done += 1
        if child.done_id > state.last_id:
            state.last_id, state.freed_by = child.done_id, child.last_id
        if isinstance(child.outcome, Failure) and (state.failed is None or child.last_id < state.failed.last_id):
            state.failed, state.failure = child, child.outcome
    state.waiting.sort(key=lambda child: child.index)
    frame.children = state


class _FanOut:
    """One fan-out being run; the frame's `Children` hold its state.

    _started: the children that have a slot and have not run yet.
    """

    __slots__ = ("_started", "children", "effect", "frame", "interpreter", "is_map", "state")

    def __init__(self, interpreter: Interpreter, frame: Frame, effect: FanOut, children: Children) -> None:
        self.interpreter = interpreter
        self.frame = frame
        self.effect = effect
        self.children = children
        self.state = frame.state
        self.is_map = frame.state.kind == "Map"
        self._started: deque[Frame] = deque()

    async def pump(self) -> None:
        """Start children while slots are free; those that end at once take none."""
        while True:
            if self.interpreter.paused and (self._started or self._may_start):
                await self.interpreter.until_resumed()
            elif not self._start_some():
                return
            else:
                await self.interpreter.take_turns()

    @property
    def _may_start(self) -> bool:
        """Whether there is a child to start, and a slot for it."""
        children = self.children
        return not children.stopped and children.next < self.effect.count and children.alive < self.effect.concurrency

    def _start_some(self) -> bool:
        """Start children for one turn. True when there are more to start right away.

        AWS starts all iterations that have a slot before any of them enters a state [A] history.md section 4, so that
        those count as running when the first one fails at once.
        """
        children, started, effect = self.children, self._started, self.effect
        for _ in range(_CHILDREN_PER_TURN):
            while children.next < effect.count and children.alive < effect.concurrency:
                if children.stopped or len(started) == _CHILDREN_PER_TURN or not self._start_next():
                    break
            if children.stopped or not started:
                break
            child = started.popleft()
            self.interpreter.advance(child)
            if child.outcome is not None:
                children.alive -= 1
                self._child_done(child)
            elif children.group is None:
                children.waiting.append(child)
            else:
                children.group.start_soon(self._run_child, child)
        for child in started:
            self.interpreter.journal.touch(child)
        return not children.stopped and (bool(started) or self._may_start)

    def _start_next(self) -> bool:
        """Take a slot for the next child. False when that is not possible."""
        children = self.children
        try:
            child = self._new_child(children.next)
        except StateFailed as error:  # ItemSelector, or the history is full
            children.error = error
            return False
        children.frames[child.index] = child
        children.next += 1
        children.alive += 1
        self._started.append(child)
        return True

    def _new_child(self, index: int) -> Frame:
        frame, children, interpreter = self.frame, self.children, self.interpreter
        assert self.state.child_input is not None
        payload = self.state.child_input(frame.scope, self.effect, index)
        scope = Scope(interpreter.facts, payload, interpreter.rng, frame.scope)
        last_id = children.started_id
        if self.is_map:
            scope.map_item = map_item(self.effect, index)
            previous = last_id if index < self.effect.concurrency else children.freed_by
            last_id = interpreter.journal.record(
                "MapIterationStarted",
                previous,
                interpreter.clock.now(),
                self.state.name,
                extra={"index": index},
            )
        machine = self.state.branches[0 if self.is_map else index]
        return Frame(machine, scope, last_id, frame, f"{frame.fan_out_path}/{index}", index)

    def _child_done(self, child: Frame) -> None:
        """A child has its outcome: what that means for the fan-out."""
        children, journal = self.children, self.interpreter.journal
        children.done += 1
        if isinstance(child.outcome, Failure):
            if children.failure is None:
                children.failed, children.failure = child, child.outcome
            return
        children.freed_by = child.done_id = child.last_id
        if self.is_map:
            try:
                child.done_id = journal.record(
                    "MapIterationSucceeded",
                    child.last_id,
                    self.interpreter.clock.now(),
                    self.state.name,
                    extra={"index": child.index},
                )
            except StateFailed as error:
                children.error = error
                return
        children.last_id = child.done_id
        journal.touch(child)

    async def wait(self, pumps: bool = False) -> None:
        """Run the waiting children in a task group until all are done or one has failed.

        pumps: start the others from within the group too.
        """
        children = self.children
        import anyio  # on use: most programs that begin have no fan-out to wait for

        async with anyio.create_task_group() as group:
            children.group = group
            waiting, children.waiting = children.waiting, []
            for child in waiting:
                group.start_soon(self._run_child, child)
            if pumps:
                group.start_soon(self._pump_and_look)
            await children.over.wait()
            if children.stopped:
                group.cancel_scope.cancel()
        children.group = None

    async def _run_child(self, child: Frame) -> None:
        await self.interpreter.run_frame(child)
        children = self.children
        children.alive -= 1
        self._child_done(child)
        started = children.next
        await self.pump()
        if children.stopped or not children.alive:
            children.over.set()
        elif children.next == started:  # the siblings may wait for days: what this one did must not
            self.interpreter.journal.flush()
            if self.interpreter.host is not None:
                self.interpreter.host.waits()

    async def _pump_and_look(self) -> None:
        await self.pump()
        if self.children.stopped or not self.children.alive:
            self.children.over.set()

    def end(self) -> Outcome:
        """Record the end of the fan-out and give the outcome; what becomes of the children depends on what the state
        makes of it (`leave_children`, `keep_children`).
        """
        children, frame, journal = self.children, self.frame, self.interpreter.journal
        now = frame.scope.now = self.interpreter.clock.now()
        failure = children.failure
        if failure is None and children.error is not None:
            failure = self.interpreter.failure_of(frame, self.state, children.error)
        if failure is None:
            frame.last_id = children.last_id
            journal.record(f"{self.state.kind}StateSucceeded", children.last_id, now)
        else:
            for child in children.waiting:  # alive in the store, never run in this process
                cancel_jobs(self.interpreter, child)
        if failure is not None:
            if children.failed is not None:
                frame.last_id = children.failed.last_id
            if not failure.terminal:
                self._record_aborts(frame.last_id, now)
        return failure if failure is not None else Success(self._results())

    def _results(self) -> Payload:
        """The outputs in order, printed by joining the children's own texts [A] asl.md 7.7."""
        outputs: list[Payload] = []
        for child in self.children.frames:
            assert child is not None
            assert isinstance(child.outcome, Success)
            outputs.append(child.outcome.output)
        return Payload.of_list(outputs)

    def _record_aborts(self, error_id: int, now: float) -> None:
        """AWS's events of a failed fan-out; all link to the event that carries the error (rule 8)."""
        journal, failed = self.interpreter.journal, self.children.failed
        if failed is not None:
            _record_abort(journal, self.state, failed, error_id, now, "Failed")
        for child in self.children.frames:
            if child is not None and child is not failed and not isinstance(child.outcome, Success):
                _record_abort(journal, self.state, child, error_id, now, "Aborted")


def _record_abort(
    journal: Journal, state: CompiledState, child: Frame, error_id: int, now: float, what: Literal["Failed", "Aborted"]
) -> None:
    """The end of an iteration or branch. state: its Map or Parallel."""
    if state.kind == "Map":
        journal.record(f"MapIteration{what}", error_id, now, state.name, extra={"index": child.index})
    # A Parallel or Map that failed, first or not, has its ...StateFailed; one at work is aborted with all in it [U].
    inner = child.state
    failed = isinstance(child.outcome, Failure)
    if inner.kind in ABORTED and child.entered and not (failed and inner.kind in ("Parallel", "Map")):
        journal.record(ABORTED[inner.kind], error_id, now)
        for below in child.children.frames if child.children is not None else ():
            if below is not None and not isinstance(below.outcome, Success):
                _record_abort(journal, inner, below, error_id, now, "Aborted")
