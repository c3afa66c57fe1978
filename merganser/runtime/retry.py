"""How long to wait before trying again: exponential, with jitter, so that a herd spreads out."""

import random
from collections.abc import Iterator


def backoff(first: float = 0.1, longest: float = 5.0) -> Iterator[float]:
    """Endless delays in seconds: each at most double the one before, cut to 50-100 % by chance."""
    delay = first
    while True:
        yield delay * random.uniform(0.5, 1.0)  # noqa: S311 - spreading load needs no secrecy
        delay = min(delay * 2, longest)
