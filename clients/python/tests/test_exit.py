"""The end of a program with events still queued."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from standin import Behaviour, Standin, answers_after, says

SRC = Path(__file__).parents[1] / "src"

HEAD = """
import asyncio, multiprocessing, os, sys
from merganser_client import AsyncClient, Client

def make(kind=Client):
    return kind("key", "{url}", interval=3600, close_timeout={close_timeout}, first_delay=0.01)

def track(client, name="main"):
    for number in range(5):
        client.track("t", user_id="1", message_id=f"{{name}}-{{number}}")
"""


def run(
    standin: Standin, program: str, close_timeout: float = 10
) -> "subprocess.CompletedProcess[str]":
    head = HEAD.format(url=standin.url, close_timeout=close_timeout)
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def five(name: str) -> list[str]:
    return [f"{name}-{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("program", "code"),
    [
        pytest.param("client = make(); track(client)", 0, id="the last line"),
        pytest.param("track(make())", 0, id="no reference to the client is left"),
        pytest.param("client = make(); track(client); sys.exit(3)", 3, id="sys.exit"),
        pytest.param("client = make(); track(client); raise RuntimeError", 1, id="an exception"),
        pytest.param(
            """
            with make() as client:
                track(client)
                raise RuntimeError
            """,
            1,
            id="an exception in a with block",
        ),
        pytest.param(
            """
            async def main():
                client = make(AsyncClient)
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
                async with make(AsyncClient) as client:
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
def test_what_is_queued_is_delivered(standin: Standin, program: str, code: int) -> None:
    standin.then(says(503), answers_after(0.2))
    ended = run(standin, program)
    assert list(standin.taken) == five("main"), ended.stderr
    assert ended.returncode == code
    assert "Exception ignored" not in ended.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize(
    "program",
    [
        pytest.param(
            """
            client = make()
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
            client = make()
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
def test_parent_and_child_deliver_their_own(standin: Standin, program: str) -> None:
    ended = run(standin, program)
    assert sorted(standin.taken) == five("child") + five("main"), ended.stderr
    assert standin.repeats == 0
    assert ended.returncode == 0


@pytest.mark.parametrize("trouble", [says(503, Retry_After="60"), answers_after(30)])
def test_the_end_is_not_held_up_for_ever_and_tells_what_is_lost(
    standin: Standin, trouble: Behaviour
) -> None:
    standin.behaviour = trouble
    start = time.monotonic()
    ended = run(standin, "client = make(); track(client)", close_timeout=0.5)
    assert time.monotonic() - start < 10
    assert ended.returncode == 0
    assert "closed with 5 events not delivered" in ended.stderr
