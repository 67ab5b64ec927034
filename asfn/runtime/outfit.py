"""What an execution runs with: its facts, journal, interpreter and deadline, and who is told of it."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from asfn.plan.scope import ExecutionFacts
from asfn.runtime.execution import Run
from asfn.runtime.interpreter import Collaborators, Interpreter
from asfn.runtime.journal import Journal, SilentJournal
from asfn.runtime.observed import ObservedJournal, ObservedSilentJournal, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asfn.plan.states import CompiledMachine
    from asfn.runtime.observers import Observers
    from asfn.runtime.parking import Parking
    from asfn.store.records import ExecutionRow, FrameRow
    from asfn.store.writer import Writer


class Outfit:
    """Makes the runs of one engine. on_end: told of each when it is over."""

    def __init__(
        self,
        shared: Collaborators,
        writer: Writer,
        observers: Observers,
        parking: Parking,
        on_end: Callable[[Run], None],
        stores_express: bool,
    ) -> None:
        self._shared = shared
        self._writer = writer
        self._observers = observers
        self._parking = parking
        self._on_end = on_end  # one bound method for all runs
        self._stores_express = stores_express

    def run(
        self, row: ExecutionRow, machine: CompiledMachine, frames: Sequence[FrameRow] | None, last_id: int
    ) -> tuple[Run, Watch | None]:
        """A run that has not started, and what its observers have been told. frames: None for a new execution."""
        express = row.type == "EXPRESS"
        silent = express and frames is None and not self._stores_express
        watch = Watch(row, self._observers, self._shared.clock) if self._observers else None
        journal = self._journal(row, last_id, watch, silent)
        facts = ExecutionFacts(
            row.arn,
            row.name,
            row.role_arn,
            row.started_at,
            row.input,
            row.state_machine_arn,
            sys.intern(row.state_machine_arn.rpartition(":")[2]),
            express,
            row.redrive_count,
            row.redriven_at,
            row.priority,
        )
        kind = Interpreter if watch is None or not self._observers.watches_states else watch.interpreter
        interpreter = kind(self._shared, facts, journal, self.deadline_at(row, machine))
        on_end = self._on_end if watch is None else partial(self._ended_watched, watch)
        parking = self._parking if self._parking.parks and not silent else None
        return Run(row, machine, interpreter, on_end, frames, parking), watch

    def deadline_at(self, row: ExecutionRow, machine: CompiledMachine) -> float:
        """When an execution must have ended: TimeoutSeconds starts again with a redrive, the longest open time not."""
        limits = self._shared.limits
        seconds = machine.timeout_seconds or (
            limits.express_seconds if row.type == "EXPRESS" else limits.execution_seconds
        )
        if row.redriven_at is None:
            return row.started_at + seconds
        return min(row.redriven_at + seconds, row.started_at + limits.execution_seconds)

    def _journal(self, row: ExecutionRow, last_id: int, watch: Watch | None, silent: bool) -> Journal:
        # The quota on events is Standard's alone [D]; five minutes bound what an Express execution writes.
        limit = sys.maxsize if row.type == "EXPRESS" else self._shared.limits.history_events
        if watch is not None and self._observers.wants("events_committed"):
            observed = ObservedSilentJournal if silent else ObservedJournal
            return observed(watch, row.key, self._writer, limit, last_id)
        return (SilentJournal if silent else Journal)(row.key, self._writer, limit, last_id)

    def _ended_watched(self, watch: Watch, run: Run) -> None:
        watch.over(run.final, run.error)
        self._on_end(run)
