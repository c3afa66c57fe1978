"""A program that ends while events are queued."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from fake_ingest import Behavior, FakeIngest, respond, respond_after

SRC = Path(__file__).parents[1] / "src"

HEAD = """
import asyncio, multiprocessing, os, sys
from merganser_client import AsyncClient, Client

def create(client_class=Client):
    options = {{"interval": 3600, "close_timeout": {close_timeout}, "first_delay": 0.01}}
    return client_class("key", "{url}", **options)

def track(client, name="main"):
    for number in range(5):
        client.track("t", user_id="1", message_id=f"{{name}}-{{number}}")
"""


def run(
    fake_ingest: FakeIngest, program: str, close_timeout: float = 10
) -> "subprocess.CompletedProcess[str]":
    head = HEAD.format(url=fake_ingest.url, close_timeout=close_timeout)
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def ids_of(name: str) -> list[str]:
    return [f"{name}-{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("program", "code"),
    [
        pytest.param("client = create(); track(client)", 0, id="last line of the program"),
        pytest.param("track(create())", 0, id="no reference to the client"),
        pytest.param("client = create(); track(client); sys.exit(3)", 3, id="sys.exit"),
        pytest.param("client = create(); track(client); raise RuntimeError", 1, id="an exception"),
        pytest.param(
            """
            with create() as client:
                track(client)
                raise RuntimeError
            """,
            1,
            id="an exception in a with block",
        ),
        pytest.param(
            """
            async def main():
                client = create(AsyncClient)
                for number in range(5):
                    await client.track("t", user_id="1", message_id=f"main-{number}")
            asyncio.run(main())
            """,
            0,
            id="asyncio.run without close",
        ),
        pytest.param(
            """
            async def main():
                async with create(AsyncClient) as client:
                    for number in range(5):
                        await client.track("t", user_id="1", message_id=f"main-{number}")
                    raise RuntimeError
            asyncio.run(main())
            """,
            1,
            id="an exception in an async with block",
        ),
    ],
)
def test_queued_events_are_delivered(fake_ingest: FakeIngest, program: str, code: int) -> None:
    fake_ingest.then(respond(503), respond_after(0.2))
    process = run(fake_ingest, program)
    assert list(fake_ingest.stored) == ids_of("main"), process.stderr
    assert process.returncode == code
    assert "Exception ignored" not in process.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize(
    "program",
    [
        pytest.param(
            """
            client = create()
            track(client)
            if os.fork() == 0:
                track(client, "child")
                sys.exit()
            os.wait()
            """,
            id="os.fork",
        ),
        pytest.param(
            """
            client = create()
            track(client)
            fork = multiprocessing.get_context("fork")
            child = fork.Process(target=track, args=(client, "child"))
            child.start()
            child.join()
            """,
            id="multiprocessing",
        ),
    ],
)
def test_parent_and_child_each_deliver_their_events(fake_ingest: FakeIngest, program: str) -> None:
    process = run(fake_ingest, program)
    assert sorted(fake_ingest.stored) == ids_of("child") + ids_of("main"), process.stderr
    assert fake_ingest.repeats == 0
    assert process.returncode == 0


@pytest.mark.parametrize("behavior", [respond(503, Retry_After="60"), respond_after(30)])
def test_the_program_ends_after_close_timeout_and_logs_the_loss(
    fake_ingest: FakeIngest, behavior: Behavior
) -> None:
    fake_ingest.behavior = behavior
    start = time.monotonic()
    process = run(fake_ingest, "client = create(); track(client)", close_timeout=0.5)
    assert time.monotonic() - start < 10
    assert process.returncode == 0
    assert "closed with 5 events not delivered" in process.stderr
