"""What can be chosen about a client."""

from dataclasses import dataclass
from typing import Literal

from merganser_client.failure import OnError

WhenFull = Literal["drop", "block"]

_LEAST_QUEUE = 1 << 20
_MOST_BATCH = 1000


@dataclass(frozen=True)
class Options:
    """Checked when made. What each means, and why its default is what it is, say the clients."""

    queue_bytes: int
    when_full: WhenFull
    batch_size: int
    interval: float
    timeout: float
    close_timeout: float
    first_delay: float
    longest_delay: float
    on_error: OnError | None

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ValueError: says which is wrong.
        """
        if self.when_full not in ("drop", "block"):
            raise ValueError(f"when_full must be 'drop' or 'block', not {self.when_full!r}")
        if self.queue_bytes < _LEAST_QUEUE:
            raise ValueError(f"queue_bytes must be at least {_LEAST_QUEUE}")
        if not 1 <= self.batch_size <= _MOST_BATCH:
            raise ValueError(f"batch_size must be from 1 to {_MOST_BATCH}")
        for name in ("interval", "close_timeout", "first_delay", "longest_delay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if self.timeout <= 0:
            raise ValueError("timeout must be more than 0")
