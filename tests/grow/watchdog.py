"""A bound on the processor time of one case, so that a hang is a finding and not a stopped run.

Processor time and not real time: the machine may be busy with something else. What blocks without using the
processor is noticed by the process that watches the workers of `tests/fuzz.py`.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class TookTooLong(KeyboardInterrupt):
    """A case used up its seconds. A KeyboardInterrupt, because asyncio lets nothing else out of a callback."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises TookTooLong inside after so many seconds of processor time.

    Without effect outside the main thread, and where there is no such signal.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGPROF"):
        yield
        return

    def ring(*_: object) -> None:
        raise TookTooLong(f"more than {seconds} s of processor time")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
