"""What `import asfn` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import asfn

HEAVY = (
    "aiobotocore",
    "botocore",
    "starlette",
    "uvicorn",
    "rich",
    "click",
    "jsonpath_ng",
    "jsonata",
    "yaml",
    "aiosqlite",
)


def test_all_names_what_can_be_imported() -> None:
    public = {
        name
        for name, value in vars(asfn).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("asfn.")
    }
    assert public == set(asfn.__all__)
    assert asfn.__all__ == sorted(asfn.__all__)


def test_importing_asfn_loads_no_heavy_library() -> None:
    program = f"import sys, asfn; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
