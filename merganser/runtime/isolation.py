"""One item that fails must cost itself alone: how the process finds it among many.

A transaction over many items either commits or names no culprit. So after an error that may be
an item's fault the items are halved until the failing one is alone: with n items of which k fail,
about k * log2(n) transactions fail, and each of the others commits with its half.
"""

import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import psycopg

from merganser.runtime.lifecycle import StoppedWhileWaiting
from merganser.runtime.postgres import STRAIN, is_contention, is_retryable

Item = TypeVar("Item")

TRIES = 5
"""Tries of a transaction whose workers are in each other's way, before its items are halved."""

NARROWING_TRIES = 2
"""The same for the halves: more would add up, as each level has some."""

_ABOUT_THE_WORK = ("22", "23", "54", "XX")
"""Classes of SQLSTATEs that blame what was written: data exception, integrity constraint violation,
program limit exceeded, internal error (such as an allocation beyond 1 GiB)."""


def blames_items(error: Exception) -> bool:
    """Whether an error may be the fault of an item, so that the others may succeed without it.

    Errors of servers that are away, of missing rights and of a wrong schema are not: they concern
    each item. An error of our own code may well be: another item takes another way through it.
    """
    if isinstance(error, StoppedWhileWaiting):
        return False
    if not isinstance(error, psycopg.Error):
        return True
    if error.sqlstate is None:  # psycopg's own: a value that it cannot send, or a lost connection
        return not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    if is_contention(error) or error.sqlstate in STRAIN:
        return True  # where it comes here, it has gone on for too long
    return not is_retryable(error) and error.sqlstate.startswith(_ABOUT_THE_WORK)


def reason(error: BaseException) -> str:
    """What may be said of an error: its class, its SQLSTATE, where our code raised it.

    Its message is left out, as it may quote content.
    """
    state = getattr(error, "sqlstate", None)
    frames = traceback.extract_tb(error.__traceback__)
    place = next(
        (f"{frame.filename}:{frame.lineno}" for frame in reversed(frames) if _is_ours(frame)), None
    )
    parts = [type(error).__name__, state, f"at {_short(place)}" if place else None]
    return " ".join(part for part in parts if part)


async def narrow(
    items: Sequence[Item],
    work: Callable[[Sequence[Item]], Awaitable[None]],
    set_aside: Callable[[Item, Exception], Awaitable[None]],
    blames: Callable[[Exception], bool] = blames_items,
) -> None:
    """Do work on items whose transaction has failed, in their order, without those that fail.

    Args:
        items: at least one.
        work: handles some of them in a transaction of its own.
        set_aside: told of each item that fails alone, and why.
        blames: whether an error may be an item's fault.

    Raises:
        Exception: from `work`, what no item is to blame for.
    """
    waiting = [items]
    while waiting:
        some = waiting.pop()
        try:
            await work(some)
        except Exception as error:
            if not blames(error):
                raise
            if len(some) == 1:
                await set_aside(some[0], error)
            else:
                middle = len(some) // 2
                waiting += [some[middle:], some[:middle]]


def _is_ours(frame: traceback.FrameSummary) -> bool:
    return "site-packages" not in frame.filename and "/lib/python" not in frame.filename


def _short(place: str) -> str:
    """Folder and file: where the project is installed is of no interest."""
    return "/".join(place.split("/")[-2:])
