"""The seam between the runtime and a database. One contract suite runs over every implementation.

Only `writer.py` calls `apply`. All methods raise StoreError, with a text that names the file and what to do, for
anything the database refuses; EngineFenced from `apply` when the engine's epoch is not current.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from asfn.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asfn.store.records import (
        ActivityRow,
        ActivityTaskRow,
        Archive,
        Commit,
        EngineRow,
        ExecutionQuery,
        ExecutionRow,
        ExecutionStatus,
        FinishedRow,
        FrameRow,
        Message,
        Segment,
        Settlement,
        Standpoint,
        StateMachineRow,
        Taker,
        TokenRow,
    )


class CommitRefused(StoreError):
    """One commit of a group is at fault: nothing of the group was written. index: its place in the group.

    `Writer` fails that commit alone and applies the others again. Never raised once anything may have been
    written.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index


class Mailbox(Protocol):
    """Task tokens and activities: what comes to executions from outside their engine, from any process.

    Nothing here is fenced: an answer counts whoever brings it. What a method writes is durable when it returns.
    What brings news to a parked execution (an outcome, work that was taken) makes its `wake_at` that moment, in the
    same transaction, unless it is earlier already: whoever waits for due executions wakes it.
    """

    async def version(self) -> int:
        """A number that changes when another process may have written. Cheap: it is asked many times a second.

        A store may have `stamp() -> object` besides, which never waits: as long as that stays the same, hardly anybody
        has written, and the version is asked for once a second only.
        """

    async def settle_tokens(self, settlements: Sequence[Settlement]) -> list[tuple[bool, TokenRow | None]]:
        """End tokens, one after the other, in one transaction. For each: whether this settlement ended it; else the row
        that stood against it, None for a token that is not there.
        """

    async def beat_tokens(self, tokens: Sequence[str], now: float) -> list[TokenRow | None]:
        """Note a sign of life of those that are open. The rows as they are then, None for what is not there."""

    async def tokens(self, tokens: Sequence[str]) -> list[TokenRow | None]:
        """The rows of these tokens, with who has taken their work from the queue; None for what is not there."""

    async def token_news(self) -> list[str]:
        """All tokens with an outcome that their task has not taken yet, or with work that was taken and not noted."""

    async def put_activity(self, row: ActivityRow) -> ActivityRow:
        """Insert an activity; the row that holds the ARN then, which may be an older one."""

    async def delete_activity(self, arn: str) -> None:
        """Delete an activity; one that is gone already does no harm. Queued work stays as it is."""

    async def activity(self, arn: str) -> ActivityRow | None: ...

    async def activities(self) -> list[ActivityRow]:
        """All of them, by name."""

    async def take_activity_tasks(self, takers: Sequence[Taker], now: float) -> list[ActivityTaskRow | None]:
        """Give each taker the oldest work of its activity that nobody has, None when there is none; no work twice."""

    async def give_back_activity_task(self, token: str) -> None:
        """Put work that a taker never got back into its queue, unless it was noted meanwhile."""

    async def waiting_activity_tasks(self, arns: Sequence[str]) -> dict[str, int]:
        """How much work waits in the queues of these activities; those where none waits are left out."""


class Messages(Protocol):
    """What is asked of executions that another engine may run. Not fenced, and durable when a method returns."""

    async def post(self, message: Message) -> int | None:
        """Keep a message until it is dropped; its id. None, and nothing is kept, when the execution is not RUNNING.
        A parked execution becomes due, as by an answer.
        """

    async def messages(self, engine: EngineRow) -> list[Message]:
        """Those for executions that this engine owns, oldest first."""

    async def drop_messages(self, ids: Sequence[int]) -> None:
        """Forget messages that were acted on; one that is gone already does no harm."""

    async def message(self, id: int) -> Message | None:
        """A message that still stands; None: it was acted on, or its execution has ended."""


class Housekeeping(Protocol):
    """Purge of what nobody needs any more, and whole executions in and out.

    A purge works in two steps, each a transaction of its own: `bury` lets executions disappear at once, `sweep` deletes
    what they leave behind, a few rows at a time, so that no other commit waits long. Nothing here is fenced.
    """

    async def machines_of_executions(self) -> list[str]:
        """ARNs of the state machines that executions name, registered or not."""

    async def finished(
        self,
        state_machine_arn: str,
        status: ExecutionStatus,
        *,
        before: float,
        after: tuple[float, int] = (0.0, 0),
        limit: int = 100,
    ) -> list[FinishedRow]:
        """Executions of a machine in this final status that started before a moment, oldest start first, at most
        `limit`; `after`: the (started_at, key) of the last one seen. Some of them may have stopped after `before`.
        """

    async def bury(self, keys: Sequence[int], before: float) -> int:
        """Make those of these executions disappear that have ended before a moment; how many did. Their ARNs are free
        then.
        """

    async def sweep(self, limit: int) -> int:
        """Delete at most `limit` rows of buried executions; how many were deleted, 0 when nothing is left to do."""

    async def forget_definitions(self, now: float, grace_seconds: float) -> int:
        """Delete definitions that neither a state machine nor an execution names, at most a hundred; how many were.

        While an engine is registered only those that an earlier call, grace_seconds ago or more, found unused too: an
        engine puts a definition before whatever names it, and `put_definition` starts the time anew.
        """

    async def archive(self, arn: str) -> Archive | None:
        """Everything of one execution, as it stood at one moment; None when there is none of this ARN."""

    async def restore(self, archive: Archive) -> bool:
        """Insert everything of an execution, under the key its row has, in one transaction. False, and nothing is
        written, when its key, its ARN or one of its tokens is there already.
        """


class Ownership(Protocol):
    """Which engine runs what. An execution that is RUNNING is owned by one engine, parked, queued, or free to be
    claimed; it never is two of these. All methods that take over are fenced, and each is one transaction: two engines
    never get the same execution.
    """

    async def claim(
        self, engine: EngineRow, now: float, *, dead: Sequence[int] = (), limit: int = 1_000
    ) -> list[ExecutionRow]:
        """Take over at most `limit` RUNNING executions that are free, or whose owner is among `dead`, has no row any
        more, or has a lease that ended before `now`; such engines are fenced (epoch + 1). Rows oldest first; as many
        as `limit` mean that there may be more. Parked and queued ones are left alone.
        """

    async def wake(
        self, engine: EngineRow, now: float, *, keys: Sequence[int] | None = None, limit: int = 1_000
    ) -> list[ExecutionRow]:
        """Take over executions that are due (wake_at <= now), parked ones and those that are queued beyond their
        deadline, earliest first, at most `limit`.

        keys: take over, instead, all of these that are RUNNING and that nobody owns: parked, queued or free, due or
        not, whatever a limit says; oldest first.
        """

    async def next_wake(self) -> float | None:
        """The earliest wake_at of a parked or queued execution, math.inf when only answers wake them; None: there is
        none.
        """

    async def admit(self, engine: EngineRow, now: float, *, limit: int) -> list[ExecutionRow]:
        """Take over at most `limit` queued executions, higher priority first, then oldest start.

        No state machine gets more than its max_concurrent_executions that have begun and not ended, whoever runs them,
        parked ones included; those of a full machine hide no others.
        """

    async def pause_queued(self, key: int, paused: bool) -> bool:
        """Note whether an execution that is queued begins paused; False, and nothing is done, when it is not queued.
        Not fenced: nobody owns it.
        """

    async def queued_count(self, *, at_most: int | None = None) -> int:
        """How many executions are queued; counted up to `at_most`, and 1 tells at once whether there is any."""

    async def parked_count(self, *, at_most: int | None = None) -> int:
        """How many executions are parked; counted as those that are queued."""


class Store(Mailbox, Messages, Housekeeping, Ownership, Protocol):
    """Durable state of engines, state machines and executions."""

    async def open(self) -> None:
        """Connect, and bring an older file to the current schema. A file of a newer version is refused,
        unchanged.
        """

    async def close(self) -> None:
        """Disconnect. Nothing is written; calling it twice does no harm."""

    async def register_engine(self, now: float, lease_seconds: float) -> EngineRow:
        """A new engine row with an id never used before in this file, epoch 1."""

    async def renew_engine(self, engine: EngineRow, now: float, lease_seconds: float) -> None:
        """Prolong the lease. Raises EngineFenced when the row's epoch is not the engine's, or the row is
        gone.
        """

    async def retire_engine(self, engine: EngineRow) -> None:
        """Set every execution the engine owns free and delete its row; parked and queued ones stay as they are. An
        orderly shutdown.
        """

    async def other_engines(self, engine: EngineRow) -> list[EngineRow]:
        """The rows of all other engines, to find dead ones by their advisory lock."""

    async def apply(self, engine: EngineRow, commits: Sequence[Commit]) -> list[ExecutionRow | None]:
        """Write all commits in one transaction, in order; answers as `Start` and `Redrive` say, None for a Progress.

        Checks the engine row's epoch inside the transaction. A Progress for an execution that is not
        RUNNING, or not owned by the engine, writes nothing. Durable when it returns. Raises CommitRefused
        for a key that another ARN holds, for a segment that does not follow the execution's last event, and for a
        Redrive of an execution that is not there.
        """

    async def put_definition(self, digest: str, text: str) -> None:
        """Keep a definition's text under its digest; one that is there already is left as it is."""

    async def definition(self, digest: str) -> str | None: ...

    async def put_state_machine(self, row: StateMachineRow) -> None:
        """Insert or replace by ARN."""

    async def delete_state_machine(self, arn: str) -> None:
        """Delete the registration; definitions and executions stay."""

    async def state_machine(self, arn: str) -> StateMachineRow | None: ...

    async def state_machines(self) -> list[StateMachineRow]:
        """All of them, by name."""

    async def execution(self, arn: str) -> ExecutionRow | None: ...

    async def executions(self, query: ExecutionQuery) -> list[ExecutionRow]: ...

    async def frames(self, key: int) -> list[FrameRow]:
        """All frames of an execution, in no order; also of one that has ended otherwise than SUCCEEDED."""

    async def last_event_id(self, key: int) -> int:
        """The id of the last committed event of an execution, 0 when there is none."""

    async def standpoints(self, keys: Sequence[int]) -> dict[int, Standpoint]:
        """Where each of these executions stands, by key: as `frames` and `last_event_id`, but many at once."""

    async def segments(self, key: int, *, after_id: int = 0, limit: int = 100) -> list[Segment]:
        """The segments that hold events with an id above after_id, in order, at most `limit` of them."""
