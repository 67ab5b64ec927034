"""A process of the simulated world: one engine with all its asyncio tasks, which can die at any moment.

Many processes live on one event loop, one after the other or side by side. Whatever a process starts is known by the
context it was started in, so that death takes all of it, and nothing that belongs to anybody else.
"""

from __future__ import annotations

import asyncio
import inspect
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from asfn.engine import Engine
    from asfn.testing.faults import FaultyStore

T = TypeVar("T")

_PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
_LAST_BREATHS = 20


class Gone(Exception):
    """The process died, or left, before it answered."""


def watch_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Let the loop tell every process of the tasks that are started in it."""

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        context: Context | None = options.get("context")
        process = context.get(_PROCESS) if context is not None else _PROCESS.get()
        if process is not None:
            process.adopt(task)
        return task

    loop.set_task_factory(factory)


class Process:
    """One engine. alive: until it has died or left.   ready: it can be asked.

    troubled: its store may refuse a write, or others may take over what it runs, while it lives.
    """

    def __init__(self, name: str, engine: Engine, store: FaultyStore, troubled: bool) -> None:
        self.name = name
        self.troubled = troubled
        self.engine = engine
        self.store = store
        self.alive = True
        self.killed = False
        self.ready = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in order, so that a seed is one story
        self._main: asyncio.Task[None] | None = None
        self._leaving = asyncio.Event()

    @staticmethod
    def current() -> Process | None:
        """The process that the running code belongs to."""
        return _PROCESS.get()

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """A task was started in this process; one of a dead process gets no further than its first wait."""
        self._tasks[task] = None
        task.add_done_callback(self._forget)
        if self.killed:
            _end(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        del self._tasks[task]

    def spawn(self, coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """A task of this process, whoever starts it."""
        context = copy_context()
        context.run(_PROCESS.set, self)
        return asyncio.get_running_loop().create_task(coroutine, name=name, context=context)

    async def live(self, furnish: Callable[[Engine], Awaitable[None]], opened: Callable[[], None]) -> str:
        """Enter the engine, furnish it, and stay until told to leave, or killed. How that ended.

        opened: called once the process can be asked.
        """

        async def main() -> None:
            async with self.engine:
                await furnish(self.engine)
                self.ready = True
                opened()
                await self._leaving.wait()
                self.ready = False

        self._main = self.spawn(main(), self.name)
        death = asyncio.get_running_loop().create_task(self.store.crashed.wait())
        try:
            await asyncio.wait({self._main, death}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            death.cancel()
        how = "died"
        if self.store.crashed.is_set():
            await self._die()
        else:
            how = await self._left()
        self.ready = self.alive = False
        self.over.set_result(None)
        return how

    async def _left(self) -> str:
        assert self._main is not None
        if self._main.cancelled():
            return "was cancelled"
        error = self._main.exception()
        return "left" if error is None else f"left with {type(error).__name__}: {error}"

    def leave(self) -> None:
        """Leave the engine in an orderly way."""
        self.ready = False
        self._leaving.set()

    def cancel(self) -> None:
        """Cancel the program that has entered the engine, as Ctrl-C does."""
        self.ready = False
        if self._main is not None:
            self._main.cancel()

    async def _die(self) -> None:
        """Everything of this process ends. Its store answers nobody any more, so what its tasks still do is lost."""
        self.killed = True
        self.ready = False
        for _ in range(_LAST_BREATHS):
            left = [task for task in self._tasks if not task.done()]
            if not left:
                break
            for task in left:
                _end(task)
            await asyncio.sleep(0)
        await self.store.disconnect()

    async def ask(self, question: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
        """What the engine answers. Raises Gone when the process ends before, and whatever the engine raises."""
        if not self.ready:
            raise Gone
        asking = self.spawn(question(self.engine), f"client of {self.name}")
        try:
            await asyncio.wait({asking, self.over}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            asking.cancel()
            raise
        if not asking.done() or asking.cancelled():
            asking.cancel()
            raise Gone
        return asking.result()


def _end(task: asyncio.Task[Any]) -> None:
    """Cancel a task, once it has begun: anyio leaves a coroutine unawaited when its task is cancelled before."""
    coroutine = task.get_coro()
    if inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
        asyncio.get_running_loop().call_soon(_end, task)
    else:
        task.cancel()
