"""A store that fails on purpose: the death of a process, a refused write, a lost lease, at a commit of one's choice.

Wraps any Store. Commits are counted from 1, in the order in which they are written; a fault in the middle of a group
lets the commits before it through, in a transaction of their own, which is what a smaller group would have done.
"""

from __future__ import annotations

import asyncio
from functools import partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar

from asfn.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from asfn.store.protocol import Store
    from asfn.store.records import (
        ActivityTaskRow,
        Commit,
        EngineRow,
        ExecutionQuery,
        ExecutionRow,
        FrameRow,
        Message,
        Segment,
        Settlement,
        Standpoint,
        StateMachineRow,
        Taker,
        TokenRow,
    )

T = TypeVar("T")


class FaultyStore:
    """A Store that does what `store` does, until a fault is due.

    crash_before, crash_after: the number of the commit at which the process dies: that commit is lost, or is written
        and never answered. From then on every operation waits for ever and nothing is written; `crashed` is set, and
        the test should leave the event loop (`retire_engine` and `close` do nothing then, so that it can).
    refuse: numbers of commits at which the store raises StoreError once; that group is not written.
    fence_at: the commit before which another engine, `usurper`, takes over all executions of this one.
    at: callbacks by commit number, called just before that commit is written, on the event loop.
    commits: how many commits were written.
    """

    def __init__(
        self,
        store: Store,
        *,
        crash_before: int | None = None,
        crash_after: int | None = None,
        refuse: Collection[int] = (),
        fence_at: int | None = None,
        at: Mapping[int, Callable[[], object]] | None = None,
    ) -> None:
        self.store = store
        self.crashed = asyncio.Event()
        self.commits = 0
        self.usurper: EngineRow | None = None
        self._crash_before = crash_before
        self._crash_after = crash_after
        self._refuse = set(refuse)
        self._fence_at = fence_at
        self._at = dict(at or {})

    async def apply(self, engine: EngineRow, commits: Sequence[Commit]) -> list[ExecutionRow | None]:
        """Write the commits as the wrapped store does, up to the first fault among them."""
        await self._alive()
        first, last = self.commits + 1, self.commits + len(commits)
        for number in sorted(number for number in self._at if first <= number <= last):
            self._at.pop(number)()
        if self._refuse & set(range(first, last + 1)):
            self._refuse -= set(range(first, last + 1))
            raise StoreError("the store was told to refuse this write: nothing of it was kept")
        if self._fence_at is not None and first <= self._fence_at <= last:
            await self._fence(engine)
        if self._crash_before is not None and first <= self._crash_before <= last:
            await self._write(engine, commits[: self._crash_before - first])
            await self._die()
        if self._crash_after is not None and first <= self._crash_after <= last:
            await self._write(engine, commits[: self._crash_after - first + 1])
            await self._die()
        return await self._write(engine, commits)

    async def _write(self, engine: EngineRow, commits: Sequence[Commit]) -> list[ExecutionRow | None]:
        answers = await self.store.apply(engine, commits) if commits else []
        self.commits += len(commits)
        return answers

    async def settle_tokens(self, settlements: Sequence[Settlement]) -> list[tuple[bool, TokenRow | None]]:
        """As the wrapped store; counted as one commit."""
        return await self._counted(partial(self.store.settle_tokens, settlements))

    async def take_activity_tasks(self, takers: Sequence[Taker], now: float) -> list[ActivityTaskRow | None]:
        """As the wrapped store; counted as one commit."""
        return await self._counted(partial(self.store.take_activity_tasks, takers, now))

    async def wake(
        self, engine: EngineRow, now: float, *, keys: Sequence[int] | None = None, limit: int = 1_000
    ) -> list[ExecutionRow]:
        """As the wrapped store; counted as one commit, unless nothing is due."""
        await self._alive()
        wake_at = await self.store.next_wake() if keys is None else now
        if wake_at is None or wake_at > now:
            return []
        return await self._counted(partial(self.store.wake, engine, now, keys=keys, limit=limit))

    async def admit(self, engine: EngineRow, now: float, *, limit: int) -> list[ExecutionRow]:
        """As the wrapped store; counted as one commit, unless nothing is queued."""
        await self._alive()
        if not await self.store.queued_count(at_most=1):
            return []
        return await self._counted(partial(self.store.admit, engine, now, limit=limit))

    async def post(self, message: Message) -> int | None:
        """As the wrapped store; counted as one commit."""
        return await self._counted(partial(self.store.post, message))

    async def _counted(self, write: Callable[[], Awaitable[T]]) -> T:
        await self._alive()
        number = self.commits + 1
        for due in sorted(due for due in self._at if due <= number):
            self._at.pop(due)()
        if number in self._refuse:
            self._refuse.remove(number)
            raise StoreError("the store was told to refuse this write: nothing of it was kept")
        if self._crash_before is not None and self._crash_before <= number:
            await self._die()
        answer = await write()
        self.commits += 1
        if self._crash_after is not None and self._crash_after <= number:
            await self._die()
        return answer

    async def _fence(self, engine: EngineRow) -> None:
        self._fence_at = None
        self.usurper = await self.store.register_engine(engine.lease_until, 0)
        await self.store.claim(self.usurper, engine.lease_until, dead=[engine.id])

    async def _die(self) -> None:
        self.crashed.set()
        await self._alive()

    async def _alive(self) -> None:
        if self.crashed.is_set():
            await asyncio.get_running_loop().create_future()

    def __getattr__(self, name: str) -> Any:  # Any: a method of the wrapped store that is not among those below
        method = getattr(self.store, name)
        if not iscoroutinefunction(method):
            return method

        async def forward(*args: Any, **options: Any) -> Any:
            await self._alive()
            return await method(*args, **options)

        return forward

    async def disconnect(self) -> None:
        """Close the wrapped store's connections, as the system does for a process that died."""
        await self.store.close()

    async def open(self) -> None:
        """As the wrapped store."""
        await self._alive()
        await self.store.open()

    async def close(self) -> None:
        """As the wrapped store; nothing after a crash."""
        if not self.crashed.is_set():
            await self.store.close()

    async def register_engine(self, now: float, lease_seconds: float) -> EngineRow:
        """As the wrapped store."""
        await self._alive()
        return await self.store.register_engine(now, lease_seconds)

    async def renew_engine(self, engine: EngineRow, now: float, lease_seconds: float) -> None:
        """As the wrapped store."""
        await self._alive()
        await self.store.renew_engine(engine, now, lease_seconds)

    async def retire_engine(self, engine: EngineRow) -> None:
        """As the wrapped store; a process that died retires nothing."""
        if not self.crashed.is_set():
            await self.store.retire_engine(engine)

    async def claim(
        self, engine: EngineRow, now: float, *, dead: Sequence[int] = (), limit: int = 1_000
    ) -> list[ExecutionRow]:
        """As the wrapped store."""
        await self._alive()
        return await self.store.claim(engine, now, dead=dead, limit=limit)

    async def other_engines(self, engine: EngineRow) -> list[EngineRow]:
        """As the wrapped store."""
        await self._alive()
        return await self.store.other_engines(engine)

    async def put_definition(self, digest: str, text: str) -> None:
        """As the wrapped store."""
        await self._alive()
        await self.store.put_definition(digest, text)

    async def definition(self, digest: str) -> str | None:
        """As the wrapped store."""
        await self._alive()
        return await self.store.definition(digest)

    async def put_state_machine(self, row: StateMachineRow) -> None:
        """As the wrapped store."""
        await self._alive()
        await self.store.put_state_machine(row)

    async def delete_state_machine(self, arn: str) -> None:
        """As the wrapped store."""
        await self._alive()
        await self.store.delete_state_machine(arn)

    async def state_machine(self, arn: str) -> StateMachineRow | None:
        """As the wrapped store."""
        await self._alive()
        return await self.store.state_machine(arn)

    async def state_machines(self) -> list[StateMachineRow]:
        """As the wrapped store."""
        await self._alive()
        return await self.store.state_machines()

    async def execution(self, arn: str) -> ExecutionRow | None:
        """As the wrapped store."""
        await self._alive()
        return await self.store.execution(arn)

    async def executions(self, query: ExecutionQuery) -> list[ExecutionRow]:
        """As the wrapped store."""
        await self._alive()
        return await self.store.executions(query)

    async def frames(self, key: int) -> list[FrameRow]:
        """As the wrapped store."""
        await self._alive()
        return await self.store.frames(key)

    async def last_event_id(self, key: int) -> int:
        """As the wrapped store."""
        await self._alive()
        return await self.store.last_event_id(key)

    async def standpoints(self, keys: Sequence[int]) -> dict[int, Standpoint]:
        """As the wrapped store."""
        await self._alive()
        return await self.store.standpoints(keys)

    async def segments(self, key: int, *, after_id: int = 0, limit: int = 100) -> list[Segment]:
        """As the wrapped store."""
        await self._alive()
        return await self.store.segments(key, after_id=after_id, limit=limit)
