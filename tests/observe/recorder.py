"""An observer that writes down what it is told, and checks that it makes sense."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from asfn._json import JsonObject, Payload
from asfn.plan.effects import Failure
from asfn.runtime.handle import ExecutionInfo
from asfn.runtime.observers import CallEnd, Observer, StateVisit
from asfn.tasks.protocol import TaskCall


class Recorder(Observer):
    """told: (hook, what it was about).   open, calls: visits and calls without an end.   events: by execution."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.open: list[StateVisit] = []
        self.calls: list[TaskCall] = []
        self.entered: list[int] = []
        self.resumed: list[StateVisit] = []
        self.exits: Counter[str] = Counter()
        self.events: dict[str, list[JsonObject]] = {}
        self.infos: list[ExecutionInfo] = []

    def status_changed(self, execution: ExecutionInfo) -> None:
        self.told.append(("status", execution.status))
        self.infos.append(execution)
        assert self.open == []

    def execution_resumed(self, execution: ExecutionInfo, at: float) -> None:
        self.told.append(("resumed", execution.name))

    def execution_parked(self, execution: ExecutionInfo, error: BaseException | None, at: float) -> None:
        self.told.append(("parked", type(error).__name__))
        self.open.clear()

    def events_committed(self, execution: ExecutionInfo, events: Sequence[JsonObject]) -> None:
        self.events.setdefault(execution.arn, []).extend(events)

    def state_entered(self, visit: StateVisit) -> None:
        self.told.append(("entered", visit.name))
        assert all((visit.path, visit.step) != (other.path, other.step) for other in self.open)
        assert visit.parent is None or visit.parent in self.open
        assert (visit.index is None) == (visit.parent is None) == (visit.path == "")
        self.open.append(visit)
        if visit.resumed:
            self.resumed.append(visit)
        else:
            self.entered.append(visit.event_id)

    def _end(self, hook: str, visit: StateVisit, at: float) -> None:
        self.told.append((hook, visit.name))
        self.open.remove(visit)
        assert at >= visit.entered_at

    def state_exited(self, visit: StateVisit, output: Payload, at: float) -> None:
        self._end("exited" if visit.failure is None else f"caught {visit.failure.error}", visit, at)
        self.exits[visit.name] += 1

    def state_failed(self, visit: StateVisit, failure: Failure, at: float) -> None:
        self._end(f"failed {failure.error}", visit, at)

    def state_aborted(self, visit: StateVisit, at: float) -> None:
        self._end("aborted", visit, at)

    def state_retried(self, visit: StateVisit, failure: Failure, wake_at: float, at: float) -> None:
        self.told.append((f"retried {failure.error} after {visit.attempt}", visit.name))
        assert visit in self.open
        assert wake_at >= at
        assert visit.failure is None

    def task_called(self, visit: StateVisit, call: TaskCall, at: float) -> AbstractContextManager[None]:
        self.told.append(("called", visit.name))
        assert visit in self.open
        assert visit.name == call.state_name
        assert visit.attempt == call.attempt
        self.calls.append(call)
        return self._inside(visit)

    @contextmanager
    def _inside(self, visit: StateVisit) -> Iterator[None]:
        yield
        self.told.append(("left", visit.name))

    def task_ended(self, visit: StateVisit, call: TaskCall, end: CallEnd, at: float) -> None:
        self.told.append((end.what, visit.name))
        self.calls.remove(call)
