"""The Kafka and the Postgres of a test run: yours, containers, or local processes."""

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import disk_usage
from typing import Literal

import pytest

from dev.stack.servers import local_servers
from tests.support import containers

Source = Literal["given", "docker", "local"]

LOCALE = os.environ.get("MERGANSER_TEST_LOCALE") or None
"""The locale of a local Postgres; the machine must have it. Example: `en_US.UTF-8`."""


MEMORY = Path("/dev/shm")  # noqa: S108 - the directory below it is private
MEMORY_BYTES = 3_000_000_000

SHARED_START_SECONDS = 170.0
"""Less than the timeout of a test, whose message would not give the reason."""


@dataclass(frozen=True)
class Choice:
    """Which servers a run uses, and why."""

    kafka: str | None
    """`host:port` of a Kafka that the environment names."""
    postgres: str | None
    """URL of a Postgres that the environment names."""
    otherwise: Source
    """Where the other servers come from."""

    def __str__(self) -> str:
        origin = {
            "docker": "a container, because a Docker engine answers",
            "local": "a local process, because none is given and no Docker engine answers",
        }
        kafka = f"given, {self.kafka}" if self.kafka else origin[self.otherwise]
        postgres = "given by the environment" if self.postgres else origin[self.otherwise]
        if LOCALE and not self.postgres and self.otherwise == "local":
            postgres += f", with the locale {LOCALE}"
        return f"Kafka: {kafka}; Postgres: {postgres}"


@dataclass(frozen=True)
class Servers:
    """The addresses of the servers."""

    kafka_bootstrap: str
    database_url: str


def choose() -> Choice:
    """Return, for each server, the given one, else a container, else a local process."""
    kafka = _given("KAFKA_BOOTSTRAP")
    postgres = _given("DATABASE_URL")
    all_given = kafka is not None and postgres is not None
    return Choice(
        kafka, postgres, "given" if all_given else "docker" if docker_answers() else "local"
    )


@contextmanager
def running(choice: Choice, home: Path) -> Iterator[Servers]:
    """Run the chosen servers for the length of a `with` block; given ones are never stopped."""
    kafka, postgres = choice.kafka, choice.postgres
    with ExitStack() as stack:
        if choice.otherwise == "local":
            local = stack.enter_context(
                local_servers(
                    home,
                    kafka=kafka is None,
                    postgres=postgres is None,
                    unsafe_fast=True,
                    locale=LOCALE,
                )
            )
            kafka = kafka or local.kafka_bootstrap
            postgres = postgres or local.database_url
        elif choice.otherwise == "docker":
            kafka = kafka or stack.enter_context(containers.kafka())
            postgres = postgres or stack.enter_context(containers.postgres())
        assert kafka is not None
        assert postgres is not None
        yield Servers(kafka, postgres)


class SharedServers:
    """The servers of all workers of pytest-xdist: its controller starts and stops them.

    They start in a thread while the workers collect tests. The file `addresses` tells each worker
    where they are.
    """

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._home = temporary_home()
        self.addresses = Path(self._home.name) / "addresses.json"
        self._stopping = threading.Event()
        # The servers end with the thread that started them, so this thread runs until they stop.
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Stop the servers and delete their data."""
        self._stopping.set()
        self._thread.join()
        self._home.cleanup()

    def _run(self) -> None:
        try:
            with running(self._choice, Path(self._home.name) / "home") as servers:
                self._write(asdict(servers))
                self._stopping.wait()
        except Exception as error:  # noqa: BLE001 - the workers report it
            self._write({"error": f"{type(error).__name__}: {error}"})

    def _write(self, content: dict[str, str]) -> None:
        unfinished = self.addresses.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(content))
        unfinished.rename(self.addresses)


def wait_for_shared(addresses: Path) -> Servers:
    """Wait for the servers that `SharedServers` starts, and return their addresses.

    Raises RuntimeError if they do not start.
    """
    deadline = time.monotonic() + SHARED_START_SECONDS
    while not addresses.exists():
        if time.monotonic() > deadline:
            raise RuntimeError("the shared servers did not start in time")
        time.sleep(0.05)
    content = json.loads(addresses.read_text())
    if "error" in content:
        raise RuntimeError(f"the shared servers did not start: {content['error']}")
    return Servers(**content)


def temporary_home() -> tempfile.TemporaryDirectory[str]:
    """Return a directory for the servers' data, in memory if the machine has enough of it.

    In memory, creating and dropping the database of each test takes a tenth of the CPU time.
    """
    in_memory = (
        MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and disk_usage(MEMORY).free > MEMORY_BYTES
    )
    return tempfile.TemporaryDirectory(
        prefix="merganser-servers-", dir=MEMORY if in_memory else None
    )


def _given(name: str) -> str | None:
    return os.environ.get(f"MERGANSER_TEST_{name}") or os.environ.get(f"MERGANSER_{name}") or None


def docker_answers() -> bool:
    """Return whether a Docker engine answers."""
    try:
        subprocess.run(["docker", "version"], check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


needs_docker = pytest.mark.skipif(not docker_answers(), reason="no Docker engine answers here")
