"""Whether the process behind an engine row is alive: an advisory lock on a small file beside the database.

The lock goes with the process, however it ends, so a dead engine is seen at once and not only when its lease runs out.
Where the platform has no such locks, the lease alone decides.
"""

from __future__ import annotations

import contextlib
import glob
import os
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class EngineLock:
    """The lock that one running engine holds: `<database>.engine-<id>.lock`."""

    def __init__(self, database_path: str, engine_id: int) -> None:
        self._path = lock_path(database_path, engine_id)
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock. Where that cannot be done the lease decides, so failing is no error."""
        if fcntl is None:
            return
        with contextlib.suppress(OSError):
            # Locked before it has its name: nobody may find it free while the engine comes to life.
            self._file = open(f"{self._path}.new", "a")  # noqa: SIM115  # held for the engine's life
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(f"{self._path}.new", self._path)

    def release(self, *, gone: bool = False) -> None:
        """Let go. gone: the engine still owns executions: the file stays, as after a crash, so that others see it."""
        if self._file is not None:
            if not gone:
                with contextlib.suppress(OSError):
                    os.unlink(self._path)
            self._file.close()
            self._file = None


def lock_path(database_path: str, engine_id: int) -> str:
    return f"{database_path}.engine-{engine_id}.lock"


def is_dead(database_path: str, engine_id: int) -> bool:
    """True when the engine's lock file is there and nobody holds it: its process is gone.

    The file stays until `forget`, which belongs after the takeover: whoever dies in between leaves it to the next.
    """
    if fcntl is None:
        return False
    path = lock_path(database_path, engine_id)
    try:
        with open(path, "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:  # held by a living process, or never made: the lease decides
        return False


def has_died(database_path: str, engine_id: int, lease_until: float, now: float) -> bool:
    """Whether an engine's process is gone: its lock is free, or its lease has run out and nobody holds a lock."""
    return is_dead(database_path, engine_id) or (lease_until < now and not _is_held(database_path, engine_id))


def _is_held(database_path: str, engine_id: int) -> bool:
    if fcntl is None:
        return False
    try:
        with open(lock_path(database_path, engine_id), "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # never made
        return False
    return False


def locked_ids(database_path: str) -> list[int]:
    """The engines that a lock file is there of, dead ones too."""
    beginning = f"{database_path}.engine-"
    numbers = [
        path.removeprefix(beginning).removesuffix(".lock") for path in glob.glob(f"{glob.escape(beginning)}*.lock")
    ]
    return [int(number) for number in numbers if number.isdecimal()]


def forget(database_path: str, engine_id: int) -> None:
    """Remove the lock file of an engine that is dead and taken over."""
    with contextlib.suppress(OSError):
        os.unlink(lock_path(database_path, engine_id))
