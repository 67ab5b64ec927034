"""The engine: what a program enters, registers functions with, and starts executions on.

The only place that puts the parts together: a URL becomes a store, a function a handler. Everything runs on the
caller's own event loop; entering resumes what the file holds, leaving drains and parks.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar

from asfn.arn import Arns
from asfn.errors import (
    AsfnError,
    EngineClosed,
    ExecutionAlreadyExists,
    ExecutionDoesNotExist,
    ExecutionNotRedrivable,
)
from asfn.limits import Limits
from asfn.runtime.activities import Activities
from asfn.runtime.admission import check_limit
from asfn.runtime.attributes import check_attributes
from asfn.runtime.clock import Clock, SystemClock
from asfn.runtime.handle import Execution, ExecutionInfo
from asfn.runtime.inbox import Inbox
from asfn.runtime.interpreter import Collaborators
from asfn.runtime.lookout import LAZY_SECONDS, Lookout, ring_all
from asfn.runtime.machines import Definition, Machines, StateMachineInfo
from asfn.runtime.messages import Messages
from asfn.runtime.observers import Observer, Observers, StatusHook, StatusObserver
from asfn.runtime.redrive import check_client_token, find_detour, find_refusal, redriven_row, repeated_at
from asfn.runtime.retention import Retention, check_retention
from asfn.runtime.starting import new_row, read_input
from asfn.runtime.supervisor import Policy, Supervisor
from asfn.runtime.term import Term
from asfn.runtime.texts import check_text, is_unicode, shown
from asfn.runtime.tokens import TaskTokens
from asfn.runtime.vigil import Vigil
from asfn.store.opening import open_store
from asfn.store.records import ExecutionQuery, ExecutionRow
from asfn.tasks.function import FunctionHandler
from asfn.tasks.registry import Registry
from asfn.tasks.threads import WorkerThreads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from asfn._json import Json
    from asfn.runtime.calls import Calls
    from asfn.runtime.execution import Run
    from asfn.runtime.single_state import StateRun
    from asfn.store.codec import Codec
    from asfn.store.protocol import Store
    from asfn.store.records import EngineRow, ExecutionStatus, MachineType, MessageKind
    from asfn.store.writer import Writer
    from asfn.tasks.lambda_ import LambdaHandler
    from asfn.tasks.protocol import Handler, Resolver
    from asfn.tasks.registry import OnResume

logger = logging.getLogger("asfn.engine")

F = TypeVar("F", bound="Callable[..., Any]")  # Any: a registered function's own signature
_WORKER_THREADS: Final = 32


class Engine:
    """Runs Amazon States Language state machines on the caller's event loop.

    database: "memory://", "sqlite:///relative/path.db", "sqlite:////absolute/path.db", or a Store.
    definitions: a glob of definition files to register on entering; `flows/order.asl.json` becomes `order`.
    limits: "aws" (the quotas of AWS Step Functions), "relaxed", or a Limits.
    region, account: of the ARNs this engine gives out.
    resolver: answers Tasks instead of the functions and routes registered here; for tests.
    lease_seconds: how long this engine's executions stay its own when its process cannot be seen to live.
    drain_seconds: how long leaving waits for handler calls in flight.
    commit: "default" takes barriers where something outside happens; "awaited" after every single transition.
    observers: told what happens to executions; see `observe`.
    codec: encrypts or compresses all that executions leave in an SQLite file; see `asfn.Codec`. A database in memory
        leaves nothing anywhere and has no use for it.
    park_seconds: an execution in which nothing but waits longer than this is left is parked: it leaves memory, and
        comes back when it is due, answered, or asked for. math.inf: never.
    max_concurrent_executions: how many executions run in this engine at once, parked ones not counted; more are queued.
        Those that have begun already are never held back.
    resume: whether this engine goes on with what others have left, and begins what they have queued. If not, it runs
        what is started on it or asked for by name, and parks nothing.
    express: "memory" keeps nothing of Express executions, which end with the engine that started them; "stored" keeps
        them as Standard ones, with history and resume, for at most their five minutes.
    tasks: answers tasks that wait for a token.   activities: their queues of work, for workers.
    Errors: every method raises an AsfnError for what the caller can mend; EngineClosed outside `async with`.
    """

    def __init__(
        self,
        database: str | Store = "memory://",
        *,
        definitions: str | None = None,
        limits: Literal["aws", "relaxed"] | Limits = "aws",
        region: str = "us-east-1",
        account: str = "123456789012",
        clock: Clock | None = None,
        resolver: Resolver | None = None,
        random: random.Random | None = None,
        lease_seconds: float = 30,
        drain_seconds: float = 5,
        commit: Literal["default", "awaited"] = "default",
        observers: Iterable[Observer] = (),
        codec: Codec | None = None,
        park_seconds: float = 60,
        max_concurrent_executions: int | None = None,
        resume: bool = True,
        express: Literal["memory", "stored"] = "memory",
    ) -> None:
        if express not in ("memory", "stored"):
            raise ValueError(f"express is {express!r}: use 'memory' or 'stored'")
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.store: Store = open_store(database, self.clock.off_loop, codec)
        self.limits = Limits.named(limits)
        self.arns = Arns(region, account)
        self._definitions = definitions
        self._registry = Registry()
        self._resolver: Resolver = resolver if resolver is not None else self._registry
        self._random = random if random is not None else _system_random()
        self._lease_seconds = lease_seconds
        self._drain_seconds = drain_seconds
        self._commit = commit
        self._park_seconds = park_seconds
        self._max_concurrent_executions = check_limit(max_concurrent_executions)
        self._resume = resume
        self._express = express
        self._threads = WorkerThreads(_WORKER_THREADS, "asfn-function")
        self._handlers: list[FunctionHandler | LambdaHandler] = []  # those to close with the engine
        self._machines = Machines(self.store, self.arns, self.limits, self.clock)
        self._observers = Observers(observers, self.clock)
        self.tasks = TaskTokens(self._open_inbox, self.limits)
        self.activities = Activities(self._open_inbox, self.store, self.arns, self.clock)
        self._retention = Retention(self.store, self.clock, self.limits.retention_days)
        self._inbox: Inbox | None = None
        self._lookout: Lookout | None = None
        self._messages: Messages | None = None
        self._term: Term | None = None
        self._stack: AsyncExitStack | None = None

    # --- tasks -----------------------------------------------------------------------------------------------------

    def function(
        self, name_or_arn: str, *, on_resume: OnResume = "run", max_concurrency: int | None = None
    ) -> Callable[[F], F]:
        """Register the decorated function under a Lambda function name or an ARN.

        A name answers every Lambda ARN and every `lambda:invoke` FunctionName with that name. on_resume: whether a call
        that a crash interrupted is made again, with the same idempotency key ("run"), or fails the task ("fail").
        max_concurrency: how many calls of it this engine makes at once; the others wait, those of executions with a
        higher priority first, then the oldest. Waiting counts as working does: TimeoutSeconds may end it.
        """

        def decorate(function: F) -> F:
            self.register(name_or_arn, function, on_resume=on_resume, max_concurrency=max_concurrency)
            return function

        return decorate

    def register(
        self,
        name_or_arn: str,
        function: Callable[..., Any],
        *,
        on_resume: OnResume = "run",
        max_concurrency: int | None = None,
    ) -> None:
        """Register a Python function, asynchronous or not, of `(event)` or `(event, ctx)`; as `function` does."""
        handler = FunctionHandler(
            function,
            executor=self._threads,
            now=self.clock.now,
            off_loop=self.clock.off_loop,
            on_resume=on_resume,
            max_concurrency=max_concurrency,
        )
        self._registry.function(name_or_arn, handler)
        self._handlers.append(handler)

    def route(self, pattern: str, to: Handler) -> None:
        """Let a handler answer every Resource that fits the pattern, in which `*` stands for any characters."""
        self._registry.route(pattern, to)

    def aws_lambda(self, **options: Any) -> LambdaHandler:  # Any: LambdaHandler's own options, checked there
        """A handler that calls real Lambda through aiobotocore, closed with the engine; give it to `route`.

        options: region, endpoint_url, max_concurrency and the others of `asfn.tasks.lambda_.LambdaHandler`.
        """
        from asfn.tasks.lambda_ import LambdaHandler

        handler = LambdaHandler(off_loop=self.clock.off_loop, **options)
        self._handlers.append(handler)
        return handler

    # --- observers -------------------------------------------------------------------------------------------------

    def observe(self, observer: Observer) -> None:
        """Tell an observer what happens in this engine: logs, telemetry, or one of your own.

        States, tasks and events of executions that run already are not told of; their end is, when they were observed.
        Raises TypeError for what is not an Observer.
        """
        self._observers.add(observer)

    def on_status_change(self, function: StatusHook) -> StatusHook:
        """Call the decorated function, asynchronous or not, with an ExecutionInfo when an execution starts or ends.

        A plain function runs on the loop and must return soon. What it raises is logged and changes nothing.
        """
        self._observers.add(StatusObserver(function))
        return function

    # --- life ------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the database, register this engine in it, and resume what nobody runs. Raises StoreError."""
        if self._stack is not None:
            raise RuntimeError("this engine has been entered already")
        async with AsyncExitStack() as stack:
            await self.store.open()
            stack.push_async_callback(self.store.close)
            stack.push_async_callback(self._close_handlers)
            await self._begin(stack)
            self._stack = stack.pop_all()
        return self

    async def _begin(self, stack: AsyncExitStack) -> None:
        stack.push_async_callback(self._observers.close, self._drain_seconds)
        lookout = self._begin_looking(stack)
        self._inbox = inbox = Inbox(self.store, self.clock, lookout)
        lookout.add(inbox.expects_news, inbox.read_news)
        lookout.add(self._expects_news, self._look, LAZY_SECONDS)
        stack.callback(self._forget_inbox)
        self._term = term = await self._begin_term()
        stack.push_async_callback(self._end, inbox)
        guarding = asyncio.create_task(self._keep_registered(), name="asfn-engine")
        stack.push_async_callback(_cancel, guarding)
        looking = asyncio.create_task(lookout.run(), name="asfn-lookout")
        stack.push_async_callback(_cancel, looking)
        if isinstance(self.clock, SystemClock):
            vigil = Vigil()
            vigil.start()
            stack.callback(vigil.stop)
            purging = asyncio.create_task(self._retention.run(), name="asfn-retention")
            stack.push_async_callback(_cancel, purging)
        if self._definitions is not None:
            await self._machines.register_files(self._definitions)
        await term.claim()

    def _begin_looking(self, stack: AsyncExitStack) -> Lookout:
        shared = getattr(self.store, "path", None) is not None
        self._lookout = lookout = Lookout(self.store, polls=shared and isinstance(self.clock, SystemClock))
        stack.callback(lookout.close)
        self._messages = Messages(
            self.store, self.clock, lookout, lambda: self._term.supervisor if self._term is not None else None
        )
        stack.push_async_callback(self._messages.close)
        return lookout

    def _expects_news(self) -> bool:
        return self._term is not None and self._term.supervisor.expects_news()

    async def _look(self) -> None:
        if self._term is not None:
            await self._term.supervisor.look()

    async def _begin_term(self) -> Term:
        return await Term.begin(self.store, self.clock, self._lease_seconds, self._supervise)

    def _supervise(self, row: EngineRow, writer: Writer, calls: Calls) -> Supervisor:
        assert self._inbox is not None
        awaited = self._commit == "awaited"
        shared = Collaborators(
            self.clock, calls, self._inbox, self._resolver, self.limits, self._random, self.arns.region, awaited
        )
        policy = Policy(self._park_seconds, self._max_concurrent_executions, self._resume, self._express == "stored")
        return Supervisor(self.store, row, writer, self._machines, self._observers, shared, policy)

    async def _keep_registered(self) -> None:
        """Register anew whenever another engine has taken over, until cancelled."""
        while self._term is not None:
            await self._term.lost()
            await self._term.abandon()
            while not await self._register_anew():  # noqa: ASYNC110  # the store is well again some time
                await asyncio.sleep(self._lease_seconds / 3)

    async def _register_anew(self) -> bool:
        try:
            self._term = await self._begin_term()
        except AsfnError as error:
            logger.warning("the engine could not register anew, trying again: %s", error)
            return False
        logger.warning("the engine has registered anew: it goes on without what was taken over")
        try:
            await self._term.claim()
        except AsfnError as error:
            logger.warning("executions that nobody runs could not be claimed: %s", error)
        ring_all()  # who waits for what the last term ran looks where it runs now
        return True

    async def _end(self, inbox: Inbox) -> None:
        term, self._term = self._term, None
        assert term is not None
        inbox.dismiss()
        term.supervisor.dismiss()
        for handler in self._handlers:
            handler.dismiss()
        try:
            await term.drain(self._drain_seconds)  # functions that end now may still answer tokens
        finally:  # a cancellation cuts the wait short, not the rest
            self._forget_inbox()
            await inbox.close()
            await term.leave()
            ring_all()  # what was due here is due elsewhere

    def _forget_inbox(self) -> None:
        self._inbox = None

    async def __aexit__(self, *exc_info: object) -> None:
        """Let handler calls in flight end, at most drain_seconds; park the rest; close the database."""
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.aclose()

    async def _close_handlers(self) -> None:
        for handler in self._handlers:
            await handler.aclose()
        self._threads.shutdown()

    def _running(self) -> Supervisor:
        if self._term is None:
            raise EngineClosed("the engine is not running: enter it with `async with engine:` first")
        return self._term.supervisor

    def _open_inbox(self) -> Inbox:
        if self._inbox is None:
            raise EngineClosed("the engine is not running: enter it with `async with engine:` first")
        return self._inbox

    # --- state machines --------------------------------------------------------------------------------------------

    async def create_state_machine(
        self,
        name: str,
        definition: Definition,
        *,
        type: MachineType = "STANDARD",
        role_arn: str | None = None,
        retention_days: float | None = None,
        max_concurrent_executions: float | None = None,
    ) -> StateMachineInfo:
        """Register a state machine. definition: JSON or YAML text, a dict, or a path.

        retention_days: how long its finished executions are kept; None: as `limits` say (AWS: 90 days), math.inf: for
        ever. max_concurrent_executions: how many of its executions may have begun and not ended in the whole file,
        parked ones included; more are queued. None: any number. The same again changes nothing. Raises DefinitionError
        with every finding, InvalidName, InvalidParameter, StateMachineAlreadyExists.
        """
        self._running()
        return await self._machines.create(
            name, definition, type, role_arn, retention_days, check_limit(max_concurrent_executions)
        )

    async def update_state_machine(
        self,
        name_or_arn: str,
        definition: Definition | None = None,
        *,
        role_arn: str | None = None,
        retention_days: float | None = None,
        max_concurrent_executions: float | None = None,
    ) -> StateMachineInfo:
        """Give a state machine a new definition, role, retention or limit, and leave alone what is None.

        Running executions keep the revision they started with; retention_days counts for all of them, and
        max_concurrent_executions for all that are queued; math.inf lifts it.
        """
        supervisor = self._running()
        info = await self._machines.update(name_or_arn, definition, role_arn, retention_days, max_concurrent_executions)
        if max_concurrent_executions is not None:
            await supervisor.look()
        return info

    async def delete_state_machine(self, name_or_arn: str) -> None:
        """Forget a state machine; one that is gone already is no error."""
        self._running()
        await self._machines.delete(name_or_arn)

    async def describe_state_machine(self, name_or_arn: str) -> StateMachineInfo:
        """Raises StateMachineDoesNotExist."""
        self._running()
        return await self._machines.describe(name_or_arn)

    async def list_state_machines(self) -> list[StateMachineInfo]:
        """All state machines, by name."""
        self._running()
        return await self._machines.all()

    # --- executions ------------------------------------------------------------------------------------------------

    async def start(
        self,
        machine: str,
        input: Json | None = None,
        *,
        name: str | None = None,
        input_text: str | None = None,
        attributes: Mapping[str, str] | None = None,
        priority: int = 0,
    ) -> Execution:
        """Start an execution of a state machine, by name or ARN; durable when this returns.

        input: a JSON value, `{}` by default.   input_text: the input as JSON text instead, kept as it is written.
        name: the execution's own; a UUID by default. Starting again with the name and input of an execution that is
        still running gives that one; otherwise the name of another raises ExecutionAlreadyExists.
        attributes: texts to find it by (`list_executions`), at most 50, names of up to 128 characters and values of up
        to 256. They are kept as they are, so nothing secret belongs there.
        priority: where a limit makes it wait for its turn, higher ones begin first, and then the oldest start. Waiting
        or not, it is RUNNING, and its timeouts count.
        Raises StateMachineDoesNotExist, InvalidName, InvalidExecutionInput, InvalidParameter, and UnroutedResource when
        a Task of the state machine has no handler.
        """
        supervisor = self._running()
        payload = read_input(input, input_text, self.limits)
        found_by = check_attributes(attributes)
        recent = self._machines.recent(machine)
        if recent is not None:
            registered, plan = recent
        else:
            registered = await self._machines.recent_row(machine)
            plan = await self._machines.plan(registered.digest, registered.type)
        for resource in plan.resources:
            self._resolver.resolve(resource)  # UnroutedResource before anything of the execution exists
        key, now, owner = supervisor.next_key(), self.clock.now(), supervisor.engine_id
        row = new_row(key, self.arns, registered, name, payload, found_by, priority, now, owner)
        started = await supervisor.start(row, plan.machine, registered.max_concurrent_executions)
        if isinstance(started, ExecutionRow):
            if started.status != "RUNNING" or started.input.value != payload.value:
                raise ExecutionAlreadyExists(f"Execution Already Exists: '{row.arn}'")
            return Execution(self, started)
        in_memory = row.type == "EXPRESS" and self._express == "memory"
        return Execution(self, row, started if in_memory else None)

    async def execution(self, arn: str) -> Execution:
        """A handle on an execution by its ARN. Raises ExecutionDoesNotExist."""
        self._running()
        row = await self.store.execution(arn) if is_unicode(arn) else None
        if row is None:
            raise ExecutionDoesNotExist(f"Execution Does Not Exist: {shown(arn)}")
        return Execution(self, row)

    async def list_executions(
        self,
        *,
        machine: str | None = None,
        status: ExecutionStatus | None = None,
        name: str | None = None,
        attributes: Mapping[str, str] | None = None,
        limit: int = 100,
        before: ExecutionInfo | None = None,
    ) -> list[ExecutionInfo]:
        """Executions, newest start first. before: the last one of the page before.

        attributes: those it was started with, all of these among them.
        """
        self._running()
        check_text(name, "name", sys.maxsize)
        query = ExecutionQuery(
            state_machine_arn=self._machines.arn_of(machine) if machine is not None else None,
            status=status,
            name=name,
            attributes=check_attributes(attributes),
            before=(before.started_at, before.key) if before is not None else None,
            limit=limit,
        )
        return [ExecutionInfo.of(row) for row in await self.store.executions(query)]

    def running(self, arn: str) -> Run | None:
        """The run of an execution in this engine; None when it runs elsewhere or has ended. For handles."""
        return self._running().running(arn)

    def follow(self) -> asyncio.Future[None]:
        """A future that is done when other engines may have written. For handles: see `Lookout.follow`."""
        self._running()
        assert self._lookout is not None
        return self._lookout.follow()

    async def take(self, row: ExecutionRow) -> None:
        """Run an execution here that waits and is in nobody's hands. For handles."""
        supervisor = self._running()
        if row.owner in (None, supervisor.engine_id):  # this engine may be letting it go
            await supervisor.wake([row.key])

    def begun(self, arn: str) -> asyncio.Future[None]:
        """A future that is done when an execution begins to run here. For handles."""
        return self._running().begun(arn)

    async def ask(self, arn: str, kind: MessageKind, error: str | None = None, cause: str | None = None) -> None:
        """Stop, pause or resume an execution, whichever engine runs it. For handles: see `Messages.ask`."""
        self._running()
        assert self._messages is not None
        await self._messages.ask(arn, kind, error, cause)

    async def redrive(
        self, row: ExecutionRow, client_token: str | None, from_state: str | None, input: Json | None
    ) -> float:
        """Redrive an execution; when that was. For handles: see `Execution.redrive`."""
        supervisor = self._running()
        now = self.clock.now()
        if client_token is not None:
            check_client_token(client_token)
            before = repeated_at(row, client_token, now)
            if before is not None:
                return before
        reason = await find_refusal(self.store, row, now, self.limits)
        if reason is not None:
            raise ExecutionNotRedrivable(reason)
        detour = None
        if from_state is not None or input is not None:
            given = read_input(input, None, self.limits) if input is not None else None
            plan = await self._machines.plan(row.digest)
            detour = await find_detour(self.store, row, plan.machine, from_state, given)
        again = redriven_row(row, now, supervisor.engine_id, client_token)
        await supervisor.redrive(again, detour)
        return now

    async def test_state(self, request: Mapping[str, Any], *, waits: bool = True) -> StateRun:
        """Run one state by itself, as AWS's TestState does; its answer is `response` of what is returned.

        request: the members of AWS's call, `{"definition": "...", "stateName": ..., "input": ..., "mock": ...}` (Any:
        each is checked).   waits: whether a Wait really waits. A Task without a mock goes to this engine's functions
        and routes. Nothing is stored. Raises DefinitionError, UnsupportedState, InvalidParameter,
        InvalidExecutionInput and UnroutedResource.
        """
        from asfn.runtime.single_state import run_state

        return await run_state(
            request,
            resolver=self._resolver,
            clock=self.clock,
            limits=self.limits,
            random=self._random,
            arns=self.arns,
            waits=waits,
        )

    async def purge(self, *, older_than_days: float | None = None, machine: str | None = None) -> int:
        """Delete finished executions now, gently, with all they left; how many. A running engine does so by itself.

        older_than_days: since they ended; by default each state machine's retention counts.   machine: only of it.
        """
        self._running()
        arn = self._machines.arn_of(machine) if machine is not None else None
        return await self._retention.purge(older_than_days=check_retention(older_than_days), state_machine_arn=arn)

    async def join(self) -> None:
        """Return when no execution of this engine is running, and none is parked or queued in the database."""
        await self._running().join()


def _system_random() -> random.Random:
    return random.SystemRandom()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
