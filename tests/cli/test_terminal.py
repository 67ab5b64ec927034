"""The live view on a real pseudo-terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.cli.program import environment

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real_time

FLOW = {
    "StartAt": "Work",
    "States": {
        "Work": {
            "Type": "Task",
            "Resource": "arn:aws:lambda:us-east-1:123456789012:function:work",
            "Retry": [{"ErrorEquals": ["Busy"], "IntervalSeconds": 1}],
            "Next": "Rest",
        },
        "Rest": {"Type": "Wait", "SecondsPath": "$.rest", "End": True},
    },
}
FUNCTIONS = """
from asfn import TaskFailed

def work(event, ctx):
    print("hello from work")
    if ctx.attempt == 0:
        raise TaskFailed("Busy", "later")
    return event
"""


class Terminal:
    """`asfn` with stderr on a terminal of 100 columns; what appears there is collected as it comes."""

    def __init__(self, folder: Path, *words: str) -> None:
        leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "asfn", *words],
            cwd=folder,
            env=environment(TERM="xterm", COLUMNS="100", LINES="30"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=follower,
            text=True,
        )
        os.close(follower)
        self._leader = leader
        self._seen = b""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._leader, 65536)
            except OSError:  # the other side is closed
                data = b""
            with self._changed:
                self._seen += data
                self._changed.notify_all()
            if not data:
                return

    @property
    def text(self) -> str:
        """What came so far, without the control sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self._seen.decode(errors="replace")).replace("\r", "")

    def wait_for(self, text: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.text, timeout=20), self.text

    def end(self) -> tuple[int, str, str]:
        """Exit code, stdout, and all that appeared on the terminal."""
        out, _ = self.process.communicate(timeout=30)
        self._reader.join()
        os.close(self._leader)
        return self.process.returncode, out, self.text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flow.json").write_text(json.dumps(FLOW))
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    return tmp_path


def test_states_are_seen_to_run_retry_wait_and_leave(folder: Path) -> None:
    terminal = Terminal(folder, "run", "flow.json", "-f", "functions", "-i", '{"rest": 1}', "--name", "x-1")
    code, out, text = terminal.end()
    assert (code, out) == (0, '{"rest": 1}\n'), text
    assert "attempt 1 failed, to be retried or caught  Busy: later" in text
    assert re.search(r"◷  Rest +[\d.]+ m?s  waiting", text)
    last = text[text.rindex("x-1  SUCCEEDED") :]
    assert re.search(r"✔  Work .* attempt 2", last)
    assert re.search(r"✔  Rest ", last)
    assert text.count("hello from work") == 2


def test_ctrl_c_leaves_the_last_table_on_the_screen_and_the_command_below_it(folder: Path) -> None:
    terminal = Terminal(
        folder, "run", "flow.json", "-f", "functions", "-i", '{"rest": 60}', "--name", "x-1", "--db", "flows.db"
    )
    terminal.wait_for("waiting")
    terminal.process.send_signal(signal.SIGINT)
    code, out, text = terminal.end()
    assert (code, out) == (130, "")
    *_, parking, parked, command = text.rstrip().splitlines()
    assert parking.startswith("asfn: parking")
    assert parked == "asfn: x-1 is parked in flows.db. To go on:"
    assert command.endswith("-m asfn resume --db flows.db --functions functions")
    assert "Rest" in text[text.rindex("x-1  RUNNING") :]


def test_a_termination_signal_parks_too(folder: Path) -> None:
    terminal = Terminal(folder, "run", "flow.json", "-f", "functions", "-i", '{"rest": 60}', "--db", "flows.db")
    terminal.wait_for("waiting")
    terminal.process.terminate()
    code, _, text = terminal.end()
    assert code == 143
    assert "resume --db flows.db" in text
