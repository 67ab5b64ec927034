"""The live view: a table of states that changes in place. The only file that imports rich."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from asfn.cli.output import duration, plain
from asfn.cli.views import error_text
from asfn.runtime.clock import SystemClock

if TYPE_CHECKING:
    from types import TracebackType

    from asfn.cli.progress import Change, Progress, Standing, Visit

_REFRESH_SECONDS: Final = 0.1
_SPARE_LINES: Final = 4
_FEWEST_ROWS: Final = 5
_FRAMES: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_MARKS: Final[dict[Standing, tuple[str, str]]] = {
    "running": ("", "cyan"),
    "waiting": ("◷", "blue"),
    "retrying": ("↻", "yellow"),
    "succeeded": ("✔", "green"),
    "caught": ("✔", "yellow"),
    "failed": ("✘", "red"),
    "aborted": ("■", "bright_black"),
}
_STATUS_STYLES: Final = {"RUNNING": "cyan", "SUCCEEDED": "green", "ABORTED": "yellow"}


class LiveView:
    """Draws one table per execution, ten times a second, on the terminal behind stderr.

    It refreshes on the event loop, so a table is never drawn while it changes. What others print meanwhile, on stdout
    or stderr, appears above it.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, markup=False)
        self._clock = SystemClock()
        self._executions: dict[str, Progress] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._ticks = 0
        self._live = Live(console=self._console, auto_refresh=False, get_renderable=self.render)

    async def __aenter__(self) -> Self:
        self._live.start()
        self._ticking = asyncio.create_task(self._tick(), name="asfn-live-view")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.wait([self._ticking])
        self._live.stop()  # draws the last state of things, which stays on the screen

    def changed(self, name: str, progress: Progress, change: Change) -> None:
        self._executions[name] = progress

    def render(self) -> Group:
        """What the screen shows now."""
        now = self._clock.now()
        count = max(len(self._executions), 1)
        rows = max((self._console.height - _SPARE_LINES) // count - 1, _FEWEST_ROWS)
        return Group(
            *(part for name, progress in self._executions.items() for part in self._one(name, progress, rows, now))
        )

    def _one(self, name: str, progress: Progress, rows: int, now: float) -> list[Text | Table]:
        ended_at = progress.ended_at if progress.ended_at is not None else now
        head = Text.assemble(
            (plain(name), "bold"),
            "  ",
            (progress.status, _STATUS_STYLES.get(progress.status, "red")),
            f"  {duration(ended_at - progress.began_at)}",
            no_wrap=True,
            overflow="ellipsis",
        )
        shown = which(progress.visits, rows)
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True, overflow="ellipsis")
        for visit in shown:
            table.add_row(*self._row(visit, now))
        parts: list[Text | Table] = [head]
        if len(shown) < len(progress.visits):
            parts.append(Text(f"  … {len(progress.visits) - len(shown)} more states", style="bright_black"))
        return [*parts, table]

    def _row(self, visit: Visit, now: float) -> tuple[Text, Text, Text, Text]:
        mark, style = _MARKS[visit.standing]
        elapsed = (visit.left_at if visit.left_at is not None else now) - visit.entered_at
        return (
            Text(f"  {mark or _FRAMES[self._ticks % len(_FRAMES)]}", style=style),
            Text("  " * visit.depth + plain(visit.label)),
            Text(duration(elapsed), style="bright_black"),
            Text(_remark(visit), style=style),
        )

    async def _tick(self) -> None:
        while True:
            self._ticks += 1
            self._live.refresh()
            await asyncio.sleep(_REFRESH_SECONDS)


def which(visits: list[Visit], rows: int) -> list[Visit]:
    """The visits to show when not all fit: those that are open, then the latest of the others, in their order."""
    if len(visits) <= rows:
        return visits
    chosen = {id(visit) for visit in [visit for visit in visits if visit.is_open][-rows:]}
    for visit in reversed(visits):
        if len(chosen) >= rows:
            break
        chosen.add(id(visit))
    return [visit for visit in visits if id(visit) in chosen]


def _remark(visit: Visit) -> str:
    remarks: list[str] = []
    if visit.standing in ("waiting", "caught", "aborted", "failed"):
        remarks.append(visit.standing)
    if visit.length is not None:
        remarks.append(f"{visit.finished} of {visit.length}")
    if visit.attempts > 1:
        remarks.append(f"attempt {visit.attempts}")
    if visit.standing == "retrying":
        remarks.append(f"attempt {max(visit.attempts, 1)} failed, to be retried or caught")
    if visit.error and visit.standing != "succeeded":
        remarks.append(error_text(visit))
    return "  ".join(remarks)
