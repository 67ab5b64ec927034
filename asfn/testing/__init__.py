"""Tools for tests of state machines: virtual time with seeded scheduling, and scripted tasks."""

from __future__ import annotations

from asfn.testing.loop import (
    DEFAULT_START_AT,
    Deadlock,
    VirtualClock,
    VirtualTimeLoop,
    run,
)
from asfn.testing.tasks import (
    Scripted,
    ScriptedTasks,
    ScriptError,
    answers,
    fails,
    never_answers,
    submits,
)

__all__ = [
    "DEFAULT_START_AT",
    "Deadlock",
    "ScriptError",
    "Scripted",
    "ScriptedTasks",
    "VirtualClock",
    "VirtualTimeLoop",
    "answers",
    "fails",
    "never_answers",
    "run",
    "submits",
]
