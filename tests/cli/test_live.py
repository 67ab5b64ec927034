"""The live view, drawn into a text instead of a terminal."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from asfn.cli.live import LiveView, which
from asfn.cli.progress import Progress
from asfn.cli.views import Lines, error_text
from tests.cli.test_progress import history

MAP = history(
    (1, 0, "ExecutionStarted"),
    (2, 0, "MapStateEntered", {"name": "Pack all"}),
    (3, 2, "MapStateStarted", {"length": 2}),
    (4, 3, "MapIterationStarted", {"name": "Pack all", "index": 0}),
    (5, 4, "TaskStateEntered", {"name": "Pack"}),
    (6, 5, "TaskScheduled"),
    (7, 6, "TaskFailed", {"error": "Busy", "cause": '{"errorMessage": "come\\nback", "errorType": "Busy"}'}),
    (8, 3, "MapIterationStarted", {"name": "Pack all", "index": 1}),
    (9, 8, "WaitStateEntered", {"name": "Rest"}),
)


def drawn(view: LiveView, console: Console) -> str:
    console.print(view.render())
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def feed(view: LiveView | Lines, progress: Progress) -> None:
    for event in MAP:
        change = progress.apply(event)
        if change is not None:
            view.changed("order-1", progress, change)


def test_the_table_shows_every_state_with_its_standing() -> None:
    console = Console(file=StringIO(), width=100, height=30)
    view = LiveView(console)
    feed(view, Progress())
    text = drawn(view, console)
    head, whole, pack, rest = [line.rstrip() for line in text.splitlines()]
    assert head.startswith("order-1  RUNNING")
    assert "Pack all" in whole
    assert "0 of 2" in whole
    assert "  [0] Pack" in pack
    assert "attempt 1 failed, to be retried or caught  Busy: come\\x0aback" in pack
    assert "[1] Rest" in rest
    assert rest.endswith("waiting")


def test_no_markup_in_a_name_reaches_the_terminal() -> None:
    console = Console(file=StringIO(), width=100, height=30)
    view = LiveView(console)
    progress = Progress()
    for event in history((1, 0, "ExecutionStarted"), (2, 0, "PassStateEntered", {"name": "[red]x\x1b[0m"})):
        change = progress.apply(event)
        assert change is not None
        view.changed("[bold]n", progress, change)
    text = drawn(view, console)
    assert "[red]x\\x1b[0m" in text
    assert "[bold]n" in text


def test_open_states_stay_on_the_screen_when_not_all_fit() -> None:
    progress = Progress()
    for event in MAP:
        progress.apply(event)
    visits = progress.visits
    visits[1].standing = "succeeded"
    assert which(visits, 2) == [visits[0], visits[2]]
    assert which(visits, 3) == visits


def test_a_table_that_is_too_long_says_how_much_is_missing() -> None:
    console = Console(file=StringIO(), width=100, height=3)
    view = LiveView(console)
    progress = Progress()
    events = [(2 * n, 0, "PassStateEntered", {"name": f"S{n}"}) for n in range(1, 9)]
    for event in history((1, 0, "ExecutionStarted"), *events):
        change = progress.apply(event)
        assert change is not None
        view.changed("x", progress, change)
    assert "… 3 more states" in drawn(view, console)


def test_lines_tell_the_same_one_change_at_a_time() -> None:
    lines: list[str] = []
    feed(Lines(named=True, write=lines.append), Progress())
    assert [line.split("s  ", 1)[1] for line in lines] == [
        "order-1  began",
        "order-1  Pack all: entered",
        "order-1    [0] Pack: entered",
        "order-1    [0] Pack: attempt 1 failed after 2.00 s: Busy: come\\x0aback",
        "order-1    [1] Rest: entered, waiting",
    ]


def test_a_cause_that_only_looks_like_json_is_shown_as_it_is() -> None:
    progress = Progress()
    for event in MAP:
        progress.apply(event)
    visit = progress.visits[1]
    visit.cause = "{not json"
    assert error_text(visit) == "Busy: {not json"
    visit.cause = '["a list"]'
    assert error_text(visit) == 'Busy: ["a list"]'
