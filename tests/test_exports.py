"""What `import asfn` offers, and what it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

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
    "opentelemetry",
)


def test_every_exported_name_can_be_imported_and_nothing_else() -> None:
    assert {name: getattr(asfn, name).__name__ for name in asfn.__all__} == {name: name for name in asfn.__all__}
    assert asfn.__all__ == sorted(asfn.__all__)
    assert set(asfn.__all__) <= set(dir(asfn))
    with pytest.raises(AttributeError, match="no attribute 'Motor'"):
        asfn.Motor  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(asfn.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(asfn.__all__)


def test_importing_asfn_loads_no_heavy_library() -> None:
    program = f"import sys, asfn; asfn.Engine; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
