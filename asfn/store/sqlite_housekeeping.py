"""Purge and archives in the SQLite file; the contract is `asfn.store.protocol.Housekeeping`.

Statements stand in sql/housekeeping.sql. A purge takes an execution's row first, so that nobody ever sees half of it,
and leaves its key in `purged` until its other rows are gone, a few at a time: whoever dies meanwhile leaves a clear
state, and the next sweep goes on.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asfn._json import encode
from asfn.store.queries import load, named
from asfn.store.records import ActivityTaskRow, FinishedRow, TokenRow
from asfn.store.sqlite_mailbox import SqliteMailbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asfn.store.records import Archive, ExecutionStatus, Message
    from asfn.store.sqlite_file import Transaction

_SQL: Final = named(load("housekeeping.sql"))
_SWEEPS: Final = tuple(name for name in _SQL if name.startswith("sweep_"))
_GRAVES: Final = 100
_PAYLOAD_WEIGHT: Final = 8  # a payload may be large: to delete one takes as long as to delete so many other rows
_DEFINITIONS: Final = 100


class SqliteHousekeeping(SqliteMailbox):
    """The part of `SqliteStore` that tidies up."""

    async def machines_of_executions(self) -> list[str]:
        """ARNs of the state machines that executions name, registered or not."""
        return [arn for (arn,) in await self._file.rows(_SQL["select_machines_of_executions"], {})]

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
        parameters = {
            "state_machine_arn": state_machine_arn,
            "status": status,
            "before": before,
            "after_at": after[0],
            "after_key": after[1],
            "limit": limit,
        }
        return [FinishedRow(*row) for row in await self._file.rows(_SQL["select_finished"], parameters)]

    async def bury(self, keys: Sequence[int], before: float) -> int:
        """Make executions disappear that have ended before a moment; how many did."""
        return await self._file.transaction(partial(_bury, keys, before))

    async def sweep(self, limit: int) -> int:
        """Delete at most `limit` rows of buried executions; how many were, 0 when nothing is left."""
        if not await self._file.rows(_SQL["select_buried"], {"limit": 1}):
            return 0
        return await self._file.transaction(partial(_sweep, limit))

    async def forget_definitions(self, now: float, grace_seconds: float) -> int:
        """Mark definitions that nobody uses, and delete at most a hundred that were marked long enough ago."""
        return await self._file.transaction(partial(_forget_definitions, now, grace_seconds))

    def _archived_mail(
        self, snapshot: Transaction, key: int
    ) -> tuple[list[TokenRow], list[ActivityTaskRow], list[Message]]:
        tokens = self._unsealed(snapshot.rows(_SQL["select_tokens_of_execution"], {"key": key}), 5)
        work = self._unsealed(snapshot.rows(_SQL["select_work_of_execution"], {"key": key}), 3)
        messages = self._opened(snapshot.rows(_SQL["select_messages_of_execution"], {"key": key}))
        return [TokenRow(*row) for row in tokens], [ActivityTaskRow(*row) for row in work], messages

    def _has_tokens(self, transaction: Transaction, tokens: Sequence[TokenRow]) -> bool:
        wanted: list[Any] = [row.token for row in tokens]
        return bool(wanted and transaction.rows(_SQL["select_tokens_taken"], {"tokens": encode(wanted)}))

    def _put_mail(self, transaction: Transaction, archive: Archive) -> None:
        key = archive.row.key
        takers = {row.token: (row.worker_name, row.taken_at) for row in archive.tokens}
        tokens = [
            (row.token, key, row.path, row.created_at, row.state, row.outcome, row.heartbeat_at, row.settled_at)
            for row in archive.tokens
        ]
        work = [
            (row.token, row.activity_arn, key, row.input, row.scheduled_at, *takers[row.token]) for row in archive.work
        ]
        messages = [(key, message.kind, message.body, message.at) for message in archive.messages]
        sealing = self._file.sealing
        if sealing is not None:
            tokens, work = sealing.seal_rows(tokens, 5), sealing.seal_rows(work, 3)
            messages = sealing.seal_rows(messages, 2)
        transaction.many(_SQL["insert_archived_token"], tokens)
        transaction.many(_SQL["insert_archived_work"], work)
        transaction.many(_SQL["insert_archived_message"], messages)


def _bury(keys: Sequence[int], before: float, transaction: Transaction) -> int:
    parameters = {"keys": encode([*keys]), "before": before}
    buried = [key for (key,) in transaction.rows(_SQL["bury_executions"], parameters)]
    transaction.rows(_SQL["delete_executions"], {"keys": encode([*buried])})
    return len(buried)


def _sweep(limit: int, transaction: Transaction) -> int:
    graves = [key for (key,) in transaction.rows(_SQL["select_buried"], {"limit": min(limit, _GRAVES)})]
    keys = encode([*graves])
    deleted, left = 0, limit
    for name in _SWEEPS:
        weight = _PAYLOAD_WEIGHT if name == "sweep_payloads" else 1
        rows = len(transaction.rows(_SQL[name], {"keys": keys, "limit": max(left // weight, 1)}))
        deleted += rows
        left -= rows * weight
        if left <= 0:
            return deleted
    transaction.rows(_SQL["delete_buried"], {"keys": keys})
    return deleted + len(graves)


def _forget_definitions(now: float, grace_seconds: float, transaction: Transaction) -> int:
    transaction.rows(_SQL["unmark_used_definitions"])
    transaction.rows(_SQL["mark_unused_definitions"], {"now": now})
    parameters = {"since": now - grace_seconds, "limit": _DEFINITIONS}
    digests = [digest for (digest,) in transaction.rows(_SQL["select_unused_definitions"], parameters)]
    for name in ("delete_definitions", "delete_unused_marks"):
        transaction.rows(_SQL[name], {"digests": encode([*digests])})
    return len(digests)
