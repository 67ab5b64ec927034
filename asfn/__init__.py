"""asfn: an asyncio-native, embeddable, durable runtime for Amazon States Language.

    async with Engine("sqlite:///flows.db", definitions="flows/*.asl.json") as engine:
        execution = await engine.start("order", {"id": 7})
        print(await execution.result())

Importing the package loads nothing; a name loads its module when it is first used, so that a program that only
validates a definition, or only catches an error, does not pay for an engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asfn.engine import Engine
    from asfn.errors import (
        ActivityDoesNotExist,
        AsfnError,
        DefinitionError,
        EngineClosed,
        EngineFenced,
        ExecutionAlreadyExists,
        ExecutionDoesNotExist,
        ExecutionFailed,
        ExecutionNotRedrivable,
        InvalidArn,
        InvalidExecutionInput,
        InvalidName,
        InvalidOutput,
        InvalidParameter,
        InvalidToken,
        StateMachineAlreadyExists,
        StateMachineDoesNotExist,
        StoreError,
        TaskDoesNotExist,
        TaskFailed,
        TaskTimedOut,
        UnroutedResource,
        UnsupportedState,
    )
    from asfn.language.diagnostics import Diagnostic
    from asfn.limits import Limits
    from asfn.runtime.activities import ActivityInfo, ActivityTask
    from asfn.runtime.handle import (
        Execution,
        ExecutionInfo,
    )
    from asfn.runtime.machines import StateMachineInfo
    from asfn.runtime.observers import Observer
    from asfn.store.codec import Codec, GzipCodec
    from asfn.tasks.function import TaskContext

_HOME = {
    "ActivityDoesNotExist": "asfn.errors",
    "ActivityInfo": "asfn.runtime.activities",
    "ActivityTask": "asfn.runtime.activities",
    "AsfnError": "asfn.errors",
    "Codec": "asfn.store.codec",
    "DefinitionError": "asfn.errors",
    "Diagnostic": "asfn.language.diagnostics",
    "Engine": "asfn.engine",
    "EngineClosed": "asfn.errors",
    "EngineFenced": "asfn.errors",
    "Execution": "asfn.runtime.handle",
    "ExecutionAlreadyExists": "asfn.errors",
    "ExecutionDoesNotExist": "asfn.errors",
    "ExecutionFailed": "asfn.errors",
    "ExecutionInfo": "asfn.runtime.handle",
    "ExecutionNotRedrivable": "asfn.errors",
    "GzipCodec": "asfn.store.codec",
    "InvalidArn": "asfn.errors",
    "InvalidExecutionInput": "asfn.errors",
    "InvalidName": "asfn.errors",
    "InvalidOutput": "asfn.errors",
    "InvalidParameter": "asfn.errors",
    "InvalidToken": "asfn.errors",
    "Limits": "asfn.limits",
    "Observer": "asfn.runtime.observers",
    "StateMachineAlreadyExists": "asfn.errors",
    "StateMachineDoesNotExist": "asfn.errors",
    "StateMachineInfo": "asfn.runtime.machines",
    "StoreError": "asfn.errors",
    "TaskContext": "asfn.tasks.function",
    "TaskDoesNotExist": "asfn.errors",
    "TaskFailed": "asfn.errors",
    "TaskTimedOut": "asfn.errors",
    "UnroutedResource": "asfn.errors",
    "UnsupportedState": "asfn.errors",
}

__all__ = [
    "ActivityDoesNotExist",
    "ActivityInfo",
    "ActivityTask",
    "AsfnError",
    "Codec",
    "DefinitionError",
    "Diagnostic",
    "Engine",
    "EngineClosed",
    "EngineFenced",
    "Execution",
    "ExecutionAlreadyExists",
    "ExecutionDoesNotExist",
    "ExecutionFailed",
    "ExecutionInfo",
    "ExecutionNotRedrivable",
    "GzipCodec",
    "InvalidArn",
    "InvalidExecutionInput",
    "InvalidName",
    "InvalidOutput",
    "InvalidParameter",
    "InvalidToken",
    "Limits",
    "Observer",
    "StateMachineAlreadyExists",
    "StateMachineDoesNotExist",
    "StateMachineInfo",
    "StoreError",
    "TaskContext",
    "TaskDoesNotExist",
    "TaskFailed",
    "TaskTimedOut",
    "UnroutedResource",
    "UnsupportedState",
]


def __getattr__(name: str) -> Any:  # Any: whatever the name stands for; type checkers read the imports above
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'asfn' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
