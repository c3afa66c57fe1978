"""The rate limit of events per API key: a token bucket for each key that has a rate."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from merganser.http.authentication import ApiKey
from merganser.http.errors import ErrorKind, HttpError


@dataclass(frozen=True, slots=True)
class Rate:
    """A bucket gets `per_second` tokens and holds at most `burst`; each event takes one."""

    per_second: float
    burst: int


def take(rate: Rate, full_at: float, now: float, amount: int) -> tuple[float, float]:
    """Take tokens out of a bucket, or return how long to wait for them.

    A request for more than the burst takes it from a full bucket, which then owes the rest: so it
    does not wait forever, and the rate holds over time. The bucket is one number, as in
    https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm.

    Args:
        rate: of the bucket.
        full_at: when the bucket is full again if no tokens are taken; any past time for a bucket
            that was never used.
        now: on the same clock, in seconds.
        amount: tokens to take.

    Returns:
        The new `full_at`, and the seconds after which the same request succeeds: 0.0 if the tokens
        were taken; otherwise none were.
    """
    full_at = max(full_at, now)
    tokens = rate.burst - (full_at - now) * rate.per_second
    needed = min(amount, rate.burst)
    if tokens < needed:
        return full_at, (needed - tokens) / rate.per_second
    return full_at + amount / rate.per_second, 0.0


class RateLimiter:
    """The buckets of all keys in this process. Two gateways allow twice the rate.

    Args:
        per_second: events of a key without its own rate; None: no limit.
        burst: events of any key at once.
        clock: monotonic seconds.
    """

    def __init__(self, per_second: float | None, burst: int, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        # By key and rate: after a change of the rate, the bucket is full.
        self._full_at: dict[tuple[str, float], float] = {}

    def admit(self, key: ApiKey, events: int, otherwise: ErrorKind) -> None:
        """Take the tokens for a request, or refuse it.

        Args:
            key: an existing key, so there are only as many buckets as keys and rates.
            events: their number.
            otherwise: the error of the client's dialect for a request over the rate.

        Raises:
            HttpError: `otherwise`, with the seconds to wait in Retry-After.
        """
        per_second = key.rate or self._per_second
        if per_second is None:
            return
        now, rate = self._clock(), Rate(per_second, self._burst)
        bucket = key.guid, per_second
        self._full_at[bucket], wait = take(rate, self._full_at.get(bucket, now), now, events)
        if wait:
            seconds = math.ceil(wait)
            raise HttpError(
                otherwise,
                f"this API key may send {per_second:g} events/s: try again in {seconds} s",
                headers=[(b"retry-after", str(seconds).encode())],
            )
