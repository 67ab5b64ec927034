"""Tokens, activities and messages in the SQLite file; the contracts are `asfn.store.protocol.Mailbox` and `Messages`.

Statements stand in sql/mailbox.sql. Answers come in groups, so that thousands of them cost few transactions.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from asfn._json import encode
from asfn.store.queries import load, named
from asfn.store.records import ActivityRow, ActivityTaskRow, Message, TokenRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asfn._json import Json
    from asfn.store.codec import Sealing
    from asfn.store.records import EngineRow, Settlement, Taker, TokenChanges
    from asfn.store.sqlite_file import Row, SqliteFile, Transaction

    Settled = tuple[bool, TokenRow | None]

_SQL: Final = named(load("mailbox.sql"))


class SqliteMailbox:
    """The part of `SqliteStore` that tokens, activities and messages are in."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def _unsealed(self, rows: Iterable[Row], *columns: int) -> list[Row]:
        """Rows as they were before the file's codec; the columns that it covers are given."""
        sealing = self._file.sealing
        return list(rows) if sealing is None else sealing.unseal_rows(rows, *columns)

    async def version(self) -> int:
        """SQLite's data_version of the writing connection, which its own commits do not change."""
        return await self._file.data_version()

    def stamp(self) -> tuple[int, int] | None:
        """As long as it stays the same, hardly anybody has written: `version` need not be asked for."""
        return self._file.stamp()

    async def settle_tokens(self, settlements: Sequence[Settlement]) -> list[tuple[bool, TokenRow | None]]:
        """End tokens, one after the other, in one transaction."""
        if not settlements:
            return []
        return await self._file.transaction(partial(_settle, settlements, self._file.sealing))

    async def beat_tokens(self, tokens: Sequence[str], now: float) -> list[TokenRow | None]:
        """Note a sign of life of those that are open. The rows then, None for what is not there."""
        await self._file.write(_SQL["beat_tokens"], {"tokens": encode([*tokens]), "now": now})
        return await self.tokens(tokens)

    async def tokens(self, tokens: Sequence[str]) -> list[TokenRow | None]:
        """The rows of these tokens, None for what is not there."""
        rows = self._unsealed(await self._file.rows(_SQL["select_tokens"], {"tokens": encode([*tokens])}), 5)
        found = {row[0]: TokenRow(*row) for row in rows}
        return [found.get(token) for token in tokens]

    async def token_news(self) -> list[str]:
        """Tokens with an outcome, or with work that was taken and not noted."""
        return [token for (token,) in await self._file.rows(_SQL["select_token_news"])]

    async def put_activity(self, row: ActivityRow) -> ActivityRow:
        """Insert an activity, unless its ARN is there; the row that is."""

        def put(transaction: Transaction) -> ActivityRow:
            parameters = {"arn": row.arn, "name": row.name, "created_at": row.created_at}
            transaction.rows(_SQL["insert_activity"], parameters)
            return ActivityRow(*(transaction.rows(_SQL["select_activity"], {"arn": row.arn}))[0])

        return await self._file.transaction(put)

    async def delete_activity(self, arn: str) -> None:
        """Delete an activity; its queued work stays."""
        await self._file.write(_SQL["delete_activity"], {"arn": arn})

    async def activity(self, arn: str) -> ActivityRow | None:
        """The activity of an ARN, None when there is none."""
        rows = await self._file.rows(_SQL["select_activity"], {"arn": arn})
        return ActivityRow(*rows[0]) if rows else None

    async def activities(self) -> list[ActivityRow]:
        """All activities, by name."""
        return [ActivityRow(*row) for row in await self._file.rows(_SQL["select_activities"])]

    async def take_activity_tasks(self, takers: Sequence[Taker], now: float) -> list[ActivityTaskRow | None]:
        """Give each taker the oldest waiting work of its activity, in one transaction."""
        if not takers:
            return []
        return await self._file.transaction(partial(_take, takers, now, self._file.sealing))

    async def give_back_activity_task(self, token: str) -> None:
        """Put work that a taker never got back into its queue, unless it was noted meanwhile."""
        await self._file.write(_SQL["give_back_activity_task"], {"token": token})

    async def waiting_activity_tasks(self, arns: Sequence[str]) -> dict[str, int]:
        """How much work waits in the queues of these activities."""
        return dict(await self._file.rows(_SQL["count_activity_tasks"], {"arns": encode([*arns])}))

    async def post(self, message: Message) -> int | None:
        """Keep a message, and make its execution due; its id. None when the execution is not RUNNING."""
        return await self._file.transaction(partial(_post, message, self._file.sealing))

    async def messages(self, engine: EngineRow) -> list[Message]:
        """Those for executions that this engine owns, oldest first."""
        return self._opened(await self._file.rows(_SQL["select_messages"], {"owner": engine.id}))

    async def drop_messages(self, ids: Sequence[int]) -> None:
        """Forget messages that were acted on."""
        await self._file.write(_SQL["delete_messages"], {"ids": encode([*ids])})

    async def message(self, id: int) -> Message | None:
        """A message that still stands, None when it does not."""
        found = self._opened(await self._file.rows(_SQL["select_message"], {"id": id}))
        return found[0] if found else None

    def _opened(self, rows: Iterable[Row]) -> list[Message]:
        return [Message(*row) for row in self._unsealed(rows, 2)]


def write_tokens(transaction: Transaction, groups: Sequence[TokenChanges], sealing: Sealing | None) -> None:
    """Write the token changes of a group of commits: none of them settles what a later one opens."""
    if not groups:
        return
    opened = [
        (row.token, row.execution, row.path, row.state, row.created_at) for changes in groups for row in changes.opened
    ]
    queued = [
        (work.token, work.activity_arn, work.execution, work.input, work.scheduled_at)
        for changes in groups
        for work in changes.queued
    ]
    closed = [close for changes in groups for close in changes.closed]
    done = [(token,) for changes in groups for token in changes.noted] + [(token,) for token, _ in closed]
    if sealing is not None:
        queued = sealing.seal_rows(queued, 3)
    transaction.many(_SQL["insert_token"], opened)
    transaction.many(_SQL["insert_activity_task"], queued)
    transaction.many(_SQL["delete_activity_task"], done)
    transaction.many(_SQL["close_token"], closed)


def _settle(settlements: Sequence[Settlement], sealing: Sealing | None, transaction: Transaction) -> list[Settled]:
    answers: list[Settled] = []
    outcome = sealing.seal if sealing is not None else str
    for group in _runs(settlements):
        parameters: list[Json] = [
            [item.token, item.state, outcome(item.outcome), item.at, item.unless_beat_after] for item in group
        ]
        rows = transaction.rows(_SQL["settle_tokens"], {"settlements": encode(parameters)})
        ended = {token for (token,) in rows}
        if ended:
            transaction.rows(_SQL["ring_settled"], {"tokens": encode([*ended])})
        left = [item.token for item in group if item.token not in ended]
        stood = _tokens(transaction, left, sealing) if left else {}
        answers += [(item.token in ended, stood.get(item.token)) for item in group]
    return answers


def _runs(settlements: Iterable[Settlement]) -> list[list[Settlement]]:
    """The settlements in order, cut so that no run has a token twice: one statement cannot settle it in turns."""
    runs: list[list[Settlement]] = [[]]
    seen: set[str] = set()
    for settlement in settlements:
        if settlement.token in seen:
            runs.append([])
            seen.clear()
        seen.add(settlement.token)
        runs[-1].append(settlement)
    return runs


def _tokens(transaction: Transaction, tokens: list[str], sealing: Sealing | None) -> dict[str, TokenRow]:
    rows = transaction.rows(_SQL["select_tokens"], {"tokens": encode([*tokens])})
    if sealing is not None:
        rows = sealing.unseal_rows(rows, 5)
    return {row[0]: TokenRow(*row) for row in rows}


def _take(
    takers: Sequence[Taker], now: float, sealing: Sealing | None, transaction: Transaction
) -> list[ActivityTaskRow | None]:
    taken: list[ActivityTaskRow | None] = []
    empty: set[str] = set()
    for taker in takers:
        rows: list[tuple[object, ...]] = []
        if taker.activity_arn not in empty:
            parameters = {"activity_arn": taker.activity_arn, "worker_name": taker.worker_name, "now": now}
            rows = transaction.rows(_SQL["take_activity_task"], parameters)
        if sealing is not None:
            rows = sealing.unseal_rows(rows, 3)
        if not rows:
            empty.add(taker.activity_arn)
        taken.append(ActivityTaskRow(*rows[0]) if rows else None)  # type: ignore[arg-type]  # SQLite types no columns
    keys: list[Json] = [work.execution for work in taken if work is not None]
    if keys:
        transaction.rows(_SQL["ring"], {"keys": encode(keys), "at": now})
    return taken


def _post(message: Message, sealing: Sealing | None, transaction: Transaction) -> int | None:
    body = message.body if sealing is None else sealing.seal(message.body)
    parameters = {"execution": message.execution, "kind": message.kind, "body": body, "at": message.at}
    rows = transaction.rows(_SQL["insert_message"], parameters)
    if not rows:
        return None
    transaction.rows(_SQL["ring"], {"keys": encode([message.execution]), "at": message.at})
    return int(rows[0][0])
