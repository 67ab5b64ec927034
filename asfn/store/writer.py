"""Group commit above any store: whatever was submitted while one transaction ran goes into the next.

The writer owns the commits. Who submitted one only waits for it, and may be cancelled without harm to the
commit, or to those that share its transaction. Nothing here waits for time to pass: a group is whatever is
there.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from asfn.errors import EngineClosed, EngineFenced, StoreError
from asfn.store.protocol import CommitRefused
from asfn.store.records import Redrive, Start
from asfn.store.shield import to_the_end

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asfn.store.protocol import Store
    from asfn.store.records import Commit, EngineRow, ExecutionRow
    from asfn.store.records import Final as FinalRow

GROUP_COMMITS: Final = 1_000
GROUP_BYTES: Final = 8 * 1024 * 1024
QUEUE_COMMITS: Final = 4_000


class Answer(Protocol):
    """Whoever is told how a commit went: a future, or something cheaper that has these of its methods."""

    def done(self) -> bool:
        """Whether it was told, or does not care any more."""

    def set_result(self, answer: ExecutionRow | None, /) -> None:
        """The commit is durable, and this is what `Store.apply` answers for it."""

    def set_exception(self, error: BaseException, /) -> None:
        """The commit was not written, and this is why."""

    def cancel(self) -> bool:
        """The commit was not written: the writing was cancelled."""


class Submitted(NamedTuple):
    """A commit in the writer's hands. number: of its submission.   answer: tells its submitter how it
    went.
    """

    number: int
    commit: Commit
    answer: Answer


class Writer:
    """Writes the commits of one engine, in the order they were submitted.

    `run` is the loop that writes; it ends after `close`, when everything is written, or when the engine is
    fenced. fenced: set once another engine took over; from then on every commit fails with EngineFenced.
    """

    def __init__(
        self,
        store: Store,
        engine: EngineRow,
        *,
        group_commits: int = GROUP_COMMITS,
        group_bytes: int = GROUP_BYTES,
        queue_commits: int = QUEUE_COMMITS,
    ) -> None:
        self.fenced = asyncio.Event()
        self._store = store
        self._engine = engine
        self._group_commits = group_commits
        self._group_bytes = group_bytes
        self._queue_commits = queue_commits
        self._queue: deque[Submitted] = deque()
        self._in_flight: Sequence[Submitted] = ()
        self._submissions = 0
        self._running = False
        self._closing = False
        self._ended: EngineFenced | EngineClosed | None = None  # why nothing is written any more
        self._wake: asyncio.Future[None] | None = None  # `run` waits here for a submission
        self._waiters: list[asyncio.Future[None]] = []  # others wait here for the end of a group

    @property
    def full(self) -> bool:
        """Whether so much is queued that those who can wait should: see `room`. `submit` takes commits all
        the same.
        """
        return len(self._queue) >= self._queue_commits

    def submit(self, commit: Commit) -> asyncio.Future[ExecutionRow | None]:
        """Hand over a commit. The future is done when the commit is durable, with what `Store.apply`
        answers for it.

        Its error is EngineFenced, StoreError when the store refused the whole transaction, CommitRefused or
        a ValueError when the commit itself cannot be written, EngineClosed after the end. A commit that
        failed was not written, and those of its execution that were queued behind it fail with it: no
        history gets a hole. Cancelling the future changes nothing for the commit.
        """
        answer: asyncio.Future[ExecutionRow | None] = asyncio.get_running_loop().create_future()
        self.hand_over(commit, answer)
        return answer

    def hand_over(self, commit: Commit, answer: Answer) -> None:
        """As `submit`, for a commit whose submitter brings along what is to be told of it."""
        if self._ended is not None:
            answer.set_exception(_again(self._ended))
            return
        self._submissions += 1
        self._queue.append(Submitted(self._submissions, commit, answer))
        if self._wake is not None:
            self._wake_up()

    async def room(self) -> None:
        """Wait until the writer is not `full`."""
        while self.full:
            await self._end_of_group()

    async def flush(self) -> None:
        """Wait until everything submitted before this call is written or has failed. Raises nothing for a
        commit.
        """
        last = self._submissions
        while self._oldest() <= last:
            await self._end_of_group()

    async def close(self) -> None:
        """Write what is queued, then end: later commits fail with EngineClosed. Runs the loop itself if
        nobody does.
        """
        self._closing = True
        self._wake_up()
        if not self._running:
            await self.run()
        while self._running:
            await self._end_of_group()

    async def run(self) -> None:
        """Write until closed or fenced. When cancelled, the group being written is finished; the rest fails.

        An Exception of the store goes to the waiters of its group, and the loop goes on.
        """
        if self._running:
            raise RuntimeError("the writer is running already")
        self._running = True
        try:
            while self._ended is None:
                if self._queue:
                    self._in_flight = self._take()
                    await to_the_end(self._write())
                    self._announce()
                elif self._closing:
                    break
                else:
                    await self._submission()
        finally:
            self._running = False
            self._end(EngineClosed("the engine has been left: this commit was not written"))

    def _take(self) -> list[Submitted]:
        """The next group: at least one commit, and no more than the caps allow."""
        group: list[Submitted] = []
        size_bytes = 0
        while self._queue and len(group) < self._group_commits:
            head = self._queue[0]
            try:
                weight = weigh(head.commit)
            except Exception as error:  # whatever is wrong with this commit is not the others' fault
                self._fail_queued({key_of(head.commit)}, error)
                continue
            if group and size_bytes + weight > self._group_bytes:
                break
            size_bytes += weight
            group.append(self._queue.popleft())
        return group

    async def _write(self) -> None:
        """Write the group in flight, without the commits the store finds at fault, and answer its waiters."""
        while self._in_flight:
            group = self._in_flight
            try:
                answers = await self._store.apply(self._engine, [item.commit for item in group])
            except CommitRefused as error:
                self._leave_out(error)
            except EngineFenced as error:
                self._fail_group(error)
                self._end(error)
            except StoreError as error:
                self._fail_group(error)
            except BaseException as error:
                self._fail_group(error)
                if not isinstance(error, Exception):
                    raise
            else:
                self._in_flight = ()
                for item, answer in zip(group, answers, strict=True):
                    if not item.answer.done():
                        item.answer.set_result(answer)

    def _leave_out(self, error: CommitRefused) -> None:
        """Fail the commit at fault and all later ones of its execution; the others stay in flight."""
        guilty = self._in_flight[error.index]
        key = key_of(guilty.commit)
        kept = list(self._in_flight[: error.index])
        for item in self._in_flight[error.index :]:
            if key_of(item.commit) == key:
                _fail(item, error)
            else:
                kept.append(item)
        self._in_flight = kept
        self._fail_queued({key}, error)

    def _fail_group(self, error: BaseException) -> None:
        group, self._in_flight = self._in_flight, ()
        for item in group:
            _fail(item, error)
        self._fail_queued({key_of(item.commit) for item in group}, error)

    def _fail_queued(self, keys: set[int], error: BaseException) -> None:
        """Fail the queued commits of these executions: they follow one that is missing."""
        queue, self._queue = self._queue, deque()
        for item in queue:
            if key_of(item.commit) in keys:
                _fail(item, error)
            else:
                self._queue.append(item)

    def _end(self, error: EngineFenced | EngineClosed) -> None:
        """Write nothing any more; the first reason counts."""
        if self._ended is None:
            self._ended = error
            if isinstance(error, EngineFenced):
                self.fenced.set()
        queue, self._queue = self._queue, deque()
        for item in queue:
            _fail(item, self._ended)
        self._announce()

    def _oldest(self) -> float:
        """Number of the oldest commit that is neither written nor failed; infinite when there is none."""
        if self._in_flight:
            return self._in_flight[0].number
        return self._queue[0].number if self._queue else math.inf

    def _wake_up(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)

    async def _submission(self) -> None:
        self._wake = asyncio.get_running_loop().create_future()
        await self._wake

    def _announce(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _end_of_group(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter


def key_of(commit: Commit) -> int:
    """Key of the execution a commit belongs to."""
    return commit.row.key if isinstance(commit, Start | Redrive) else commit.key


def weigh(commit: Commit) -> int:
    """About how many bytes a commit writes. Prints payloads that were not printed yet.

    Raises ValueError (JsonError among them) for what no store could keep: a value that is not JSON, a lone
    surrogate.
    """
    if isinstance(commit, Start):
        row = commit.row
        size_bytes = _size_bytes(row.arn) + _size_bytes(row.name) + row.input.size_bytes
        return size_bytes + (row.output.size_bytes if row.output is not None else 0)
    if isinstance(commit, Redrive):
        return weigh(commit.progress)
    size_bytes = 0
    if commit.segment is not None:
        size_bytes += _size_bytes(commit.segment.body)
        for payload in commit.segment.texts:
            size_bytes += payload.size_bytes
    for frame in commit.frames:
        size_bytes += _size_bytes(frame.path) + _size_bytes(frame.body)
        for payload in frame.texts:
            size_bytes += payload.size_bytes
    if commit.tokens is not None:
        size_bytes += sum([_size_bytes(task.input) for task in commit.tokens.queued])
    if commit.final is not None:
        size_bytes += _size_of_final(commit.final)
    return size_bytes


def _size_of_final(final: FinalRow) -> int:
    texts = [text for text in (final.error, final.cause, final.failed_state) if text is not None]
    output = final.output
    return sum(map(_size_bytes, texts)) + (output.size_bytes if output is not None else 0)


def _size_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _fail(item: Submitted, error: BaseException) -> None:
    if item.answer.done():
        return
    if isinstance(error, asyncio.CancelledError):
        item.answer.cancel()
    else:
        item.answer.set_exception(_again(error))


def _again(error: BaseException) -> BaseException:
    """The same error for another waiter: one exception raised in many places would collect all their
    tracebacks.
    """
    if not isinstance(error, StoreError | EngineClosed):
        return error
    again = CommitRefused(error.index, str(error)) if isinstance(error, CommitRefused) else type(error)(*error.args)
    again.__cause__ = error.__cause__ or error
    return again
