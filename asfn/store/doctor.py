"""Whether an SQLite file holds together: SQLite's own check, and everything asfn relies on beyond that.

It reads with plain sqlite3, synchronously, so that it can look at files that no store would open; it changes nothing
unless `repair` is asked for, and then only what no execution's meaning depends on. Statements stand in sql/doctor.sql.
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from asfn._json import JsonError, Payload, decode
from asfn.errors import StoreError
from asfn.store.codec import Sealing
from asfn.store.packing import digests, members, payloads
from asfn.store.queries import load, named
from asfn.store.records import Segment
from asfn.store.sqlite_file import APPLICATION_ID, BUSY_SECONDS, MIGRATIONS, is_too_short, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from asfn.store.codec import Codec

_SQL: Final = named(load("doctor.sql"))
_LISTED: Final = 20
_SAME_REPAIRS: Final = tuple(
    f"repair_{what}"
    for what in (
        *("left_frames", "left_tokens", "left_work", "left_messages"),
        *("lost_owners", "wrong_places", "unheard", "uncounted"),
    )
)


_LEFT_OVER: Final = {
    "frames": "frames",
    "tokens": "unsettled task tokens",
    "work": "work for activities",
    "messages": "messages",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not hold together. kind: one word for programs.   repairable: whether `repair` mends it."""

    kind: str
    message: str
    repairable: bool = False


@dataclass(slots=True)
class Report:
    """What an examination found. Of one kind at most `_LISTED` findings are kept; `counts` has them all.

    version: of the file's schema.   current: whether it is this asfn's; an older file gets SQLite's check alone.
    executions, running: how many there are.   orphans: keys.   dead_engines: ids.
    """

    version: int = 0
    current: bool = True
    executions: int = 0
    running: int = 0
    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    orphans: list[int] = field(default_factory=list)
    dead_engines: list[int] = field(default_factory=list)

    def add(self, kind: str, message: str, *, repairable: bool = False) -> None:
        """Note a finding."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.counts[kind] <= _LISTED:
            self.findings.append(Finding(kind, message, repairable))


def examine(
    path: str,
    *,
    has_died: Callable[[int, float], bool],
    codec: Codec | None = None,
    events: Callable[[Segment], int] | None = None,
) -> Report:
    """Read the whole file once, as it stands at one moment; engines may be running on it.

    has_died: tells of an engine, by id and the end of its lease, that nobody runs it any more.
    events: how many events a segment holds, raising any exception for one that cannot be read.
    Raises StoreError for a file that is no database of asfn, and for one that needs another codec.
    """
    if is_too_short(path):
        raise StoreError(f"{path} is not an SQLite database: give another path; the file was left as it is")
    with closing(_connect(f"file:{quote(path)}?mode=ro", path)) as connection:
        report = Report(version=_version(connection, path))
        report.current = report.version == len(MIGRATIONS)
        with _noting(report):
            for (text,) in connection.execute("PRAGMA integrity_check(100)"):
                if text != "ok":
                    report.add("damage", f"SQLite finds the file damaged: {text}")
        if report.current:
            _Examination(path, connection, report, codec, events).run(has_died)
        return report


def repair(path: str, report: Report, *, has_died: Callable[[int, float], bool]) -> None:
    """Mend what the report calls repairable, in one transaction. Engines that came back to life meanwhile are left.

    What orphans leave is put down for the next purge to delete.
    """
    with closing(_connect(f"file:{quote(path)}?mode=rw", path)) as connection, _refusals(path):
        connection.execute("BEGIN IMMEDIATE")
        leases = {id_: lease_until for id_, lease_until, _ in connection.execute(_SQL["select_engines"])}
        for id_ in report.dead_engines:
            if id_ in leases and has_died(id_, leases[id_]):
                connection.execute(_SQL["repair_engine_executions"], (id_,))
                connection.execute(_SQL["repair_engine"], (id_,))
        for key in report.orphans:
            connection.execute(_SQL["repair_orphan"], (key,))
        for name in _SAME_REPAIRS:
            connection.execute(_SQL[name])
        connection.execute("COMMIT")


class _Examination:
    """The part of an examination that knows asfn's tables."""

    def __init__(
        self,
        path: str,
        connection: sqlite3.Connection,
        report: Report,
        codec: Codec | None,
        events: Callable[[Segment], int] | None,
    ) -> None:
        self._connection = connection
        self._report = report
        self._events = events
        connection.execute("BEGIN")
        self._sealing = self._agree(path, codec)

    def run(self, has_died: Callable[[int, float], bool]) -> None:
        """Every check; one that SQLite cannot finish is a finding, and the next one goes on."""
        for check in (
            self._executions,
            self._texts,
            self._segments,
            self._frames,
            self._payloads,
            self._definitions,
            self._left_over,
            self._waiting,
            self._orphans,
        ):
            with _noting(self._report):
                check()
        with _noting(self._report):
            self._engines(has_died)

    def _agree(self, path: str, codec: Codec | None) -> Sealing | None:
        with _refusals(path):
            rows = list(self._rows("select_codec"))
        wanted, given = (rows[0][0] if rows else None), (codec.name if codec is not None else None)
        if wanted != given:
            raise StoreError(
                f"{path} was written "
                + (f"with the codec {wanted!r}" if wanted else "without a codec")
                + f", not {f'with {given!r}' if given else 'without one'}"
            )
        return Sealing.of(codec, rows[0][1]) if codec is not None else None

    def _rows(self, name: str) -> Iterable[tuple[Any, ...]]:  # Any: SQLite types its cells, not its rows
        return self._connection.execute(_SQL[name])

    def _executions(self) -> None:
        [(self._report.executions, self._report.running)] = self._rows("count_executions")
        for arn, status in self._rows("select_wrong_ends"):
            self._report.add("status", f"{arn} is {status}, and its stop date says otherwise")
        for arn, status in self._rows("select_without_history"):
            self._report.add("history", f"{arn} is {status} and has no history")
        for (arn,) in self._rows("select_without_root"):
            self._report.add("frames", f"{arn} has begun, and nothing says where it stands: it would begin again")

    def _texts(self) -> None:
        for (arn,) in self._rows("select_lost_inputs"):
            self._report.add("payload", f"{arn}: its input or its output is missing")
        for arn, input_, output, *told in self._rows("select_texts"):
            try:
                for text in (input_, output):
                    if text is not None:
                        decode(self._open(text))
                for text in told:
                    if text is not None:
                        self._open(text)
            except (JsonError, StoreError) as error:
                self._report.add("payload", f"{arn}: its input, output, error or cause cannot be read ({error})")

    def _segments(self) -> None:
        key = last_id = 0
        for execution, arn, first_id, until, body, texts in self._rows("select_segments"):
            if execution != key:
                key, last_id = execution, 0
            if first_id != last_id + 1 or until < first_id:
                self._report.add("history", f"{arn}: events {first_id} to {until} do not follow event {last_id}")
            last_id = until
            where = f"events {first_id} to {until}"
            found = self._payloads_of(arn, where, execution, body, texts)
            if found is not None and self._events is not None:
                self._count_events(arn, where, Segment(first_id, until, self._open(body), found))

    def _count_events(self, arn: str, where: str, segment: Segment) -> None:
        assert self._events is not None
        try:
            count = self._events(segment)
        except Exception as error:  # whatever is wrong in the row
            self._report.add("history", f"{arn}: {where} cannot be read ({type(error).__name__}: {error})")
            return
        if count != segment.last_id - segment.first_id + 1:
            self._report.add("history", f"{arn}: {where} are {count} events")

    def _frames(self) -> None:
        for execution, arn, path, body, texts in self._rows("select_frames"):
            self._payloads_of(arn, f"the frame {path!r}", execution, body, texts)

    def _payloads_of(self, arn: str, where: str, key: int, body: str, texts: str | None) -> list[Payload] | None:
        """The payloads of a row, stand-ins for large ones that are there; None when something is wrong with them."""
        try:
            decode(self._open(body))
            column = members(self._open(texts) if texts is not None else None)
            wanted = digests([column])
            lost = [digest for digest in wanted if not self._has_payload(key, digest)]
            if lost:
                self._report.add("payload", f"{arn}: a payload of {where} is missing ({lost[0]})")
                return None
            return payloads(column, dict.fromkeys(wanted, Payload(None)))
        except (ValueError, KeyError, StoreError) as error:
            self._report.add("payload", f"{arn}: {where} cannot be read ({error})")
            return None

    def _has_payload(self, key: int, digest: str) -> bool:
        return self._connection.execute(_SQL["select_payload"], (key, digest)).fetchone() is not None

    def _payloads(self) -> None:
        for _, arn, digest, text in self._rows("select_payloads"):
            try:
                plain = self._open(text)
                decode(plain)
            except (JsonError, StoreError) as error:
                self._report.add("payload", f"{arn}: the payload {digest} cannot be read ({error})")
                continue
            actual = hashlib.sha256(plain.encode()).hexdigest()
            if digest != (actual if self._sealing is None else self._sealing.digest(actual)):
                self._report.add("payload", f"{arn}: the payload {digest} is not what its digest says")

    def _definitions(self) -> None:
        for digest, text in self._rows("select_definitions"):
            if hashlib.sha256(text.encode()).hexdigest() != digest:
                self._report.add("definition", f"the definition {digest} is not what its digest says")
        for digest, who in self._rows("select_lost_definitions"):
            self._report.add("definition", f"the definition {digest} is missing, of {who}")

    def _left_over(self) -> None:
        for name, what in _LEFT_OVER.items():
            for arn, status, count in self._rows(f"select_left_{name}"):
                self._report.add("left-over", f"{arn} is {status} and still has {what} ({count})", repairable=True)
        for arn, owner in self._rows("select_lost_owners"):
            self._report.add("owner", f"{arn} belongs to engine {owner}, which does not run it", repairable=True)

    def _waiting(self) -> None:
        for arn, how, status, owner in self._rows("select_wrong_places"):
            whose = "has begun" if owner is None else f"belongs to engine {owner}"
            wrong = f"is {status}" if status != "RUNNING" else whose
            self._report.add(how, f"{arn} is {how} and {wrong}", repairable=True)
        for (arn,) in self._rows("select_unheard"):
            self._report.add("parked", f"{arn} is parked and would sleep through what came for it", repairable=True)
        for (arn,) in self._rows("select_uncounted"):
            self._report.add("limit", f"{arn} does not count for the limit of its state machine", repairable=True)

    def _orphans(self) -> None:
        for key, what in self._rows("select_orphans"):
            self._report.orphans.append(key)
            self._report.add("orphan", f"there is no execution {key}, and {what} of it", repairable=True)

    def _engines(self, has_died: Callable[[int, float], bool]) -> None:
        for id_, lease_until, count in self._rows("select_engines"):
            if has_died(id_, lease_until):
                self._report.dead_engines.append(id_)
                self._report.add(
                    "engine",
                    f"engine {id_} died; its {count} unfinished executions go on when an engine opens the file",
                    repairable=True,
                )

    def _open(self, text: str) -> str:
        return text if self._sealing is None else self._sealing.unseal(text)


def _connect(uri: str, path: str) -> sqlite3.Connection:
    with _refusals(path):
        return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS)


def _version(connection: sqlite3.Connection, path: str) -> int:
    with _refusals(path):
        [(application_id,)] = connection.execute("PRAGMA application_id")
        [(version,)] = connection.execute("PRAGMA user_version")
    if application_id != APPLICATION_ID:
        raise StoreError(f"{path} is a database of another application: give another path")
    if version > len(MIGRATIONS):
        raise StoreError(f"{path} was written by a newer asfn (schema {version}): upgrade asfn")
    return int(version)


@contextmanager
def _refusals(path: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise refusal(path, error) from error


@contextmanager
def _noting(report: Report) -> Iterator[None]:
    """What SQLite cannot read is a finding."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        report.add("damage", f"SQLite cannot read the file to its end: {error}")
