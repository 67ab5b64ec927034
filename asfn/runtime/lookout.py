"""Notices what others write to the store, and tells those who have asked: one watcher for a whole engine.

Other processes are noticed by looking at the file 20 times a second while anything here depends on them; a look costs
one `stat` unless somebody has written. Engines on the same event loop ring each other, which is how they hear of each
other on virtual time, where nothing is polled.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from asfn.errors import EngineFenced, StoreError
from asfn.runtime.clock import fulfil

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asfn.store.protocol import Mailbox

logger = logging.getLogger("asfn.lookout")

LOOK_SECONDS: Final = 0.05
"""How late what another process writes may be noticed."""

LAZY_SECONDS: Final = 0.25
"""The same for what is in no hurry while this engine runs nothing; it costs a fifth."""

_LOOKS_PER_QUESTION: Final = 20  # every so many looks the store itself is asked, whatever the file's dates say
_TROUBLE_SECONDS: Final = 1.0
_FOLLOW_SECONDS: Final = 0.25  # where nothing can be polled cheaply, followers look again this often
_lookouts: WeakSet[Lookout] = WeakSet()


def ring_all(but: Lookout | None = None) -> None:
    """Let every engine of this event loop look at once: something was written that others may wait for.

    but: of the engine that knows already.
    """
    loop = asyncio.get_running_loop()
    for lookout in list(_lookouts):
        if lookout.loop is loop and lookout is not but:
            lookout.ring()


class Lookout:
    """Runs those who look when others may have written.

    polls: whether other processes can write to this store and the clock is a real one; else only rings count.
    """

    def __init__(self, store: Mailbox, *, polls: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self._store = store
        self._polls = polls
        self._stamp: Callable[[], object] | None = getattr(store, "stamp", None)
        self._looks: list[tuple[Callable[[], bool], Callable[[], Awaitable[None]], float]] = []
        self._followers: list[asyncio.Future[None]] = []
        self._needed: asyncio.Future[None] | None = None
        self._idle = False
        self._rung = False
        self._seen: object = None
        _lookouts.add(self)

    def add(
        self, wanted: Callable[[], bool], look: Callable[[], Awaitable[None]], seconds: float = LOOK_SECONDS
    ) -> None:
        """Call `look` when others may have written, and at a ring; polling goes on while any `wanted()` is true.

        Whoever begins to want calls `need`. seconds: how late the look may be.
        """
        self._looks.append((wanted, look, seconds))

    def need(self) -> None:
        """Somebody has begun to want news."""
        if self._idle and self._needed is not None:
            fulfil(self._needed, None)

    def ring(self) -> None:
        """Look at once."""
        self._rung = True
        if self._needed is not None:
            fulfil(self._needed, None)

    def follow(self) -> asyncio.Future[None]:
        """A future that is done when something may have been written by others: call it, look, then await it."""
        future: asyncio.Future[None] = self.loop.create_future()
        self._followers.append(future)
        if self._polls:
            self.need()
        else:
            timer = self.loop.call_later(_FOLLOW_SECONDS, fulfil, future, None)
            future.add_done_callback(lambda _: timer.cancel())
        return future

    async def run(self) -> None:
        """Look until cancelled."""
        version: int | None = None
        while True:
            await self._stirred()
            rung, self._rung = self._rung, False
            self._seen = self._stamp() if self._stamp is not None else None  # first: no write falls between the two
            try:
                current = await self._store.version()
                if rung or current != version:
                    version = current
                    await self._tell()
            except StoreError as error:
                version = None
                if not isinstance(error, EngineFenced):  # that is told where the engine registers anew
                    logger.warning("what other processes write cannot be read, trying again: %s", error)
                await asyncio.sleep(_TROUBLE_SECONDS)
            except Exception:  # ours to mend, and no reason to leave the others without news
                logger.exception("what other processes write could not be taken note of")
                await asyncio.sleep(_TROUBLE_SECONDS)

    def close(self) -> None:
        """Nobody rings here any more; who follows looks a last time."""
        _lookouts.discard(self)
        self._wake_followers()

    async def _tell(self) -> None:
        for _, look, _ in self._looks:
            await look()
        self._wake_followers()

    def _wake_followers(self) -> None:
        followers, self._followers = self._followers, []
        for future in followers:
            fulfil(future, None)

    def _wanted(self) -> float | None:
        """How soon somebody wants to look; None: nobody does."""
        if self._followers:
            return LOOK_SECONDS
        return min((seconds for wanted, _, seconds in self._looks if wanted()), default=None)

    async def _stirred(self) -> None:
        """Return when it is worth asking the store: at a ring, or when its file was touched."""
        for _ in range(_LOOKS_PER_QUESTION):
            while not self._rung and (seconds := self._wanted() if self._polls else None) is None:
                await self._wait(None)
            if self._rung:
                return
            assert seconds is not None
            await self._wait(seconds)
            if self._stamp is None or self._stamp() != self._seen:
                return

    async def _wait(self, seconds: float | None) -> None:
        """Until somebody needs the lookout, at most for `seconds`."""
        self._needed = self.loop.create_future()
        # Those who begin to want a look hurry one that is far off, and none that is under way.
        self._idle = seconds is None or seconds > LOOK_SECONDS
        timer = None
        if seconds is not None:  # by the loop's clock: looking goes on when the date jumps
            timer = self.loop.call_later(seconds, fulfil, self._needed, None)
        try:
            await self._needed
        finally:
            self._needed = None
            if timer is not None:
                timer.cancel()
