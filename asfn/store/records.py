"""What a store keeps, as plain records. They know nothing of SQL, and nothing of the language.

`body` members are JSON texts that only the runtime reads; `texts` are the payloads a body refers to by
position, so that a store may keep a large one once, by digest, however many events and frames share it.
Structs, not dataclasses: they are made in C, and two dozen dataclasses would cost every `import asfn` 8 ms.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Literal, TypeAlias

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asfn._json import Payload

ExecutionStatus = Literal["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"]
MachineType = Literal["STANDARD", "EXPRESS"]


class EngineRow(Struct):
    """One running engine. A write under an older epoch is refused: another engine took over."""

    id: int
    epoch: int
    lease_until: float


class StateMachineRow(Struct):
    """A registered state machine; `digest` names its current definition, which never changes.

    retention_days: how long its finished executions are kept; None: as the engine's limits say, math.inf: for ever.
    max_concurrent_executions: how many of its executions may have begun and not ended; None: any number.
    """

    arn: str
    name: str
    type: MachineType
    digest: str
    role_arn: str
    created_at: float
    updated_at: float
    revision_id: str | None = None
    retention_days: float | None = None
    max_concurrent_executions: int | None = None


class ExecutionRow(Struct, gc=False):
    """One execution. `key` is unique in the file, given by the engine that started it.

    digest: of the definition it runs, kept for resume and redrive.   input_details and output are payloads.
    wake_at: earliest moment at which a parked execution has something to do, math.inf when only an answer or a
        message gives it that; None when it is not parked. A parked one is RUNNING and has no owner.
    attributes: what it can be found by; written with the row and never changed.
    paused: it takes no new step.   redrive_tokens: the last client tokens of redrives, with the moments.
    queued: it is RUNNING and has not begun, an admission limit holds it back; it has no owner, and wake_at is its
        deadline, if it has one.
    priority: among the queued ones, higher first.
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
    attributes: Mapping[str, str] = field(default_factory=dict)
    paused: bool = False
    redrive_tokens: Sequence[tuple[str, float]] = ()
    queued: bool = False
    priority: int = 0

    def copy(self) -> ExecutionRow:
        """A row of its own."""
        return copy(self)


class FrameRow(Struct, gc=False):
    """Where one branch stands. `path` is "" for the root, `parent/step.attempt:State:index` below it."""

    path: str
    body: str
    texts: Sequence[Payload]


class Standpoint(Struct, gc=False):
    """Where an execution stands. last_event_id: of its last committed event, 0 when there is none."""

    frames: list[FrameRow]
    last_event_id: int


class Segment(Struct, gc=False):
    """The history events of one commit: ids first_id to last_id, without gaps."""

    first_id: int
    last_id: int
    body: str
    texts: Sequence[Payload]


class Final(Struct, gc=False):
    """How an execution ended. Written once: a store ignores it when the row is not RUNNING any more."""

    status: ExecutionStatus
    stopped_at: float
    output: Payload | None = None
    error: str | None = None
    cause: str | None = None
    failed_state: str | None = None


TokenState = Literal["open", "completed", "timed_out", "closed"]
MessageKind = Literal["stop", "pause", "resume"]


class TokenRow(Struct):
    """A task token. `path` is the frame's that waits for it.

    state: open, then once completed (answered), timed_out, or closed (its task went another way).
    outcome: JSON text that only the runtime reads; of a completed or timed out token until its task has taken it.
    heartbeat_at: the last sign of life that came through the store.
    worker_name, taken_at: only when read, of an activity's task that a worker has and that still stands in its queue.
    """

    token: str
    execution: int
    path: str
    created_at: float
    state: TokenState = "open"
    outcome: str | None = None
    heartbeat_at: float | None = None
    settled_at: float | None = None
    worker_name: str | None = None
    taken_at: float | None = None


class Settlement(Struct):
    """The end of a token, asked for: it becomes `state`, if it is still open.

    unless_beat_after: leave it open when the store holds a sign of life from after this moment; None: end it anyhow.
    """

    token: str
    state: Literal["completed", "timed_out"]
    outcome: str
    at: float
    unless_beat_after: float | None = None


class Message(Struct):
    """What somebody asks of an execution that another engine may run. body: JSON text that only the runtime reads.

    at: when it was asked.   id: given by the store, never twice in one file.
    """

    execution: int
    kind: MessageKind
    body: str
    at: float
    id: int = 0


class ActivityRow(Struct):
    """An activity that workers may poll."""

    arn: str
    name: str
    created_at: float


class ActivityTaskRow(Struct):
    """Work that waits in an activity's queue. input: JSON text."""

    token: str
    activity_arn: str
    execution: int
    input: str
    scheduled_at: float


class Taker(Struct):
    """A worker that asks for work."""

    activity_arn: str
    worker_name: str | None


class TokenChanges(Struct):
    """What a barrier changes of its execution's tokens, done in this order.

    opened: new tokens.   queued: work for activity workers, under a token that is opened too.
    noted: tokens of taken work whose execution has recorded that: the work leaves the queue.
    closed: tokens whose task has moved on, with the moment; open ones become closed, outcomes and queued work go.
    """

    opened: list[TokenRow] = field(default_factory=list)
    queued: list[ActivityTaskRow] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)
    closed: list[tuple[str, float]] = field(default_factory=list)


class Start(Struct, gc=False):
    """Insert an execution. Answer: None when inserted, the row that holds the ARN already otherwise."""

    row: ExecutionRow


class Progress(Struct, gc=False):
    """One barrier of one execution, all or nothing.

    frames are inserted or replaced by path; `dropped` paths are deleted first, each with everything below
    it (path itself and every path that begins with `path + "/"`; the root "" drops all). final: the end; what
    SUCCEEDED keeps no frames, the others keep theirs for a redrive. tokens: None when nothing of them changes; the
    final commit closes all that are open. paused: whether the execution takes no new step from now on; None when that
    does not change.
    parked: the owner lets go, until wake_at; the store writes 0.0 instead when an outcome, a worker that took its work,
    or a message waits for the execution already. Without a wake_at whoever claims next has it.
    """

    key: int
    segment: Segment | None = None
    frames: Sequence[FrameRow] = ()
    dropped: Sequence[str] = ()
    final: Final | None = None
    parked: bool = False
    wake_at: float | None = None
    tokens: TokenChanges | None = None
    paused: bool | None = None


class Redrive(Struct, gc=False):
    """Set an execution going again that has ended, but not SUCCEEDED, and write its first progress.

    row: as it stands then: RUNNING, owned, redrive_count one higher. Answer: None when done; the stored row when that
    is RUNNING or SUCCEEDED, or has another redrive_count (someone was faster), and nothing is written.
    """

    row: ExecutionRow
    progress: Progress


Commit: TypeAlias = Start | Progress | Redrive


class ExecutionQuery(Struct):
    """Which executions to list, newest start first. `before` is the (started_at, key) of the last one
    seen. attributes: those an execution must have, all of them.
    """

    state_machine_arn: str | None = None
    status: ExecutionStatus | None = None
    name: str | None = None
    before: tuple[float, int] | None = None
    limit: int = 100
    statuses: Sequence[ExecutionStatus] = field(default=())
    attributes: Mapping[str, str] = field(default_factory=dict)


class FinishedRow(Struct):
    """An execution that has ended, as a purge sees it."""

    key: int
    started_at: float
    stopped_at: float


class Archive(Struct):
    """Everything a store has of one execution, as it stood at one moment. work: in activities' queues."""

    row: ExecutionRow
    definition: str
    segments: list[Segment]
    frames: list[FrameRow]
    tokens: list[TokenRow]
    work: list[ActivityTaskRow]
    messages: list[Message] = field(default_factory=list)
