"""The SQL of this room, read from `sql/` as it is. Nothing here knows a database."""

from __future__ import annotations

import re
import sqlite3
from importlib.resources import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load(name: str) -> str:
    """The text of a file below `asfn/store/sql`, such as "schema.sql"."""
    return files("asfn.store").joinpath("sql", *name.split("/")).read_text(encoding="utf-8")


def named(text: str) -> dict[str, str]:
    """The statements of a file of queries: each begins with a line `-- name: x` and goes to the next such
    line.

    Comment lines and the closing semicolon are dropped. Raises ValueError when a name stands twice.
    """
    _, *parts = _NAME.split(text)
    statements: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in statements:
            raise ValueError(f"two queries are named {name}")
        lines = [line for line in body.splitlines() if not line.startswith("--")]
        statements[name] = "\n".join(lines).strip().removesuffix(";")
    return statements


def statements(script: str) -> Iterator[str]:
    """The single statements of a script, so that they can run inside a transaction that is already open."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""
    if any(line and not line.startswith("--") for line in map(str.strip, statement.splitlines())):
        raise ValueError(f"the script ends inside a statement: {statement.strip()[:60]}")
