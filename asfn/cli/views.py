"""Watching an execution: which view draws it, plain lines for pipes and logs, and feeding a view with events.

A view draws on stderr. The table that changes in place is in live.py, which alone imports rich.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Final, Literal, Protocol, Self

from asfn._json import JsonError, decode
from asfn.cli.output import duration, plain, tell
from asfn.cli.progress import Progress
from asfn.errors import ExecutionFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from asfn import Execution, ExecutionInfo
    from asfn.cli.progress import Change, Visit

ViewName = Literal["auto", "live", "lines", "none"]
VIEWS: Final[tuple[ViewName, ...]] = ("auto", "live", "lines", "none")
_ERROR_WIDTH: Final = 160


class View(Protocol):
    """Draws executions as they go. Entered on the loop before the first change and left after the last one."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def changed(self, name: str, progress: Progress, change: Change) -> None:
        """The execution of this name has changed. Never waits."""


def choose(name: ViewName) -> View:
    """The view of this name; `auto` is the live one on a terminal, and lines elsewhere."""
    if name == "auto":
        name = "live" if sys.stderr.isatty() and os.environ.get("TERM", "") != "dumb" else "lines"
    if name == "live":
        from asfn.cli.live import LiveView

        return LiveView()
    return Lines() if name == "lines" else Nothing()


class Nothing:
    """Draws nothing."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def changed(self, name: str, progress: Progress, change: Change) -> None: ...


class Lines(Nothing):
    """One line per change: the time since the execution began, the state, and what happened to it.

    named: put the execution's name in front, where several are drawn together.   write: takes a line.
    """

    def __init__(self, *, named: bool = False, write: Callable[[str], None] = tell) -> None:
        self._named = named
        self._write = write
        self._began: dict[str, float] = {}

    def changed(self, name: str, progress: Progress, change: Change) -> None:
        began = self._began.setdefault(name, progress.began_at)
        who = f"{plain(name)}  " if self._named else ""
        self._write(f"{change.at - began:10.3f} s  {who}{line(change)}")


def line(change: Change) -> str:
    """A change in words, on one line."""
    if change.visit is None:
        return (
            "began"
            if change.status is None
            else change.status + (f": {error_text(change)}" if error_text(change) else "")
        )
    visit = change.visit
    label = "  " * visit.depth + plain(visit.label)
    took = f" after {duration(change.seconds)}"
    match change.what:
        case "entered":
            return f"{label}: entered" + (", waiting" if visit.kind == "Wait" else "")
        case "attempt failed":
            return f"{label}: attempt {max(visit.attempts, 1)} failed{took}: {error_text(change)}"
        case "retried":
            return f"{label}: attempt {visit.attempts}"
        case "caught":
            return f"{label}: left{took}, {plain(change.error or 'the error')} caught"
        case _:
            return f"{label}: left{took}"


def error_text(failed: Change | Visit | ExecutionInfo | ExecutionFailed, width: int = _ERROR_WIDTH) -> str:
    """Error name and cause as one text on one line, `width` characters at most.

    Of a cause that is a Lambda function's error document only its message is shown.
    """
    return plain(": ".join(part for part in (failed.error, _message(failed.cause)) if part), width)


def _message(cause: str | None) -> str | None:
    if cause is None or not cause.startswith("{"):
        return cause
    try:
        document = decode(cause)
    except JsonError:
        return cause
    message = document.get("errorMessage") if isinstance(document, dict) else None
    return message if isinstance(message, str) else cause


async def watch(execution: Execution, view: View, *, after: int = 0) -> ExecutionFailed | None:
    """Draw an execution until it has ended; how it failed, None when it succeeded.

    after: the id of the last event not to draw, because it is an old one. Raises what kept the engine from running it.
    """
    failed: ExecutionFailed | None = None
    trouble: Exception | None = None
    async with asyncio.TaskGroup() as tasks:
        drawing = tasks.create_task(_draw(execution, view, after))
        try:
            await execution.result()
        except ExecutionFailed as error:
            failed = error
        except Exception as error:  # the execution has not ended: nothing more will come to draw
            trouble = error
            drawing.cancel()
    if trouble is not None:
        raise trouble
    return failed


async def _draw(execution: Execution, view: View, after: int) -> None:
    progress = Progress()
    async for event in execution.events():
        change = progress.apply(event)
        if change is None or progress.last_id <= after:
            continue
        try:
            view.changed(execution.name, progress, change)
        except OSError:  # nobody reads stderr any more, which is no reason to stop the execution
            return
