"""What executions did, told as it becomes durable: the source of `execution.path` and of coverage.

`RecordingStore` wraps any Store and passes everything on; observers hear of starts, events and ends. An Express
execution stores nothing, so a journal that tells the same of it stands in for its silent one.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from asfn.errors import StoreError
from asfn.runtime.history import shapes
from asfn.runtime.journal import Barrier, SilentJournal
from asfn.store.records import Progress, Start

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asfn._json import Json, Payload
    from asfn.runtime.journal import Journal
    from asfn.store.protocol import Store
    from asfn.store.records import Commit, EngineRow, ExecutionRow, Final, Segment


class Seen(NamedTuple):
    """One history event, as far as a path through a state machine needs it. name: of the state, where it has one."""

    id: int
    previous: int
    type: str
    name: str | None
    error: str | None


class Observer(Protocol):
    """Hears what happens. Executions are told apart by `key`, which is unique for one store."""

    def registered(self, name: str, digest: str, definition: str) -> None:
        """A state machine exists in the store; told when the store closes."""

    def started(self, row: ExecutionRow, definition: str) -> None:
        """An execution begins. definition: the text of the state machine definition it runs."""

    def recorded(self, key: int, events: Sequence[Seen]) -> None:
        """Events of an execution, in their order."""

    def ended(self, key: int) -> None:
        """Nothing more comes of this execution."""


class RecordingStore:
    """The Store it wraps, with an observer. What is not here is passed on as it is."""

    def __init__(self, store: Store, observer: Observer) -> None:
        self.store = store
        self.observer = observer

    def __getattr__(self, name: str) -> Any:  # Any: whatever the wrapped store has under this name
        return getattr(self.store, name)

    async def apply(self, engine: EngineRow, commits: Sequence[Commit]) -> list[ExecutionRow | None]:
        """As the wrapped store; then the observer is told."""
        definitions = {
            commit.row.digest: await self.store.definition(commit.row.digest)
            for commit in commits
            if isinstance(commit, Start)
        }
        answers = await self.store.apply(engine, commits)
        for commit, answer in zip(commits, answers, strict=True):
            if isinstance(commit, Start):
                if answer is None:
                    self.observer.started(commit.row, definitions[commit.row.digest] or "")
            elif isinstance(commit, Progress):
                if commit.segment is not None:
                    self.observer.recorded(commit.key, seen(commit.segment))
                if commit.final is not None:
                    self.observer.ended(commit.key)
        return answers

    async def close(self) -> None:
        """As the wrapped store; before that the observer is told what is registered."""
        crashed = getattr(self.store, "crashed", None)  # of a FaultyStore: a dead process answers nothing
        if crashed is None or not crashed.is_set():
            with suppress(StoreError):  # what cannot be read any more is not worth a second error
                for row in await self.store.state_machines():
                    self.observer.registered(row.name, row.digest, await self.store.definition(row.digest) or "")
        await self.store.close()


def observers(store: object) -> list[Observer]:
    """All observers of a store that was wrapped, perhaps more than once."""
    found = []
    while isinstance(store, RecordingStore):
        found.append(store.observer)
        store = store.store
    return found


def seen(segment: Segment) -> list[Seen]:
    """The events of a stored segment."""
    events: list[Seen] = []
    for event in shapes(segment):
        details: Mapping[str, Any] = next((value for value in event.values() if isinstance(value, dict)), {})
        id, previous, type_ = event["id"], event["previousEventId"], event["type"]
        assert isinstance(id, int)
        assert isinstance(previous, int)
        assert isinstance(type_, str)
        name = details.get("name", details.get("state"))  # EvaluationFailed says `state`
        events.append(Seen(id, previous, type_, name, details.get("error")))
    return events


class ToldJournal(SilentJournal):
    """The journal of an Express execution that somebody observes: the one it had, and it tells of every event."""

    __slots__ = ("_inner", "_observers")

    def __init__(self, inner: Journal, told: Sequence[Observer]) -> None:
        super().__init__(inner.key, inner._queue, 0, inner.last_id)
        self.open_tokens = inner.open_tokens
        self._inner = inner
        self._observers = told

    def record(
        self,
        type: str,
        previous: int,
        at: float,
        name: str | None = None,
        payload: Payload | None = None,
        extra: Mapping[str, Json] | None = None,
        assigned: Mapping[str, Payload] | None = None,
    ) -> int:
        id = self.last_id = self._inner.record(type, previous, at, name, payload, extra, assigned)
        details: Mapping[str, Any] = extra or {}
        event = Seen(id, previous, type, name or details.get("state"), details.get("error"))
        for observer in self._observers:
            observer.recorded(self.key, [event])
        return id

    @property
    def events_waiting(self) -> int:
        return self._inner.events_waiting

    async def barrier(self) -> bool:
        return await self._inner.barrier()

    def flush(self) -> None:
        self._inner.flush()

    def finish(self, final: Final) -> Barrier | None:
        barrier = self._inner.finish(final)
        for observer in self._observers:
            observer.ended(self.key)
        return barrier


class Paths:
    """An observer that keeps the names of the states that executions entered, in the order of their histories."""

    def __init__(self) -> None:
        self._names: dict[int, list[str]] = {}

    def path(self, key: int) -> list[str]:
        """The states an execution entered, as far as that is durable."""
        return list(self._names.get(key, ()))

    def registered(self, name: str, digest: str, definition: str) -> None: ...

    def started(self, row: ExecutionRow, definition: str) -> None: ...

    def recorded(self, key: int, events: Sequence[Seen]) -> None:
        names = self._names.setdefault(key, [])
        names += [event.name for event in events if event.type.endswith("StateEntered") and event.name is not None]

    def ended(self, key: int) -> None: ...
