"""The home directory: where the local stack keeps its data, logs and locks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev.stack import locks

_LOG_LIMIT_BYTES = 20_000_000


def default_home() -> Path:
    """Return MERGANSER_HOME, or `.merganser` in the current directory, as an absolute path."""
    return Path(os.environ.get("MERGANSER_HOME") or ".merganser").absolute()


def jar_cache() -> Path:
    """Return the folder of Kafka's jars: always in the default home."""
    return default_home() / "kafka_libs"


@dataclass(frozen=True)
class Home:
    """The paths below one home directory."""

    root: Path

    @property
    def state(self) -> Path:
        """The state of a running stack (see `state.py`)."""
        return self.root / "state.json"

    @property
    def ports(self) -> Path:
        """The ports of the last run, which the next run uses again."""
        return self.root / "ports.json"

    @property
    def api_key(self) -> Path:
        """The secret development API key."""
        return self.root / "api_key"

    @property
    def publishable_key(self) -> Path:
        """The development API key of web pages."""
        return self.root / "publishable_key"

    @property
    def kafka(self) -> Path:
        """The broker's data and configuration."""
        return self.root / "kafka"

    @property
    def postgres(self) -> Path:
        """The database's data."""
        return self.root / "postgres"

    @property
    def logs(self) -> Path:
        """One file per process."""
        return self.root / "logs"

    @property
    def command_lock(self) -> Path:
        """The lock of `up` and `down`, so that only one of them acts at a time."""
        return self.root / "locks" / "command"

    @property
    def owner_lock(self) -> Path:
        """The lock of the process that owns the running processes."""
        return self.root / "locks" / "owner"

    def process_lock(self, name: str) -> Path:
        """The lock that the process `name`, its guard and its descendants share."""
        return self.root / "locks" / f"process-{name}"

    def log(self, name: str) -> Path:
        """The log of the process `name`."""
        return self.logs / f"{name}.log"

    @contextmanager
    def owned(self, timeout: float = 5.0) -> Iterator[None]:
        """Own this home for the length of a `with` block; only an owner may start processes.

        Waits up to `timeout` seconds for another owner to end, then raises StackError. First ends
        processes of a dead owner and renames long logs.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        in_use = f"{self.root} is in use by another process; stop it, or use another home."
        with locks.holding(self.owner_lock, timeout, in_use):
            self._end_leftovers()
            for log in self.logs.glob("*.log"):
                if log.stat().st_size > _LOG_LIMIT_BYTES:
                    log.rename(log.with_suffix(".log.1"))
            yield

    def _end_leftovers(self) -> None:
        for lock in self.owner_lock.parent.glob("process-*"):
            os.close(locks.take_over(lock))
