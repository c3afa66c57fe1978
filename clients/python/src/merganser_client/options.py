"""The options of a client."""

from dataclasses import dataclass
from typing import Literal

from merganser_client.failure import OnError

WhenFull = Literal["drop", "block"]

_MIN_QUEUE_BYTES = 1 << 20
_MAX_BATCH_SIZE = 1000


@dataclass(frozen=True)
class Options:
    """Options that are checked on construction. `ClientBase` documents each of them."""

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
        """Check the values.

        Raises:
            ValueError: a value is not allowed; the message names the option.
        """
        if self.when_full not in ("drop", "block"):
            raise ValueError(f"when_full must be 'drop' or 'block', not {self.when_full!r}")
        if self.queue_bytes < _MIN_QUEUE_BYTES:
            raise ValueError(f"queue_bytes must be at least {_MIN_QUEUE_BYTES}")
        if not 1 <= self.batch_size <= _MAX_BATCH_SIZE:
            raise ValueError(f"batch_size must be from 1 to {_MAX_BATCH_SIZE}")
        for name in ("interval", "close_timeout", "first_delay", "longest_delay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if self.timeout <= 0:
            raise ValueError("timeout must be more than 0")
