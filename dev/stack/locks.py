"""File locks: they show who owns a home, and whether a process has surviving descendants.

All are `flock`s. The kernel releases a lock when the last process closes the descriptor, so no lock
is stale. If children inherit a lock, it shows whether *any* of them still lives.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from dev.stack.errors import StackError

LEFTOVER_GRACE_SECONDS = 5.0
"""How long processes of a dead owner may take to end; their guards end them."""

_KILL_SECONDS = 10.0
_POLL_SECONDS = 0.05


def is_held(path: Path) -> bool:
    """Return whether any process holds the lock `path`."""
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def acquire(path: Path, timeout: float) -> int | None:
    """Take the lock `path` within `timeout` seconds; return its descriptor, or None.

    Closing the descriptor releases the lock, unless a child has inherited it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(fd)
                return None
            time.sleep(_POLL_SECONDS)
        else:
            return fd


@contextmanager
def holding(path: Path, timeout: float, error: str) -> Iterator[None]:
    """Hold the lock `path` for the length of a `with` block.

    Raises StackError with the message `error` if it is not free within `timeout` seconds.
    """
    fd = acquire(path, timeout)
    if fd is None:
        raise StackError(error)
    try:
        yield
    finally:
        os.close(fd)


def take_over(path: Path) -> int:
    """Take a process's lock, after ending what an earlier run of that process left.

    Only for the owner of the home: then all that still holds the lock was left by a dead owner.
    Returns the descriptor. Raises StackError if something survives SIGKILL.
    """
    fd = acquire(path, LEFTOVER_GRACE_SECONDS)
    deadline = time.monotonic() + _KILL_SECONDS
    while fd is None:
        if time.monotonic() > deadline:
            raise StackError(
                f"Processes of an earlier run still hold {path} and cannot be killed: "
                f"{[process.pid for process in _holders(path)]}. End them by hand."
            )
        for process in _holders(path):
            with suppress(psutil.Error):
                process.kill()
        fd = acquire(path, 0.2)
    return fd


def _holders(path: Path) -> list[psutil.Process]:
    real = str(path.resolve())
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and any(f.path == real for f in process.open_files()):
                found.append(process)
    return found
