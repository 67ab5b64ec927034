"""The seam between the interpreter and whatever does a Task's work.

A handler submits the work and either has the answer (`Done`) or a job that goes on elsewhere (`Submitted`), which
is then polled. A failure of the work is `TaskFailed(error, cause)`; any other exception is a fault of the handler
itself. The interpreter owns deadlines, heartbeats and cancelling: a handler just awaits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from asfn._json import Json, Payload
    from asfn.arn import TaskResource


class TaskCall(Struct, frozen=True):
    """One attempt of one Task.

    payload: the evaluated Parameters or Arguments; the effective input where there are none.
    attempt: 0 first, counting every retry of this visit to the state.
    idempotency_key: the same for this attempt after a crash and resume, different for every other attempt.
    deadline_at, heartbeat_seconds: as the state sets them, None without; the deadline is epoch seconds.
    token: the task token of a `.waitForTaskToken` task.
    heartbeat: tells the engine that the work is alive; thread-safe.
    priority: of the execution; where calls wait for their turn, higher ones go first.
    """

    resource: TaskResource
    payload: Payload
    execution_arn: str
    execution_name: str
    state_machine_arn: str
    state_name: str
    attempt: int
    idempotency_key: str
    deadline_at: float | None
    heartbeat_seconds: float | None
    role_arn: str | None
    token: str | None
    heartbeat: Callable[[], None]
    priority: int = 0


class Done(Struct, frozen=True):
    """The work has ended well. A payload parsed from text keeps that text in the history."""

    value: Payload


class Submitted(Struct, frozen=True):
    """The work goes on elsewhere.

    answer: what TaskSubmitted shows.   job: JSON enough to poll and cancel the work after a restart.
    """

    answer: Payload
    job: Json


Answer: TypeAlias = Done | Submitted


class Handler(Protocol):
    """Does the work of the Tasks of some resources. One object serves all calls, at once."""

    async def submit(self, call: TaskCall) -> Answer:
        """Start the work, or do it whole. Raises TaskFailed.

        Cancelled when the deadline passes or the execution stops.
        """

    async def poll(self, call: TaskCall, job: Json) -> Done | None:
        """The end of a submitted job, or None while it runs; may wait inside. Raises TaskFailed."""

    async def cancel(self, call: TaskCall, job: Json) -> None:
        """Stop a submitted job, best effort; what it raises is logged and dropped."""


class Resolver(Protocol):
    """Finds the handler of a resource."""

    def resolve(self, resource: TaskResource) -> Handler:
        """The handler that answers; raises UnroutedResource naming the ARN and the nearest registered names."""

    def on_resume(self, call: TaskCall) -> Literal["run", "fail"]:
        """Whether a call that a crash interrupted is made again, with the same idempotency key, or fails the task."""
