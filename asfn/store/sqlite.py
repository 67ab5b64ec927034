"""The store in one SQLite file: rows in and out, in the words of `protocol.py`.

What a group changes is decided in group.py, how texts are kept in packing.py, connections and transactions in
sqlite_file.py, reading executions in sqlite_executions.py; every statement stands in sql/queries.sql.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asfn._json import JsonError, Payload, encode
from asfn.errors import StoreError
from asfn.store.group import Group, Standing, plan_group, wanted
from asfn.store.packing import PayloadRows, digests, members, payloads
from asfn.store.queries import load, named
from asfn.store.records import Archive, FrameRow, Segment, Standpoint, StateMachineRow
from asfn.store.sqlite_executions import SELECT_EXECUTIONS
from asfn.store.sqlite_file import SqliteFile
from asfn.store.sqlite_mailbox import write_tokens
from asfn.store.sqlite_ownership import SqliteOwnership

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from asfn.store.codec import Codec, Sealing
    from asfn.store.packing import Members
    from asfn.store.records import Commit, EngineRow, ExecutionRow
    from asfn.store.records import Final as FinalRow
    from asfn.store.sqlite_file import Transaction

_SQL: Final = named(load("queries.sql"))


class SqliteStore(SqliteOwnership):
    """Durable state in the SQLite file at `path`; the contract is `asfn.store.protocol.Store`.

    off_loop: makes the context entered while SQLite's threads work; a loop with virtual time holds its
    clock in it. codec: through which everything goes that executions leave; see `asfn.store.codec.Codec`.
    Several processes may open one file; each commit is on the disk (WAL, synchronous=FULL) when `apply`
    returns.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        off_loop: Callable[[], AbstractContextManager[object]] = nullcontext,
        codec: Codec | None = None,
    ) -> None:
        super().__init__(SqliteFile(path, off_loop=off_loop, codec=codec))

    async def open(self) -> None:
        """Connect, create or migrate the file. Raises StoreError for a file that is not asfn's, is newer, or
        was written with another codec.
        """
        await self._file.open()

    async def close(self) -> None:
        """Disconnect, after the transaction that is running."""
        await self._file.close()

    async def apply(self, engine: EngineRow, commits: Sequence[Commit]) -> list[ExecutionRow | None]:
        """Write all commits in one transaction. Raises EngineFenced, CommitRefused; then nothing was
        written.
        """
        if not commits:
            return []
        return await self._file.transaction(partial(self._apply, engine, commits))

    def _apply(
        self, engine: EngineRow, commits: Sequence[Commit], transaction: Transaction
    ) -> list[ExecutionRow | None]:
        has_messages = self._check_epoch(transaction, engine)
        starts, keys = wanted(commits)
        holders = self._holders(transaction, starts) if starts else []
        standings = self._standings(transaction, keys) if keys else {}
        group = plan_group(engine.id, commits, standings, holders)
        _write(transaction, group, self._file.sealing)
        if has_messages and group.finals:
            ended: list[Any] = [key for key, _ in group.finals]
            transaction.rows(_SQL["delete_messages_of"], {"keys": encode(ended)})
        return group.answers

    async def put_definition(self, digest: str, text: str) -> None:
        """Keep a definition's text under its digest; one that is there already is left as it is."""

        def put(transaction: Transaction) -> None:
            transaction.rows(_SQL["insert_definition"], {"digest": digest, "text": text})
            transaction.rows(_SQL["unmark_definition"], {"digest": digest})

        await self._file.transaction(put)

    async def definition(self, digest: str) -> str | None:
        """The text of a definition, None when there is none."""
        rows = await self._file.rows(_SQL["select_definition"], {"digest": digest})
        return rows[0][0] if rows else None

    async def put_state_machine(self, row: StateMachineRow) -> None:
        """Insert or replace by ARN."""
        parameters = {name: getattr(row, name) for name in StateMachineRow.__struct_fields__}
        await self._file.write(_SQL["upsert_state_machine"], parameters)
        if row.max_concurrent_executions is not None:
            await self._count_begun(row.arn)

    async def delete_state_machine(self, arn: str) -> None:
        """Delete the registration; definitions and executions stay."""
        await self._file.write(_SQL["delete_state_machine"], {"arn": arn})

    async def state_machine(self, arn: str) -> StateMachineRow | None:
        """The registration of an ARN, None when there is none."""
        rows = await self._file.rows(_SQL["select_state_machine"], {"arn": arn})
        return StateMachineRow(*rows[0]) if rows else None

    async def state_machines(self) -> list[StateMachineRow]:
        """All registrations, by name."""
        return [StateMachineRow(*row) for row in await self._file.rows(_SQL["select_state_machines"])]

    async def frames(self, key: int) -> list[FrameRow]:
        """All live frames of an execution, in no order."""
        return await self._file.read(partial(self._frames, key))

    async def last_event_id(self, key: int) -> int:
        """The id of the last committed event of an execution, 0 when there is none."""
        rows = await self._file.rows(_SQL["select_last_event_id"], {"key": key})
        return int(rows[0][0]) if rows else 0

    async def standpoints(self, keys: Sequence[int]) -> dict[int, Standpoint]:
        """Where each of these executions stands, by key. One by one, they were measured to cost 20 times more."""
        return await self._file.read(partial(self._standpoints, keys))

    def _standpoints(self, keys: Sequence[int], snapshot: Transaction) -> dict[int, Standpoint]:
        parameters = {"keys": encode([*keys])}
        last_ids = snapshot.rows(_SQL["select_last_event_ids"], parameters)
        found = {key: Standpoint([], last_id) for key, last_id in last_ids}
        rows: dict[int, list[Sequence[Any]]] = {}
        for row in self._unsealed(snapshot.rows(_SQL["select_frames_of"], parameters), 2, 3):
            rows.setdefault(row[0], []).append(row)
        for key, of_key in rows.items():
            unpacked = self._unpack(snapshot, key, [row[3] for row in of_key])
            found[key].frames += [FrameRow(row[1], row[2], texts) for row, texts in zip(of_key, unpacked, strict=True)]
        return found

    async def segments(self, key: int, *, after_id: int = 0, limit: int = 100) -> list[Segment]:
        """The segments that hold events with an id above after_id, in order, at most `limit` of them."""
        return await self._file.read(partial(self._segments, key, after_id, limit))

    async def archive(self, arn: str) -> Archive | None:
        """Everything of one execution, as it stood at one moment; None when there is none of this ARN."""
        return await self._file.snapshot(partial(self._archive, arn))

    def _archive(self, arn: str, snapshot: Transaction) -> Archive | None:
        rows = snapshot.rows(f"{SELECT_EXECUTIONS} WHERE x.arn = :arn", {"arn": arn})
        if not rows:
            return None
        [row] = self._executions(rows)
        texts = snapshot.rows(_SQL["select_definition"], {"digest": row.digest})
        if not texts:
            raise StoreError(f"{self.path} is damaged: the definition of {arn} is missing; restore a copy")
        return Archive(
            row,
            texts[0][0],
            self._segments(row.key, 0, -1, snapshot),
            self._frames(row.key, snapshot),
            *self._archived_mail(snapshot, row.key),
        )

    async def restore(self, archive: Archive) -> bool:
        """Insert everything of an execution under the key its rows have, in one transaction; False, and nothing
        happens, when its ARN or one of its tokens is there already.
        """
        return await self._file.transaction(partial(self._restore, archive))

    def _restore(self, archive: Archive, transaction: Transaction) -> bool:
        row = archive.row
        if self._holders(transaction, [row]) or self._has_tokens(transaction, archive.tokens):
            return False
        transaction.rows(_SQL["insert_definition"], {"digest": row.digest, "text": archive.definition})
        transaction.rows(_SQL["unmark_definition"], {"digest": row.digest})
        group = Group(
            starts=[row],
            segments=[(row.key, segment) for segment in archive.segments],
            frames={row.key: {frame.path: frame for frame in archive.frames}},
        )
        _write(transaction, group, self._file.sealing)
        self._put_mail(transaction, archive)
        return True

    def _frames(self, key: int, snapshot: Transaction) -> list[FrameRow]:
        rows = self._unsealed(snapshot.rows(_SQL["select_frames"], {"key": key}), 1, 2)
        unpacked = self._unpack(snapshot, key, [row[2] for row in rows])
        return [FrameRow(row[0], row[1], texts) for row, texts in zip(rows, unpacked, strict=True)]

    def _segments(self, key: int, after_id: int, limit: int, snapshot: Transaction) -> list[Segment]:
        parameters = {"key": key, "after_id": after_id, "limit": limit}
        rows = self._unsealed(snapshot.rows(_SQL["select_segments"], parameters), 2, 3)
        unpacked = self._unpack(snapshot, key, [row[3] for row in rows])
        return [Segment(row[0], row[1], row[2], texts) for row, texts in zip(rows, unpacked, strict=True)]

    def _holders(self, transaction: Transaction, starts: Sequence[ExecutionRow]) -> list[ExecutionRow]:
        """Stored executions that hold an ARN or a key that one of `starts` wants; as a rule there are
        none.
        """
        sql = (
            f"{SELECT_EXECUTIONS} WHERE x.arn IN (SELECT value FROM json_each(:arns))"
            " OR x.key IN (SELECT value FROM json_each(:keys))"
        )
        arns: list[Any] = [row.arn for row in starts]
        keys: list[Any] = [row.key for row in starts]
        return self._executions(transaction.rows(sql, {"arns": encode(arns), "keys": encode(keys)}))

    def _standings(self, transaction: Transaction, keys: Iterable[int]) -> dict[int, Standing]:
        rows = transaction.rows(_SQL["select_standings"], {"keys": encode([*keys])})
        return {key: Standing(status, owner, last_id or 0) for key, status, owner, last_id in rows}

    def _unpack(self, snapshot: Transaction, key: int, columns: Sequence[str | None]) -> list[list[Payload]]:
        """The payloads of `texts` columns; those of one digest are one object."""
        unpacked: list[Members] = [members(column) for column in columns]
        large: dict[str, Payload] = {}
        wanted_digests = digests(unpacked)
        try:
            if wanted_digests:
                parameters = {"key": key, "digests": encode([*wanted_digests])}
                rows = self._unsealed(snapshot.rows(_SQL["select_payloads"], parameters), 1)
                large = {digest: Payload.parse(text) for digest, text in rows}
            return [payloads(column, large) for column in unpacked]
        except (JsonError, KeyError) as error:
            raise self._damaged(f"execution {key}") from error


def _write(transaction: Transaction, group: Group, sealing: Sealing | None) -> None:
    """Write the changes of a group. Payloads stand before what refers to them; drops before frames."""
    large = PayloadRows(sealing.digest if sealing is not None else None)
    starts = [_start_parameters(row, large) for row in group.starts]
    attributes = [
        (name, value, row.started_at, row.key) for row in group.starts for name, value in row.attributes.items()
    ]
    segments = [
        (key, segment.first_id, segment.last_id, segment.body, large.texts(key, segment.texts))
        for key, segment in group.segments
    ]
    frames = [
        (key, frame.path, frame.body, large.texts(key, frame.texts))
        for key, frames in group.frames.items()
        for frame in frames.values()
    ]
    finals = [_final_parameters(key, final, large) for key, final in group.finals]
    if sealing is not None:
        large.rows = sealing.seal_rows(large.rows, 2)
        starts = sealing.seal_rows(starts, 7, 12, 14, 15)
        segments = sealing.seal_rows(segments, 3, 4)
        frames = sealing.seal_rows(frames, 2, 3)
        finals = sealing.seal_rows(finals, 2, 4, 5)
    transaction.many(_SQL["insert_payload"], large.rows)
    transaction.many(_SQL["insert_execution"], starts)
    transaction.many(_SQL["insert_attribute"], attributes)
    redrives = [
        (row.key, row.redrive_count, row.redriven_at, row.owner, _redrive_tokens(row)) for row in group.redrives
    ]
    transaction.many(_SQL["redrive_execution"], redrives)
    transaction.many(_SQL["insert_segment"], segments)
    transaction.many(_SQL["delete_frames"], [(key,) for key, path in group.drops if not path])
    transaction.many(_SQL["delete_frames_below"], [drop for drop in group.drops if drop[1]])
    transaction.many(_SQL["upsert_frame"], frames)
    write_tokens(transaction, group.tokens, sealing)
    transaction.many(_SQL["finish_execution"], finals)
    transaction.many(_SQL["park_execution"], group.parks)
    transaction.many(_SQL["pause_execution"], group.pauses)


def _start_parameters(row: ExecutionRow, large: PayloadRows) -> tuple[Any, ...]:
    return (
        *(row.key, row.arn, row.name, row.state_machine_arn, row.digest, row.type, row.role_arn),
        *large.column(row.key, row.input),
        *(row.started_at, row.status, row.stopped_at),
        *large.column(row.key, row.output),
        *(row.error, row.cause, row.failed_state, row.redrive_count, row.redriven_at, row.owner, row.wake_at),
        *(row.paused, _redrive_tokens(row)),
        *(row.priority, -row.priority if row.queued else None, row.state_machine_arn),
    )


def _redrive_tokens(row: ExecutionRow) -> str | None:
    return encode([[token, at] for token, at in row.redrive_tokens]) if row.redrive_tokens else None


def _final_parameters(key: int, final: FinalRow, large: PayloadRows) -> tuple[Any, ...]:
    output = large.column(key, final.output)
    return (final.status, final.stopped_at, *output, final.error, final.cause, final.failed_state, key)
