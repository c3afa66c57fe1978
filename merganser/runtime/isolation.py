"""Find the items of a transaction that fail, so that they do not stop the others.

An error of a transaction over many items does not say which item caused it. `narrow` therefore
halves the items until each failing one is alone. With k failing items of n, about k * log2(n)
transactions fail; all other items commit.
"""

import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import psycopg

from merganser.runtime.lifecycle import StoppedWhileWaiting
from merganser.runtime.postgres import STRAIN, is_contention, is_retryable

Item = TypeVar("Item")

TRIES = 5
"""Tries of a transaction that conflicts with other workers, before its items are halved."""

NARROWING_TRIES = 2
"""The same for the halves; fewer, because each level of halving has its own tries."""

_COMMON_ERRORS = tuple(
    "08 0A 24 25 26 28 2D 34 3B 3D 3F 42 53 55 57 58 72 F0 HV".split()  # noqa: SIM905 - readable
)
"""SQLSTATE classes of errors that affect every item: of connections, transactions, cursors,
privileges, schemas, resources, the server and other servers. Any other error can be about one item,
also one that an operator's trigger raises."""


def blames_items(error: Exception) -> bool:
    """Return whether one item may have caused an error, so that the others can succeed without it.

    An outage, a missing permission or a wrong schema affects every item. A bug in our code may
    affect only one item.
    """
    if isinstance(error, StoppedWhileWaiting):
        return False
    if not isinstance(error, psycopg.Error):
        return True
    if (
        error.sqlstate is None
    ):  # raised by psycopg: a value that it cannot send, or a lost connection
        return not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    if is_contention(error) or error.sqlstate in STRAIN:
        return True  # this function gets it only after several tries
    return not is_retryable(error) and not error.sqlstate.startswith(_COMMON_ERRORS)


def reason(error: BaseException) -> str:
    """Return an error's class, SQLSTATE and the line of our code that raised it.

    Its message is left out, as it may quote content of events.
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
    """Do work on items whose transaction has failed, in their order; set failing items aside.

    Args:
        items: at least one.
        work: handles some items in one transaction.
        set_aside: called with each item that fails alone, and its error.
        blames: returns whether one item may have caused an error.

    Raises:
        Exception: an error of `work` that no item caused.
    """
    waiting = [items]
    while waiting:
        part = waiting.pop()
        try:
            await work(part)
        except Exception as error:
            if not blames(error):
                raise
            if len(part) == 1:
                await set_aside(part[0], error)
            else:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]


def _is_ours(frame: traceback.FrameSummary) -> bool:
    return "site-packages" not in frame.filename and "/lib/python" not in frame.filename


def _short(place: str) -> str:
    """Return folder and file only: the installation's path does not matter."""
    return "/".join(place.split("/")[-2:])
