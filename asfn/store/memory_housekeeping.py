"""Purge and archives in this process's memory; the contract is `asfn.store.protocol.Housekeeping`."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from msgspec.structs import replace

from asfn.store.memory_mailbox import MemoryMailbox
from asfn.store.records import Archive, FinishedRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asfn.store.records import EngineRow, ExecutionStatus, FrameRow, Segment, StateMachineRow


class MemoryHousekeeping(MemoryMailbox):
    """The part of `MemoryStore` that tidies up."""

    _engines: dict[int, EngineRow]
    _definitions: dict[str, str]
    _state_machines: dict[str, StateMachineRow]
    _keys: dict[str, int]
    _frames: dict[int, dict[str, FrameRow]]
    _segments: dict[int, list[Segment]]

    def __init__(self) -> None:
        super().__init__()
        self._unused: dict[str, float] = {}  # digests of definitions that nobody names, and since when

    async def machines_of_executions(self) -> list[str]:
        """ARNs of the state machines that executions name, registered or not."""
        return sorted({row.state_machine_arn for row in self._executions.values()})

    async def finished(
        self,
        state_machine_arn: str,
        status: ExecutionStatus,
        *,
        before: float,
        after: tuple[float, int] = (0.0, 0),
        limit: int = 100,
    ) -> list[FinishedRow]:
        """Executions of a machine that ended so and started before a moment, oldest start first."""
        rows = [
            FinishedRow(row.key, row.started_at, row.stopped_at)
            for row in self._executions.values()
            if row.state_machine_arn == state_machine_arn and row.status == status and row.stopped_at is not None
            if row.started_at < before and (row.started_at, row.key) > after
        ]
        return sorted(rows, key=attrgetter("started_at", "key"))[:limit]

    async def bury(self, keys: Sequence[int], before: float) -> int:
        """Make executions disappear that have ended before a moment, with all they have; how many did."""
        ended = {key for key in keys if self._ended(key, before)}
        for key in ended:
            del self._keys[self._executions.pop(key).arn]
            self._frames.pop(key, None)
            self._segments.pop(key, None)
        if ended:
            self._forget_tokens(ended)
            self._forget_messages(ended)
        return len(ended)

    def _ended(self, key: int, before: float) -> bool:
        row = self._executions.get(key)
        return row is not None and row.status != "RUNNING" and row.stopped_at is not None and row.stopped_at < before

    async def sweep(self, limit: int) -> int:
        """Nothing is left behind in memory."""
        return 0

    async def forget_definitions(self, now: float, grace_seconds: float) -> int:
        """Delete definitions that nobody names, at most a hundred."""
        used = {row.digest for row in self._state_machines.values()}
        used |= {row.digest for row in self._executions.values()}
        self._unused = {digest: self._unused.get(digest, now) for digest in self._definitions if digest not in used}
        due = [digest for digest, at in self._unused.items() if at <= now - grace_seconds or not self._engines][:100]
        for digest in due:
            del self._definitions[digest], self._unused[digest]
        return len(due)

    async def archive(self, arn: str) -> Archive | None:
        """Everything of one execution; None when there is none of this ARN."""
        key = self._keys.get(arn)
        if key is None:
            return None
        row = self._executions[key]
        tokens = [replace(token) for token in self._tokens.values() if token.execution == key]
        return Archive(
            row.copy(),
            self._definitions[row.digest],
            list(self._segments.get(key, ())),
            list(self._frames.get(key, {}).values()),
            sorted(tokens, key=attrgetter("created_at", "token")),
            [replace(work) for work in self._work.values() if work.execution == key],
            [replace(message) for message in self._messages.values() if message.execution == key],
        )

    async def restore(self, archive: Archive) -> bool:
        """Insert everything of an execution; False when its key, its ARN or one of its tokens is there already."""
        row = archive.row
        taken = row.key in self._executions or row.arn in self._keys
        if taken or any(token.token in self._tokens for token in archive.tokens):
            return False
        self._definitions.setdefault(row.digest, archive.definition)
        self._executions[row.key] = row.copy()
        self._roster.enter(self._executions[row.key])
        self._keys[row.arn] = row.key
        self._segments[row.key] = list(archive.segments)
        self._frames[row.key] = {frame.path: frame for frame in archive.frames}
        self._restore_tokens(archive)
        for message in archive.messages:
            self._keep_message(message)
        self._changes += 1
        return True
