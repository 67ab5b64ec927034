"""Which RUNNING executions are owned, free, parked or queued, kept so that no question about them reads them all.

Pure. A row leaves the roster before its owner, status, wake_at or queued changes, and enters it again after.
"""

from __future__ import annotations

import math
from collections import Counter
from heapq import heapify, heappop, heappush, merge
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from asfn.store.records import ExecutionRow

_STALE: Final = 64  # dead entries that a heap may hold beyond as many as living ones

_Place = tuple[int, float, int]  # of a queued execution: minus its priority, its start, its key


class Roster:
    """The RUNNING executions of a store, by who has them. Everything costs about as much as its answer is long."""

    def __init__(self) -> None:
        self._owned: dict[int | None, dict[int, None]] = {}  # None: free
        self._parked: dict[int, float] = {}
        self._deadlines: dict[int, float] = {}  # of queued executions
        self._due: list[tuple[float, int]] = []  # heap of those moments, and of entries that are dead
        self._queues: dict[str, dict[int, _Place]] = {}  # by state machine
        self._heaps: dict[str, list[_Place]] = {}  # heaps of the same, and of entries that are dead
        self._begun: Counter[str] = Counter()  # by state machine: those that are not queued

    def enter(self, row: ExecutionRow) -> None:
        """Take down how a row stands now; one that has ended is not kept."""
        if row.status != "RUNNING":
            return
        if row.queued:
            self._queues.setdefault(row.state_machine_arn, {})[row.key] = _place(row)
            self._push_queued(row)
            if row.wake_at is not None:
                self._deadlines[row.key] = row.wake_at
                self._push_due(row.wake_at, row.key)
            return
        self._begun[row.state_machine_arn] += 1
        if row.owner is None and row.wake_at is not None:
            self._parked[row.key] = row.wake_at
            self._push_due(row.wake_at, row.key)
        else:
            self._owned.setdefault(row.owner, {})[row.key] = None

    def leave(self, row: ExecutionRow) -> None:
        """Forget a row, which stands as it did when it entered."""
        if row.status != "RUNNING":
            return
        if row.queued:
            queue = self._queues[row.state_machine_arn]
            del queue[row.key]
            self._deadlines.pop(row.key, None)
            if not queue:
                del self._queues[row.state_machine_arn], self._heaps[row.state_machine_arn]
            return
        self._begun[row.state_machine_arn] -= 1
        if not self._begun[row.state_machine_arn]:
            del self._begun[row.state_machine_arn]
        if self._parked.pop(row.key, None) is not None:
            return
        owned = self._owned[row.owner]
        del owned[row.key]
        if not owned:
            del self._owned[row.owner]

    def owners(self) -> list[int | None]:
        """Everybody who owns something; None among them when something is free."""
        return list(self._owned)

    def owned(self, owner: int | None) -> Iterator[int]:
        """Keys of what somebody owns, or of what is free. Take them all before the roster changes."""
        return iter(self._owned.get(owner, ()))

    def parked_count(self) -> int:
        """How many are parked."""
        return len(self._parked)

    def queued_count(self) -> int:
        """How many are queued."""
        return sum(map(len, self._queues.values()))

    def next_wake(self) -> float | None:
        """The earliest moment at which a parked one is due, or a queued one late; math.inf: none is before it is told;
        None: there is neither.
        """
        while self._due and self._until(self._due[0][1]) != self._due[0][0]:
            heappop(self._due)
        if self._due:
            return self._due[0][0]
        return math.inf if self._parked or self._deadlines else None

    def _until(self, key: int) -> float | None:
        return self._parked[key] if key in self._parked else self._deadlines.get(key)

    def due(self, now: float, limit: int) -> list[int]:
        """Keys of parked ones that are due, earliest first. They count as parked until they leave."""
        keys: dict[int, None] = {}  # one that was parked twice until the same moment stands in the heap twice
        entries = []
        while len(keys) < limit and (wake_at := self.next_wake()) is not None and wake_at <= now and self._due:
            entries.append(heappop(self._due))
            keys[entries[-1][1]] = None
        for entry in entries:
            heappush(self._due, entry)
        return list(keys)

    def admissible(self, room_of: Iterable[tuple[str, int | None]], limit: int) -> list[int]:
        """Keys of queued ones that may begin, in the order of their turns, at most `limit`.

        room_of: how many of its executions each state machine may have begun in all; None: any number.
        """
        queues = []
        for arn, most in room_of:
            room = limit if most is None else min(limit, most - self._begun[arn])
            if room > 0 and arn in self._queues:
                queues.append(self._heads(arn, room))
        return [key for _, _, key in islice(merge(*queues), limit)]

    def machines(self) -> list[str]:
        """ARNs of the state machines that have queued executions."""
        return list(self._queues)

    def _heads(self, arn: str, count: int) -> list[_Place]:
        queue, heap = self._queues[arn], self._heaps[arn]
        heads: dict[_Place, None] = {}
        while heap and len(heads) < count:
            place = heappop(heap)
            if queue.get(place[2]) == place:
                heads[place] = None
        for place in heads:
            heappush(heap, place)
        return list(heads)

    def _push_due(self, wake_at: float, key: int) -> None:
        if wake_at == math.inf:
            return
        heappush(self._due, (wake_at, key))
        if len(self._due) > 2 * (len(self._parked) + len(self._deadlines)) + _STALE:
            moments = (*self._parked.items(), *self._deadlines.items())
            self._due = [(at, key) for key, at in moments if at != math.inf]
            heapify(self._due)

    def _push_queued(self, row: ExecutionRow) -> None:
        queue = self._queues[row.state_machine_arn]
        heap = self._heaps.setdefault(row.state_machine_arn, [])
        heappush(heap, _place(row))
        if len(heap) > 2 * len(queue) + _STALE:
            heap[:] = queue.values()
            heapify(heap)


def _place(row: ExecutionRow) -> _Place:
    return (-row.priority, row.started_at, row.key)
