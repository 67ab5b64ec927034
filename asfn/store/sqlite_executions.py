"""Rows of executions out of the SQLite file: one, a list, those of some keys. Statements stand in sql/queries.sql."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec

from asfn._json import JsonError, Payload, encode
from asfn.errors import StoreError
from asfn.store.queries import load, named
from asfn.store.records import ExecutionRow
from asfn.store.sqlite_housekeeping import SqliteHousekeeping

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from asfn.store.records import ExecutionQuery
    from asfn.store.sqlite_file import Row, Transaction

logger = logging.getLogger("asfn.store")

SELECT_EXECUTIONS: Final = named(load("queries.sql"))["select_executions"]
_decode: Final = msgspec.json.Decoder(dict[str, str]).decode
_decode_redrives: Final = msgspec.json.Decoder(tuple[tuple[str, float], ...]).decode


class SqliteExecutions(SqliteHousekeeping):
    """The part of `SqliteStore` that reads rows of executions."""

    @property
    def path(self) -> str:
        """The file, as it was given."""
        return self._file.path

    async def execution(self, arn: str) -> ExecutionRow | None:
        """The execution of an ARN, None when there is none."""
        rows = await self._file.rows(f"{SELECT_EXECUTIONS} WHERE x.arn = :arn", {"arn": arn})
        return self._executions(rows)[0] if rows else None

    async def executions(self, query: ExecutionQuery) -> list[ExecutionRow]:
        """The executions that match every given member of the query, newest start first."""
        return self._executions(await self._file.rows(*list_query(query)))

    def _by_keys(self, transaction: Transaction, keys: Sequence[int]) -> list[Row]:
        """The rows of these keys, in their order."""
        sql = f"{SELECT_EXECUTIONS} WHERE x.key IN (SELECT value FROM json_each(:keys))"
        rows = {row[0]: row for row in transaction.rows(sql, {"keys": encode([*keys])})}
        return [rows[key] for key in keys]

    def _executions(self, rows: Iterable[Row]) -> list[ExecutionRow]:
        try:
            return [_execution(row) for row in self._unsealed(rows, 7, 11, 12, 13)]
        except JsonError as error:
            raise self._damaged("an execution") from error

    def _readable(self, rows: Iterable[Row]) -> list[ExecutionRow]:
        """Those of the rows that can be read: one that is damaged must not hold up the others."""
        readable = []
        for row in rows:
            try:
                readable += self._executions([row])
            except StoreError as error:
                logger.error("%s cannot be run and is left as it is: %s", row[1], error)
        return readable

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
    values[22] = bool(values[22])
    return ExecutionRow(
        key, arn, name, machine, digest, type_, role, input_, started, status, stopped, output, *values[12:]
    )


def list_query(query: ExecutionQuery) -> tuple[str, dict[str, Any]]:
    """The statement of a list and its parameters. It names only what is asked for, so that it finds its index."""
    join, conditions, parameters = _attribute_conditions(query.attributes)
    # With attributes the list is read in the order of the first one's rows, with a name in that of its few; a unary
    # plus keeps other indexes out of it.
    plus, ordered = ("+", "a.started_at DESC, a.execution DESC") if join else ("", "x.started_at DESC, x.key DESC")
    parameters["limit"] = query.limit
    if query.name is not None:
        conditions.append(f"{plus}x.name = :name")
        parameters["name"] = query.name
        plus = "+"
    for column in ("state_machine_arn", "status"):
        value = getattr(query, column)
        if value is not None:
            conditions.append(f"{plus}x.{column} = :{column}")
            parameters[column] = value
    if query.statuses:
        conditions.append(f"{plus}x.status IN (SELECT value FROM json_each(:statuses))")
        parameters["statuses"] = encode([*query.statuses])
    if query.before is not None:
        conditions.append(f"({ordered.replace(' DESC', '')}) < (:before_at, :before_key)")
        parameters["before_at"], parameters["before_key"] = query.before
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"{SELECT_EXECUTIONS}{join}{where} ORDER BY {ordered} LIMIT :limit", parameters


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
