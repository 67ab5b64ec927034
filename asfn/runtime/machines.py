"""State machines by name: registered in the store, compiled once per definition.

A definition is stored under the digest of its text and never changed; an execution keeps the digest it started with.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from asfn._json import encode
from asfn.arn import Arns, check_name, new_uuid
from asfn.errors import DefinitionError, StateMachineAlreadyExists, StateMachineDoesNotExist, StoreError
from asfn.language.diagnostics import Diagnostic
from asfn.language.model import MapState, ParallelState
from asfn.language.reader import load, read_document
from asfn.plan.states import compile_machine
from asfn.runtime.admission import check_limit
from asfn.runtime.retention import check_retention
from asfn.runtime.texts import check_text, is_unicode, shown
from asfn.store.records import StateMachineRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asfn._json import JsonObject
    from asfn.arn import TaskResource
    from asfn.language.model import StateMachine
    from asfn.limits import Limits
    from asfn.plan.states import CompiledMachine
    from asfn.runtime.clock import Clock
    from asfn.store.protocol import Store
    from asfn.store.records import MachineType

logger = logging.getLogger("asfn.engine")

Definition = str | bytes | Mapping[str, Any] | os.PathLike[str]  # Any: JSON values, checked when read
_ROLE_CHARACTERS: Final = 2048  # AWS takes 256; more does no harm
_PLANS_KEPT: Final = 256
# How long a start may go by a registration read before; AWS promises no more than "within seconds" (api.md section 5).
_ROW_SECONDS: Final = 1.0


class StateMachineInfo(Struct, frozen=True):
    """What DescribeStateMachine tells. definition: its text, as it was given.

    retention_days: how long its finished executions are kept, None: as the engine's limits say.
    max_concurrent_executions: how many may have begun and not ended, None: any number.
    """

    arn: str
    name: str
    type: MachineType
    role_arn: str
    created_at: float
    updated_at: float
    revision_id: str | None
    definition: str
    retention_days: float | None = None
    max_concurrent_executions: int | None = None


class Plan(Struct, frozen=True):
    """A compiled definition. It holds nothing of any execution and serves all of them."""

    digest: str
    model: StateMachine
    machine: CompiledMachine
    resources: tuple[TaskResource, ...]


def _plan(digest: str, model: StateMachine, limits: Limits) -> Plan:
    unsupported = list(_unsupported(model, ""))
    if unsupported:
        raise DefinitionError(unsupported)
    machine = compile_machine(model, limits)
    return Plan(digest, model, machine, tuple(dict.fromkeys(_resources(machine))))


def _unsupported(machine: StateMachine, pointer: str) -> Iterator[Diagnostic]:
    """What is valid on AWS and cannot be run here yet: said when a machine is registered, not in mid-run."""
    for name, state in machine.states.items():
        place = f"{pointer}/States/{name}"
        if isinstance(state, MapState):
            if state.mode == "DISTRIBUTED":
                message = "asfn cannot run a Map of mode DISTRIBUTED yet; mode INLINE works"
                yield Diagnostic("ERROR", "UNSUPPORTED_FEATURE", message, place)
            yield from _unsupported(state.processor, f"{place}/ItemProcessor")
        elif isinstance(state, ParallelState):
            for index, branch in enumerate(state.branches):
                yield from _unsupported(branch, f"{place}/Branches[{index}]")


def _resources(machine: CompiledMachine) -> Iterator[TaskResource]:
    """Every Task's Resource, nested machines included."""
    for state in machine.states.values():
        if state.resource is not None:
            yield state.resource
        for branch in state.branches:
            yield from _resources(branch)


class Machines:
    """The state machines of one engine's store."""

    def __init__(self, store: Store, arns: Arns, limits: Limits, clock: Clock) -> None:
        self._store = store
        self._arns = arns
        self._limits = limits
        self._clock = clock
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._recent: dict[str, tuple[StateMachineRow, float]] = {}
        self._reading: dict[str, asyncio.Future[StateMachineRow]] = {}

    def arn_of(self, name_or_arn: str) -> str:
        """The ARN of a machine named by either. Raises StateMachineDoesNotExist for what can name none."""
        if not is_unicode(name_or_arn):
            raise StateMachineDoesNotExist(f"State Machine Does Not Exist: {shown(name_or_arn)}")
        return name_or_arn if name_or_arn.startswith("arn:") else self._arns.state_machine(name_or_arn)

    async def create(
        self,
        name: str,
        definition: Definition,
        type: MachineType,
        role_arn: str | None,
        retention_days: float | None = None,
        max_concurrent_executions: int | None = None,
    ) -> StateMachineInfo:
        """Register a machine. The same name, definition and type again changes nothing (api.md section 4)."""
        check_name(name)
        check_text(role_arn, "roleArn", _ROLE_CHARACTERS)
        retention_days = check_retention(retention_days)
        arn = self._arns.state_machine(name)
        text, digest = self._check(definition, type)
        existing = await self._store.state_machine(arn)
        if existing is not None:
            if existing.digest != digest or existing.type != type:
                raise StateMachineAlreadyExists(f"State Machine Already Exists: '{arn}'")
            return self._info(existing, text)
        now = self._clock.now()
        row = StateMachineRow(arn, name, type, digest, role_arn or self._arns.role(), now, now, None, retention_days)
        row.max_concurrent_executions = max_concurrent_executions
        await self._store.put_definition(digest, text)
        await self._store.put_state_machine(row)
        return self._info(row, text)

    async def update(
        self,
        name_or_arn: str,
        definition: Definition | None,
        role_arn: str | None,
        retention_days: float | None = None,
        max_concurrent_executions: float | None = None,
    ) -> StateMachineInfo:
        """Give a machine a new definition or role; running executions keep theirs. Each change makes a new revision;
        another retention or limit does not.
        """
        check_text(role_arn, "roleArn", _ROLE_CHARACTERS)
        retention_days = check_retention(retention_days)
        limit = check_limit(max_concurrent_executions)
        row = await self.row(name_or_arn)
        if definition is None:
            text, digest = await self._text(row.digest), row.digest
        else:
            text, digest = self._check(definition, row.type)
        revised = digest != row.digest or (role_arn is not None and role_arn != row.role_arn)
        if revised:
            row.digest = digest
            row.role_arn = role_arn or row.role_arn
            row.updated_at = self._clock.now()
            row.revision_id = new_uuid()
        limited = max_concurrent_executions is not None and limit != row.max_concurrent_executions
        if revised or limited or retention_days not in (None, row.retention_days):
            row.retention_days = row.retention_days if retention_days is None else retention_days
            row.max_concurrent_executions = limit if limited else row.max_concurrent_executions
            await self._store.put_definition(digest, text)
            await self._store.put_state_machine(row)
            self._recent.clear()
        return self._info(row, text)

    async def register_files(self, pattern: str) -> None:
        """Create or update a machine for each file that a glob fits; `flows/order.asl.json` becomes `order`."""
        import glob  # on use, both: a program that begins has no time for them
        from pathlib import Path

        paths = sorted(glob.glob(pattern, recursive=True))
        if not paths:
            logger.warning("no definition file fits %r", pattern)
        for path in paths:
            name = os.path.basename(path).split(".")[0]
            try:
                await self.update(name, Path(path), None)
            except StateMachineDoesNotExist:
                await self.create(name, Path(path), "STANDARD", None)

    async def delete(self, name_or_arn: str) -> None:
        """Forget a machine; one that is gone already is no error. Its executions stay and finish."""
        self._recent.clear()
        await self._store.delete_state_machine(self.arn_of(name_or_arn))

    async def describe(self, name_or_arn: str) -> StateMachineInfo:
        row = await self.row(name_or_arn)
        return self._info(row, await self._text(row.digest))

    async def all(self) -> list[StateMachineInfo]:
        return [self._info(row, await self._text(row.digest)) for row in await self._store.state_machines()]

    async def row(self, name_or_arn: str) -> StateMachineRow:
        """The registration. Raises StateMachineDoesNotExist."""
        arn = self.arn_of(name_or_arn)
        row = await self._store.state_machine(arn)
        if row is None:
            raise StateMachineDoesNotExist(f"State Machine Does Not Exist: '{arn}'")
        return row

    def recent(self, name_or_arn: str) -> tuple[StateMachineRow, Plan] | None:
        """The registration as it stood within the last second, and its plan, when both are at hand: most starts need
        not wait for them. The row is not to be changed.
        """
        known = self._recent.get(name_or_arn)
        if known is None or not 0 <= self._clock.now() - known[1] < _ROW_SECONDS:
            return None
        plan = self._plans.get(known[0].digest)
        return (known[0], plan) if plan is not None else None

    async def recent_row(self, name_or_arn: str) -> StateMachineRow:
        """The registration as it stood within the last second; not to be changed. Raises StateMachineDoesNotExist."""
        arn = self.arn_of(name_or_arn)
        now = self._clock.now()
        known = self._recent.get(arn)
        if known is not None and 0 <= now - known[1] < _ROW_SECONDS:
            return known[0]
        reading = self._reading.get(arn)
        if reading is None:  # a thousand starts at once read it once
            reading = self._reading[arn] = asyncio.ensure_future(self.row(arn))
            reading.add_done_callback(lambda _: self._reading.pop(arn, None))
        row = await asyncio.shield(reading)
        if len(self._recent) > _PLANS_KEPT:
            self._recent.clear()
        self._recent[arn] = self._recent[name_or_arn] = (row, now)
        return row

    async def plan(self, digest: str, type: MachineType = "STANDARD") -> Plan:
        """The compiled definition behind a digest."""
        plan = self._plans.get(digest)
        if plan is None:
            plan = self._compile(digest, load(await self._text(digest), type=type))
        else:
            self._plans.move_to_end(digest)
        return plan

    def _compile(self, digest: str, model: StateMachine) -> Plan:
        plan = self._plans[digest] = _plan(digest, model, self._limits)
        if len(self._plans) > _PLANS_KEPT:
            self._plans.popitem(last=False)
        return plan

    def _check(self, definition: Definition, type: MachineType) -> tuple[str, str]:
        """The text to store and its digest, of a definition that is valid. Raises DefinitionError."""
        document = read_document(definition)  # type: ignore[arg-type]  # a dict of JSON values
        model = load(document, type=type)
        value: JsonObject = document.value  # type: ignore[assignment]  # load has checked that it is an object
        text = definition if isinstance(definition, str) and definition.lstrip().startswith("{") else encode(value)
        digest = hashlib.sha256(text.encode()).hexdigest()
        if digest not in self._plans:
            self._compile(digest, model)
        return text, digest

    async def _text(self, digest: str) -> str:
        text = await self._store.definition(digest)
        if text is None:
            raise StoreError(f"the definition {digest} is missing from the database; restore it from a backup")
        return text

    @staticmethod
    def _info(row: StateMachineRow, text: str) -> StateMachineInfo:
        return StateMachineInfo(
            row.arn,
            row.name,
            row.type,
            row.role_arn,
            row.created_at,
            row.updated_at,
            row.revision_id,
            text,
            row.retention_days,
            row.max_concurrent_executions,
        )
