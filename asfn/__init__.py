"""asfn: an asyncio-native, embeddable, durable runtime for Amazon States Language.

async with Engine("sqlite:///flows.db", definitions="flows/*.asl.json") as engine:
    execution = await engine.start("order", {"id": 7})
    print(await execution.result())
"""

from asfn.engine import Engine
from asfn.errors import (
    AsfnError,
    DefinitionError,
    EngineClosed,
    EngineFenced,
    ExecutionAlreadyExists,
    ExecutionDoesNotExist,
    ExecutionFailed,
    InvalidArn,
    InvalidExecutionInput,
    InvalidName,
    InvalidOutput,
    InvalidToken,
    StateMachineAlreadyExists,
    StateMachineDoesNotExist,
    StoreError,
    TaskDoesNotExist,
    TaskFailed,
    TaskTimedOut,
    UnroutedResource,
)
from asfn.language.diagnostics import Diagnostic
from asfn.limits import Limits
from asfn.runtime.handle import Execution, ExecutionInfo
from asfn.runtime.machines import StateMachineInfo
from asfn.tasks.function import TaskContext

__all__ = [
    "AsfnError",
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
    "InvalidArn",
    "InvalidExecutionInput",
    "InvalidName",
    "InvalidOutput",
    "InvalidToken",
    "Limits",
    "StateMachineAlreadyExists",
    "StateMachineDoesNotExist",
    "StateMachineInfo",
    "StoreError",
    "TaskContext",
    "TaskDoesNotExist",
    "TaskFailed",
    "TaskTimedOut",
    "UnroutedResource",
]
