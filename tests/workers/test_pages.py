"""The page of all workers when one of them answers with something else than its page."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx
import pytest

from merganser.workers.pages import Pages
from tests.support.service import Metrics

METRICS = "# TYPE events counter\nevents_total 1234\n"
READY = '{"ready": true, "reasons": {}, "warnings": {}}'


def response(content: str, status: int = 200, length: int | None = None) -> bytes:
    """Return an HTTP response; `length` is what its head says."""
    length = len(content) if length is None else length
    return f"HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{content}".encode()


GOOD = {"/metrics": response(METRICS), "/readyz": response(READY)}

BAD = {
    "an error": {path: response("Internal Server Error", 500) for path in GOOD},
    "a redirect": {path: response("", 302) for path in GOOD},
    "a part of the content": {path: whole[:-4] for path, whole in GOOD.items()},
    "a part of the head": {path: whole[:20] for path, whole in GOOD.items()},
    "nothing": dict.fromkeys(GOOD, b""),
    "other text": {path: response("{ } = 1 {") for path in GOOD},
    "other JSON": {path: response("[1]") for path in GOOD},
    "bytes": {path: response("").replace(b": 0", b": 2") + b"\xff\xff" for path in GOOD},
}


@dataclass
class Worker:
    """A worker's ops port as the supervisor sees it."""

    name: str
    ops_port: int
    kind: str = "ingest"
    failure: str | None = None
    running: bool = True
    noted: list[str] = field(default_factory=list)

    def note_ready(self) -> None:
        """Note the call."""
        self.noted.append("ready")


@asynccontextmanager
async def opened_worker(name: str, pages: Mapping[str, bytes]) -> AsyncIterator[Worker]:
    """Run a server that answers a path with these bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            request = await reader.readuntil(b"\r\n\r\n")
            writer.write(pages[request.split()[1].decode()])
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield Worker(name, server.sockets[0].getsockname()[1])


@pytest.mark.parametrize("kind", BAD)
async def test_a_page_that_is_not_valid_breaks_no_other(kind: str) -> None:
    async with (
        opened_worker("ingest-1", GOOD) as good,
        opened_worker("ingest-2", BAD[kind]) as bad,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(Pages([good, bad]).app), base_url="http://ops"
        ) as client,
    ):
        page = await client.get("/metrics")
        readiness = await client.get("/readyz")
    assert page.status_code == 200
    metrics = Metrics(page.text)
    assert metrics.value("events_total", worker="ingest-1") == 1234
    assert metrics.value("events_total") == 1234
    assert metrics.value("merganser_check_failing", worker="ingest-1", check="alive") == 0
    assert metrics.value("merganser_check_failing", worker="ingest-2", check="alive") == 1
    assert readiness.status_code == 503
    assert readiness.json()["reasons"] == {"ingest-2/alive": "no answer"}
    assert (good.noted, bad.noted) == (["ready"], [])
