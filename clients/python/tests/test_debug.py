"""The option `debug`: what the logger `merganser` prints, and where."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_ingest import FakeIngest, respond
from merganser_client import AsyncClient, Client, Failure

Connect = Callable[..., Client]

KEY = "mk_0123456789"
SRC = Path(__file__).parents[1] / "src"


def debug_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if (record.name, record.levelno) == ("merganser", logging.DEBUG)
    ]


def test_it_prints_each_accepted_and_each_refused_event(
    fake_ingest: FakeIngest, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    fake_ingest.refusal = lambda event: "type: too long" if event["type"] == "bad" else None
    client = connect(debug=True)
    for message_id, event_type in [("m-1", "purchase"), ("m-2", "bad")]:
        client.track(event_type, user_id="1", data={"note": "private"}, message_id=message_id)
    assert client.flush(10)
    assert debug_lines(caplog) == ["accepted: purchase m-1", "refused: bad m-2: type: too long"]
    assert "private" not in caplog.text


def test_it_prints_each_retry_with_its_reason(
    fake_ingest: FakeIngest, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    fake_ingest.then(respond(503), respond(503))
    client = connect(debug=True)
    client.track("t", user_id="1", message_id="m-1")
    assert client.flush(10)
    retry = "retry in 0.0 s: status 503: as set"
    assert debug_lines(caplog) == [retry, retry, "accepted: t m-1"]


def test_it_prints_why_a_batch_is_split(
    fake_ingest: FakeIngest, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    fake_ingest.then(respond(413))
    client = connect(debug=True, interval=30)
    for number in range(2):
        client.track("t", user_id="1", message_id=f"m-{number}")
    assert client.flush(10)
    assert debug_lines(caplog) == [
        "send smaller batches: status 413: as set",
        "accepted: t m-0",
        "accepted: t m-1",
    ]


async def test_it_works_for_asyncio(
    fake_ingest: FakeIngest, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncClient(KEY, fake_ingest.url, debug=True) as client:
        await client.track("t", user_id="1", message_id="m-1")
    assert debug_lines(caplog) == ["accepted: t m-1"]


def test_by_default_accepted_events_are_not_printed(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect()
    client.track("t", user_id="1")
    assert client.flush(10)
    assert debug_lines(caplog) == []


def test_no_key_is_printed_even_if_the_server_repeats_it(
    fake_ingest: FakeIngest, caplog: pytest.LogCaptureFixture
) -> None:
    fake_ingest.then(respond(401, f'{{"code": "c", "message": "unknown key {KEY}"}}'))
    fake_ingest.refusal = lambda _: f"the key {KEY} may not write this"
    failures: list[Failure] = []
    with Client(KEY, fake_ingest.url, debug=True, on_error=failures.append) as client:
        client.track("t", user_id="1")
        assert client.flush(10)
    assert "unknown key [api_key]" in caplog.text
    assert "the key [api_key] may not write this" in caplog.text
    assert KEY not in caplog.text
    assert [failure.message for failure in failures if KEY in failure.message] == []


def run(fake_ingest: FakeIngest, setup: str, *, debug: bool) -> str:
    """Run a program that tracks one event after `setup`; return what it prints on stderr."""
    program = f"""
import logging
from merganser_client import Client
{setup}
for _ in range(2):
    with Client("{KEY}", "{fake_ingest.url}", debug={debug}) as client:
        client.track("t", user_id="1", message_id="m-1")
"""
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    ).stderr


@pytest.mark.parametrize(
    ("setup", "printed"),
    [
        pytest.param("", "DEBUG merganser: accepted: t m-1", id="no logging configured"),
        pytest.param(
            "logging.basicConfig(format='own %(message)s')",
            "own accepted: t m-1",
            id="a handler of the root logger",
        ),
        pytest.param(
            "logging.getLogger('merganser').addHandler(logging.StreamHandler())",
            "accepted: t m-1",
            id="a handler of the logger",
        ),
    ],
)
def test_it_adds_a_handler_on_stderr_only_if_none_is_configured(
    fake_ingest: FakeIngest, setup: str, printed: str
) -> None:
    lines = run(fake_ingest, setup, debug=True).splitlines()
    assert len(lines) == 2, "one line per event, also with two clients"
    assert all(line.endswith(printed) for line in lines)
    assert run(fake_ingest, setup, debug=False) == ""
