"""Work that goes on after the response."""

import asyncio

import pytest
from structlog.testing import capture_logs

from console import background
from console.background import MAX_TASKS, Background
from merganser.http.errors import ErrorKind, HttpError
from merganser.runtime.lifecycle import Stop
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests wait for no work."""
    monkeypatch.setattr(background, "WAIT_SECONDS", 0)


async def test_too_much_work_is_refused_until_some_has_finished() -> None:
    works, gate = Background(Stop()), asyncio.Event()
    for _ in range(MAX_TASKS):
        assert await works.run("wait", gate.wait()) is None
    with pytest.raises(HttpError) as refused:
        await works.run("wait", gate.wait())
    assert refused.value.kind is ErrorKind.UNAVAILABLE
    gate.set()

    async def is_accepted() -> bool:
        try:
            await works.run("wait", gate.wait())
        except HttpError:
            return False
        return True

    await eventually(is_accepted)


async def test_an_error_after_the_response_is_logged_without_its_message() -> None:
    gate = asyncio.Event()

    async def fail() -> None:
        await gate.wait()
        raise ValueError("a value of ann")

    with capture_logs() as logs:
        await Background(Stop()).run("forget", fail())
        gate.set()
        await eventually(lambda: logs)
    (line,) = logs
    assert (line["event"], line["work"]) == ("work in the background failed", "forget")
    assert "ann" not in str(line)


async def test_the_stop_of_the_process_cancels_work() -> None:
    stop, canceled = Stop(), asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            canceled.set()

    await Background(stop).run("wait", wait())
    stop.set()
    await asyncio.wait_for(canceled.wait(), 10)
