"""Kafka and Postgres in containers, for machines where a Docker engine answers."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from dev.stack import kafka as broker
from dev.stack import postgres as database
from dev.stack.kafka_jars import version

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

KAFKA_IMAGE = f"apache/kafka:{version()}"
POSTGRES_IMAGE = "postgres:18"
START_SECONDS = 120.0
LOG_LINES = 50

_KAFKA_SETTINGS = {
    "NODE_ID": "1",
    "PROCESS_ROLES": "broker,controller",
    "CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
    "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    # The broker's own connections stay in the container, where the clients' address may not work.
    "LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093,BROKER://:9094",
    "INTER_BROKER_LISTENER_NAME": "BROKER",
    "LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,BROKER:PLAINTEXT",
    "AUTO_CREATE_TOPICS_ENABLE": "false",
    "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "OFFSETS_TOPIC_NUM_PARTITIONS": "4",
    "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "TRANSACTION_STATE_LOG_NUM_PARTITIONS": "4",
    "GROUP_INITIAL_REBALANCE_DELAY_MS": "100",
}
_ADVERTISED = "/tmp/advertised"  # noqa: S108 - in the container
_START_KAFKA = f"""
until read -r address 2>/dev/null <{_ADVERTISED}; do sleep 0.1; done
export KAFKA_ADVERTISED_LISTENERS="PLAINTEXT://$address,BROKER://localhost:9094"
exec /etc/kafka/docker/run
"""


class Container(Protocol):
    """The part of a started container that `wait` and `log_of` use."""

    status: str

    def reload(self) -> None:
        """Ask the engine for the status."""

    def logs(self, *, tail: int) -> bytes:
        """Return the last lines of what the container wrote."""


@contextmanager
def kafka() -> Iterator[str]:
    """Run a broker of the version in `dev/stack/pom.xml` and yield its `host:port`.

    A broker sends its own address to clients. That address is known only once the container runs:
    it depends on the engine, and on whether the tests run in a container themselves. So the
    container waits for the address and then starts the broker.
    """
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow, rarely used

    container = (
        DockerContainer(KAFKA_IMAGE)
        .with_exposed_ports(9092)
        .with_envs(**{f"KAFKA_{name}": value for name, value in _KAFKA_SETTINGS.items()})
        .with_command(["bash", "-c", _START_KAFKA])
    )
    with container:
        with _log_on_failure(container):
            bootstrap = _address(container, 9092)
            container.exec(["bash", "-c", f'echo "$0" >{_ADVERTISED}', bootstrap])
            wait("Kafka", lambda: broker.answers(bootstrap), container.get_wrapped_container())
        yield bootstrap


@contextmanager
def postgres(config: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run Postgres with `fsync` off, and yield its URL.

    `config` adds server settings to those of the local server, or replaces them.
    """
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow, rarely used

    settings = {**database.settings(unsafe_fast=True), **(config or {})}
    container = (
        DockerContainer(POSTGRES_IMAGE)
        .with_exposed_ports(5432)
        .with_env("POSTGRES_PASSWORD", "test")
        .with_command(["postgres", *(f"--{name}={value}" for name, value in settings.items())])
        .with_kwargs(shm_size="256m")  # 64 MB, the default, is too little for parallel queries
    )
    with container:
        with _log_on_failure(container):
            url = f"postgresql://postgres:test@{_address(container, 5432)}/postgres"
            wait("Postgres", lambda: database.answers(url), container.get_wrapped_container())
        yield url


def wait(
    what: str,
    answers: Callable[[], bool],
    container: Container,
    *,
    within: float = START_SECONDS,
) -> None:
    """Return when `answers` returns True.

    Raises RuntimeError at once if the container has exited, TimeoutError after `within` seconds.
    """
    deadline = time.monotonic() + within
    while not answers():
        container.reload()
        if container.status != "running":
            raise RuntimeError(f"{what}'s container has ended (status: {container.status})")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not answer within {within:g} s")
        time.sleep(0.2)


def log_of(container: Container) -> str:
    """Return the last lines that the container wrote."""
    log = container.logs(tail=LOG_LINES).decode(errors="replace")
    return f"The last {LOG_LINES} lines of the container's log:\n{log}"


@contextmanager
def _log_on_failure(container: "DockerContainer") -> Iterator[None]:
    """Add the container's log to an exception, because the container and its log get removed."""
    try:
        yield
    except Exception as error:
        error.add_note(log_of(container.get_wrapped_container()))
        raise


def _address(container: "DockerContainer", port: int) -> str:
    """Return the `host:port` at which the tests reach a port of the started container."""
    # "localhost" may also resolve to IPv6, where Docker before 23 may give the same port to another
    # container.
    host = container.get_container_host_ip().replace("localhost", "127.0.0.1")
    return f"{host}:{container.get_exposed_port(port)}"
