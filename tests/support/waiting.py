"""Waiting for what will be true soon, without guessing how soon."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

Value = TypeVar("Value")

POLL_SECONDS = 0.03


@overload
async def eventually(
    probe: Callable[[], Awaitable[Value]],
    accept: Callable[[Value], object] = ...,
    *,
    within: float = ...,
    what: str = ...,
) -> Value: ...


@overload
async def eventually(
    probe: Callable[[], Value],
    accept: Callable[[Value], object] = ...,
    *,
    within: float = ...,
    what: str = ...,
) -> Value: ...


async def eventually(
    probe: Callable[[], Any],
    accept: Callable[[Any], object] = bool,
    *,
    within: float = 60.0,
    what: str = "",
) -> Any:
    """Ask `probe` again and again until `accept` takes its value, and return that value.

    Args:
        probe: asked every few milliseconds; what it raises ends the wait.
        accept: says whether the value is the awaited one; by default, whether it is true.
        within: seconds, generous: they are never waited when all is well.
        what: for the message.

    Raises:
        AssertionError: it did not come; the message has the last value.
    """
    deadline = time.monotonic() + within
    while True:
        asked = probe()
        value = await asked if inspect.isawaitable(asked) else asked
        if accept(value):
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what or accept}; last: {value!r}")
        await asyncio.sleep(POLL_SECONDS)


class equals:  # noqa: N801 - it reads as a function, and is one with a good repr
    """Accepts a value equal to the expected one: `await eventually(count, equals(5))`."""

    def __init__(self, expected: object) -> None:
        self._expected = expected

    def __call__(self, value: object) -> bool:
        return value == self._expected

    def __repr__(self) -> str:
        return f"equal to {self._expected!r}"
