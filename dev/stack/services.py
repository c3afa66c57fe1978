"""Merganser's own processes, as the local stack runs them: one of each."""

import signal
import urllib.request
from collections.abc import Mapping, Sequence

from dev.stack.home import Home
from dev.stack.process import Process

NAMES = ("ingest", "resolver", "scanner", "properties", "decoration", "api", "console")

PORT_VARIABLES = {
    "ingest": "MERGANSER_INGEST_PORT",
    "api": "MERGANSER_API_PORT",
    "console": "MERGANSER_CONSOLE_PORT",
    **{f"{name}-metrics": f"MERGANSER_{name.upper()}_METRICS_PORT" for name in NAMES},
}
"""The environment variable of each port (see `ports.py`)."""

KEY_NAME = "dev"
"""Of the secret development key."""

ENSURE_KEY = (
    *("keys", "ensure", KEY_NAME),
    *("--permission=events:write", "--permission=events:read", "--permission=events:delete"),
    *("--permission=profiles:read", "--permission=console:read", "--permission=console:write"),
)
"""The command that creates the secret development key, without the option for its file."""

ENSURE_PUBLISHABLE_KEY = ("keys", "ensure", "dev-pages", "--publishable")
"""The same for the key of web pages."""

_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_ANSWER_SECONDS = 2.0


class Service:
    """One of the processes; `metrics_port` is where it serves /readyz, on 127.0.0.1.

    `cli` is the command line that runs `merganser`, `env` the process's environment.
    """

    def __init__(
        self, home: Home, name: str, metrics_port: int, cli: Sequence[str], env: Mapping[str, str]
    ) -> None:
        self.name = name
        self.process: Process | None = None
        self._metrics_port = metrics_port
        self._home = home
        self._command = [*cli, name]
        self._env = env

    def launch(self) -> Process:
        """Start the process without waiting for it. Raises StackError if it cannot be run."""
        self.process = Process(self._home, self.name, self._command, env=self._env)
        self.process.start()
        return self.process

    def start(self) -> None:
        """Start the process and return when it is ready. Raises StackError if that fails."""
        self.launch().wait_until(self.ready, _START_SECONDS)

    def stop(self) -> None:
        """Let the process finish its work; kill it after 10 s."""
        if self.process:
            self.process.stop(signal.SIGTERM, _STOP_SECONDS)

    def ready(self) -> bool:
        """Return whether the process is ready."""
        return answers(f"http://127.0.0.1:{self._metrics_port}/readyz")


def environment(
    base: Mapping[str, str], kafka_bootstrap: str, database_url: str, ports: Mapping[str, int]
) -> dict[str, str]:
    """Return the environment for the processes: `base` plus all addresses.

    The shop of `make run` has its users in a separate schema of the database.
    """
    return {
        "MERGANSER_STORY_SHOP_URL": database_url,
        "MERGANSER_INGEST_HOST": "127.0.0.1",
        "MERGANSER_API_HOST": "127.0.0.1",
        "MERGANSER_CONSOLE_HOST": "127.0.0.1",
        "MERGANSER_SCANNER_INTERVAL": "2",
        **base,
        "MERGANSER_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "MERGANSER_DATABASE_URL": database_url,
        "MERGANSER_LOG_FORMAT": "json",
        **{variable: str(ports[name]) for name, variable in PORT_VARIABLES.items()},
    }


def fixed_ports(base: Mapping[str, str]) -> dict[str, int]:
    """Return the ports that the environment `base` sets, by their names in `ports.py`."""
    return {
        name: int(base[variable]) for name, variable in PORT_VARIABLES.items() if base.get(variable)
    }


def addresses(ports: Mapping[str, int]) -> dict[str, str]:
    """Return the address of each process by name."""
    others = {name: f"http://127.0.0.1:{ports[f'{name}-metrics']}" for name in NAMES}
    return others | {
        name: f"http://127.0.0.1:{ports[name]}" for name in ("ingest", "api", "console")
    }


def ready_urls(ports: Mapping[str, int]) -> dict[str, str]:
    """Return the URL of each process's /readyz by name."""
    return {name: f"http://127.0.0.1:{ports[f'{name}-metrics']}/readyz" for name in NAMES}


def metrics_urls(ports: Mapping[str, int]) -> dict[str, str]:
    """Return the URL of each process's /metrics by name."""
    return {name: f"http://127.0.0.1:{ports[f'{name}-metrics']}/metrics" for name in NAMES}


def answers(ready_url: str) -> bool:
    """Return whether this /readyz answers 200."""
    try:
        with urllib.request.urlopen(  # noqa: S310 -- our own URL
            ready_url, timeout=_ANSWER_SECONDS
        ):
            return True
    except OSError:  # includes responses 4xx and 5xx
        return False
