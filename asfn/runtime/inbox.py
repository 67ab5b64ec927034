"""What comes to waiting tasks from outside: answers to their tokens, and workers that take their work.

An answer is durable before whoever gave it hears so, and it counts whichever process holds the execution: here it is
told at once, elsewhere it is noticed by looking at the store while something waits. A timeout goes through the same
door as an answer, so that exactly one of them ends a token.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from asfn.errors import EngineClosed
from asfn.runtime.clock import fulfil
from asfn.runtime.grouped import Grouped
from asfn.runtime.lookout import ring_all
from asfn.store.records import Settlement, Taker
from asfn.store.shield import to_the_end

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asfn.runtime.calls import Heartbeat, Late
    from asfn.runtime.clock import Clock
    from asfn.runtime.lookout import Lookout
    from asfn.store.protocol import Mailbox
    from asfn.store.records import ActivityTaskRow, TokenRow

TIMED_OUT: Final[dict[str, str]] = {"timeout": '["timeout"]', "heartbeat": '["heartbeat"]'}
"""Outcomes of tokens that a clock has ended; the others are made in tokens.py."""


class Waiting:
    """A token that a task of this engine waits for.

    outcome: how it ended, JSON text, once it has.   taken: the worker that has the work, and since when.
    beaten_at: the last sign of life in the store, when that kept a lost heartbeat from ending it.
    """

    __slots__ = ("_bell", "beaten_at", "heartbeat", "outcome", "taken", "token")

    def __init__(self, token: str) -> None:
        self.token = token
        self.outcome: str | None = None
        self.taken: tuple[str | None, float] | None = None
        self.beaten_at: float | None = None
        self.heartbeat: Heartbeat | None = None
        self._bell: asyncio.Future[Any] | None = None  # Any: calls.py puts its own kinds of end into it

    def watch(self, bell: asyncio.Future[Any]) -> None:
        """End the future with "answered" as soon as there is an outcome, or a worker."""
        self._bell = bell
        if self.outcome is not None:
            fulfil(bell, "answered")

    def hear(self, outcome: str | None, taken: tuple[str | None, float] | None = None) -> None:
        """Take note of news; what is known already changes nothing."""
        known = (self.outcome, self.taken)
        self.outcome = self.outcome or outcome
        self.taken = self.taken or taken
        if self._bell is not None and known != (self.outcome, self.taken):
            fulfil(self._bell, "answered")

    def close(self) -> None:
        """Nobody watches any more."""
        self._bell = None


class Inbox:
    """The tokens that one engine's tasks wait for, and the workers that ask it for work.

    lookout: tells what other processes write; without one nobody else does.
    """

    def __init__(self, store: Mailbox, clock: Clock, lookout: Lookout | None = None) -> None:
        self._store = store
        self._clock = clock
        self._waiting: dict[str, Waiting] = {}
        self._pollers: dict[str, dict[asyncio.Future[None], None]] = {}  # by activity, who waits longest first
        self._lookout = lookout
        self._closing = False
        self._settling = Grouped(self._settle, "asfn-answers")
        self._reading = Grouped(self._store.tokens, "asfn-tokens")
        self._beating = Grouped(self._beat, "asfn-heartbeats")
        self._taking = Grouped(self._take, "asfn-work", self._give_back)

    # --- for tasks -------------------------------------------------------------------------------------------------

    def expect(self, token: str) -> Waiting:
        """What is known of a token; from now on news of it are kept. Call it before anybody can know the token."""
        waiting = self._waiting.get(token)
        if waiting is None:
            waiting = self._waiting[token] = Waiting(token)
            self.need()
        return waiting

    def forget(self, token: str) -> None:
        """No task waits for this token any more."""
        self._waiting.pop(token, None)

    def is_silent(self, token: str | None, queued: bool) -> bool:
        """Whether a task still waits for its token: for an answer; with its work queued, for a worker too."""
        waiting = self._waiting.get(token) if token is not None else None
        return waiting is not None and waiting.outcome is None and not (queued and waiting.taken is not None)

    def clear(self) -> None:
        """The tasks of this engine run elsewhere now."""
        self._waiting.clear()

    async def look_up(self, waiting: Waiting) -> None:
        """Learn what came while nobody listened."""
        row = await self._reading.submit(waiting.token)
        if row is not None:
            _tell(waiting, row)

    async def has_activity(self, arn: str) -> bool:
        """Whether an activity exists."""
        return await self._store.activity(arn) is not None

    async def taken(self, waiting: Waiting) -> None:
        """Return when a worker has taken the work, or the token has ended."""
        if waiting.taken is None and waiting.outcome is None:
            bell: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            waiting.watch(bell)
            try:
                await bell
            finally:
                waiting.close()

    async def outcome(self, waiting: Waiting, deadline_at: float | None, heartbeat: Heartbeat | None) -> str:
        """How a token ends: by an answer, or by one of the two clocks."""
        waiting.heartbeat = heartbeat
        since: float | None = None
        while waiting.outcome is None:
            late = await self._ring(waiting, deadline_at, heartbeat, since)
            if late != "answered":
                since = heartbeat.since if late == "heartbeat" and heartbeat is not None else None
                await self.time_out(waiting, late, since)
                since = waiting.beaten_at
        return waiting.outcome

    async def _ring(
        self, waiting: Waiting, deadline_at: float | None, heartbeat: Heartbeat | None, since: float | None
    ) -> Late | Literal["answered"]:
        bell: asyncio.Future[Late | Literal["answered"]] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_at(deadline_at, partial(fulfil, bell, "timeout")) if deadline_at is not None else None
        waiting.watch(bell)
        if heartbeat is not None:
            heartbeat.watch(self._clock, bell, since)
        try:
            return await bell
        finally:
            waiting.close()
            if timer is not None:
                timer.cancel()
            if heartbeat is not None:
                heartbeat.close()

    async def time_out(self, waiting: Waiting, late: Late, beat_after: float | None = None) -> None:
        """End a token by a clock, unless it has been answered: `waiting.outcome` says which.

        beat_after: leave it open when the store has a sign of life from after this moment: `waiting.beaten_at` then.
        """
        settlement = Settlement(waiting.token, "timed_out", TIMED_OUT[late], self._clock.now(), beat_after)
        ended, row = await self._settling.submit(settlement)
        if ended:
            return
        if row is not None:
            _tell(waiting, row)
            waiting.beaten_at = row.heartbeat_at
        if row is None or (waiting.outcome is None and row.state != "open"):
            waiting.hear(settlement.outcome)  # a row that is gone, or was closed: nobody can answer

    # --- for those who hold a token --------------------------------------------------------------------------------

    async def settle(self, token: str, outcome: str) -> tuple[bool, TokenRow | None]:
        """Answer a token: whether that counts, else the row that stands against it. Durable when this returns."""
        return await self._settling.submit(Settlement(token, "completed", outcome, self._clock.now()))

    async def beat(self, token: str) -> tuple[bool, TokenRow | None]:
        """A sign of life: whether the token is open, else its row."""
        waiting = self._waiting.get(token)
        if waiting is not None and waiting.outcome is None:
            if waiting.heartbeat is not None:
                waiting.heartbeat.beat()
            return True, None
        row = await self._beating.submit(token)
        return row is not None and row.state == "open", row

    # --- for workers -----------------------------------------------------------------------------------------------

    def offer(self, arn: str, count: int = 1) -> None:
        """Work waits in an activity's queue, durably: wake as many workers."""
        pollers = self._pollers.get(arn, {})
        if not pollers:
            ring_all(but=self._lookout)  # other engines may have some
        for poller in list(pollers)[:count]:
            del pollers[poller]
            fulfil(poller, None)

    async def poll(self, arn: str, worker_name: str | None, until: float) -> ActivityTaskRow | None:
        """The oldest work of an activity that nobody has, waiting for it until a moment; None when none came."""
        while True:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._pollers.setdefault(arn, {})[turn] = None  # before asking: no offer is missed
            self.need()
            goes_on = False
            try:
                work = await self._ask(Taker(arn, worker_name))
                if work is None:
                    goes_on = await self._turn(turn, until)
                if not goes_on:
                    return work
            finally:
                self._leave(arn, turn)
                if turn.done() and not goes_on:  # an offer that this worker leaves to the next
                    self.offer(arn)

    async def _ask(self, taker: Taker) -> ActivityTaskRow | None:
        if self._closing:
            raise EngineClosed("the engine has been left")
        asking = self._taking.submit(taker)
        try:
            work = await asking
        except asyncio.CancelledError:
            if asking.done() and not asking.cancelled() and asking.exception() is None:
                await to_the_end(self._give_back(asking.result()))
            raise
        if work is not None and (waiting := self._waiting.get(work.token)) is not None:
            waiting.hear(None, (taker.worker_name, self._clock.now()))
        return work

    async def _turn(self, turn: asyncio.Future[None], until: float) -> bool:
        """Whether work was offered before the moment has come."""
        late: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_at(until, partial(fulfil, late, None))
        try:
            await asyncio.wait({turn, late}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            late.cancel()
        return turn.done()

    def _leave(self, arn: str, turn: asyncio.Future[None]) -> None:
        pollers = self._pollers.get(arn, {})
        pollers.pop(turn, None)
        if not pollers:
            self._pollers.pop(arn, None)

    # --- groups ----------------------------------------------------------------------------------------------------

    async def _settle(self, settlements: Sequence[Settlement]) -> list[tuple[bool, TokenRow | None]]:
        answers = await self._store.settle_tokens(settlements)
        others = False
        for settlement, (ended, _) in zip(settlements, answers, strict=True):
            if ended and (waiting := self._waiting.get(settlement.token)) is not None:
                waiting.hear(settlement.outcome)
            else:
                others = others or ended
        if others:  # a parked execution's, or another engine's
            ring_all()
        return answers

    async def _beat(self, tokens: Sequence[str]) -> list[TokenRow | None]:
        return await self._store.beat_tokens(tokens, self._clock.now())

    async def _take(self, takers: Sequence[Taker]) -> list[ActivityTaskRow | None]:
        works = await self._store.take_activity_tasks(takers, self._clock.now())
        if any(work is not None and work.token not in self._waiting for work in works):
            ring_all()
        return works

    async def _give_back(self, work: ActivityTaskRow | None) -> None:
        if work is not None:
            await self._store.give_back_activity_task(work.token)
            self.offer(work.activity_arn)

    # --- other processes -------------------------------------------------------------------------------------------

    def expects_news(self) -> bool:
        """Whether something here may be answered by another process."""
        return bool(self._waiting or self._pollers)

    def need(self) -> None:
        """Look at what other processes write from now on."""
        if self._lookout is not None:
            self._lookout.need()

    async def read_news(self) -> None:
        """Take note of what other processes have written."""
        news = [token for token in await self._store.token_news() if token in self._waiting]
        for row in await self._store.tokens(news) if news else ():
            if row is not None and (waiting := self._waiting.get(row.token)) is not None:
                _tell(waiting, row)
        if self._pollers:
            for arn, count in (await self._store.waiting_activity_tasks([*self._pollers])).items():
                self.offer(arn, count)

    # --- end -------------------------------------------------------------------------------------------------------

    def dismiss(self) -> None:
        """The engine closes: workers that wait here go away with EngineClosed."""
        self._closing = True
        for arn, pollers in list(self._pollers.items()):
            self.offer(arn, len(pollers))

    async def close(self) -> None:
        """Write what was given; later answers fail with EngineClosed."""
        for group in (self._taking, self._beating, self._reading, self._settling):
            await group.close()


def _tell(waiting: Waiting, row: TokenRow) -> None:
    waiting.hear(row.outcome, (row.worker_name, row.taken_at) if row.taken_at is not None else None)
