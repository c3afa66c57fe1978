"""Kafka and Postgres in containers for the tests, and the errors if they do not start."""

import os
import sys
import time
from dataclasses import dataclass

import pytest

from tests.support import containers, topics
from tests.support.servers import needs_docker
from tests.support.topics import Record

SHARED_NETWORK = sys.platform == "linux" and os.environ.get("DOCKER_HOST", "unix:").startswith(
    "unix:"
)
"""Whether the engine shares this machine's network, so that tests can reach a container's IP."""


@dataclass
class ExitedContainer:
    """A container as the engine reports it after its process has exited."""

    status: str = "running"

    def reload(self) -> None:
        self.status = "exited"

    def logs(self, *, tail: int) -> bytes:
        return b"\n".join([b"line"] * tail) + b"\nFATAL: \xff"


def test_waiting_stops_when_the_container_exits() -> None:
    with pytest.raises(RuntimeError, match=r"Kafka's container has ended \(status: exited\)"):
        containers.wait("Kafka", lambda: False, ExitedContainer())


def test_waiting_for_a_silent_server_times_out() -> None:
    class Silent(ExitedContainer):
        def reload(self) -> None:
            pass

    with pytest.raises(TimeoutError, match="Kafka did not answer within 0 s"):
        containers.wait("Kafka", lambda: False, Silent(), within=0)


def test_a_log_with_invalid_utf_8_is_shown() -> None:
    assert containers.log_of(ExitedContainer()).endswith("line\nFATAL: \N{REPLACEMENT CHARACTER}")


@needs_docker
def test_a_server_that_cannot_start_fails_at_once_with_its_log() -> None:
    start = time.monotonic()
    with pytest.raises((RuntimeError, TimeoutError)) as failed:
        containers.postgres({"no_such_setting": "1"}).__enter__()
    assert time.monotonic() - start < containers.START_SECONDS / 2
    assert 'unrecognized configuration parameter "no_such_setting"' in failed.value.__notes__[0]


@needs_docker
@pytest.mark.parametrize(
    "mode", ["docker_host", *(["gateway_ip", "bridge_ip"] if SHARED_NETWORK else [])]
)
async def test_kafka_advertises_an_address_that_clients_reach(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the engine's machine, and in a container."""
    from testcontainers.core.config import (  # noqa: PLC0415 - slow, rarely used
        ConnectionMode,
        testcontainers_config,
    )

    monkeypatch.setattr(testcontainers_config, "connection_mode_override", ConnectionMode(mode))
    with containers.kafka() as bootstrap:
        assert not bootstrap.startswith("localhost")
        async with topics.created(bootstrap) as created:
            await created.events.publish(Record(b"hello"))
            (record,) = await created.events.records()
            assert record.value == b"hello"
