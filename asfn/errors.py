"""Every error asfn raises or carries, in three families that never mix.

1. The workflow failed: an error name and a cause, which Retry and Catch see.
    TaskFailed                      raised by a task handler
    StateFailed                     raised while a state evaluates its fields; the interpreter makes it a value
2. The caller erred:
    AsfnError
     ├─ DefinitionError             the state machine definition has problems; `.diagnostics` lists them all
     ├─ InvalidName, InvalidArn, InvalidExecutionInput, InvalidOutput, InvalidToken
     ├─ InvalidParameter            a parameter of a call breaks its rules (AWS's ValidationException)
     ├─ UnsupportedState            a state cannot be tested by itself in the way that was asked for
     ├─ StateMachineDoesNotExist, StateMachineAlreadyExists
     ├─ ExecutionDoesNotExist, ExecutionAlreadyExists, ExecutionNotRedrivable
     ├─ ActivityDoesNotExist, TaskDoesNotExist, TaskTimedOut
     ├─ ExecutionFailed             `execution.result()` of an execution that did not succeed
     ├─ UnroutedResource            no handler answers a Resource
     ├─ EngineClosed                the engine is not running
     └─ StoreError                  the database cannot be opened, read or written
         └─ EngineFenced            another engine took over this engine's executions
3. We erred: anything else. It stops the execution loudly, leaves it resumable, and never enters a history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asfn.language.diagnostics import Diagnostic


class TaskFailed(Exception):
    """Raised by a task handler: the task ended with this error name and cause.

    error: what ErrorEquals is matched against, such as "Card.Declined"; None for a failure without a name.
    cause: text for people; None when there is none.
    """

    def __init__(self, error: str | None = None, cause: str | None = None) -> None:
        super().__init__(error, cause)
        self.error = error
        self.cause = cause

    def __str__(self) -> str:
        return ": ".join(part for part in (self.error, self.cause) if part)


class StateFailed(Exception):
    """A field of a state could not be evaluated. Internal: the interpreter turns it into a `Failure`.

    cause: AWS's sentence without the prefix "An error occurred while executing the state ..."; the interpreter
    adds that once. location: set for JSONata errors, the field as EvaluationFailed names it (`Output/total`);
    `evaluation` says that an EvaluationFailed event belongs to the error (a JSONata error without a location too);
    `evaluated` that the expression itself went well and its value was refused later, which links that event otherwise.
    prefixed: whether AWS's prefix belongs in front of the cause.
    """

    def __init__(
        self,
        error: str,
        cause: str,
        *,
        location: str | None = None,
        evaluation: bool = False,
        evaluated: bool = False,
        prefixed: bool = True,
    ) -> None:
        super().__init__(error, cause)
        self.error = error
        self.cause = cause
        self.location = location
        self.evaluation = evaluation or location is not None
        self.evaluated = evaluated
        self.prefixed = prefixed


class AsfnError(Exception):
    """Base of every error that is the caller's to mend; its text says how."""


class DefinitionError(AsfnError):
    """A state machine definition was refused. `diagnostics` holds every finding, errors and warnings."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        errors = [diagnostic for diagnostic in self.diagnostics if diagnostic.severity == "ERROR"]
        text = "; ".join(f"{item.pointer or '/'}: {item.message}" for item in errors)
        super().__init__(text.encode(errors="backslashreplace").decode())  # a pointer may hold a lone surrogate

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Errors travel between processes, and are pickled for it."""
        return type(self), (self.diagnostics,)


class InvalidName(AsfnError):
    """A name of a state machine, execution or activity breaks AWS's rules (api.md section 2)."""


class InvalidArn(AsfnError):
    """A text is not an ARN, or names the wrong kind of thing for this call."""


class InvalidExecutionInput(AsfnError):
    """The input of a start is not JSON, or larger than the limit."""


class InvalidOutput(AsfnError):
    """The output given for a task token is not JSON, or larger than the limit."""


class InvalidToken(AsfnError):
    """A task token or a paging token that this engine never gave out."""


class InvalidParameter(AsfnError):
    """A parameter of a call breaks the rules of that call; the text is AWS's where it is known (api.md section 3)."""


class UnsupportedState(AsfnError):
    """A state cannot be tested by itself in the way that was asked for (api.md section 9)."""


class StateMachineDoesNotExist(AsfnError):
    """No state machine of this name or ARN is registered."""


class StateMachineAlreadyExists(AsfnError):
    """A state machine of this name exists with another definition or type."""


class ExecutionDoesNotExist(AsfnError):
    """No execution of this ARN is in the store."""


class ExecutionAlreadyExists(AsfnError):
    """The execution name is taken: by a closed execution, or by a running one with another input."""


class ExecutionNotRedrivable(AsfnError):
    """An execution cannot be redriven; the text is the reason, in AWS's words where AWS has one."""


class ActivityDoesNotExist(AsfnError):
    """No activity of this name or ARN has been created."""


class TaskDoesNotExist(AsfnError):
    """The task behind a token is gone."""


class TaskTimedOut(AsfnError):
    """The task behind a token has finished or timed out already."""


class ExecutionFailed(AsfnError):
    """An execution ended as FAILED, TIMED_OUT or ABORTED.

    error, cause: as DescribeExecution gives them, None when absent.   state: the state that failed, if one did.
    """

    def __init__(self, status: str, error: str | None, cause: str | None, state: str | None = None) -> None:
        self.status = status
        self.error = error
        self.cause = cause
        self.state = state
        where = f" in state {state!r}" if state else ""
        what = ": ".join(part for part in (error, cause) if part)
        super().__init__(f"execution {status}{where}" + (f": {what}" if what else ""))

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Errors travel between processes, and are pickled for it."""
        return type(self), (self.status, self.error, self.cause, self.state)


class UnroutedResource(AsfnError):
    """No handler answers a Task's Resource; the text names the nearest registered ones."""


class EngineClosed(AsfnError):
    """The engine has not been entered with `async with`, or has been left."""


class StoreError(AsfnError):
    """The database cannot be opened, read or written; the text names the file and what to do."""


class EngineFenced(StoreError):
    """Another engine took over: this engine's row has a newer epoch, and its writes were rolled back."""
