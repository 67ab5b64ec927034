"""Notices that the event loop is blocked, and says by what.

An asynchronous function that works or sleeps without awaiting holds up every execution, every timer and the lease of
the engine. A thread asks the loop for a sign of life; when none comes it looks at what the loop's thread is doing.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from typing import TYPE_CHECKING, Final

import asfn.tasks.function

if TYPE_CHECKING:
    from types import FrameType

logger = logging.getLogger("asfn.vigil")

BLOCKED_SECONDS: Final = 1.0
"""How long the loop may give no sign of life."""

_BEAT_SECONDS: Final = 1.0
_CALLING: Final = asfn.tasks.function.__file__


class Vigil:
    """Watches the running loop from `start` to `stop`; both are called on it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._stopped = threading.Event()
        self._alive = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="asfn-vigil", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """The thread ends by itself, soon."""
        self._stopped.set()
        self._alive.set()

    def _watch(self) -> None:
        while not self._stopped.wait(_BEAT_SECONDS):
            self._alive.clear()
            try:
                self._loop.call_soon_threadsafe(self._alive.set)
            except RuntimeError:  # the loop was closed
                return
            if not self._alive.wait(BLOCKED_SECONDS) and not self._stopped.is_set():
                self._report()
                self._alive.wait()  # once is enough for each time

    def _report(self) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        if frame is None:
            return
        task = asyncio.current_task(self._loop)
        culprit = _function(frame)
        logger.warning(
            "the event loop has been blocked for %g seconds by %s in %s (%s, line %d): nothing else runs meanwhile; "
            "await instead, or register a function that is not asynchronous, which gets a thread",
            BLOCKED_SECONDS,
            task.get_name() if task is not None else "a callback",
            culprit.f_code.co_qualname,
            culprit.f_code.co_filename,
            culprit.f_lineno,
        )


def _function(innermost: FrameType) -> FrameType:
    """The frame of the user's function that the engine has called; the innermost frame when there is none."""
    frame: FrameType | None = innermost
    below = innermost
    while frame is not None:
        if frame.f_code.co_filename == _CALLING:
            return below
        below = frame
        frame = frame.f_back
    return innermost
