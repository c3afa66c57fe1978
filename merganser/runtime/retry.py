"""Delays between tries: exponential, with jitter so that many processes do not retry at once."""

import random
from collections.abc import Iterator


def backoff(first: float = 0.1, longest: float = 5.0) -> Iterator[float]:
    """Yield delays in seconds without end: 50 to 100 % of a bound that doubles each time."""
    delay = first
    while True:
        yield delay * random.uniform(0.5, 1.0)  # noqa: S311 - spreading load needs no secrecy
        delay = min(delay * 2, longest)
