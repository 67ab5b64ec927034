"""Tools for tests of state machines: virtual time with seeded scheduling, mocks, scripted tasks, coverage.

The names load on first use: the pytest plugin stands in this package, and pytest loads it in every project.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asfn.testing.faults import FaultyStore
    from asfn.testing.loop import (
        DEFAULT_START_AT,
        Deadlock,
        VirtualClock,
        VirtualTimeLoop,
        run,
    )
    from asfn.testing.mock_config import MockConfig, MockConfigError
    from asfn.testing.mocks import Mock
    from asfn.testing.tasks import (
        Scripted,
        ScriptedTasks,
        ScriptError,
        answers,
        fails,
        never_answers,
        submits,
    )
    from asfn.testing.virtual import ExecutionEnded, VirtualEngine, VirtualExecution

_HOME = {
    "DEFAULT_START_AT": "asfn.testing.loop",
    "Deadlock": "asfn.testing.loop",
    "ExecutionEnded": "asfn.testing.virtual",
    "FaultyStore": "asfn.testing.faults",
    "Mock": "asfn.testing.mocks",
    "MockConfig": "asfn.testing.mock_config",
    "MockConfigError": "asfn.testing.mock_config",
    "ScriptError": "asfn.testing.tasks",
    "Scripted": "asfn.testing.tasks",
    "ScriptedTasks": "asfn.testing.tasks",
    "VirtualClock": "asfn.testing.loop",
    "VirtualEngine": "asfn.testing.virtual",
    "VirtualExecution": "asfn.testing.virtual",
    "VirtualTimeLoop": "asfn.testing.loop",
    "answers": "asfn.testing.tasks",
    "fails": "asfn.testing.tasks",
    "never_answers": "asfn.testing.tasks",
    "run": "asfn.testing.loop",
    "submits": "asfn.testing.tasks",
}

__all__ = [
    "DEFAULT_START_AT",
    "Deadlock",
    "ExecutionEnded",
    "FaultyStore",
    "Mock",
    "MockConfig",
    "MockConfigError",
    "ScriptError",
    "Scripted",
    "ScriptedTasks",
    "VirtualClock",
    "VirtualEngine",
    "VirtualExecution",
    "VirtualTimeLoop",
    "answers",
    "fails",
    "never_answers",
    "run",
    "submits",
]


def __getattr__(name: str) -> Any:  # Any: whatever the name stands for; type checkers read the imports above
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'asfn.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
