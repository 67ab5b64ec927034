"""Imports run one way. The table is DESIGN's; a room may import itself and the rooms listed for it."""

from __future__ import annotations

import ast
from pathlib import Path

import asfn

PACKAGE = Path(asfn.__file__).parent

GROUND = {"_json", "arn", "errors", "limits"}
LANGUAGE = GROUND | {"language"}
PLAN = LANGUAGE | {"plan"}
RUNTIME = PLAN | {"store", "tasks", "runtime"}
ALLOWED = {
    "_json": GROUND,
    "arn": GROUND,
    "errors": GROUND | {"language.diagnostics"},  # a type only: DefinitionError carries diagnostics
    "limits": GROUND,
    "language": LANGUAGE,
    "plan": PLAN,
    "store": GROUND | {"store"},
    "tasks": GROUND | {"tasks"},
    "runtime": RUNTIME,
    "engine": RUNTIME | {"engine"},
    "__init__": RUNTIME | {"engine"},
    "observe": RUNTIME | {"observe", ""},
    "cli": RUNTIME | {"engine", "cli", "examples", ""},
    "examples": GROUND | {"examples", "tasks", ""},
    "testing": RUNTIME | {"engine", "testing", ""},
    "__main__": {"cli"},
}
PURE = ("language", "plan")
# The JSONata engines: handles are bound to the thread that made them, and a limit on time needs a clock to keep it.
JSONATA_MAY_IMPORT = {"threading", "time"}
IMPURE_MODULES = {"asyncio", "anyio", "time", "sqlite3", "aiosqlite", "threading", "logging", "socket"}


def modules() -> list[tuple[str, Path]]:
    """Every module with the room it stands in; a file of the package itself is a room of its own."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        found.append((relative.parts[0] if len(relative.parts) > 1 else relative.stem, path))
    return found


def imports(path: Path) -> list[str]:
    """The modules a file imports, inside functions and TYPE_CHECKING blocks too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "asfn":
                found += [f"asfn.{alias.name}" for alias in node.names]
            else:
                found.append(node.module or "")
    return found


def is_allowed(module: str, allowed: set[str]) -> bool:
    inside = module.removeprefix("asfn").lstrip(".")
    if inside in asfn.__all__:
        inside = ""
    return inside in allowed or inside.split(".")[0] in allowed


def test_every_room_imports_only_the_rooms_below_it() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for room, path in modules()
        for module in imports(path)
        if module.split(".")[0] == "asfn" and not is_allowed(module, ALLOWED[room])
    ]
    assert wrong == []


def test_nothing_imports_the_testing_room() -> None:
    wrong = [
        str(path)
        for room, path in modules()
        for module in imports(path)
        if room != "testing" and module.startswith("asfn.testing")
    ]
    assert wrong == []


def test_pure_rooms_have_no_async_clock_or_io() -> None:
    wrong = []
    for room, path in modules():
        if room not in PURE:
            continue
        tree = ast.parse(path.read_text())
        if any(isinstance(node, ast.AsyncFunctionDef | ast.Await) for node in ast.walk(tree)):
            wrong.append(f"{path.relative_to(PACKAGE)} has async code")
        impure = IMPURE_MODULES - (JSONATA_MAY_IMPORT if path.parent.name == "jsonata" else set())
        wrong += [f"{path.relative_to(PACKAGE)} imports {name}" for name in imports(path) if name in impure]
    assert wrong == []
