"""What a store keeps, as plain records. They know nothing of SQL, and nothing of the language.

`body` members are JSON texts that only the runtime reads; `texts` are the payloads a body refers to by
position, so that a store may keep a large one once, by digest, however many events and frames share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asfn._json import Payload

ExecutionStatus = Literal["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"]
MachineType = Literal["STANDARD", "EXPRESS"]


@dataclass(slots=True)
class EngineRow:
    """One running engine. A write under an older epoch is refused: another engine took over."""

    id: int
    epoch: int
    lease_until: float


@dataclass(slots=True)
class StateMachineRow:
    """A registered state machine; `digest` names its current definition, which never changes."""

    arn: str
    name: str
    type: MachineType
    digest: str
    role_arn: str
    created_at: float
    updated_at: float
    revision_id: str | None = None


@dataclass(slots=True)
class ExecutionRow:
    """One execution. `key` is unique in the file, given by the engine that started it.

    digest: of the definition it runs, kept for resume and redrive.   input_details and output are payloads.
    wake_at: earliest moment at which a parked execution has something to do; None when it is not parked.
    """

    key: int
    arn: str
    name: str
    state_machine_arn: str
    digest: str
    type: MachineType
    role_arn: str
    input: Payload
    started_at: float
    status: ExecutionStatus = "RUNNING"
    stopped_at: float | None = None
    output: Payload | None = None
    error: str | None = None
    cause: str | None = None
    failed_state: str | None = None
    redrive_count: int = 0
    redriven_at: float | None = None
    owner: int | None = None
    wake_at: float | None = None

    def copy(self) -> ExecutionRow:
        """A row of its own, ten times faster than `dataclasses.replace`."""
        return ExecutionRow(*_members(self))


_members = attrgetter(*ExecutionRow.__slots__)


@dataclass(slots=True)
class FrameRow:
    """Where one branch stands. `path` is "" for the root, `parent/step.attempt:State:index` below it."""

    path: str
    body: str
    texts: Sequence[Payload]


@dataclass(slots=True)
class Segment:
    """The history events of one commit: ids first_id to last_id, without gaps."""

    first_id: int
    last_id: int
    body: str
    texts: Sequence[Payload]


@dataclass(slots=True)
class Final:
    """How an execution ended. Written once: a store ignores it when the row is not RUNNING any more."""

    status: ExecutionStatus
    stopped_at: float
    output: Payload | None = None
    error: str | None = None
    cause: str | None = None
    failed_state: str | None = None


@dataclass(slots=True)
class Start:
    """Insert an execution. Answer: None when inserted, the row that holds the ARN already otherwise."""

    row: ExecutionRow


@dataclass(slots=True)
class Progress:
    """One barrier of one execution, all or nothing.

    frames are inserted or replaced by path; `dropped` paths are deleted first, each with everything below
    it (path itself and every path that begins with `path + "/"`; the root "" drops all). parked: the owner
    lets go.
    """

    key: int
    segment: Segment | None = None
    frames: Sequence[FrameRow] = ()
    dropped: Sequence[str] = ()
    final: Final | None = None
    parked: bool = False
    wake_at: float | None = None


Commit: TypeAlias = Start | Progress


@dataclass(slots=True)
class ExecutionQuery:
    """Which executions to list, newest start first. `before` is the (started_at, key) of the last one
    seen.
    """

    state_machine_arn: str | None = None
    status: ExecutionStatus | None = None
    name: str | None = None
    before: tuple[float, int] | None = None
    limit: int = 100
    statuses: Sequence[ExecutionStatus] = field(default=())
