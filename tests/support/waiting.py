"""Wait for a condition without a fixed sleep."""

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
        probe: called every few milliseconds; if it raises, the error ends the wait.
        accept: whether to accept the value; by default, whether it is true.
        within: seconds. Choose a high limit: a passing test never waits that long.
        what: description of the condition, for the error message.

    Raises:
        AssertionError: the time is over; the message has the last value.
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


class equals:  # noqa: N801 - used like a function; a class for its repr
    """Accepts a value equal to the expected one: `await eventually(count, equals(5))`."""

    def __init__(self, expected: object) -> None:
        self._expected = expected

    def __call__(self, value: object) -> bool:
        return value == self._expected

    def __repr__(self) -> str:
        return f"equal to {self._expected!r}"
