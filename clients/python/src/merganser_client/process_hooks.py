"""Hooks for the fork and the end of a process."""

import atexit
import os
import sys
import weakref
from collections.abc import Callable
from typing import Protocol


class Resettable(Protocol):
    """An object that a child process must not share with its parent."""

    def reset_after_fork(self) -> None:
        """Start from an empty state. It is called in the child."""


_resettables: "weakref.WeakSet[Resettable]" = weakref.WeakSet()


def reset_after_fork(resettable: Resettable) -> None:
    """Reset this object in each child, as long as the object is referenced elsewhere."""
    _resettables.add(resettable)


def call_at_exit(callback: Callable[[], object]) -> None:
    """Call it when this process ends normally: at the end of the program, or by `sys.exit`.

    A child of `multiprocessing` does not run `atexit` callbacks; it has finalizers instead.
    """
    atexit.register(callback)
    if multiprocessing := sys.modules.get("multiprocessing.util"):
        multiprocessing.Finalize(None, callback, exitpriority=0)


def cancel_call_at_exit(callback: Callable[[], object]) -> None:
    """Do not call it at exit. `multiprocessing` may still do so: a second call must be harmless."""
    atexit.unregister(callback)


def _reset_all() -> None:
    for resettable in list(_resettables):
        resettable.reset_after_fork()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_reset_all)
