"""Engines, and which of them runs what, in the SQLite file; the contract is `asfn.store.protocol.Ownership`.

Statements stand in sql/ownership.sql. Each of them reads an index that holds what is asked for and nothing else.
"""

from __future__ import annotations

import math
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from asfn._json import encode
from asfn.errors import EngineFenced, StoreError
from asfn.store.engines import call_roll
from asfn.store.queries import load, named
from asfn.store.records import EngineRow, ExecutionRow
from asfn.store.sqlite_executions import SqliteExecutions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from asfn._json import Json
    from asfn.store.sqlite_file import Row, Transaction

_SQL: Final = named(load("ownership.sql"))
_STEP: Final = 1_000  # executions that one transaction changes, so that no other commit waits long


class SqliteOwnership(SqliteExecutions):
    """The part of `SqliteStore` that knows engines, and who owns, parks and queues what."""

    async def register_engine(self, now: float, lease_seconds: float) -> EngineRow:
        """A new engine row with an id never used before in this file, epoch 1."""
        lease_until = now + lease_seconds
        codec = self._file.codec.name if self._file.codec is not None else None
        parameters = {"lease_until": lease_until, "now": now, "codec": codec}
        rows = await self._file.write(_SQL["insert_engine"], parameters)
        if not rows:
            raise StoreError(f"{self.path} was taken into use with another codec meanwhile: open it with that codec")
        return EngineRow(rows[0][0], 1, lease_until)

    async def renew_engine(self, engine: EngineRow, now: float, lease_seconds: float) -> None:
        """Prolong the lease, in the row and in `engine`. Raises EngineFenced."""
        lease_until = now + lease_seconds
        parameters = {"id": engine.id, "epoch": engine.epoch, "lease_until": lease_until}
        if not await self._file.write(_SQL["renew_engine"], parameters):
            raise self._fenced(engine)
        engine.lease_until = lease_until

    async def retire_engine(self, engine: EngineRow) -> None:
        """Set every execution the engine owns free, some at a time, then delete its row."""

        def disown(transaction: Transaction) -> bool:
            freed = transaction.rows(_SQL["disown_executions"], {"id": engine.id, "limit": _STEP})
            if len(freed) < _STEP:
                transaction.rows(_SQL["delete_engines"], {"ids": encode([engine.id])})
            return len(freed) < _STEP

        while not await self._file.transaction(disown):
            pass

    async def other_engines(self, engine: EngineRow) -> list[EngineRow]:
        """The rows of all other engines, those taken over included until a later claim removes them."""
        rows = [EngineRow(*row) for row in await self._file.rows(_SQL["select_engines"])]
        return [row for row in rows if row.id != engine.id]

    async def claim(
        self, engine: EngineRow, now: float, *, dead: Sequence[int] = (), limit: int = 1_000
    ) -> list[ExecutionRow]:
        """Take over what nobody living owns, oldest first. Raises EngineFenced."""
        return self._readable(await self._file.transaction(partial(self._claim, engine, now, dead, limit)))

    def _claim(
        self, engine: EngineRow, now: float, dead: Sequence[int], limit: int, transaction: Transaction
    ) -> list[Row]:
        self._check_epoch(transaction, engine)
        engines = [EngineRow(*row) for row in transaction.rows(_SQL["select_engines"])]
        roll = call_roll(engines, engine.id, now, dead)
        if roll.fence:
            transaction.rows(_SQL["fence_engines"], {"ids": encode([*roll.fence])})
        if roll.remove:
            transaction.rows(_SQL["delete_engines"], {"ids": encode([*roll.remove])})
        owners = [id_ for (id_,) in transaction.rows(_SQL["select_owners"])]
        gone = encode([id_ for id_ in owners if id_ not in roll.living])
        keys = _keys(transaction.rows(_SQL["select_free"], {"limit": limit}))
        keys += _keys(transaction.rows(_SQL["select_orphans"], {"gone": gone, "limit": limit - len(keys)}))
        rows = self._take_over(transaction, engine, keys)
        return sorted(rows, key=_age)

    async def wake(
        self, engine: EngineRow, now: float, *, keys: Sequence[int] | None = None, limit: int = 1_000
    ) -> list[ExecutionRow]:
        """Take over parked executions that are due, or those of these keys that nobody owns. Raises EngineFenced."""
        sql = _SQL["select_ownerless"]
        parameters: dict[str, Any] = {"keys": encode([*(keys or ())])}
        if keys is None:
            wake_at = await self.next_wake()
            if wake_at is None or wake_at > now:
                return []  # without waiting for another process that writes
            sql, parameters = _SQL["select_due"], {"now": now, "limit": limit}
        return self._readable(await self._file.transaction(partial(self._wake, engine, sql, parameters)))

    def _wake(self, engine: EngineRow, sql: str, parameters: Mapping[str, Any], transaction: Transaction) -> list[Row]:
        self._check_epoch(transaction, engine)
        return self._take_over(transaction, engine, _keys(transaction.rows(sql, parameters)))

    async def next_wake(self) -> float | None:
        """The earliest wake_at of a parked execution; None when none is parked."""
        rows = await self._file.rows(_SQL["select_next_wake"])
        return rows[0][0] if rows else None

    async def admit(self, engine: EngineRow, now: float, *, limit: int) -> list[ExecutionRow]:
        """Take over queued executions whose state machine has room. Raises EngineFenced."""
        if limit <= 0 or not (head := await self._file.rows(_SQL["select_queue_head"])):
            return []  # without waiting for another process that writes
        while head and head[0][0] is not None:  # whoever set a limit died before all was counted
            await self._count_begun(head[0][0])
            head = await self._file.rows(_SQL["select_queue_head"])
        return self._readable(await self._file.transaction(partial(self._admit, engine, limit)))

    def _admit(self, engine: EngineRow, limit: int, transaction: Transaction) -> list[Row]:
        self._check_epoch(transaction, engine)
        rooms: list[Json] = [[arn, room] for arn, room in transaction.rows(_SQL["select_rooms"])]
        parameters = {"rooms": encode(rooms), "limit": limit}
        keys = _keys(transaction.rows(_SQL["select_admissible"], parameters)) if rooms else []
        return self._take_over(transaction, engine, keys)

    async def pause_queued(self, key: int, paused: bool) -> bool:
        """Note whether a queued execution begins paused; False when it is not queued."""
        return bool(await self._file.write(_SQL["pause_queued"], {"key": key, "paused": paused}))

    async def queued_count(self, *, at_most: int | None = None) -> int:
        """How many executions are queued, counted up to `at_most`."""
        return await self._count("count_queued", at_most)

    async def parked_count(self, *, at_most: int | None = None) -> int:
        """How many executions are parked, counted up to `at_most`."""
        return await self._count("count_parked", at_most)

    async def _count(self, name: str, at_most: int | None) -> int:
        [(count,)] = await self._file.rows(_SQL[name], {"limit": -1 if at_most is None else at_most})
        return int(count)

    async def _count_begun(self, arn: str) -> None:
        """Mark what has begun of a machine that got a limit, some at a time, so that no commit waits for all of it."""
        after: tuple[float, int] | None = (-math.inf, 0)
        while after is not None:
            after = await self._file.transaction(partial(_count_some, arn, after))

    def _take_over(self, transaction: Transaction, engine: EngineRow, keys: Sequence[int]) -> list[Row]:
        if not keys:
            return []
        transaction.rows(_SQL["take_over"], {"id": engine.id, "keys": encode([*keys])})
        return self._by_keys(transaction, keys)

    def _check_epoch(self, transaction: Transaction, engine: EngineRow) -> bool:
        """Raise EngineFenced unless the engine's epoch stands. Whether any message is in the file."""
        rows = transaction.rows(_SQL["read_engine_epoch"], {"id": engine.id})
        if not rows or rows[0][0] != engine.epoch:
            raise self._fenced(engine)
        return bool(rows[0][1])

    def _fenced(self, engine: EngineRow) -> EngineFenced:
        return EngineFenced(
            f"another engine took over the executions of engine {engine.id} in {self.path}: "
            "nothing was written; register a new engine"
        )


def _count_some(arn: str, after: tuple[float, int], transaction: Transaction) -> tuple[float, int] | None:
    """One step of counting; where the next one begins, None after the last."""
    if transaction.rows(_SQL["select_counted"], {"arn": arn}) != [(0,)]:
        return None
    parameters = {"arn": arn, "after_at": after[0], "after_key": after[1], "limit": _STEP}
    rows = transaction.rows(_SQL["select_machine_running"], parameters)
    transaction.rows(_SQL["limit_executions"], {"keys": encode([key for key, _ in rows])})
    if len(rows) == _STEP:
        key, started_at = rows[-1]
        return started_at, key
    transaction.rows(_SQL["mark_counted"], {"arn": arn})
    return None


_age = itemgetter(8, 0)  # of a row of `select_executions`: when it started, its key


def _keys(rows: Iterable[Row]) -> list[int]:
    return [key for (key,) in rows]
