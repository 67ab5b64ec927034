"""Tokens, activities and messages in this process's memory; the contracts are `asfn.store.protocol.Mailbox` and
`Messages`.
"""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING

from msgspec.structs import replace

from asfn.store.memory_roster import Roster

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from asfn.store.records import (
        ActivityRow,
        ActivityTaskRow,
        Archive,
        EngineRow,
        ExecutionRow,
        Message,
        Settlement,
        Taker,
        TokenChanges,
        TokenRow,
    )


class MemoryMailbox:
    """The part of `MemoryStore` that tokens, activities and messages are in. No other process sees it."""

    def __init__(self) -> None:
        self._changes = 0
        self._executions: dict[int, ExecutionRow] = {}
        self._roster = Roster()
        self._tokens: dict[str, TokenRow] = {}
        self._news: dict[str, None] = {}  # tokens with an outcome, or with work that was taken and not noted
        self._activities: dict[str, ActivityRow] = {}
        self._work: dict[str, ActivityTaskRow] = {}  # by token: waiting, or taken and not noted
        self._queues: dict[str, dict[str, None]] = {}  # by activity: the tokens of waiting work, oldest first
        self._messages: dict[int, Message] = {}  # by id
        self._last_message = 0
        self._messages_of: dict[int, dict[int, None]] = {}  # by execution: the ids of its messages
        self._tokens_of: dict[int, dict[str, None]] = {}  # by execution: its tokens

    async def version(self) -> int:
        """How often something was written, by whichever engine of this process."""
        return self._changes

    async def settle_tokens(self, settlements: Sequence[Settlement]) -> list[tuple[bool, TokenRow | None]]:
        """End tokens, one after the other."""
        return [self._settle(settlement) for settlement in settlements]

    def _settle(self, settlement: Settlement) -> tuple[bool, TokenRow | None]:
        row = self._tokens.get(settlement.token)
        if row is None:
            return False, None
        since = settlement.unless_beat_after
        beaten = since is not None and row.heartbeat_at is not None and row.heartbeat_at > since
        if row.state != "open" or beaten:
            return False, replace(row)
        row.state, row.outcome, row.settled_at = settlement.state, settlement.outcome, settlement.at
        self._news[row.token] = None
        self._changes += 1
        self._ring(row.execution, settlement.at)
        return True, None

    async def beat_tokens(self, tokens: Sequence[str], now: float) -> list[TokenRow | None]:
        """Note a sign of life of those that are open. The rows then, None for what is not there."""
        for token in tokens:
            row = self._tokens.get(token)
            if row is not None and row.state == "open":
                row.heartbeat_at = max(now, row.heartbeat_at or now)
        return await self.tokens(tokens)

    async def tokens(self, tokens: Sequence[str]) -> list[TokenRow | None]:
        """The rows of these tokens, None for what is not there."""
        return [replace(self._tokens[token]) if token in self._tokens else None for token in tokens]

    async def token_news(self) -> list[str]:
        """Tokens with an outcome, or with work that was taken and not noted."""
        return list(self._news)

    async def put_activity(self, row: ActivityRow) -> ActivityRow:
        """Insert an activity, unless its ARN is there; the row that is."""
        return replace(self._activities.setdefault(row.arn, replace(row)))

    async def delete_activity(self, arn: str) -> None:
        """Delete an activity; its queued work stays."""
        self._activities.pop(arn, None)

    async def activity(self, arn: str) -> ActivityRow | None:
        """The activity of an ARN, None when there is none."""
        row = self._activities.get(arn)
        return replace(row) if row is not None else None

    async def activities(self) -> list[ActivityRow]:
        """All activities, by name."""
        return [replace(row) for row in sorted(self._activities.values(), key=attrgetter("name", "arn"))]

    async def take_activity_tasks(self, takers: Sequence[Taker], now: float) -> list[ActivityTaskRow | None]:
        """Give each taker the oldest waiting work of its activity, None when there is none."""
        return [self._take(taker, now) for taker in takers]

    def _take(self, taker: Taker, now: float) -> ActivityTaskRow | None:
        queue = self._queues.get(taker.activity_arn)
        if not queue:
            return None
        token = next(iter(queue))
        self._leave_queue(taker.activity_arn, token)
        row = self._tokens[token]
        row.worker_name, row.taken_at = taker.worker_name, now
        self._news[token] = None
        self._changes += 1
        self._ring(row.execution, now)
        return replace(self._work[token])

    async def give_back_activity_task(self, token: str) -> None:
        """Put work that a taker never got back into its queue, unless it was noted meanwhile."""
        work = self._work.get(token)
        if work is None:
            return
        self._changes += 1
        row = self._tokens[token]
        row.worker_name = row.taken_at = None
        if row.outcome is None:
            self._news.pop(token, None)
        queue = self._queues.get(work.activity_arn, {})
        self._queues[work.activity_arn] = {token: None, **queue}  # it was the oldest

    async def waiting_activity_tasks(self, arns: Sequence[str]) -> dict[str, int]:
        """How much work waits in the queues of these activities."""
        return dict(Counter({arn: len(self._queues[arn]) for arn in arns if arn in self._queues}))

    async def post(self, message: Message) -> int | None:
        """Keep a message; its id. None when its execution is not RUNNING."""
        row = self._executions.get(message.execution)
        if row is None or row.status != "RUNNING":
            return None
        self._changes += 1
        id_ = self._keep_message(message)
        self._ring(message.execution, message.at)
        return id_

    async def messages(self, engine: EngineRow) -> list[Message]:
        """Those for executions that this engine owns, oldest first."""
        return [
            replace(message)
            for message in self._messages.values()
            if self._executions[message.execution].owner == engine.id
        ]

    async def drop_messages(self, ids: Sequence[int]) -> None:
        """Forget messages that were acted on."""
        self._changes += 1
        for id_ in ids:
            message = self._messages.pop(id_, None)
            if message is None:
                continue
            others = self._messages_of[message.execution]
            del others[id_]
            if not others:
                del self._messages_of[message.execution]

    async def message(self, id: int) -> Message | None:
        """A message that still stands, None when it does not."""
        message = self._messages.get(id)
        return replace(message) if message is not None else None

    def _keep_message(self, message: Message) -> int:
        self._last_message += 1
        kept = replace(message, id=self._last_message)
        self._messages[kept.id] = kept
        self._messages_of.setdefault(kept.execution, {})[kept.id] = None
        return kept.id

    def _forget_messages(self, executions: Collection[int]) -> None:
        for key in executions:
            for id_ in self._messages_of.pop(key, ()):
                del self._messages[id_]

    def _ring(self, key: int, at: float) -> None:
        """A parked execution has something to do from this moment on."""
        row = self._executions.get(key)
        if row is not None and not row.queued and row.wake_at is not None and at < row.wake_at:
            self._roster.leave(row)
            row.wake_at = at
            self._roster.enter(row)

    def _has_news(self, key: int) -> bool:
        return bool(self._messages_of.get(key)) or any(token in self._news for token in self._tokens_of.get(key, ()))

    def _change_tokens(self, changes: TokenChanges) -> None:
        for row in changes.opened:
            self._tokens[row.token] = replace(row)
            self._tokens_of.setdefault(row.execution, {})[row.token] = None
        for work in changes.queued:
            self._work[work.token] = work
            self._queues.setdefault(work.activity_arn, {})[work.token] = None
        for token in changes.noted:
            self._drop_work(token)
        for token, at in changes.closed:
            self._drop_work(token)
            row = self._tokens[token]
            row.state = "closed" if row.state == "open" else row.state
            row.outcome = None
            row.settled_at = at if row.settled_at is None else row.settled_at
            self._news.pop(token, None)

    def _forget_tokens(self, executions: Collection[int]) -> None:
        for token in [token for key in executions for token in self._tokens_of.pop(key, ())]:
            self._drop_work(token)
            del self._tokens[token]
            self._news.pop(token, None)

    def _restore_tokens(self, archive: Archive) -> None:
        for row in archive.tokens:
            self._tokens[row.token] = replace(row)
            self._tokens_of.setdefault(row.execution, {})[row.token] = None
            if row.outcome is not None or row.taken_at is not None:
                self._news[row.token] = None
        for work in archive.work:
            self._work[work.token] = work
            if self._tokens[work.token].taken_at is None:
                self._queues.setdefault(work.activity_arn, {})[work.token] = None

    def _drop_work(self, token: str) -> None:
        work = self._work.pop(token, None)
        if work is None:
            return
        self._leave_queue(work.activity_arn, token)
        row = self._tokens[token]
        row.worker_name = row.taken_at = None
        if row.outcome is None:
            self._news.pop(token, None)

    def _leave_queue(self, arn: str, token: str) -> None:
        queue = self._queues.get(arn)
        if queue is not None:
            queue.pop(token, None)
            if not queue:
                del self._queues[arn]
