"""What a process does beside running: it forks, and it ends."""

import atexit
import os
import sys
import weakref
from collections.abc import Callable
from typing import Protocol


class Forked(Protocol):
    """Something that a child must not share with its parent."""

    def renew_after_fork(self) -> None:
        """Start anew, in the child."""


_forked: "weakref.WeakSet[Forked]" = weakref.WeakSet()


def after_fork(renewed: Forked) -> None:
    """Have it renewed in each child, as long as it is in use."""
    _forked.add(renewed)


def at_exit(callback: Callable[[], object]) -> None:
    """Call it when this process ends in order: at the end of the program, and by sys.exit.

    A child of `multiprocessing` skips what atexit knows, and has a list of its own.
    """
    atexit.register(callback)
    if multiprocessing := sys.modules.get("multiprocessing.util"):
        multiprocessing.Finalize(None, callback, exitpriority=0)


def not_at_exit(callback: Callable[[], object]) -> None:
    """Forget it, unless `multiprocessing` has it, too: it must be harmless to call again."""
    atexit.unregister(callback)


def _renew_all() -> None:
    for renewed in list(_forked):
        renewed.renew_after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_renew_all)
