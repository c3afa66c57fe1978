"""Wait until something is true, without a fixed time to sleep."""

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
    """Call `probe` until `accept` accepts its value; return that value.

    Args:
        probe: called every few milliseconds; an error of it ends the wait.
        accept: whether to accept the value; by default, whether it is true.
        within: seconds. Be generous: a test that passes never waits that long.
        what: for the message.

    Raises:
        AssertionError: too late; the message has the last value.
    """
    deadline = time.monotonic() + within
    while True:
        result = probe()
        value = await result if inspect.isawaitable(result) else result
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
