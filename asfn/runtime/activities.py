"""Activities, for the program: create and delete them, and poll them for work as their workers do.

AWS's CreateActivity, DescribeActivity, ListActivities, DeleteActivity and GetActivityTask (api.md section 1,
integrations.md section 11). A worker may live in any process that has the same database open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from asfn._json import Payload
from asfn.arn import check_name
from asfn.errors import ActivityDoesNotExist, InvalidArn, InvalidParameter
from asfn.runtime.texts import is_unicode, shown
from asfn.store.records import ActivityRow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asfn._json import Json
    from asfn.arn import Arns
    from asfn.runtime.clock import Clock
    from asfn.runtime.inbox import Inbox
    from asfn.store.protocol import Mailbox

POLL_SECONDS: Final = 60.0
_LONGEST_WORKER_NAME: Final = 80


class ActivityInfo(Struct, frozen=True):
    """What DescribeActivity tells. created_at: epoch seconds, UTC."""

    arn: str
    name: str
    created_at: float


class ActivityTask(Struct, frozen=True):
    """Work for an activity worker: end it with `engine.tasks.succeed(task.token, ...)` or `fail`.

    input: a JSON value.   input_text: the same as text, as the execution has it.
    """

    token: str
    input: Json
    input_text: str
    activity_arn: str


class Activities:
    """The activities of an engine's database. A name stands for the ARN in the engine's own region and account.

    An activity of any region and account can be made by its whole ARN, so that a definition need not be changed.
    Every method raises InvalidArn for a text that begins as an ARN and is no activity's, and EngineClosed outside
    `async with`.
    """

    def __init__(self, inbox: Callable[[], Inbox], store: Mailbox, arns: Arns, clock: Clock) -> None:
        self._inbox = inbox
        self._store = store
        self._arns = arns
        self._clock = clock

    async def create(self, name_or_arn: str) -> ActivityInfo:
        """Make an activity; one that is there already is left as it is. Raises InvalidName."""
        self._inbox()
        arn = self._arn(name_or_arn)
        name = check_name(name_or_arn if arn != name_or_arn else arn.rpartition(":")[2])
        return _info(await self._store.put_activity(ActivityRow(arn, name, self._clock.now())))

    async def delete(self, name_or_arn: str) -> None:
        """Forget an activity; one that is gone already is no error. Work in its queue waits until its Task ends."""
        self._inbox()
        await self._store.delete_activity(self._arn(name_or_arn))

    async def describe(self, name_or_arn: str) -> ActivityInfo:
        """Raises ActivityDoesNotExist."""
        self._inbox()
        return _info(await self._row(self._arn(name_or_arn)))

    async def list(self) -> Sequence[ActivityInfo]:
        """All activities, by name."""
        self._inbox()
        return [_info(row) for row in await self._store.activities()]

    async def poll(
        self, name_or_arn: str, worker_name: str | None = None, wait_seconds: float = POLL_SECONDS
    ) -> ActivityTask | None:
        """Take the oldest work that waits for a worker, waiting for some as long as this; None when none came.

        worker_name: shown in the history's ActivityStarted.   wait_seconds: 0 only looks. The clocks of the Task,
        TimeoutSeconds and HeartbeatSeconds, begin now. Cancelled while it waits it takes nothing.
        Raises ActivityDoesNotExist.
        """
        inbox = self._inbox()
        if worker_name is not None and not _is_worker_name(worker_name):
            raise InvalidParameter(
                f"1 validation error detected: Value '{worker_name}' at 'workerName' failed to satisfy constraint: "
                f"Member must have length less than or equal to {_LONGEST_WORKER_NAME}"
            )
        arn = self._arn(name_or_arn)
        until = self._clock.now() + wait_seconds
        await self._row(arn)
        work = await inbox.poll(arn, worker_name, until)
        if work is None:
            return None
        return ActivityTask(work.token, Payload.parse(work.input).value, work.input, arn)

    def _arn(self, name_or_arn: str) -> str:
        if not name_or_arn.startswith("arn:"):
            return self._arns.activity(name_or_arn)
        parts = name_or_arn.split(":")
        if len(parts) != 7 or parts[2] != "states" or parts[5] != "activity" or not parts[6]:
            raise InvalidArn(f"Invalid Arn: 'Resource type not valid in this context: {':'.join(parts[5:6])}'")
        return name_or_arn

    async def _row(self, arn: str) -> ActivityRow:
        row = await self._store.activity(arn) if is_unicode(arn) else None
        if row is None:
            raise ActivityDoesNotExist(f"Activity Does Not Exist: {shown(arn)}")
        return row


def _is_worker_name(name: str) -> bool:
    """One to 80 characters that a database can keep."""
    return 1 <= len(name) <= _LONGEST_WORKER_NAME and is_unicode(name)


def _info(row: ActivityRow) -> ActivityInfo:
    return ActivityInfo(row.arn, row.name, row.created_at)
