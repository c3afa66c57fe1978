"""Containers of the tests' Kafka and Postgres: what they start, and what they say if it fails."""

import os
import sys
import time
from dataclasses import dataclass

import pytest

from tests.support import containers, topics
from tests.support.servers import needs_docker
from tests.support.topics import Record

HERE = sys.platform == "linux" and os.environ.get("DOCKER_HOST", "unix:").startswith("unix:")
"""Whether the engine shares this machine's network, so that also a container's IP is reached."""


@dataclass
class Ended:
    """A container as the engine tells of it after its process has ended."""

    status: str = "running"

    def reload(self) -> None:
        self.status = "exited"

    def logs(self, *, tail: int) -> bytes:
        return b"\n".join([b"line"] * tail) + b"\nFATAL: \xff"


def test_a_container_that_ends_is_not_waited_for() -> None:
    with pytest.raises(RuntimeError, match=r"Kafka's container has ended \(status: exited\)"):
        containers.wait("Kafka", lambda: False, Ended())


def test_a_server_that_does_not_answer_is_waited_for_within_bounds() -> None:
    class Silent(Ended):
        def reload(self) -> None:
            pass

    with pytest.raises(TimeoutError, match="Kafka did not answer within 0 s"):
        containers.wait("Kafka", lambda: False, Silent(), within=0)


def test_a_log_is_shown_whatever_is_in_it() -> None:
    assert containers.log_of(Ended()).endswith("line\nFATAL: \N{REPLACEMENT CHARACTER}")


@needs_docker
def test_a_server_that_cannot_start_fails_at_once_with_its_log() -> None:
    start = time.monotonic()
    with pytest.raises((RuntimeError, TimeoutError)) as failed:
        containers.postgres({"no_such_setting": "1"}).__enter__()
    assert time.monotonic() - start < containers.START_SECONDS / 2
    assert 'unrecognized configuration parameter "no_such_setting"' in failed.value.__notes__[0]


@needs_docker
@pytest.mark.parametrize("mode", ["docker_host", *(["gateway_ip", "bridge_ip"] if HERE else [])])
async def test_kafka_names_the_address_where_it_is_reached(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether tests run on the engine's machine, or in a container themselves."""
    from testcontainers.core.config import (  # noqa: PLC0415 - slow, rarely used
        ConnectionMode,
        testcontainers_config,
    )

    monkeypatch.setattr(testcontainers_config, "connection_mode_override", ConnectionMode(mode))
    with containers.kafka() as bootstrap:
        assert not bootstrap.startswith("localhost")
        async with topics.made(bootstrap) as made:
            await made.events.publish(Record(b"hello"))
            (record,) = await made.events.records()
            assert record.value == b"hello"
