"""What a group of commits changes, worked out before anything is written: the rules of `records.py`, once
for all stores.

Pure. A store says how the executions of the group stand, gets back the net changes, and writes them in one
transaction in this order: starts, redrives, segments, drops, frames, tokens, finals, parks, pauses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from asfn.store.protocol import CommitRefused
from asfn.store.records import Redrive, Start

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asfn.store.records import (
        Commit,
        ExecutionRow,
        ExecutionStatus,
        Final,
        FrameRow,
        Progress,
        Segment,
        TokenChanges,
    )


class Standing(Struct):
    """How an execution stands. last_id: of its last stored event, 0 when it has none."""

    status: ExecutionStatus
    owner: int | None
    last_id: int


class Group(Struct):
    """The net changes of a group.

    answers: one for each commit, as `Store.apply` gives them.   starts: rows to insert, copies of the
    caller's, as they stand at the end of the group.   drops: (execution key, path), "" for all frames; they
    concern stored frames only, and come before `frames`.   tokens: in the order of the commits.
    redrives, finals, parks, pauses: for executions stored before this group.
    """

    answers: list[ExecutionRow | None] = field(default_factory=list)
    starts: list[ExecutionRow] = field(default_factory=list)
    segments: list[tuple[int, Segment]] = field(default_factory=list)
    drops: list[tuple[int, str]] = field(default_factory=list)
    frames: dict[int, dict[str, FrameRow]] = field(default_factory=dict)
    tokens: list[TokenChanges] = field(default_factory=list)
    finals: list[tuple[int, Final]] = field(default_factory=list)
    parks: list[tuple[int, float | None]] = field(default_factory=list)
    redrives: list[ExecutionRow] = field(default_factory=list)
    pauses: list[tuple[int, bool]] = field(default_factory=list)


def wanted(commits: Iterable[Commit]) -> tuple[list[ExecutionRow], set[int]]:
    """What `plan_group` must be told about: rows to insert or to redrive (who holds their ARN or key?), keys of
    executions that go on.
    """
    starts: list[ExecutionRow] = []
    keys: set[int] = set()
    for commit in commits:
        if isinstance(commit, Start):
            starts.append(commit.row)
        elif isinstance(commit, Redrive):
            starts.append(commit.row)
            keys.add(commit.row.key)
        else:
            keys.add(commit.key)
    return starts, keys


def plan_group(
    engine_id: int,
    commits: Sequence[Commit],
    standings: dict[int, Standing],
    holders: Iterable[ExecutionRow],
) -> Group:
    """The net changes of `commits`, applied one after the other to what the store holds.

    standings: of every stored execution that has a Progress or a Redrive here; it follows the commits.
    holders: every stored row that holds an ARN or a key which a Start or a Redrive here wants; left as they are.
    Raises CommitRefused for a key that belongs to another ARN, and for a segment that does not follow the
    last event: faults of the runtime, which must not reach the file.
    """
    planner = _Planner(engine_id, standings, holders)
    for index, commit in enumerate(commits):
        if isinstance(commit, Start):
            planner.group.answers.append(planner.start(commit.row, index))
        elif isinstance(commit, Redrive):
            planner.group.answers.append(planner.redrive(commit, index))
        else:
            planner.progress(commit, index)
            planner.group.answers.append(None)
    return planner.group


def lies_at_or_below(path: str, top: str) -> bool:
    """Whether a frame path is `top` or leads through it; "" is above every path."""
    return not top or path == top or path.startswith(top + "/")


class _Planner:
    """A group under work. `rows`: stored holders and rows to insert, kept as they stand after each commit."""

    __slots__ = ("engine_id", "group", "inserted", "rows", "standings", "taken")

    def __init__(self, engine_id: int, standings: dict[int, Standing], holders: Iterable[ExecutionRow]) -> None:
        self.engine_id = engine_id
        self.group = Group()
        self.standings = standings
        self.rows = {row.key: row.copy() for row in holders}
        self.taken = {row.arn: row for row in self.rows.values()}
        self.inserted: set[int] = set()

    def start(self, row: ExecutionRow, index: int) -> ExecutionRow | None:
        holder = self.taken.get(row.arn)
        if holder is not None:
            return holder.copy()
        other = self.rows.get(row.key)
        if other is not None:
            raise CommitRefused(index, f"execution key {row.key} of {row.arn} belongs to {other.arn}")
        row = row.copy()
        self.rows[row.key] = self.taken[row.arn] = row
        self.standings[row.key] = Standing(row.status, row.owner, 0)
        self.inserted.add(row.key)
        self.group.starts.append(row)
        return None

    def redrive(self, commit: Redrive, index: int) -> ExecutionRow | None:
        wanted_row = commit.row
        key = wanted_row.key
        row, standing = self.rows.get(key), self.standings.get(key)
        if row is None or standing is None or row.arn != wanted_row.arn:
            raise CommitRefused(index, f"{wanted_row.arn} is not in the store and cannot be redriven")
        ended = row.status not in ("RUNNING", "SUCCEEDED")
        if not ended or row.redrive_count != wanted_row.redrive_count - 1:
            return row.copy()
        redrive(row, wanted_row)
        standing.status, standing.owner = "RUNNING", wanted_row.owner
        if key not in self.inserted:
            self.group.finals = [final for final in self.group.finals if final[0] != key]
            self.group.redrives.append(row.copy())
        self.progress(commit.progress, index)
        return None

    def progress(self, commit: Progress, index: int) -> None:
        key = commit.key
        standing = self.standings.get(key)
        if standing is None or standing.status != "RUNNING" or standing.owner != self.engine_id:
            return
        if commit.segment is not None:
            self._append(key, commit.segment, standing, index)
        for path in commit.dropped:
            self._drop(key, path)
        if commit.tokens is not None:
            self.group.tokens.append(commit.tokens)
        if commit.final is not None and commit.final.status == "SUCCEEDED":
            self._drop(key, "")
        elif commit.frames:
            frames = self.group.frames.setdefault(key, {})
            for frame in commit.frames:
                frames[frame.path] = frame
        if commit.final is not None:
            self._finish(key, commit.final, standing)
            return
        if commit.parked:
            self._park(key, commit.wake_at, standing)
        if commit.paused is not None:
            self._pause(key, commit.paused)

    def _append(self, key: int, segment: Segment, standing: Standing, index: int) -> None:
        if segment.first_id != standing.last_id + 1 or segment.last_id < segment.first_id:
            raise CommitRefused(
                index,
                f"events {segment.first_id} to {segment.last_id} of execution {key} do not follow event "
                f"{standing.last_id}, the last one stored",
            )
        standing.last_id = segment.last_id
        self.group.segments.append((key, segment))

    def _drop(self, key: int, top: str) -> None:
        frames = self.group.frames.get(key)
        if frames:
            for path in [path for path in frames if lies_at_or_below(path, top)]:
                del frames[path]
        if key not in self.inserted:
            self.group.drops.append((key, top))

    def _finish(self, key: int, final: Final, standing: Standing) -> None:
        standing.status = final.status
        standing.owner = None
        row = self.rows.get(key)
        if row is not None:
            finish(row, final)
        if key not in self.inserted:
            self.group.finals.append((key, final))
            self.group.pauses = [pause for pause in self.group.pauses if pause[0] != key]  # what has ended has no pause

    def _park(self, key: int, wake_at: float | None, standing: Standing) -> None:
        standing.owner = None
        row = self.rows.get(key)
        if row is not None:
            row.owner = None
            row.wake_at = wake_at
        if key not in self.inserted:
            self.group.parks.append((key, wake_at))

    def _pause(self, key: int, paused: bool) -> None:
        row = self.rows.get(key)
        if row is not None:
            row.paused = paused
        if key not in self.inserted:
            self.group.pauses.append((key, paused))


def redrive(row: ExecutionRow, again: ExecutionRow) -> None:
    """Set a row that had ended to RUNNING again: whose it is, how often and when it was redriven."""
    row.status = "RUNNING"
    row.stopped_at = row.error = row.cause = row.failed_state = None
    row.redrive_count = again.redrive_count
    row.redriven_at = again.redriven_at
    row.redrive_tokens = again.redrive_tokens
    row.owner = again.owner


def finish(row: ExecutionRow, final: Final) -> None:
    """Write a final status into a row: nobody owns it any more, and nothing wakes it."""
    row.status = final.status
    row.stopped_at = final.stopped_at
    row.output = final.output
    row.error = final.error
    row.cause = final.cause
    row.failed_state = final.failed_state
    row.owner = None
    row.wake_at = None
    row.paused = False
    row.queued = False
