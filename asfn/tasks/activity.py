"""Activities: Tasks whose work waits in a queue until a worker, in this process or another, asks for it.

Nothing is called: a resolver that gives `QUEUE` for a Resource leaves the Task to the workers that poll its activity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asfn.errors import UnroutedResource

if TYPE_CHECKING:
    from asfn._json import Json
    from asfn.tasks.protocol import Answer, Done, TaskCall


class ActivityQueue:
    """Stands where a handler would. The runtime queues the work of its Tasks and calls none of its methods."""

    async def submit(self, call: TaskCall) -> Answer:
        """Refused: only an activity's work can wait for workers."""
        raise UnroutedResource(f"{call.resource.text} is no activity: its work cannot be queued for activity workers")

    async def poll(self, call: TaskCall, job: Json) -> Done | None:
        """Refused as `submit`."""
        raise UnroutedResource(f"{call.resource.text} is no activity: it has no job to poll")

    async def cancel(self, call: TaskCall, job: Json) -> None:
        """Nothing was submitted."""


QUEUE: Final = ActivityQueue()
"""The answer of a resolver for an activity that workers poll."""
