"""The outside of a simulated world: those who do tasks, hold tokens and work for activities. It outlives all processes.

It writes down every call, and sees at once what no process may do: call before the frame behind the call is durable,
call with another payload under a known key, call while the execution is paused, run more executions than are admitted.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from asfn._json import Payload
from asfn.errors import (
    EngineClosed,
    EngineFenced,
    StoreError,
    TaskDoesNotExist,
    TaskFailed,
    TaskTimedOut,
)
from asfn.runtime.lookout import ring_all
from asfn.runtime.tokens import failure_outcome, success_outcome
from asfn.store.records import ExecutionQuery, Settlement
from asfn.tasks.activity import QUEUE
from asfn.tasks.protocol import Done, Submitted
from tests.grow.reading import Broken
from tests.simulation.process import Gone, Process

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from asfn._json import Json
    from asfn.arn import TaskResource
    from asfn.engine import Engine
    from asfn.store.protocol import Store
    from asfn.tasks.protocol import Answer, Handler, TaskCall
    from asfn.testing.loop import VirtualClock
    from tests.simulation.plan import Plan
    from tests.simulation.workloads import Reply, Workload

T = TypeVar("T")

_WHOLE_TIME = 1e8  # seconds a worker waits for work: longer than anything here lasts
_PASSING = (Gone, EngineClosed, EngineFenced, StoreError)


@dataclass(frozen=True, slots=True)
class Made:
    """A call that was made. text: of its payload.   process: the name of the one that made it."""

    key: str
    state: str
    text: str
    token: str | None
    process: str
    at: float


@dataclass
class World:
    """store: what all processes share, or another connection to its file.   story: gets a line for what happens."""

    plan: Plan
    clock: VirtualClock
    store: Store
    story: list[str] | None = None
    processes: list[Process] = field(default_factory=list)
    calls: list[Made] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)  # every token seen, and of which execution
    paused: dict[str, float] = field(default_factory=dict)  # ARNs of what is surely paused, and since when
    counts: Counter[str] = field(default_factory=Counter)
    broken: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = Random(f"world {self.plan.seed}")
        self._context = copy_context()
        self._by_key: dict[str, Made] = {}
        self._taken: dict[str, dict[str, dict[int, str]]] = {}  # by execution: recorded answers that were used up
        self._scheduled: set[str] = set()  # tokens whose answer is on its way
        self._found: set[str] = set()  # tokens of work that was found lost
        self._outside: dict[asyncio.Task[None], None] = {}
        self._news: list[asyncio.Future[None]] = []

    # --- for everybody ---------------------------------------------------------------------------------------------

    def tell(self, what: str) -> None:
        """A line of the story."""
        if self.story is not None:
            self.story.append(f"{self.clock.elapsed.total_seconds():14.3f}  {what}")

    def changed(self) -> None:
        """Something has changed that somebody may wait for."""
        news, self._news = self._news, []
        for future in news:
            if not future.done():
                future.set_result(None)

    def change(self) -> asyncio.Future[None]:
        """A future that is done when something has changed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._news.append(future)
        return future

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when a condition holds. Raises what somebody found broken meanwhile."""
        while not condition():
            if self.broken:
                raise self.broken[0]
            await self.change()

    @property
    def anybody(self) -> bool:
        """Whether some process can be asked."""
        return any(process.ready for process in self.processes)

    def dismiss(self) -> None:
        """Let all processes leave."""
        for process in self.processes:
            process.leave()

    def outside(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let somebody outside do something; what he finds broken ends the run."""
        context = self._context.copy()  # whoever asks for it, the task is no process's
        task = asyncio.get_running_loop().create_task(self._guarded(coroutine), context=context)
        self._outside[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._outside[task]
        self.changed()

    async def _guarded(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            await coroutine
        except Exception as error:
            self.blame(error)

    def hear(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What the event loop complains of (Any: asyncio's own shape). The dead leave errors that nobody fetches."""
        error = context.get("exception")
        self.tell(f"the loop: {context['message']} {error!r}")
        if error is None or isinstance(error, _PASSING):
            self.counts["complaints of the loop"] += 1
        else:
            self.blame(error)

    def blame(self, error: BaseException) -> None:
        """The run has failed."""
        self.broken.append(error)
        self.changed()

    async def close(self) -> None:
        """Everybody goes home."""
        left = list(self._outside)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    async def through(self, question: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
        """What some living process answers; another is asked when it dies, leaves, or its store refuses."""
        patience = 0.05 + self.rng.random()
        while True:
            ready = [process for process in self.processes if process.ready]
            if not ready:
                await self.change()
                continue
            with suppress(*_PASSING):
                return await self.rng.choice(ready).ask(question)
            self.counts["asked again"] += 1
            await asyncio.wait([self.change()], timeout=patience)
            patience *= 2

    def workload(self, execution_arn: str) -> Workload:
        """What an execution runs."""
        name = execution_arn.split(":")[6]
        return next(workload for workload in self.plan.workloads if workload.name == name)

    # --- tasks -----------------------------------------------------------------------------------------------------

    def resolve(self, resource: TaskResource) -> Handler:
        """The world does all tasks; an activity's work waits for its worker."""
        return QUEUE if resource.family == "activity" else self

    def on_resume(self, call: TaskCall) -> Literal["run", "fail"]:
        """A call that a crash interrupted is made again."""
        return "run"

    async def submit(self, call: TaskCall) -> Answer:
        """Do the work, or begin it."""
        process = _living()
        made = Made(
            call.idempotency_key,
            call.state_name,
            call.payload.text,
            call.token,
            process.name,
            self.clock.now(),
        )
        try:
            await self._check_call(call, made, process)
        except Exception as error:
            self.blame(error)
            raise
        self.calls.append(made)
        reply = self._reply(call)
        self.tell(f"{process.name} calls {call.state_name!r} {_short(made.key)}")
        if call.token is not None and call.resource.pattern == "waitForTaskToken":
            self._hold(call.token, reply, call.execution_arn)
            return Done(reply.submitted)
        if reply.job:
            job: Json = {"ends": self.clock.now() + reply.seconds}
            return Submitted(Payload({"job": call.state_name}), job)
        await asyncio.sleep(reply.seconds)
        return await _end(reply)

    async def poll(self, call: TaskCall, job: Json) -> Done | None:
        """The end of a job, once it is there."""
        _living()
        assert isinstance(job, dict)
        ends = job["ends"]
        assert isinstance(ends, float)
        if self.clock.now() < ends:
            await self.clock.sleep_until(ends)
        return await _end(self._reply(call))

    async def cancel(self, call: TaskCall, job: Json) -> None:
        """A job is not needed any more."""
        _living()
        self.counts["jobs cancelled"] += 1

    def _reply(self, call: TaskCall) -> Reply:
        workload = self.workload(call.execution_arn)
        place = call.idempotency_key.removeprefix(call.execution_arn)
        taken = self._taken.setdefault(call.execution_arn, {})
        return workload.reply(f"{call.execution_name}{place}", call.state_name, call.payload.value, taken)

    async def _check_call(self, call: TaskCall, made: Made, process: Process) -> None:
        before = self._by_key.get(made.key)
        if before is not None:
            self.counts["calls repeated"] += 1
            if (before.text, before.state, before.token) != (made.text, made.state, made.token):
                raise Broken(f"{_short(made.key)} was {before} and is now {made}")
            if before.process == made.process and not process.troubled:
                raise Broken(f"{_short(made.key)} is called twice by {made.process}")
        self._by_key[made.key] = made
        if self.paused.get(call.execution_arn, math.inf) < self.clock.now():
            raise Broken(f"{_short(made.key)} is called while its execution is paused")
        await self._check_durable(call)
        await self._check_admitted(call)

    async def _check_durable(self, call: TaskCall) -> None:
        """The frame behind the call stands in the store exactly there. Not asked of an engine that has lost it."""
        row = await self.store.execution(call.execution_arn)
        if row is None:
            raise Broken(f"{call.execution_arn} calls and is not in the store")
        process = Process.current()
        if process is None or process.killed or process.troubled or row.status != "RUNNING":
            return
        place = call.idempotency_key.removeprefix(f"{call.execution_arn}/")
        redrives, _, rest = place.partition("/")
        path, _, visit = f"/{rest}".rpartition("/")
        step, _, attempt = visit.partition(".")
        if int(redrives) != row.redrive_count:
            raise Broken(f"{_short(call.idempotency_key)} names a redrive that is not {row.redrive_count}")
        frames = {frame.path: frame for frame in await self.store.frames(row.key)}
        frame = frames.get(path)
        if frame is None:
            raise Broken(f"{_short(call.idempotency_key)} is called, and no frame {path!r} is stored")
        body = json.loads(frame.body)
        stands = (body["step"], body.get("attempt", 0), body["effect"][0] if "effect" in body else None)
        if stands != (int(step), int(attempt), "call"):
            raise Broken(f"{_short(call.idempotency_key)} is called, and the stored frame stands at {stands}")

    async def _check_admitted(self, call: TaskCall) -> None:
        limit = self.plan.settings.machine_limit
        if limit is None:
            return
        query = ExecutionQuery(state_machine_arn=call.state_machine_arn, status="RUNNING")
        # A redrive asks nobody; what is stopped leaves the queue to end without a step.
        stopped = [start.name for start in self.plan.starts if any(step.what == "stop" for step in start.meddling)]
        rows = await self.store.executions(query)
        begun = [row.name for row in rows if not (row.queued or row.redrive_count or row.name in stopped)]
        if len(begun) > limit:
            raise Broken(f"{len(begun)} executions of a machine that admits {limit} have begun: {begun}")

    # --- tokens ----------------------------------------------------------------------------------------------------

    def _hold(self, token: str, reply: Reply, arn: str) -> None:
        """Somebody outside holds a token and will answer it, once, whoever runs then."""
        self.tokens[token] = arn
        if token not in self._scheduled:
            self._scheduled.add(token)
            if reply.outcome is not None:
                self.outside(self._answer(token, reply))

    async def _answer(self, token: str, reply: Reply) -> None:
        await asyncio.sleep(reply.seconds)
        outcome = reply.outcome

        async def answer(engine: Engine) -> None:
            if isinstance(outcome, TaskFailed):
                await engine.tasks.fail(token, outcome.error, outcome.cause)
            else:
                assert outcome is not None
                await engine.tasks.succeed(token, output_text=outcome.text)

        self.tell(f"the token of {_short(self.tokens[token])} is answered")
        if self.rng.random() < 0.4 or not self.anybody:
            await self._answer_in_the_store(token, outcome)
            return
        with suppress(TaskTimedOut, TaskDoesNotExist):
            await self.through(answer)
        self.counts["tokens answered"] += 1

    async def _answer_in_the_store(self, token: str, outcome: Payload | TaskFailed | None) -> None:
        """As a process does it that this world knows nothing of."""
        assert outcome is not None
        if isinstance(outcome, TaskFailed):
            text = failure_outcome(outcome.error, outcome.cause)
        else:
            text = success_outcome(outcome)
        await self.store.settle_tokens([Settlement(token, "completed", text, self.clock.now())])
        ring_all()
        self.counts["tokens answered while nobody ran"] += 1

    # --- activities ------------------------------------------------------------------------------------------------

    def hire(self) -> None:
        """A worker for each activity."""
        for workload in self.plan.workloads:
            for arn in workload.activities:
                self.outside(self._work(arn, workload))

    async def _work(self, arn: str, workload: Workload) -> None:
        while True:
            work = await self.through(lambda engine: engine.activities.poll(arn, "worker", wait_seconds=_WHOLE_TIME))
            if work is None:
                raise Broken(f"a worker of {arn} has waited for years")
            await self._take(work.token, work.input_text, arn, workload)

    async def _take(self, token: str, text: str, arn: str, workload: Workload) -> None:
        if token in self._found:  # a living process was about to hand it over when another one died
            return
        if token in self.tokens and token in self._scheduled:
            raise Broken(f"the work {text[:100]} of {arn} was given to two workers")
        row = (await self.store.tokens([token]))[0]
        if row is None:
            raise Broken(f"work of {arn} has a token that is not in the store")
        self.counts["work taken"] += 1
        self._hold(token, workload.reply(text, arn, None, {}), arn)

    async def find_lost_work(self) -> None:
        """Work that a process gave to a worker and died before it could say so: the worker has it all the same."""
        for start in self.plan.starts:
            workload = self.plan.workloads[start.machine]
            if not workload.activities:
                continue
            archive = await self.store.archive(self.arn(start.machine, start.name))
            for work in archive.work if archive is not None else ():
                [row] = await self.store.tokens([work.token])
                if row is not None and row.taken_at is not None and work.token not in self._scheduled:
                    self.counts["work lost and found"] += 1
                    self._found.add(work.token)
                    self._hold(work.token, workload.reply(work.input, work.activity_arn, None, {}), work.activity_arn)

    def arn(self, machine: int, name: str) -> str:
        """The ARN of an execution."""
        return f"arn:aws:states:us-east-1:123456789012:execution:{self.plan.workloads[machine].name}:{name}"


def _living() -> Process:
    """The process that asks. A dead one asks nothing: it is cancelled instead."""
    process = Process.current()
    assert process is not None
    if process.killed:
        raise asyncio.CancelledError
    return process


async def _end(reply: Reply) -> Done:
    if reply.outcome is None:
        await asyncio.get_running_loop().create_future()
    if isinstance(reply.outcome, TaskFailed):
        raise TaskFailed(reply.outcome.error, reply.outcome.cause)
    assert reply.outcome is not None
    return Done(reply.outcome)


def _short(key: str) -> str:
    return key.rpartition(":execution:")[2]
