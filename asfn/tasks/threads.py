"""The threads that functions run in which are not asynchronous.

They are daemons: a function that never returns keeps its thread, but neither the engine from being left nor the
program from ending. A call that nobody waits for any more does not count against the number of threads, so functions
that hang do not starve the others.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class _Work(NamedTuple):
    future: Future[Any]  # Any: whatever the call returns
    call: Callable[[], Any]


class WorkerThreads(Executor):
    """An Executor of at most `most` threads, made as they are needed."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._work: deque[_Work] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        self._idle = 0
        self._made = 0
        self._abandoned: set[Future[Any]] = set()
        self._winding_down = False

    def submit(self, function: Callable[..., T], /, *args: Any, **options: Any) -> Future[T]:  # Any: as Executor's
        """As Executor's."""
        future: Future[T] = Future()
        with self._changed:
            self._winding_down = False
            self._work.append(_Work(future, lambda: function(*args, **options)))
            self._staff()
        return future

    def abandon(self, future: Future[Any]) -> bool:
        """Nobody waits for this call any more: whether it runs on, beside the threads that others may use."""
        if future.cancel() or future.done():
            return False
        with self._changed:
            if not future.done():
                self._abandoned.add(future)
                self._staff()
        return True

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:
        """Let idle threads end, and the others after their work. Never waits; a later `submit` makes new threads."""
        with self._changed:
            self._winding_down = True
            self._changed.notify_all()

    def _staff(self) -> None:
        """See to it that a thread takes what waits, if one may. Called with the lock."""
        if self._idle >= len(self._work):
            self._changed.notify()
        elif self._threads < self._most + len(self._abandoned):
            self._threads += 1
            self._made += 1
            threading.Thread(target=self._serve, name=f"{self._name}-{self._made}", daemon=True).start()

    def _serve(self) -> None:
        while (work := self._next()) is not None:
            if work.future.set_running_or_notify_cancel():
                try:
                    result = work.call()
                except BaseException as error:
                    work.future.set_exception(error)
                else:
                    work.future.set_result(result)
                with self._changed:
                    self._abandoned.discard(work.future)
            del work  # not kept alive while the thread waits

    def _next(self) -> _Work | None:
        """The next work; None when this thread is to end."""
        with self._changed:
            while True:
                if self._threads > self._most + len(self._abandoned):
                    break
                if self._work:
                    return self._work.popleft()
                if self._winding_down:
                    break
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            self._threads -= 1
            return None
