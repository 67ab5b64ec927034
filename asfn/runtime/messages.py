"""Stop, pause and resume of executions that another engine runs, in this process or another.

Whoever asks leaves a durable message; the engine that owns the execution finds it, acts as if it had been asked here,
and drops it. When that engine dies, whoever goes on with the execution finds the message. What nobody owns (parked,
queued, left behind) is taken over and acted on by the one who asks.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from asfn._json import encode
from asfn.errors import AsfnError, EngineClosed, ExecutionDoesNotExist, StoreError
from asfn.runtime.clock import fulfil
from asfn.runtime.lookout import ring_all
from asfn.store.protocol import CommitRefused
from asfn.store.records import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asfn.runtime.clock import Clock
    from asfn.runtime.execution import Run
    from asfn.runtime.lookout import Lookout
    from asfn.runtime.supervisor import Supervisor
    from asfn.store.protocol import Store
    from asfn.store.records import ExecutionRow, MessageKind

logger = logging.getLogger("asfn.messages")

_OWNER_SECONDS: Final = 1.0
"""How often whoever waits for another engine looks whether that one is still there."""


class Messages:
    """The messages that one engine sends, and those it acts on. supervisor: the engine's own, None when it is left."""

    def __init__(
        self, store: Store, clock: Clock, lookout: Lookout, supervisor: Callable[[], Supervisor | None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._lookout = lookout
        self._supervisor = supervisor
        self._acting: dict[int, asyncio.Task[None]] = {}  # by execution
        lookout.add(self._owns_something, self._look)

    # --- for those who ask -----------------------------------------------------------------------------------------

    async def ask(self, arn: str, kind: MessageKind, error: str | None = None, cause: str | None = None) -> None:
        """Have an execution stopped, paused or resumed, wherever it runs; durable when this returns.

        One that has ended is left alone. A caller who is cancelled may have asked all the same. Raises
        ExecutionDoesNotExist, and what an engine of this process that runs it raises.
        """
        body = encode([error, cause])
        while True:
            run = self._here().running(arn)
            if run is not None:
                await self._catch_up(run)
                if self._here().running(arn) is not run:
                    continue
                await _act(run, kind, body)
                return
            row = await self._row(arn)
            if row is None:
                raise ExecutionDoesNotExist(f"Execution Does Not Exist: '{arn}'")
            if row.status != "RUNNING":
                return
            if row.queued and kind != "stop":
                if await self._store.pause_queued(row.key, kind == "pause"):
                    return
                continue
            # What is queued is stopped by a message, so that nobody lets it begin though a crash comes between.
            if not row.queued and row.owner in (None, self._here().engine_id):
                await self._here().wake([row.key])
                if self._here().running(arn) is not None:
                    continue
            id = await self._store.post(Message(row.key, kind, body, self._clock.now()))
            if id is not None:
                await self._acted_on(arn, id)
                await self._check(arn, kind)
                return

    async def _catch_up(self, run: Run) -> None:
        """Return when what was asked of an execution before has been done: an old pause must not undo a resume."""
        await self._look()
        acting = self._acting.get(run.row.key)
        if acting is not None:
            await asyncio.wait([acting])

    async def _acted_on(self, arn: str, id: int) -> None:
        """Return when a message is gone or its execution has ended. Somebody is made to own it meanwhile."""
        loop = self._lookout.loop
        look_after_at = loop.time()  # not by the date, which may jump
        ring_all()
        while True:
            news = self._lookout.follow()
            look_after = loop.call_later(_OWNER_SECONDS, fulfil, news, None)
            news.add_done_callback(lambda _, timer=look_after: timer.cancel())  # type: ignore[misc]
            if await self._store.message(id) is None:
                return
            row = await self._row(arn)
            if row is None or row.status != "RUNNING":
                return
            if row.owner is None:
                await self._here().wake([row.key])
            elif loop.time() >= look_after_at:
                look_after_at = loop.time() + _OWNER_SECONDS
                await self._look_after(row.owner)
            await news

    async def _look_after(self, owner: int) -> None:
        """Take over from an engine that has died, rather than wait until that is noticed by itself."""
        here = self._here()
        if owner != here.engine_id:
            await here.take_over_from(owner)

    async def _check(self, arn: str, kind: MessageKind) -> None:
        row = await self._row(arn)
        if kind == "stop" and row is not None and row.status == "RUNNING":
            raise StoreError(f"the engine that runs {arn} could not stop it: its log says why")

    async def _row(self, arn: str) -> ExecutionRow | None:
        return await self._store.execution(arn)

    def _here(self) -> Supervisor:
        supervisor = self._supervisor()
        if supervisor is None:
            raise EngineClosed("the engine has been left")
        return supervisor

    # --- for those who are asked -----------------------------------------------------------------------------------

    def _owns_something(self) -> bool:
        supervisor = self._supervisor()
        return supervisor is not None and supervisor.count > 0

    async def _look(self) -> None:
        supervisor = self._supervisor()
        if supervisor is None:
            return
        found: dict[int, list[Message]] = {}
        for message in await self._store.messages(supervisor.engine):
            if message.execution not in self._acting:
                found.setdefault(message.execution, []).append(message)
        for key, run in (supervisor.by_key(found) if found else {}).items():
            name = f"asfn-messages {run.row.name}"
            self._acting[key] = asyncio.create_task(self._act_on(run, found[key]), name=name)

    async def _act_on(self, run: Run, messages: Sequence[Message]) -> None:
        """Do what one execution was asked, in the order in which that was."""
        try:
            for message in messages:
                if not await self._done(run, message):
                    return
                await self._drop(message)
        finally:
            del self._acting[run.row.key]
        self._lookout.ring()  # more may have been asked meanwhile

    async def _done(self, run: Run, message: Message) -> bool:
        """Whether nobody else is to do it any more: it was done, or cannot be."""
        try:
            await _act(run, message.kind, message.body)
        except (EngineClosed, StoreError) as error:
            logger.info("%s was not done for %s: %s", message.kind, run.row.arn, error)
            return isinstance(error, CommitRefused)
        except Exception as error:
            logger.warning("%s cannot be done for %s: %r", message.kind, run.row.arn, error)
        return True

    async def _drop(self, message: Message) -> None:
        try:
            await self._store.drop_messages([message.id])
        except AsfnError as error:  # it is acted on again, which changes nothing
            logger.warning("a message could not be dropped: %s", error)
        ring_all()

    async def close(self) -> None:
        """Stop acting; what was not done stays for whoever goes on."""
        tasks = list(self._acting.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def foretell(run: Run, message: Message) -> None:
    """Let a run that takes its first step later know what it was asked before; that is made durable as ever."""
    if message.kind == "stop":
        error, cause = msgspec.json.decode(message.body)
        run.stop_nowait(error, cause)
    elif message.kind == "pause":
        run.interpreter.paused = True


async def _act(run: Run, kind: MessageKind, body: str) -> None:
    if kind == "stop":
        error, cause = msgspec.json.decode(body)
        await run.stop(error, cause)
    elif kind == "pause":
        await run.pause()
    else:
        await run.resume()
