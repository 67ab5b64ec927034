"""How texts, times and tables are printed."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from asfn.cli import output
from asfn.cli.output import command, duration, plain, table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (-0.001, "0 ms"),
        (0.0074, "7 ms"),
        (0.9994, "999 ms"),
        (0.9999, "1.00 s"),
        (12.3456, "12.35 s"),
        (59.999, "1 m 0 s"),
        (61, "1 m 1 s"),
        (3600 * 5 + 120, "5 h 2 m"),
        (86400 * 3 + 3600 * 2, "3 d 2 h"),
    ],
)
def test_a_duration_is_told_in_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_control_characters_are_spelled_out_and_other_letters_are_kept() -> None:
    assert plain("a\x1b[31m\nb\u202eé漢") == "a\\x1b[31m\\x0ab\\u202eé漢"


def test_a_file_name_that_is_no_utf_8_can_be_printed() -> None:
    assert plain("a\udcff") == "a\\udcff"


def test_a_long_text_is_cut_to_the_width() -> None:
    assert plain("abcdef", 4) == "abc…"
    assert plain("abcd", 4) == "abcd"


def test_columns_are_as_wide_as_their_widest_cell_whatever_its_colour() -> None:
    lines = [
        click.unstyle(line) for line in table([[click.style("ab", fg="red"), "x"], ["c", "yz"]], head=("N", "LAST"))
    ]
    assert lines == ["N   LAST", "ab  x", "c   yz"]


def test_a_command_to_copy_quotes_what_a_shell_would_take_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/asfn/__main__.py"])
    printed = command("list", "--db", "my file.db")
    assert printed.endswith(" -m asfn list --db 'my file.db'")
    python = printed.partition(" -m ")[0]
    done = subprocess.run(
        [python, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == sys.executable


def test_a_script_that_the_shell_does_not_find_is_named_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/elsewhere/bin/asfn"])
    monkeypatch.setattr(output.shutil, "which", lambda name: name if name.startswith("/") else None)
    assert command("demo") == "/opt/elsewhere/bin/asfn demo"
