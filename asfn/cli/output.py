"""What commands print. Results go to stdout, everything that is only for people to stderr.

A text from a definition, an execution or a database may hold anything: it passes `plain` on its way to a terminal.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from asfn._json import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asfn._json import Json

_COLOURS: Final = {
    "RUNNING": "cyan",
    "SUCCEEDED": "green",
    "FAILED": "red",
    "TIMED_OUT": "red",
    "ABORTED": "yellow",
    "ERROR": "red",
    "WARNING": "yellow",
}
# What would move the cursor, colour the screen or turn the text around.
_CONTROLS: Final = {
    **{code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))},
    **{code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))},
}


def plain(text: str, width: int | None = None) -> str:
    """The text on one line, with every control character spelled out; cut to `width` characters with `…`."""
    if width is not None and len(text) > width:
        text = text[: width - 1] + "…"
    return in_utf8(text).translate(_CONTROLS)


def in_utf8(text: str) -> str:
    """The text as UTF-8 can hold it: lone surrogates, as in file names that are no UTF-8, are spelled out."""
    return text.encode(errors="backslashreplace").decode()


def tell(message: str = "") -> None:
    """A line for people."""
    click.echo(message, err=True)


def give(text: str) -> None:
    """A line of the command's result."""
    click.echo(text)


def give_json(value: Json) -> None:
    """A JSON value as the command's result, on one line."""
    give(encode(value))


def coloured(word: str) -> str:
    """A status or a severity in its colour; the colour is dropped where the output is no terminal."""
    return click.style(word, fg=_COLOURS.get(word))


def table(rows: Sequence[Sequence[str]], *, head: Sequence[str]) -> Iterable[str]:
    """The lines of a table, its columns aligned; the last one keeps its length."""
    bare = [[click.unstyle(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in bare) for column in range(len(head))]
    styled = [[click.style(title, bold=True) for title in head], *rows]
    for row, plain_row in zip(styled, bare, strict=True):
        cells = [cell + " " * (width - len(text)) for cell, text, width in zip(row, plain_row, widths, strict=True)]
        yield "  ".join([*cells[:-1], row[-1]]).rstrip()


def moment(at: float) -> str:
    """A point in time as people of this machine's time zone read it, to the millisecond."""
    local = datetime.fromtimestamp(at, UTC).astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S.") + f"{local.microsecond // 1000:03}"


def duration(seconds: float) -> str:
    """A length of time in three or so digits: `7 ms`, `1.25 s`, `3 m 20 s`, `2 d 4 h`."""
    if seconds < 0.9995:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    for unit, name, smaller_unit, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // smaller_unit} {smaller}"
    return f"{whole} s"


def command(*words: str) -> str:
    """A command line that works when it is pasted into a shell: this very program with other arguments."""
    return shlex.join([*_program(), *words])


def _program() -> list[str]:
    """How this program was called: by the name `asfn` where the shell finds it, else in full."""
    called = sys.argv[0]
    if called.endswith("__main__.py"):
        python = next((name for name in ("python", "python3") if shutil.which(name) == sys.executable), None)
        return [python or sys.executable, "-m", "asfn"]
    return ["asfn"] if shutil.which("asfn") == shutil.which(called) else [called]
