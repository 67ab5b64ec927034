"""The SQL files: how they are read, and that SQLite finds an index for what is asked often."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from asfn.store.queries import load, named, statements
from asfn.store.records import ExecutionQuery
from asfn.store.sqlite_executions import list_query
from asfn.store.sqlite_file import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

QUERIES = {
    name: sql
    for file in ("queries", "ownership", "mailbox", "housekeeping")
    for name, sql in named(load(f"{file}.sql")).items()
}
# Tables that are short by nature, and what a purge reads of definitions: their digests alone.
MAY_SCAN = (
    *("json_each", "CONSTANT", "owners", "machines", "codec", "engines", "purged", "unused_definitions"),
    *("inbox", "i", "s VIRTUAL", "r VIRTUAL"),
    *("waiting", "w", "heads", "h", "news", "(subquery"),  # the statement's own rows
)
# The first of many, or partial indexes that hold what is asked for alone.
MAY_SCAN_INDEX = (
    "SCAN d USING COVERING INDEX",
    "SCAN tokens USING INDEX tokens_outcome",
    "SCAN executions USING INDEX executions_free",
    "SCAN executions USING COVERING INDEX executions_queue",
    "SCAN state_machines USING INDEX state_machines_limited",
)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for script in MIGRATIONS:
        for statement in statements(script):
            connection.execute(statement)
    yield connection
    connection.close()


def plan(connection: sqlite3.Connection, sql: str) -> list[str]:
    """What SQLite means to do for a statement, whatever its parameters."""
    names = re.findall(r"(?<!\w):(\w+)", sql)
    numbers = [int(number) for number in re.findall(r"\?(\d+)", sql)]
    nothing: Any = dict.fromkeys(names) if names else [None] * max(numbers, default=sql.count("?"))
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", nothing)]


def test_names_lead_to_statements_without_comments() -> None:
    text = "-- about the file\n\n-- name: one\n-- why\nSELECT 1;\n\n-- name: two\nSELECT\n  2;\n"

    assert named(text) == {"one": "SELECT 1", "two": "SELECT\n  2"}


def test_a_name_that_stands_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match="two queries are named one"):
        named("-- name: one\nSELECT 1;\n-- name: one\nSELECT 2;\n")


def test_a_script_is_split_at_the_ends_of_statements() -> None:
    script = "-- first; here\nCREATE TABLE a (\n  b TEXT -- c;\n);\nINSERT INTO a VALUES (';');\n-- the end\n"

    found = list(statements(script))

    assert len(found) == 2
    assert found[1] == "INSERT INTO a VALUES (';');"


def test_a_script_that_ends_inside_a_statement_is_an_error() -> None:
    with pytest.raises(ValueError, match="ends inside a statement: SELECT 1"):
        list(statements("SELECT 1"))


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_every_query_fits_the_schema_and_reads_no_large_table_from_end_to_end(
    connection: sqlite3.Connection, name: str
) -> None:
    steps = plan(connection, QUERIES[name])

    whole = {"select_executions", "select_state_machines", "select_activities"}  # short tables, and the head of lists
    parameters = re.findall(r"WITH (\w+) \([^)]*\) AS \(\s*VALUES", QUERIES[name])  # one row, the statement's own
    allowed = (*MAY_SCAN_INDEX, *(f"SCAN {table}" for table in (*MAY_SCAN, *parameters)))
    assert name in whole or [step for step in steps if step.startswith("SCAN ") and not step.startswith(allowed)] == []


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (ExecutionQuery(), "executions_started"),
        (ExecutionQuery(before=(1.0, 1)), "executions_started"),
        (ExecutionQuery(state_machine_arn="m"), "executions_machine"),
        (ExecutionQuery(state_machine_arn="m", before=(1.0, 1)), "executions_machine"),
        (ExecutionQuery(state_machine_arn="m", status="FAILED"), "executions_machine_status"),
        (ExecutionQuery(state_machine_arn="m", status="FAILED", before=(1.0, 1)), "executions_machine_status"),
        (ExecutionQuery(status="FAILED"), "executions_status"),
        (ExecutionQuery(name="n"), "executions_name"),
        (ExecutionQuery(name="n", before=(1.0, 1)), "executions_name"),
        (ExecutionQuery(name="n", status="FAILED", state_machine_arn="m", before=(1.0, 1)), "executions_name"),
    ],
)
def test_lists_are_read_in_the_order_of_an_index(
    connection: sqlite3.Connection, query: ExecutionQuery, index: str
) -> None:
    sql, _ = list_query(query)

    steps = plan(connection, sql)

    assert any(f"USING INDEX {index} " in f"{step} " for step in steps)
    assert not any("TEMP B-TREE" in step for step in steps)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("select_owners", "executions_owner"),
        ("select_orphans", "executions_owner"),
        ("select_free", "executions_free"),
        ("disown_executions", "executions_owner"),
        ("select_due", "executions_wake"),
        ("select_next_wake", "executions_wake"),
        ("count_parked", "executions_wake"),
        ("count_queued", "executions_queue"),
        ("select_rooms", "executions_queue"),
        ("select_rooms", "executions_limited"),
        ("select_admissible", "executions_queue"),
        ("insert_execution", "state_machines_limited"),
        ("select_segments", "segments_execution"),
        ("select_standings", "segments_execution"),
        ("select_payloads", "payloads_digest"),
        ("select_machines_of_executions", "executions_machine"),
        ("select_finished", "executions_machine_status"),
        ("mark_unused_definitions", "executions_digest"),
        ("unmark_used_definitions", "executions_digest"),
    ],
)
def test_hot_queries_use_their_index(connection: sqlite3.Connection, name: str, index: str) -> None:
    assert any(f"INDEX {index} " in f"{step} " for step in plan(connection, QUERIES[name]))


MANY = "INSERT INTO executions (key, arn, name, state_machine_arn, digest, type, role_arn, status, started_at, \
redrive_count, input, owner, wake_at, place, limited) VALUES (?, ?, 'x', ?, 'd', 'STANDARD', 'r', 'RUNNING', ?, 0, \
'{}', ?, ?, ?, ?)"


def crowd(connection: sqlite3.Connection, parked: int, queued: int) -> None:
    """A full machine with a long queue, another one with three in its queue, and many that are parked."""
    connection.execute(
        "INSERT INTO state_machines (arn, name, type, digest, role_arn, created_at, updated_at, "
        "max_concurrent_executions) VALUES ('full', 'full', 'STANDARD', 'd', 'r', 0, 0, 2)"
    )
    rows: list[tuple[Any, ...]] = [(key, "other", 1.0, None, 1000.0 + key, None, 0) for key in range(parked)]
    rows += [(parked + key, "full", 1.0, None, None, -9, 1) for key in range(queued)]
    base = parked + queued
    rows += [(base + key, "full", 1.0, 7, None, None, 1) for key in range(2)]
    rows += [(base + 2 + key, "other", 1.0, None, None, 0, 0) for key in range(3)]
    rows += [(base + 5 + key, "other", 1.0, None, None, None, 0) for key in range(3)]
    connection.executemany(MANY, [(key, f"arn:{key}", *rest) for key, *rest in rows])


def effort(connection: sqlite3.Connection, name: str, parameters: dict[str, Any]) -> tuple[int, int]:
    """How many instructions SQLite's machine takes for a statement, in tens, and how many rows it gives."""
    tens = 0

    def count() -> None:
        nonlocal tens
        tens += 1

    connection.set_progress_handler(count, 10)
    rows = connection.execute(QUERIES[name], parameters).fetchall()
    connection.set_progress_handler(None, 0)
    return tens, len(rows)


@pytest.mark.parametrize(
    ("name", "parameters", "rows"),
    [
        ("select_owners", {}, 1),
        ("select_orphans", {"gone": "[9]", "limit": 1_000}, 0),
        ("select_free", {"limit": 1_000}, 3),
        ("select_due", {"now": 1_009.0, "limit": 1_000}, 10),
        ("select_due", {"now": 1e9, "limit": 10}, 10),
        ("select_next_wake", {}, 1),
        ("count_parked", {"limit": 1}, 1),
        ("count_queued", {"limit": 1}, 1),
        ("select_ownerless", {"keys": "[1, 2, 3]"}, 3),
        ("take_over", {"keys": "[1, 2, 3]", "id": 7}, 0),
        ("select_queue_head", {}, 1),
        ("select_rooms", {}, 1),
        ("select_admissible", {"rooms": '[["other", -1]]', "limit": 100}, 3),
        ("select_admissible", {"rooms": '[["full", -1]]', "limit": 5}, 5),
        ("select_admissible", {"rooms": '[["full", 2], ["other", -1]]', "limit": 100}, 5),
        ("ring", {"keys": "[1, 2, 3]", "at": 5.0}, 0),
        ("disown_executions", {"id": 7, "limit": 1_000}, 2),
    ],
)
def test_what_an_engine_asks_costs_the_same_however_many_are_parked_and_queued(
    connection: sqlite3.Connection, name: str, parameters: dict[str, Any], rows: int
) -> None:
    efforts = []
    for parked, queued in ((40, 40), (4_000, 4_000)):
        connection.execute("BEGIN")
        crowd(connection, parked, queued)
        tens, found = effort(connection, name, parameters)
        connection.execute("ROLLBACK")
        assert found == rows
        efforts.append(tens)

    assert efforts[1] <= efforts[0] + 30
