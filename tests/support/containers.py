"""Kafka and Postgres in containers, for machines where a Docker engine answers."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stack import kafka as broker
from stack import postgres as database
from stack.kafka_jars import version
from stack.ports import free_port

START_SECONDS = 120.0


@contextmanager
def kafka() -> Iterator[str]:
    """Run the broker of `stack/pom.xml`'s version and yield its `host:port`.

    Its port is chosen here, for a broker tells its clients the address to come back to.
    """
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow, rarely used

    port = free_port(set())
    container = DockerContainer(f"apache/kafka:{version()}").with_bind_ports(port, port)
    bootstrap = f"{container.get_container_host_ip()}:{port}"
    settings = {
        "NODE_ID": "1",
        "PROCESS_ROLES": "broker,controller",
        "CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "ADVERTISED_LISTENERS": f"PLAINTEXT://{bootstrap}",
        "LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "AUTO_CREATE_TOPICS_ENABLE": "false",
        "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "OFFSETS_TOPIC_NUM_PARTITIONS": "4",
        "GROUP_INITIAL_REBALANCE_DELAY_MS": "100",
    }
    with container.with_envs(**{f"KAFKA_{name}": value for name, value in settings.items()}):
        _wait("Kafka", lambda: broker.answers(bootstrap))
        yield bootstrap


@contextmanager
def postgres() -> Iterator[str]:
    """Run Postgres, without waiting for the disk, and yield its URL."""
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow, rarely used

    container = (
        DockerContainer("postgres:18")
        .with_exposed_ports(5432)
        .with_env("POSTGRES_PASSWORD", "test")
        .with_command("postgres -c fsync=off -c synchronous_commit=off -c max_connections=200")
    )
    with container:
        host, port = container.get_container_host_ip(), container.get_exposed_port(5432)
        url = f"postgresql://postgres:test@{host}:{port}/postgres"
        _wait("Postgres", lambda: database.answers(url))
        yield url


def _wait(what: str, answers: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not answer within {START_SECONDS:g} s")
        time.sleep(0.2)
