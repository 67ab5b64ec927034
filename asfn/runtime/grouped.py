"""Requests to a store that share a transaction: whatever comes while one is written goes into the next.

As `store.writer` does for commits, for what is not an execution's own: answers to tokens, workers that ask for work.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from asfn.errors import EngineClosed, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Q = TypeVar("Q")
A = TypeVar("A")

_REQUESTS: Final = 1_000


class Grouped(Generic[Q, A]):
    """One kind of request. `write` does a group of them and gives an answer for each, in order.

    unclaimed: told of every answer whose asker went away while it was written.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Q]], Awaitable[Sequence[A]]],
        name: str,
        unclaimed: Callable[[A], Awaitable[None]] | None = None,
    ) -> None:
        self._write = write
        self._name = name
        self._unclaimed = unclaimed
        self._queue: list[tuple[Q, asyncio.Future[A]]] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def submit(self, request: Q) -> asyncio.Future[A]:
        """Hand over a request; the future is done when it is done. Cancelled before it is written, it is dropped.

        Its error is what the store raises for the whole group, or EngineClosed.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[A] = loop.create_future()
        if self._closed:
            future.set_exception(EngineClosed("the engine has been left"))
            return future
        self._queue.append((request, future))
        if self._task is None:
            self._task = loop.create_task(self._run(), name=self._name)
        return future

    async def close(self) -> None:
        """Do what was handed over; later requests fail with EngineClosed."""
        self._closed = True
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._queue:
                group, self._queue = self._queue[:_REQUESTS], self._queue[_REQUESTS:]
                group = [(request, future) for request, future in group if not future.done()]
                if group:
                    await self._do(group)
        finally:
            self._task = None
            queue, self._queue = self._queue, []
            for _, future in queue:  # only when the loop itself is torn down
                future.cancel()

    async def _do(self, group: list[tuple[Q, asyncio.Future[A]]]) -> None:
        try:
            answers = await self._write([request for request, _ in group])
        except Exception as error:
            for _, future in group:
                if not future.done():
                    future.set_exception(_again(error))
            return
        except BaseException:
            for _, future in group:
                future.cancel()
            raise
        for (_, future), answer in zip(group, answers, strict=True):
            if not future.done():
                future.set_result(answer)
            elif self._unclaimed is not None:
                await self._unclaimed(answer)


def _again(error: Exception) -> Exception:
    """The same error for another waiter: one exception raised in many places would collect all their tracebacks."""
    if not isinstance(error, StoreError):
        return error
    again = type(error)(*error.args)
    again.__cause__ = error
    return again
