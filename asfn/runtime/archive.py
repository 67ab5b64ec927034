"""One execution as a JSON document, and back: to keep it, to move it, or to hand it to somebody who looks for a fault.

The document holds the history in AWS's shapes, for readers, and beside it the rows as a store has them, so that nothing
is lost on the way. It holds every payload as plain text, and the tokens of open callbacks: treat it as the data it is.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import asdict as members_of
from msgspec.structs import replace

from asfn._json import JsonError, Payload, decode, encode
from asfn.errors import ExecutionAlreadyExists, ExecutionDoesNotExist, InvalidParameter
from asfn.runtime.history import shapes
from asfn.store.engines import first_key
from asfn.store.packing import INLINE_BYTES
from asfn.store.records import (
    ActivityTaskRow,
    Archive,
    ExecutionRow,
    ExecutionStatus,
    FrameRow,
    MachineType,
    Message,
    MessageKind,
    Segment,
    TokenRow,
    TokenState,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asfn._json import Json, JsonObject
    from asfn.store.protocol import Store

FORMAT: Final = "asfn-execution"
VERSION: Final = 1

Member = str | dict[str, str]


@dataclass(slots=True)
class _Execution:
    """An execution's row without what only the file means: key, owner, when to wake (it is woken where it arrives)."""

    arn: str
    name: str
    state_machine_arn: str
    digest: str
    type: MachineType
    role_arn: str
    status: ExecutionStatus
    started_at: float
    stopped_at: float | None
    input: Member
    output: Member | None
    error: str | None
    cause: str | None
    failed_state: str | None
    redrive_count: int
    redriven_at: float | None
    attributes: dict[str, str]
    paused: bool = False
    redrive_tokens: tuple[tuple[str, float], ...] = ()
    queued: bool = False
    priority: int = 0


@dataclass(slots=True)
class _Segment:
    first_id: int
    last_id: int
    body: str
    texts: list[Member]


@dataclass(slots=True)
class _Frame:
    path: str
    body: str
    texts: list[Member]


@dataclass(slots=True)
class _Token:
    token: str
    path: str
    created_at: float
    state: TokenState
    outcome: str | None
    heartbeat_at: float | None
    settled_at: float | None
    worker_name: str | None
    taken_at: float | None


@dataclass(slots=True)
class _Work:
    token: str
    activity_arn: str
    input: str
    scheduled_at: float


@dataclass(slots=True)
class _Message:
    kind: MessageKind
    body: str
    at: float


@dataclass(slots=True)
class _Document:
    """What an export holds. A member of `texts` is a text, or {"sha256": its key in payloads}.

    digest: SHA-256 of everything else, as compact JSON.
    """

    format: str
    version: int
    exported_at: float
    execution: _Execution
    definition: str
    segments: list[_Segment]
    frames: list[_Frame]
    tokens: list[_Token]
    work: list[_Work]
    payloads: dict[str, str]
    history: list[Any]  # Any: events in AWS's shapes, compared with what the segments give
    digest: str = field(default="")
    messages: list[_Message] = field(default_factory=list)


async def export_execution(store: Store, arn: str, now: float) -> JsonObject:
    """Everything of an execution as one JSON value, as it stands at this moment. Raises ExecutionDoesNotExist."""
    archive = await store.archive(arn)
    if archive is None:
        raise ExecutionDoesNotExist(f"Execution Does Not Exist: '{arn}'")
    document = _document(archive, now)
    document["digest"] = _digest(document)
    return document


async def import_execution(store: Store, document: Json, now: float) -> ExecutionRow:
    """Insert an exported execution under a new key, and give its row.

    One that was unfinished belongs to nobody then, and goes on where an engine opens the database. Raises
    ExecutionAlreadyExists when its ARN or one of its tokens is there, InvalidParameter for what is no export, was
    changed, or does not hold together.
    """
    archive = read_document(document)
    engine = await store.register_engine(now, 0.0)  # its id is what makes the key a new one
    try:
        _give_key(archive, first_key(engine.id))
        if not await store.restore(archive):
            raise await _taken(store, archive.row.arn)
    finally:
        await store.retire_engine(engine)
    return archive.row


def read_document(document: Json) -> Archive:
    """The execution in a document, checked, with the key 0. Raises InvalidParameter."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InvalidParameter("this is not an execution that asfn exported")
    if document.get("version") != VERSION:
        raise InvalidParameter(
            f"the export has version {document.get('version')!r}; this asfn reads version {VERSION}: upgrade asfn"
        )
    if document.get("digest") != _digest(document):
        raise InvalidParameter("the export was changed or cut since it was written: its digest does not fit")
    try:
        parsed = msgspec.convert(document, _Document)
        archive = _archive(parsed)
        _check(parsed, archive)
    except (msgspec.ValidationError, JsonError, KeyError) as error:
        raise InvalidParameter(f"the export does not hold together: {error}") from error
    return archive


# --- out --------------------------------------------------------------------------------------------------------------


def _document(archive: Archive, now: float) -> JsonObject:
    large: dict[str, Json] = {}

    def member(payload: Payload) -> Json:
        if payload.size_bytes <= INLINE_BYTES:
            return payload.text
        large[payload.digest] = payload.text
        return {"sha256": payload.digest}

    def members(payloads: Iterable[Payload]) -> Json:
        return [member(payload) for payload in payloads]

    row = archive.row
    execution: JsonObject = {
        name: getattr(row, name) for name in _Execution.__slots__ if name not in ("input", "output", "attributes")
    }
    execution["input"] = member(row.input)
    execution["output"] = member(row.output) if row.output is not None else None
    execution["attributes"] = dict(row.attributes)
    segments: Json = [{**_scalars(segment), "texts": members(segment.texts)} for segment in archive.segments]
    frames: Json = [{**_scalars(frame), "texts": members(frame.texts)} for frame in archive.frames]
    return {
        "format": FORMAT,
        "version": VERSION,
        "exported_at": now,
        "execution": execution,
        "definition": archive.definition,
        "history": [event for segment in archive.segments for event in shapes(segment)],
        "segments": segments,
        "frames": frames,
        "tokens": [_without(members_of(token), "execution") for token in archive.tokens],
        "work": [_without(members_of(work), "execution") for work in archive.work],
        "messages": [{"kind": message.kind, "body": message.body, "at": message.at} for message in archive.messages],
        "payloads": large,
    }


def _scalars(row: Segment | FrameRow) -> JsonObject:
    return {name: getattr(row, name) for name in row.__struct_fields__ if name != "texts"}


def _without(members: dict[str, Any], name: str) -> JsonObject:  # Any: the members of a dataclass
    return {key: value for key, value in members.items() if key != name}


def _digest(document: JsonObject) -> str:
    return hashlib.sha256(encode(_without(document, "digest")).encode()).hexdigest()


# --- in ---------------------------------------------------------------------------------------------------------------


def _archive(document: _Document) -> Archive:
    large = {digest: Payload.parse(text) for digest, text in document.payloads.items()}

    def payload(member: Member) -> Payload:
        return Payload.parse(member) if isinstance(member, str) else large[member["sha256"]]

    def payloads(members: Sequence[Member]) -> list[Payload]:
        return [payload(member) for member in members]

    members: dict[str, Any] = {name: getattr(document.execution, name) for name in _Execution.__slots__}
    members["input"] = payload(document.execution.input)
    if document.execution.output is not None:
        members["output"] = payload(document.execution.output)
    return Archive(
        ExecutionRow(key=0, **members),
        document.definition,
        [Segment(item.first_id, item.last_id, item.body, payloads(item.texts)) for item in document.segments],
        [FrameRow(item.path, item.body, payloads(item.texts)) for item in document.frames],
        [TokenRow(execution=0, **asdict(item)) for item in document.tokens],
        [ActivityTaskRow(execution=0, **asdict(item)) for item in document.work],
        [Message(execution=0, **asdict(item)) for item in document.messages],
    )


def _check(document: _Document, archive: Archive) -> None:
    """Raise InvalidParameter unless the parts fit together."""
    row = archive.row
    if hashlib.sha256(archive.definition.encode()).hexdigest() != row.digest:
        raise InvalidParameter("the definition in the export is not the one its execution ran: their digests differ")
    for digest, text in document.payloads.items():
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            raise InvalidParameter(f"a payload in the export is not what its digest {digest} says")
    last_id = 0
    for segment in archive.segments:
        if segment.first_id != last_id + 1 or segment.last_id < segment.first_id:
            raise InvalidParameter(f"the history in the export has a gap after event {last_id}")
        last_id = segment.last_id
    if _history(archive.segments) != document.history:
        raise InvalidParameter("the history in the export is not that of its segments")
    if (row.status == "RUNNING") != (row.stopped_at is None) or (archive.frames and row.status == "SUCCEEDED"):
        raise InvalidParameter(f"the execution in the export is {row.status}, and other parts of it say otherwise")
    if not {work.token for work in archive.work} <= {token.token for token in archive.tokens}:
        raise InvalidParameter("the export holds work for an activity worker without its token")


def _history(segments: Sequence[Segment]) -> Json:
    try:
        return decode(encode([event for segment in segments for event in shapes(segment)]))
    except (ValueError, TypeError, LookupError) as error:
        raise InvalidParameter(f"the segments in the export cannot be read: {error!r}") from error


def _give_key(archive: Archive, key: int) -> None:
    archive.row.key = key
    archive.tokens = [replace(token, execution=key) for token in archive.tokens]
    archive.work = [replace(work, execution=key) for work in archive.work]
    archive.messages = [replace(message, execution=key) for message in archive.messages]


async def _taken(store: Store, arn: str) -> ExecutionAlreadyExists:
    if await store.execution(arn) is not None:
        return ExecutionAlreadyExists(f"Execution Already Exists: '{arn}'")
    return ExecutionAlreadyExists(f"a task token of {arn} is in this database already")
