"""`python -m asfn` is the command line."""

from __future__ import annotations

from asfn.cli import main

if __name__ == "__main__":
    main()
