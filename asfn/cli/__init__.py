"""The command line: `asfn` and `python -m asfn`."""

from asfn.cli.entry import main

__all__ = ["main"]
