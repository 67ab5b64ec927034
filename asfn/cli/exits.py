"""How a command ends: the exit codes, and the exceptions that carry one with a message for people."""

from __future__ import annotations

import signal
from typing import Final

import click

SUCCEEDED: Final = 0
FAILED: Final = 1
REFUSED: Final = 2
BROKEN: Final = 70
PARKED: Final = 128 + signal.SIGINT

CODES: Final = """\b
Exit codes:
  0    done; the execution succeeded, or nothing is wrong with the definition
  1    the execution failed, or the definition or the database has errors
  2    the command could not be carried out: usage, input, definition, database
  130  stopped by Ctrl-C (143: by a termination signal); what was running can go on
  70   a fault of asfn itself
"""
"""The table that `--help` shows; the one place where the codes are explained."""


class Refused(click.ClickException):
    """The command cannot be carried out; the text says why, in one sentence, and what to do."""

    exit_code = REFUSED


class Interrupted(Exception):
    """A signal ended the command after what was running had been parked."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number
