"""The state of a running stack: the supervisor writes it, the commands read it."""

import dataclasses
import json
import os
from dataclasses import dataclass

from dev.stack.home import Home
from dev.stack.locks import is_held

STARTING = "starting"
READY = "ready"
STOPPING = "stopping"


@dataclass(frozen=True)
class StackInfo:
    """Addresses and keys of a running stack; `metrics` has a URL for each process of `services`."""

    ingest_url: str
    api_url: str
    console_url: str
    database_url: str
    kafka_bootstrap: str
    api_key: str
    publishable_key: str
    metrics: dict[str, str]

    def as_json(self, **more: str) -> str:
        """Return it as one JSON object on one line, with `more` fields."""
        return json.dumps(dataclasses.asdict(self) | more)


@dataclass(frozen=True)
class ProcessState:
    """One process; an external server is not `ours`. `started_at` is Unix time.

    `probe` is the URL that answers when it is ready: http, postgresql or kafka.
    """

    name: str
    address: str
    probe: str
    ours: bool
    pid: int | None
    started_at: float | None


@dataclass(frozen=True)
class State:
    """A stack; `info` is None while it starts."""

    phase: str
    supervisor: int
    info: StackInfo | None
    processes: list[ProcessState]


def write(home: Home, state: State) -> None:
    """Replace the state file atomically; only its owner can read it, as it has the API keys."""
    new = home.state.with_suffix(".new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump(dataclasses.asdict(state), file, indent=2)
    new.replace(home.state)


def read(home: Home) -> State | None:
    """Return the state of the stack that `home` runs, or None if it runs none."""
    if not is_held(home.owner_lock):
        return None
    try:
        raw = json.loads(home.state.read_text())
    except FileNotFoundError:
        return None
    return State(
        phase=raw["phase"],
        supervisor=raw["supervisor"],
        info=StackInfo(**raw["info"]) if raw["info"] else None,
        processes=[ProcessState(**process) for process in raw["processes"]],
    )
