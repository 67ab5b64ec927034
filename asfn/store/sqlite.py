"""The store in one SQLite file: rows in and out, in the words of `protocol.py`.

What a group changes is decided in group.py, how texts are kept in packing.py, connections and transactions in
sqlite_file.py, and every statement stands in sql/queries.sql.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from asfn._json import JsonError, Payload, encode
from asfn.errors import EngineFenced, StoreError
from asfn.store.engines import call_roll
from asfn.store.group import Group, Standing, plan_group, wanted
from asfn.store.packing import PayloadRows, digests, members, payloads
from asfn.store.queries import load, named
from asfn.store.records import Archive, EngineRow, ExecutionRow, FrameRow, Segment, StateMachineRow
from asfn.store.sqlite_file import SqliteFile
from asfn.store.sqlite_housekeeping import SqliteHousekeeping
from asfn.store.sqlite_mailbox import write_tokens

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from asfn.store.codec import Codec, Sealing
    from asfn.store.packing import Members
    from asfn.store.records import Commit, ExecutionQuery
    from asfn.store.records import Final as FinalRow
    from asfn.store.sqlite_file import Read, Row, Transaction

_SQL: Final = named(load("queries.sql"))
_decode: Final = msgspec.json.Decoder(dict[str, str]).decode
_decode_redrives: Final = msgspec.json.Decoder(tuple[tuple[str, float], ...]).decode


class SqliteStore(SqliteHousekeeping):
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

    @property
    def path(self) -> str:
        """The file, as it was given."""
        return self._file.path

    async def open(self) -> None:
        """Connect, create or migrate the file. Raises StoreError for a file that is not asfn's, is newer, or
        was written with another codec.
        """
        await self._file.open()

    async def close(self) -> None:
        """Disconnect, after the transaction that is running."""
        await self._file.close()

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
        """Give up every execution the engine owns and delete its row."""

        async def retire(transaction: Transaction) -> None:
            await transaction.rows(_SQL["disown_executions"], {"id": engine.id})
            await transaction.rows(_SQL["delete_engines"], {"ids": encode([engine.id])})

        await self._file.transaction(retire)

    async def other_engines(self, engine: EngineRow) -> list[EngineRow]:
        """The rows of all other engines, those taken over included until a later claim removes them."""
        rows = [EngineRow(*row) for row in await self._file.rows(_SQL["select_engines"])]
        return [row for row in rows if row.id != engine.id]

    async def claim(self, engine: EngineRow, now: float, *, dead: Sequence[int] = ()) -> list[ExecutionRow]:
        """Take over what nobody living owns, oldest first. Raises EngineFenced."""

        async def claim(transaction: Transaction) -> list[Row]:
            await self._check_epoch(transaction, engine)
            engines = [EngineRow(*row) for row in await transaction.rows(_SQL["select_engines"])]
            roll = call_roll(engines, engine.id, now, dead)
            await transaction.rows(_SQL["fence_engines"], {"ids": encode([*roll.fence])})
            await transaction.rows(_SQL["delete_engines"], {"ids": encode([*roll.remove])})
            owners = [id_ for (id_,) in await transaction.rows(_SQL["select_owners"])]
            gone = {"gone": encode([id_ for id_ in owners if id_ not in roll.living]), "id": engine.id}
            claimed = await transaction.rows(_SQL["claim_orphans"], gone)
            claimed += await transaction.rows(_SQL["claim_unowned"], {"id": engine.id})
            return await self._by_keys(transaction, [key for (key,) in claimed])

        return self._executions(await self._file.transaction(claim))

    async def apply(self, engine: EngineRow, commits: Sequence[Commit]) -> list[ExecutionRow | None]:
        """Write all commits in one transaction. Raises EngineFenced, CommitRefused; then nothing was
        written.
        """
        if not commits:
            return []
        return await self._file.transaction(partial(self._apply, engine, commits))

    async def _apply(
        self, engine: EngineRow, commits: Sequence[Commit], transaction: Transaction
    ) -> list[ExecutionRow | None]:
        await self._check_epoch(transaction, engine)
        starts, keys = wanted(commits)
        holders = await self._holders(transaction, starts) if starts else []
        standings = await self._standings(transaction, keys) if keys else {}
        group = plan_group(engine.id, commits, standings, holders)
        await _write(transaction, group, self._file.sealing)
        return group.answers

    async def put_definition(self, digest: str, text: str) -> None:
        """Keep a definition's text under its digest; one that is there already is left as it is."""

        async def put(transaction: Transaction) -> None:
            await transaction.rows(_SQL["insert_definition"], {"digest": digest, "text": text})
            await transaction.rows(_SQL["unmark_definition"], {"digest": digest})

        await self._file.transaction(put)

    async def definition(self, digest: str) -> str | None:
        """The text of a definition, None when there is none."""
        rows = await self._file.rows(_SQL["select_definition"], {"digest": digest})
        return rows[0][0] if rows else None

    async def put_state_machine(self, row: StateMachineRow) -> None:
        """Insert or replace by ARN."""
        parameters = {name: getattr(row, name) for name in StateMachineRow.__slots__}
        await self._file.write(_SQL["upsert_state_machine"], parameters)

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

    async def execution(self, arn: str) -> ExecutionRow | None:
        """The execution of an ARN, None when there is none."""
        rows = await self._file.rows(f"{_SQL['select_executions']} WHERE x.arn = :arn", {"arn": arn})
        return self._executions(rows)[0] if rows else None

    async def executions(self, query: ExecutionQuery) -> list[ExecutionRow]:
        """The executions that match every given member of the query, newest start first."""
        return self._executions(await self._file.rows(*list_query(query)))

    async def frames(self, key: int) -> list[FrameRow]:
        """All live frames of an execution, in no order."""
        return await self._frames(self._file.rows, key)

    async def last_event_id(self, key: int) -> int:
        """The id of the last committed event of an execution, 0 when there is none."""
        rows = await self._file.rows(_SQL["select_last_event_id"], {"key": key})
        return int(rows[0][0]) if rows else 0

    async def segments(self, key: int, *, after_id: int = 0, limit: int = 100) -> list[Segment]:
        """The segments that hold events with an id above after_id, in order, at most `limit` of them."""
        return await self._segments(self._file.rows, key, after_id, limit)

    async def archive(self, arn: str) -> Archive | None:
        """Everything of one execution, as it stood at one moment; None when there is none of this ARN."""
        return await self._file.snapshot(partial(self._archive, arn))

    async def _archive(self, arn: str, snapshot: Transaction) -> Archive | None:
        rows = await snapshot.rows(f"{_SQL['select_executions']} WHERE x.arn = :arn", {"arn": arn})
        if not rows:
            return None
        [row] = self._executions(rows)
        texts = await snapshot.rows(_SQL["select_definition"], {"digest": row.digest})
        if not texts:
            raise StoreError(f"{self.path} is damaged: the definition of {arn} is missing; restore a copy")
        return Archive(
            row,
            texts[0][0],
            await self._segments(snapshot.rows, row.key, 0, -1),
            await self._frames(snapshot.rows, row.key),
            *await self._archived_tokens(snapshot, row.key),
        )

    async def restore(self, archive: Archive) -> bool:
        """Insert everything of an execution under the key its rows have, in one transaction; False, and nothing
        happens, when its ARN or one of its tokens is there already.
        """
        return await self._file.transaction(partial(self._restore, archive))

    async def _restore(self, archive: Archive, transaction: Transaction) -> bool:
        row = archive.row
        if await self._holders(transaction, [row]) or await self._has_tokens(transaction, archive.tokens):
            return False
        await transaction.rows(_SQL["insert_definition"], {"digest": row.digest, "text": archive.definition})
        await transaction.rows(_SQL["unmark_definition"], {"digest": row.digest})
        group = Group(
            starts=[row],
            segments=[(row.key, segment) for segment in archive.segments],
            frames={row.key: {frame.path: frame for frame in archive.frames}},
        )
        await _write(transaction, group, self._file.sealing)
        await self._put_tokens(transaction, archive)
        return True

    async def _frames(self, read: Read, key: int) -> list[FrameRow]:
        rows = self._unsealed(await read(_SQL["select_frames"], {"key": key}), 1, 2)
        unpacked = await self._unpack(read, key, [row[2] for row in rows])
        return [FrameRow(row[0], row[1], texts) for row, texts in zip(rows, unpacked, strict=True)]

    async def _segments(self, read: Read, key: int, after_id: int, limit: int) -> list[Segment]:
        parameters = {"key": key, "after_id": after_id, "limit": limit}
        rows = self._unsealed(await read(_SQL["select_segments"], parameters), 2, 3)
        unpacked = await self._unpack(read, key, [row[3] for row in rows])
        return [Segment(row[0], row[1], row[2], texts) for row, texts in zip(rows, unpacked, strict=True)]

    async def _check_epoch(self, transaction: Transaction, engine: EngineRow) -> None:
        rows = await transaction.rows(_SQL["read_engine_epoch"], {"id": engine.id})
        if not rows or rows[0][0] != engine.epoch:
            raise self._fenced(engine)

    def _fenced(self, engine: EngineRow) -> EngineFenced:
        return EngineFenced(
            f"another engine took over the executions of engine {engine.id} in {self.path}: "
            "nothing was written; register a new engine"
        )

    async def _holders(self, transaction: Transaction, starts: Sequence[ExecutionRow]) -> list[ExecutionRow]:
        """Stored executions that hold an ARN or a key that one of `starts` wants; as a rule there are
        none.
        """
        sql = (
            f"{_SQL['select_executions']} WHERE x.arn IN (SELECT value FROM json_each(:arns))"
            " OR x.key IN (SELECT value FROM json_each(:keys))"
        )
        arns: list[Any] = [row.arn for row in starts]
        keys: list[Any] = [row.key for row in starts]
        return self._executions(await transaction.rows(sql, {"arns": encode(arns), "keys": encode(keys)}))

    async def _standings(self, transaction: Transaction, keys: Iterable[int]) -> dict[int, Standing]:
        rows = await transaction.rows(_SQL["select_standings"], {"keys": encode([*keys])})
        return {key: Standing(status, owner, last_id or 0) for key, status, owner, last_id in rows}

    async def _by_keys(self, transaction: Transaction, keys: Sequence[int]) -> list[Row]:
        sql = (
            f"{_SQL['select_executions']} WHERE x.key IN (SELECT value FROM json_each(:keys))"
            " ORDER BY x.started_at, x.key"
        )
        return await transaction.rows(sql, {"keys": encode([*keys])}) if keys else []

    def _executions(self, rows: Iterable[Row]) -> list[ExecutionRow]:
        try:
            return [_execution(row) for row in self._unsealed(rows, 7, 11, 12, 13)]
        except JsonError as error:
            raise self._damaged("an execution") from error

    async def _unpack(self, read: Read, key: int, columns: Sequence[str | None]) -> list[list[Payload]]:
        """The payloads of `texts` columns; those of one digest are one object."""
        unpacked: list[Members] = [members(column) for column in columns]
        large: dict[str, Payload] = {}
        wanted_digests = digests(unpacked)
        try:
            if wanted_digests:
                parameters = {"key": key, "digests": encode([*wanted_digests])}
                rows = self._unsealed(await read(_SQL["select_payloads"], parameters), 1)
                large = {digest: Payload.parse(text) for digest, text in rows}
            return [payloads(column, large) for column in unpacked]
        except (JsonError, KeyError) as error:
            raise self._damaged(f"execution {key}") from error

    def _damaged(self, what: str) -> StoreError:
        return StoreError(f"{self.path} is damaged: a payload of {what} is missing or is not JSON; restore a copy")


def _execution(row: Row) -> ExecutionRow:
    """A row of `select_executions`. Raises JsonError for a text that is not there or not JSON."""
    values = list(row)
    if values[7] is None:
        raise JsonError("the input is missing")
    values[7] = Payload.parse(values[7])
    if values[11] is not None:
        values[11] = Payload.parse(values[11])
    (key, arn, name, machine, digest, type_, role, input_, started, status, stopped, output) = values[:12]
    values[19] = dict(sorted(_decode(values[19]).items()))
    values[20] = bool(values[20])
    values[21] = _decode_redrives(values[21]) if values[21] is not None else ()
    return ExecutionRow(
        key, arn, name, machine, digest, type_, role, input_, started, status, stopped, output, *values[12:]
    )


async def _write(transaction: Transaction, group: Group, sealing: Sealing | None) -> None:
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
        finals = sealing.seal_rows(finals, 3, 5, 6)
    await transaction.many(_SQL["insert_payload"], large.rows)
    await transaction.many(_SQL["insert_execution"], starts)
    await transaction.many(_SQL["insert_attribute"], attributes)
    redrives = [
        (row.key, row.redrive_count, row.redriven_at, row.owner, _redrive_tokens(row)) for row in group.redrives
    ]
    await transaction.many(_SQL["redrive_execution"], redrives)
    await transaction.many(_SQL["insert_segment"], segments)
    await transaction.many(_SQL["delete_frames"], [(key,) for key, path in group.drops if not path])
    await transaction.many(_SQL["delete_frames_below"], [drop for drop in group.drops if drop[1]])
    await transaction.many(_SQL["upsert_frame"], frames)
    await write_tokens(transaction, group.tokens, sealing)
    await transaction.many(_SQL["finish_execution"], finals)
    await transaction.many(_SQL["park_execution"], group.parks)
    await transaction.many(_SQL["pause_execution"], group.pauses)


def _start_parameters(row: ExecutionRow, large: PayloadRows) -> tuple[Any, ...]:
    return (
        *(row.key, row.arn, row.name, row.state_machine_arn, row.digest, row.type, row.role_arn),
        *large.column(row.key, row.input),
        *(row.started_at, row.status, row.stopped_at),
        *large.column(row.key, row.output),
        *(row.error, row.cause, row.failed_state, row.redrive_count, row.redriven_at, row.owner, row.wake_at),
        *(row.paused, _redrive_tokens(row)),
    )


def _redrive_tokens(row: ExecutionRow) -> str | None:
    return encode([[token, at] for token, at in row.redrive_tokens]) if row.redrive_tokens else None


def _final_parameters(key: int, final: FinalRow, large: PayloadRows) -> tuple[Any, ...]:
    output = large.column(key, final.output)
    return (key, final.status, final.stopped_at, *output, final.error, final.cause, final.failed_state)


def list_query(query: ExecutionQuery) -> tuple[str, dict[str, Any]]:
    """The statement of a list and its parameters. It names only what is asked for, so that it finds its index."""
    join, conditions, parameters = _attribute_conditions(query.attributes)
    # With attributes the list is read in the order of the first one's rows; a unary plus keeps other indexes out of it.
    plus, ordered = ("+", "a.started_at DESC, a.execution DESC") if join else ("", "x.started_at DESC, x.key DESC")
    parameters["limit"] = query.limit
    for name in ("state_machine_arn", "status", "name"):
        value = getattr(query, name)
        if value is not None:
            conditions.append(f"{plus}x.{name} = :{name}")
            parameters[name] = value
    if query.statuses:
        conditions.append(f"{plus}x.status IN (SELECT value FROM json_each(:statuses))")
        parameters["statuses"] = encode([*query.statuses])
    if query.before is not None:
        conditions.append(f"({ordered.replace(' DESC', '')}) < (:before_at, :before_key)")
        parameters["before_at"], parameters["before_key"] = query.before
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"{_SQL['select_executions']}{join}{where} ORDER BY {ordered} LIMIT :limit", parameters


def _attribute_conditions(attributes: Mapping[str, str]) -> tuple[str, list[str], dict[str, Any]]:
    """What a list joins and asks for to find executions by attributes: the first one's rows; the rest must exist."""
    conditions: list[str] = []
    parameters: dict[str, Any] = {}
    for place, (name, value) in enumerate(attributes.items()):
        parameters[f"name_{place}"], parameters[f"value_{place}"] = name, value
        if not place:
            conditions.append("a.name = :name_0 AND a.value = :value_0")
        else:
            conditions.append(
                f"EXISTS (SELECT 1 FROM attributes o WHERE o.name = :name_{place} AND o.value = :value_{place}"
                " AND o.started_at = a.started_at AND o.execution = a.execution)"
            )
    return " JOIN attributes a ON a.execution = x.key" if attributes else "", conditions, parameters
