"""Observers: what a program hangs on an engine to be told what happens in it, and how they are called.

An observer never disturbs an execution: what it raises is logged and dropped, and what it awaits goes on beside the
executions, in order for each of them. Without observers nothing here is ever called (see `observed.py`).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from msgspec import Struct

from asfn.runtime.clock import fulfil

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from asfn._json import JsonObject, Payload
    from asfn.plan.effects import Failure
    from asfn.runtime.clock import Clock
    from asfn.runtime.handle import ExecutionInfo
    from asfn.tasks.protocol import TaskCall

logger = logging.getLogger("asfn.observers")

# Calls of asynchronous hooks that one engine keeps waiting; beyond it they are dropped and counted.
WAITING_CALLS: Final = 10_000


class StateVisit(Struct, eq=False):
    """One visit of a branch to a state, from Entered to Exited, retries included.

    execution: as it was when this engine began to run it.   kind: the state's Type.   path: of the branch, "" for the
    root, `parent/step.attempt:State/index` below it; `(path, step)` names the visit within its execution.
    index: of the branch or iteration, None at the root.   event_id: of the state's Entered event.
    attempt: 0 first, then one more for each retry.   parent: the Parallel's or Map's visit that the branch belongs to.
    resumed: it was entered before this engine took the execution over.   failure: what a catcher has caught.
    """

    execution: ExecutionInfo
    name: str
    kind: str
    path: str
    step: int
    index: int | None
    event_id: int
    entered_at: float
    input: Payload
    parent: StateVisit | None
    attempt: int = 0
    resumed: bool = False
    failure: Failure | None = None


class CallEnd(Struct, frozen=True):
    """How a handler's call came back. submitted: the work goes on elsewhere.   cancelled: late, stopped or parked."""

    what: Literal["done", "submitted", "failed", "cancelled", "fault"]
    error: str | None = None
    cause: str | None = None


class Observer:
    """What an engine tells about its executions. Subclass it and write the methods that matter.

    Methods are called on the engine's loop and must return soon; each but `task_called` may be `async def`: it then
    runs beside the execution, after the earlier ones of the same observer and execution. Whatever they raise is logged
    without its text, which may hold data. Moments (`at`) are epoch seconds.

    `status_changed` and `events_committed` come after the commit they tell of. The others come as things happen: what
    a crash takes back before its commit is told again after the resume, with `resumed` set where a visit goes on.
    """

    def status_changed(self, execution: ExecutionInfo) -> Awaitable[None] | None:
        """An execution has started (RUNNING) or ended. At least once: a crash around the start may repeat it, and one
        right after the end may swallow it.
        """
        return None

    def execution_resumed(self, execution: ExecutionInfo, at: float) -> Awaitable[None] | None:
        """This engine goes on with an execution that began before."""
        return None

    def execution_parked(
        self, execution: ExecutionInfo, error: BaseException | None, at: float
    ) -> Awaitable[None] | None:
        """This engine leaves an execution where it stands. error: a fault that stopped it; None when it only waits for
        something far away, or when the engine closes.

        Its open visits and calls get no further notice.
        """
        return None

    def events_committed(self, execution: ExecutionInfo, events: Sequence[JsonObject]) -> Awaitable[None] | None:
        """Events that have become durable, in GetExecutionHistory's shapes, `timestamp` in epoch seconds.

        Of an Express execution, which stores none: those recorded since the last call.
        """
        return None

    def state_entered(self, visit: StateVisit) -> Awaitable[None] | None:
        """A state was entered; or, with `resumed`, is gone on with."""
        return None

    def state_exited(self, visit: StateVisit, output: Payload, at: float) -> Awaitable[None] | None:
        """A visit ended well, or, with `visit.failure`, by a catcher."""
        return None

    def state_failed(self, visit: StateVisit, failure: Failure, at: float) -> Awaitable[None] | None:
        """A visit ended with an error that no catcher of the state took."""
        return None

    def state_retried(self, visit: StateVisit, failure: Failure, wake_at: float, at: float) -> Awaitable[None] | None:
        """An attempt failed, and the state begins again at `wake_at`. visit.attempt: the one that failed."""
        return None

    def state_aborted(self, visit: StateVisit, at: float) -> Awaitable[None] | None:
        """A visit was cut off: a sibling failed, or the execution was stopped or timed out."""
        return None

    def task_called(self, visit: StateVisit, call: TaskCall, at: float) -> AbstractContextManager[object] | None:
        """A handler is being called, inside its own asyncio task. The context manager stays entered until it is back,
        so that context variables set in it reach the handler and the function behind it.
        """
        return None

    def task_ended(self, visit: StateVisit, call: TaskCall, end: CallEnd, at: float) -> Awaitable[None] | None:
        """The handler is back; told before the context manager is left."""
        return None


StatusHook = TypeVar("StatusHook", bound="Callable[[ExecutionInfo], Awaitable[None] | None]")


class StatusObserver(Observer):
    """A function that is told of status changes."""

    def __init__(self, function: Callable[[ExecutionInfo], Awaitable[None] | None]) -> None:
        self._function = function

    def status_changed(self, execution: ExecutionInfo) -> Awaitable[None] | None:
        """Call the function."""
        return self._function(execution)


_HOOKS: Final = tuple(name for name in vars(Observer) if not name.startswith("_"))
_STATE_HOOKS: Final = tuple(name for name in _HOOKS if name.startswith(("state_", "task_")))

Hook = tuple[object, "Callable[..., Any]"]  # Any: each hook has its own arguments


class Observers:
    """The observers of one engine. Empty until the first is added; made before the loop runs."""

    def __init__(self, observers: Iterable[Observer], clock: Clock) -> None:
        self._clock = clock
        self._hooks: dict[str, tuple[Hook, ...]] = dict.fromkeys(_HOOKS, ())
        self._lines: dict[tuple[int, str], _Line] = {}
        self._waiting = 0
        self._quiet: list[asyncio.Future[None]] = []
        self.dropped = 0
        for observer in observers:
            self.add(observer)

    def add(self, observer: Observer) -> None:
        """Call it from now on; of states, tasks and events of the executions launched from now on.

        Raises TypeError for what is not an Observer.
        """
        if not isinstance(observer, Observer):
            raise TypeError(f"{observer!r} is not an asfn Observer: subclass asfn.Observer")
        for name in _HOOKS:
            hook = getattr(observer, name)
            if getattr(hook, "__func__", None) is not getattr(Observer, name):
                self._hooks[name] += ((observer, hook),)

    def __bool__(self) -> bool:
        """Whether anybody wants to be told anything."""
        return any(self._hooks.values())

    def wants(self, name: str) -> bool:
        return bool(self._hooks[name])

    @property
    def watches_states(self) -> bool:
        """Whether anybody wants to be told of states or tasks."""
        return any(self._hooks[name] for name in _STATE_HOOKS)

    def tell(self, name: str, execution_arn: str, *arguments: object) -> None:
        """Call a hook of all observers. Never raises, never waits."""
        for observer, hook in self._hooks[name]:
            try:
                answer = hook(*arguments)
            except (Exception, asyncio.CancelledError) as error:
                complain(name, observer, error)
            else:
                if inspect.isawaitable(answer):
                    self._queue(name, observer, execution_arn, answer)

    def contexts(self, *arguments: object) -> list[tuple[object, AbstractContextManager[object]]]:
        """Call `task_called` of all observers and enter what they give. Undone by `leave`."""
        entered: list[tuple[object, AbstractContextManager[object]]] = []
        for observer, hook in self._hooks["task_called"]:
            try:
                manager = hook(*arguments)
                if manager is not None:
                    manager.__enter__()
                    entered.append((observer, manager))
            except (Exception, asyncio.CancelledError) as error:
                complain("task_called", observer, error)
        return entered

    @staticmethod
    def leave(entered: list[tuple[object, AbstractContextManager[object]]]) -> None:
        for observer, manager in reversed(entered):
            try:
                manager.__exit__(None, None, None)
            except (Exception, asyncio.CancelledError) as error:
                complain("task_called", observer, error)

    # --- asynchronous hooks ----------------------------------------------------------------------------------------

    def _queue(self, name: str, observer: object, execution_arn: str, answer: Awaitable[None]) -> None:
        if self._waiting >= WAITING_CALLS:
            if not self.dropped:
                logger.warning("%s calls of observers are waiting: further ones are dropped", WAITING_CALLS)
            self.dropped += 1
            if inspect.iscoroutine(answer):
                answer.close()
            return
        self._waiting += 1
        key = (id(observer), execution_arn)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(observer)
            task = asyncio.get_running_loop().create_task(self._run(key, line), name=f"asfn-observer:{name}")
            line.task = task
        line.calls.append((name, answer))

    async def _run(self, key: tuple[int, str], line: _Line) -> None:
        try:
            while line.calls:
                name, answer = line.calls.popleft()
                try:
                    await answer
                except (Exception, asyncio.CancelledError) as error:
                    task = asyncio.current_task()
                    if task is not None and task.cancelling():  # by `close`, not by the hook itself
                        raise
                    complain(name, line.observer, error)
                finally:
                    self._waiting -= 1
        finally:
            del self._lines[key]
            self._waiting -= len(line.calls)
            line.close()
            if not self._lines:
                quiet, self._quiet = self._quiet, []
                for future in quiet:
                    fulfil(future, None)

    async def close(self, seconds: float) -> None:
        """Wait for the asynchronous hooks, at most for `seconds`; cancel what is left."""
        if not self._lines:
            return
        quiet: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._quiet.append(quiet)
        timer = self._clock.call_at(self._clock.now() + seconds, partial(fulfil, quiet, None))
        try:
            await quiet
        finally:
            timer.cancel()
        left = [line.task for line in self._lines.values() if line.task is not None]
        if left:
            logger.warning("%s observers were still busy when the engine was left; they are cancelled", len(left))
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=seconds)


class _Line:
    """The waiting calls of one observer for one execution, done one after the other."""

    __slots__ = ("calls", "observer", "task")

    def __init__(self, observer: object) -> None:
        self.observer = observer
        self.calls: deque[tuple[str, Awaitable[None]]] = deque()
        self.task: asyncio.Task[None] | None = None

    def close(self) -> None:
        for _, answer in self.calls:
            with suppress(Exception):
                answer.close()  # type: ignore[attr-defined]  # most are coroutines
        self.calls.clear()


def complain(hook: str, observer: object, error: BaseException) -> None:
    """Log what an observer raised: its type and place, not its text, which may hold an execution's data."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f" at {os.path.basename(code.co_filename)}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    logger.error("%s of observer %s raised %s%s", hook, type(observer).__name__, type(error).__name__, place)
