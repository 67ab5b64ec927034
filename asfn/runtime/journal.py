"""The journal of one execution: events and changed frames, made durable together.

`record` is synchronous and never waits; `barrier` makes everything recorded so far durable, in one commit. It encodes
at the call, so what is committed is what stood there. The writer owns the commit: a branch that is cancelled while it
waits takes nothing of its siblings' with it (DESIGN, trap 1).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from asfn.errors import StateFailed
from asfn.runtime.clock import fulfil
from asfn.runtime.frames import Frame, frame_row
from asfn.runtime.history import Event, pack
from asfn.store.records import Progress, Redrive, TokenChanges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asfn._json import Json, Payload
    from asfn.store.records import ActivityTaskRow, Commit, ExecutionRow, Final, TokenRow


class CommitQueue(Protocol):
    """Takes commits and answers with the future of their durability; `store.writer.Writer` is one."""

    def submit(self, commit: Commit) -> asyncio.Future[ExecutionRow | None]: ...


class Journal:
    """Collects what one execution does until the next barrier.

    limit: the number of events a history may hold; the last one is reserved for the end of the execution.
    open_tokens: the tokens that tasks of this execution wait for.
    """

    __slots__ = (
        "_changed",
        "_dropped",
        "_events",
        "_limit",
        "_pending",
        "_queue",
        "_tokens",
        "_watchers",
        "key",
        "last_id",
        "open_tokens",
    )

    def __init__(self, key: int, queue: CommitQueue, limit: int, last_id: int = 0) -> None:
        self.key = key
        self.last_id = last_id
        self._queue = queue
        self._limit = limit
        self._events: list[Event] = []
        self._changed: dict[Frame, None] = {}
        self._dropped: list[str] = []
        self._tokens: TokenChanges | None = None
        self.open_tokens: set[str] = set()
        self._pending: asyncio.Future[ExecutionRow | None] | None = None
        self._watchers: list[asyncio.Future[None]] = []

    def record(
        self,
        type: str,
        previous: int,
        at: float,
        name: str | None = None,
        payload: Payload | None = None,
        extra: Mapping[str, Json] | None = None,
        assigned: Mapping[str, Payload] | None = None,
    ) -> int:
        """Append an event and give its id. Raises StateFailed when the history is full (history.md section 4)."""
        id = self.last_id + 1
        if id >= self._limit and not type.startswith("Execution"):
            raise history_full(self._limit)
        self.last_id = id
        self._events.append(Event(id, previous, type, at, name, payload, extra, assigned))
        return id

    def touch(self, frame: Frame) -> None:
        """The frame has changed: the next barrier stores it."""
        self._changed[frame] = None

    def forget(self, frame: Frame) -> None:
        """The frame is settled and its row, if any, is dropped otherwise."""
        self._changed.pop(frame, None)

    def drop(self, path: str) -> None:
        """The next barrier deletes the rows of this path and of everything below it."""
        self._dropped.append(path)

    def open_token(self, row: TokenRow, work: ActivityTaskRow | None = None) -> None:
        """The next barrier makes a token known, and puts work into its activity's queue."""
        self.open_tokens.add(row.token)
        changes = self._token_changes()
        changes.opened.append(row)
        if work is not None:
            changes.queued.append(work)

    def note_work(self, token: str) -> None:
        """The next barrier takes work out of its queue: who has it is recorded."""
        self._token_changes().noted.append(token)

    def close_token(self, token: str, at: float) -> None:
        """The task of a token has moved on: the next barrier lets no answer count any more."""
        if token in self.open_tokens:
            self.open_tokens.remove(token)
            self._token_changes().closed.append((token, at))

    def _token_changes(self) -> TokenChanges:
        if self._tokens is None:
            self._tokens = TokenChanges()
        return self._tokens

    @property
    def events_waiting(self) -> int:
        """Events recorded since the last barrier."""
        return len(self._events)

    async def barrier(self) -> None:
        """Return when everything recorded before the call is durable."""
        await self._durable(self._submit(None))

    def flush(self) -> None:
        """Hand over what was recorded, without waiting. Whoever waits for a later barrier learns of its failure."""
        pending = self._submit(None)
        if pending is not None:
            pending.add_done_callback(_see)

    async def finish(self, final: Final) -> None:
        """The last barrier: events, final status, and the end of all tokens in one commit."""
        for token in list(self.open_tokens):
            self.close_token(token, final.stopped_at)
        await self._durable(self._submit(final))

    def redrive(self, row: ExecutionRow) -> asyncio.Future[ExecutionRow | None]:
        """Hand over everything recorded and touched so far as what sets an ended execution going again; its frames
        replace all that are stored. The future gives what `Redrive` says.
        """
        self._dropped = [""]
        pending = self._submit(None, row)
        assert pending is not None
        return pending

    def hold(self, paused: bool) -> asyncio.Future[ExecutionRow | None]:
        """A future that is done when it is durable that the execution is paused, or is not any more."""
        return self._queue.submit(Progress(self.key, paused=paused))

    def watch(self) -> asyncio.Future[None]:
        """A future that is done after the next commit of this journal."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.append(future)
        return future

    def _submit(
        self, final: Final | None, redriven: ExecutionRow | None = None
    ) -> asyncio.Future[ExecutionRow | None] | None:
        if not (self._events or self._changed or self._dropped or self._tokens or final is not None):
            return self._pending
        succeeded = final is not None and final.status == "SUCCEEDED"
        progress = Progress(
            self.key,
            pack(self._events) if self._events else None,
            [frame_row(frame) for frame in self._changed] if not succeeded else (),
            self._dropped,
            final,
            tokens=self._tokens,
        )
        pending = self._queue.submit(progress if redriven is None else Redrive(redriven, progress))
        self._events = []
        self._changed = {}
        self._dropped = []
        self._tokens = None
        pending.add_done_callback(self.wake_watchers)
        self._pending = pending
        return pending

    async def _durable(self, pending: asyncio.Future[ExecutionRow | None] | None) -> None:
        if pending is None:
            return
        if pending.done():
            pending.result()
        else:
            await asyncio.shield(pending)

    def wake_watchers(self, _: object = None) -> None:
        """Tell those who watch to look again: something was committed, or nothing will be any more."""
        watchers, self._watchers = self._watchers, []
        for future in watchers:
            fulfil(future, None)


def _see(pending: asyncio.Future[ExecutionRow | None]) -> None:
    """Take note of an error, so that asyncio does not report it as lost."""
    if not pending.cancelled():
        pending.exception()


class SilentJournal(Journal):
    """Counts events and stores nothing: an Express execution has no history and does not outlive its engine."""

    __slots__ = ()

    def record(
        self,
        type: str,
        previous: int,
        at: float,
        name: str | None = None,
        payload: Payload | None = None,
        extra: Mapping[str, Json] | None = None,
        assigned: Mapping[str, Payload] | None = None,
    ) -> int:
        self.last_id += 1
        return self.last_id

    def touch(self, frame: Frame) -> None: ...

    async def barrier(self) -> None: ...

    def flush(self) -> None: ...

    async def finish(self, final: Final) -> None: ...


def history_full(limit: int) -> StateFailed:
    return StateFailed(
        "States.Runtime",
        f"The execution reached the maximum number of history events ({limit}).",
        prefixed=False,
    )
