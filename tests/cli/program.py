"""The command line as a real process: how every test here starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]


def environment(**more: str) -> dict[str, str]:
    """This process's environment without asfn's own variables, in which the checkout can be imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ASFN_", "AWS_"))}
    return {**kept, "PYTHONPATH": str(PROJECT), "PYTHONWARNINGS": "error", "COLUMNS": "120", **more}


def asfn(*words: str | Path, cwd: Path, stdin: str | bytes = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `python -m asfn` with these words to its end. Any: options of subprocess.run."""
    data = stdin if isinstance(stdin, bytes) else stdin.encode()
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment(), "timeout": 60, **options}
    done = subprocess.run([sys.executable, "-m", "asfn", *map(str, words)], cwd=cwd, input=data, **options)
    out, err = (text.decode(errors="replace") if text is not None else "" for text in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


def start(*words: str | Path, cwd: Path) -> subprocess.Popen[str]:
    """Start `python -m asfn` in the background, its streams as pipes of text."""
    return subprocess.Popen(
        [sys.executable, "-m", "asfn", *map(str, words)],
        cwd=cwd,
        env=environment(),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
