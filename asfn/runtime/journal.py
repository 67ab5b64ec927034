"""The journal of one execution: events and changed frames, made durable together.

`record` is synchronous and never waits; `barrier` makes everything recorded so far durable, in one commit. It encodes
at the call, so what is committed is what stood there. The writer owns the commit: a branch that is cancelled while it
waits takes nothing of its siblings' with it (DESIGN, trap 1). A journal at rest holds no empty containers: there may
be a hundred thousand of them.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Protocol

from asfn.errors import StateFailed
from asfn.runtime.clock import fulfil
from asfn.runtime.frames import Frame, frame_row
from asfn.runtime.history import OpenSegment
from asfn.store.records import Progress, Redrive, TokenChanges

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from contextvars import Context

    from asfn._json import Json, Payload
    from asfn.store.records import ActivityTaskRow, Commit, ExecutionRow, Final, Segment, TokenRow
    from asfn.store.writer import Answer


class CommitQueue(Protocol):
    """Takes commits and says when each is durable; `store.writer.Writer` is one."""

    def submit(self, commit: Commit) -> asyncio.Future[ExecutionRow | None]: ...

    def hand_over(self, commit: Commit, answer: Answer) -> None: ...


class Barrier:
    """One commit on its way, and the branches that wait for it; the writer answers it like a future.

    answer: what the store answers for the commit.   error: why it will never be durable.

    It is cheaper than a future that is shielded for each who waits: nothing is scheduled but their going on.
    """

    __slots__ = ("_callback", "_done", "_journal", "_segment", "_waiters", "answer", "error")

    def __init__(self, journal: Journal | None = None, segment: Segment | None = None) -> None:
        self._journal = journal
        self._segment = segment
        self._done = False
        self.error: BaseException | None = None
        self.answer: ExecutionRow | None = None
        self._callback: tuple[Callable[[Barrier], None], Context] | None = None
        self._waiters: list[asyncio.Future[None]] | None = None

    async def wait(self) -> bool:
        """Return when the commit is durable, and whether that took a turn; raises why it never will be.

        Cancelling this changes nothing for the commit.
        """
        waits = not self._done
        if waits:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if self._waiters is None:
                self._waiters = [waiter]
            else:
                self._waiters.append(waiter)
            await waiter
        if self.error is not None:
            raise self.error
        return waits

    def then(self, callback: Callable[[Barrier], None]) -> None:
        """Call back, in a turn of its own, once the commit is durable or has failed: `error` says why."""
        self._callback = callback, copy_context()
        if self._done:
            self._tell()

    def done(self) -> bool:
        return self._done

    def set_result(self, answer: ExecutionRow | None) -> None:
        self._done = True
        self.answer = answer
        if self._journal is not None:
            self._journal.committed(self, self._segment)
        self._tell()

    def set_exception(self, error: BaseException) -> None:
        self._done = True
        self.error = error
        if self._journal is not None:
            self._journal.wake_watchers()
        self._tell()

    def cancel(self) -> bool:
        self.set_exception(asyncio.CancelledError())
        return True

    def _tell(self) -> None:
        if self._callback is not None:
            callback, context = self._callback
            asyncio.get_running_loop().call_soon(callback, self, context=context)
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            fulfil(waiter, None)


class Journal:
    """Collects what one execution does until the next barrier.

    limit: the number of events a history may hold; the last one is reserved for the end of the execution.
    open_tokens: the tokens that tasks of this execution wait for.   parked: it has been let go.
    """

    __slots__ = (
        "_changed",
        "_dropped",
        "_limit",
        "_pending",
        "_queue",
        "_segment",
        "_tokens",
        "_watchers",
        "key",
        "last_id",
        "open_tokens",
        "parked",
    )

    def __init__(self, key: int, queue: CommitQueue, limit: int, last_id: int = 0) -> None:
        self.key = key
        self.last_id = last_id
        self.open_tokens: Collection[str] = ()  # a set, once there are any
        self.parked = False
        self._queue = queue
        self._limit = limit
        self._segment: OpenSegment | None = None
        self._changed: dict[Frame, None] | None = None
        self._dropped: list[str] | None = None
        self._tokens: TokenChanges | None = None
        self._pending: Barrier | None = None
        self._watchers: list[asyncio.Future[None]] | None = None

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
        segment = self._segment
        if segment is None:
            segment = self._segment = OpenSegment(id)
        segment.add(type, previous, at, name, payload, extra, assigned)
        return id

    def touch(self, frame: Frame) -> None:
        """The frame has changed: the next barrier stores it."""
        if self._changed is None:
            self._changed = {frame: None}
        else:
            self._changed[frame] = None

    def forget(self, frame: Frame) -> None:
        """The frame is settled and its row, if any, is dropped otherwise."""
        if self._changed is not None:
            self._changed.pop(frame, None)

    def drop(self, path: str) -> None:
        """The next barrier deletes the rows of this path and of everything below it."""
        if self._dropped is None:
            self._dropped = [path]
        else:
            self._dropped.append(path)

    # --- tokens ----------------------------------------------------------------------------------------------------

    def expect_token(self, token: str) -> None:
        """This token is open in the store already."""
        if not isinstance(self.open_tokens, set):
            self.open_tokens = set()
        self.open_tokens.add(token)

    def forget_token(self, token: str) -> None:
        """This token has been closed before."""
        if isinstance(self.open_tokens, set):
            self.open_tokens.discard(token)

    def open_token(self, row: TokenRow, work: ActivityTaskRow | None = None) -> None:
        """The next barrier makes a token known, and puts work into its activity's queue."""
        self.expect_token(row.token)
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
            self.forget_token(token)
            self._token_changes().closed.append((token, at))

    def _token_changes(self) -> TokenChanges:
        if self._tokens is None:
            self._tokens = TokenChanges()
        return self._tokens

    # --- commits ---------------------------------------------------------------------------------------------------

    @property
    def events_waiting(self) -> int:
        """Events recorded since the last barrier."""
        return len(self._segment) if self._segment is not None else 0

    async def barrier(self) -> bool:
        """Return when everything recorded before the call is durable, and whether others had a turn meanwhile."""
        pending = self._hand_over(None)
        return pending is not None and await pending.wait()

    def flush(self) -> None:
        """Hand over what was recorded, without waiting. Whoever waits for a later barrier learns of its failure."""
        self._hand_over(None)

    def finish(self, final: Final) -> Barrier | None:
        """The last barrier: events, final status, and the end of all tokens in one commit. None: nothing is stored."""
        for token in list(self.open_tokens):
            self.close_token(token, final.stopped_at)
        return self._hand_over(final)

    def redrive(self, row: ExecutionRow) -> asyncio.Future[ExecutionRow | None]:
        """Hand over everything recorded and touched so far as what sets an ended execution going again; its frames
        replace all that are stored. The future gives what `Redrive` says.
        """
        self._dropped = [""]
        progress = self._progress(None)
        return self._submit(Redrive(row, progress), progress.segment)

    def park(self, wake_at: float) -> asyncio.Future[ExecutionRow | None]:
        """Hand over everything recorded so far as what the execution stands at while nobody runs it, until `wake_at`.

        The future is done when that is durable. From now on this journal takes nothing: its barriers never return.
        """
        progress = self._progress(None)
        progress.parked, progress.wake_at = True, wake_at
        self.parked = True
        return self._submit(progress, progress.segment)

    def hold(self, paused: bool) -> asyncio.Future[ExecutionRow | None]:
        """A future that is done when it is durable that the execution is paused, or is not any more."""
        return self._queue.submit(Progress(self.key, paused=paused))

    @property
    def watched(self) -> bool:
        """Whether somebody waits for the next commit."""
        return self._watchers is not None and any(not watcher.done() for watcher in self._watchers)

    def watch(self) -> asyncio.Future[None]:
        """A future that is done after the next commit of this journal."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._watchers is None:
            self._watchers = []
        self._watchers.append(future)
        return future

    def committed(self, barrier: Barrier | None, segment: Segment | None) -> None:
        """A commit of this journal is durable. barrier: it, when branches may wait for it.   segment: its events."""
        if barrier is self._pending:
            self._pending = None
        if self._watchers is not None:
            self.wake_watchers()

    def wake_watchers(self) -> None:
        """Tell those who watch to look again: something was committed, or nothing will be any more."""
        watchers, self._watchers = self._watchers, None
        for future in watchers or ():
            fulfil(future, None)

    def _hand_over(self, final: Final | None) -> Barrier | None:
        """Submit what has come together; None, when there is nothing, and nothing is on its way either."""
        if self.parked:
            return Barrier()
        if self._segment is None and not self._changed and not self._dropped and not self._tokens and final is None:
            return self._pending
        progress = self._progress(final)
        barrier = self._pending = Barrier(self, progress.segment)
        self._queue.hand_over(progress, barrier)
        return barrier

    def _submit(self, commit: Commit, segment: Segment | None) -> asyncio.Future[ExecutionRow | None]:
        pending = self._queue.submit(commit)
        pending.add_done_callback(partial(self._submitted, segment))
        return pending

    def _submitted(self, segment: Segment | None, pending: asyncio.Future[ExecutionRow | None]) -> None:
        if pending.cancelled() or pending.exception() is not None:
            self.wake_watchers()
        else:
            self.committed(None, segment)

    def _progress(self, final: Final | None) -> Progress:
        """Everything recorded so far, as one commit."""
        segment, changed, dropped, tokens = self._segment, self._changed, self._dropped, self._tokens
        self._segment = self._changed = self._dropped = self._tokens = None
        succeeded = final is not None and final.status == "SUCCEEDED"
        return Progress(
            self.key,
            segment.close() if segment is not None else None,
            [frame_row(frame) for frame in changed] if changed and not succeeded else (),
            dropped if dropped is not None else (),
            final,
            tokens=tokens,
        )


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

    async def barrier(self) -> bool:
        return False

    def flush(self) -> None: ...

    def finish(self, final: Final) -> Barrier | None:
        return None


def history_full(limit: int) -> StateFailed:
    return StateFailed(
        "States.Runtime",
        f"The execution reached the maximum number of history events ({limit}).",
        prefixed=False,
    )
