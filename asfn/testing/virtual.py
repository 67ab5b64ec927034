"""The engine that tests run state machines on: virtual time, mocks by state name, and executions that tell their path.

It is the real Engine with another clock, another resolver in front of its own, and a store that is listened to.
The `asfn` fixture of `plugin.py` gives one; `asfn.testing.run` and this class do without pytest.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, cast

from asfn.arn import name_of, new_uuid
from asfn.engine import Engine
from asfn.runtime.handle import Execution
from asfn.testing.mock_config import MockConfig, MockConfigError
from asfn.testing.mocks import Mock, Mocks
from asfn.testing.recording import Paths, RecordingStore, ToldJournal, observers

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from asfn._json import Json
    from asfn.plan.states import CompiledMachine
    from asfn.runtime.execution import Run
    from asfn.store.protocol import Store
    from asfn.testing.loop import VirtualClock


class ExecutionEnded(AssertionError):
    """An execution ended before it did what the test waits for."""


class VirtualExecution(Execution):
    """A handle on an execution, with what tests ask for besides."""

    __slots__ = ("_key", "_virtual")

    _key: int
    _virtual: VirtualEngine

    @classmethod
    def of(cls, engine: VirtualEngine, execution: Execution, key: int) -> VirtualExecution:
        """The same handle as one of this class."""
        self = cls.__new__(cls)
        for name in Execution.__slots__:
            setattr(self, name, getattr(execution, name))
        self._key = key
        self._virtual = engine
        return self

    @property
    def path(self) -> list[str]:
        """The names of the states it has entered, in the order of its history; branches of a fan-out interleave.

        As far as it is durable: all of it after `result()`. A retry does not enter its state again.
        """
        return self._virtual.paths.path(self._key)

    async def wait_for_token(self, state: str) -> str:
        """The task token of the next call of a `.waitForTaskToken` Task; each call's token is given once.

        Time goes on until there is one. Raises ExecutionEnded when the execution ends before, and what stopped the
        engine from running it, such as UnroutedResource.
        """
        token = self._virtual.mocks.token(self.arn, state)
        while not token.done() and (ending := await self._next_end()) is not None:
            waiting: set[asyncio.Future[Any]] = {token, ending}
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if ending.done() and not token.done():
                    await ending  # raises what stopped it
            finally:
                ending.cancel()
        if token.done():
            return token.result()
        token.cancel()
        info = await self.describe()
        why = f" ({': '.join(part for part in (info.error, info.cause) if part)})" if info.error or info.cause else ""
        raise ExecutionEnded(
            f"execution {self.name!r} ended as {info.status}{why} before state {state!r} opened a task token; "
            f"its path: {self.path}"
        )

    async def _next_end(self) -> asyncio.Future[Any] | None:  # Any: what it gives is of no interest
        """A future of the end of this execution, or of its beginning while it is queued; None: it has ended."""
        row = await self._row()
        if row.status != "RUNNING":
            return None
        run: Run | None = self._express or self._virtual.running(self.arn)
        if run is None and not row.queued:  # it is parked
            await self._virtual.take(row)
            run = self._virtual.running(self.arn)
        return asyncio.ensure_future(run.wait()) if run is not None else self._virtual.begun(self.arn)


class VirtualEngine(Engine):
    """An Engine on virtual time, with mocks.

    clock: of the virtual-time loop that this engine runs on.   options: as Engine's. The random source is seeded, so
    that jitter and `$random` are the same in every run.
    """

    clock: VirtualClock

    def __init__(
        self,
        database: str | Store = "memory://",
        *,
        clock: VirtualClock,
        **options: Any,  # Any: Engine's own options, checked there
    ) -> None:
        self.paths = Paths()
        self.mocks = Mocks()
        self._mock_config: MockConfig | None = None
        options.setdefault("random", random.Random(0))
        fallback = options.pop("resolver", None)
        super().__init__(database, clock=clock, resolver=self.mocks, **options)
        self.store = cast("Store", RecordingStore(self.store, self.paths))  # what the engine's writer is given
        self.mocks.fallback = fallback if fallback is not None else self._registry

    def mock(self, state: str, *, machine: str | None = None) -> Mock:
        """Answer the calls of the Tasks of this name, in every state machine or in the one that is named.

        A second mock for the same state replaces the first.
        """
        return self.mocks.mock(state, machine)

    def mock_config(self, config: str | os.PathLike[str] | Mapping[str, Any]) -> MockConfig:  # Any: JSON
        """Read Step Functions Local's MockConfigFile.json; `start("machine#TestCase")` chooses a test case of it.

        Raises OSError, and MockConfigError with every finding.
        """
        self._mock_config = MockConfig.read(config)
        return self._mock_config

    async def start(
        self,
        machine: str,
        input: Json | None = None,
        *,
        name: str | None = None,
        input_text: str | None = None,
        attributes: Mapping[str, str] | None = None,
        priority: int = 0,
    ) -> VirtualExecution:
        """As Engine.start. machine: a name or ARN, with `#TestCase` behind it to answer from the mock configuration.

        Raises MockConfigError besides, when there is no such test case.
        """
        machine, _, case = machine.partition("#")
        name = name if name is not None else new_uuid()
        self._choose(self._machines.arn_of(machine), case, name)
        registered = await self._machines.recent_row(machine)
        definition = await self.store.definition(registered.digest) if registered.type == "EXPRESS" else None
        self._learn((await self._machines.plan(registered.digest, registered.type)).machine)
        execution = await super().start(
            machine, input, name=name, input_text=input_text, attributes=attributes, priority=priority
        )
        run = execution._express
        if run is None:
            return await self._watched(execution)
        told = observers(self.store)
        for observer in told:
            observer.started(run.row, definition or "")
        run.interpreter.journal = ToldJournal(run.interpreter.journal, told)  # its task has not had a turn yet
        return VirtualExecution.of(self, execution, run.row.key)

    def _choose(self, machine_arn: str, case: str, name: str) -> None:
        """Let the execution that is about to start answer from this test case, or from none."""
        machine = name_of(machine_arn)
        if case and self._mock_config is None:
            raise MockConfigError(f"{machine}#{case} needs a mock configuration: call mock_config(...) first")
        if self.running(self.arns.execution(machine, name)) is not None:  # the same start again: it keeps its place
            return
        if case and self._mock_config is not None:
            self.mocks.use(machine_arn, name, self._mock_config.source, self._mock_config.case(machine, case))
        else:
            self.mocks.drop(machine_arn, name)

    def _learn(self, machine: CompiledMachine) -> None:
        for state in machine.states.values():
            if state.resource is not None:
                self.mocks.learn(state.resource.text, state.name)
            for branch in state.branches:
                self._learn(branch)

    async def execution(self, arn: str) -> VirtualExecution:
        """As Engine.execution."""
        return await self._watched(await super().execution(arn))

    async def _watched(self, execution: Execution) -> VirtualExecution:
        run = self.running(execution.arn)
        row = run.row if run is not None else await self.store.execution(execution.arn)
        assert row is not None
        return VirtualExecution.of(self, execution, row.key)
