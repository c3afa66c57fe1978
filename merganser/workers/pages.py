"""The ops pages of all workers together, put together from the pages of each.

Each sample of /metrics gets the label `worker`. prometheus_client's multiprocess mode would add the
workers up itself. But it knows neither gauges with functions nor collectors such as `process_*`,
and it needs files on a disk. With a label, each kind of metric keeps its meaning, and Prometheus
handles the counters of a restarted worker like those of any restarted process.
"""

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import NamedTuple, Protocol
from urllib.parse import parse_qs

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from merganser.http.asgi import Receive, Scope, Send
from merganser.http.ops_server import OTHER_PATH, Page, alive_page, readiness_page, send_page
from merganser.runtime import metrics

ANSWER_SECONDS = 1.0
"""A worker that takes longer counts as one that does not work."""

ALIVE = "alive"
"""The check that the supervisor adds to those of each worker."""


class Endpoint(Protocol):
    """What the pages need of a worker."""

    kind: str
    name: str
    failure: str | None
    """Why its last process ended; None if it has been ready since."""

    @property
    def ops_port(self) -> int:
        """Port on 127.0.0.1 of its own ops server."""

    @property
    def running(self) -> bool:
        """Whether its process runs."""

    def note_ready(self) -> None:
        """Note that the worker is ready."""


class Answer(NamedTuple):
    """A worker's own page."""

    status: int
    text: str


async def get(port: int, path: str) -> Answer | None:
    """Return a page from a port of 127.0.0.1, or None if there is no answer in time."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n".encode())
                head, _, content = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
        return Answer(int(head.split()[1]), content.decode())
    except (OSError, TimeoutError, IndexError):  # IndexError: it ended before it answered
        return None


class Pages:
    """An ASGI application for the supervisor's ops port."""

    def __init__(self, workers: Sequence[Endpoint]) -> None:
        self._workers = workers

    async def app(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer a request."""
        match scope["path"]:
            case "/metrics":
                page = await self._metrics(parse_qs(scope["query_string"].decode("latin-1")))
            case "/healthz":
                page = alive_page()
            case "/readyz":
                page = await self._readiness()
            case _:
                page = OTHER_PATH
        await send_page(send, page)

    async def _metrics(self, query: dict[str, list[str]]) -> Page:
        """Return the samples of all workers, or of those of the kinds in ?process=."""
        kinds = query.get("process")
        workers = [worker for worker in self._workers if kinds is None or worker.kind in kinds]
        answers = await _ask(workers, "/metrics")
        if not any(answers):  # a scrape that fails is what `up` and its alert need
            return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"no worker answers\n"
        families: dict[str, Metric] = {}
        for worker, answer in zip(workers, answers, strict=True):
            for family in _families(worker, answer):
                merged = families.setdefault(family.name, family)
                if merged is not family:
                    merged.samples += family.samples
        registry = CollectorRegistry()
        registry.register(_Collected(families.values()))
        return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry)

    async def _readiness(self) -> Page:
        """Return the reasons and warnings of all workers, each as WORKER/CHECK."""
        reasons: dict[str, str] = {}
        warnings: dict[str, str] = {}
        answers = await _ask(self._workers, "/readyz")
        for worker, answer in zip(self._workers, answers, strict=True):
            if answer and answer.status == HTTPStatus.OK:
                worker.note_ready()
            if why := _why_not_alive(worker, answer):
                reasons[f"{worker.name}/{ALIVE}"] = why
            readiness = json.loads(answer.text) if answer else {"reasons": {}, "warnings": {}}
            for found, name in ((reasons, "reasons"), (warnings, "warnings")):
                found |= {f"{worker.name}/{check}": why for check, why in readiness[name].items()}
        return readiness_page(reasons, warnings)


async def _ask(workers: Iterable[Endpoint], path: str) -> list[Answer | None]:
    """Return the page of each worker, asked at the same time; None if it does not answer."""

    async def ask(worker: Endpoint) -> Answer | None:
        return await get(worker.ops_port, path) if worker.running else None

    return await asyncio.gather(*map(ask, workers))


def _families(worker: Endpoint, answer: Answer | None) -> Iterator[Metric]:
    """Yield the metrics of a worker with its label, and whether it works as one of its checks."""
    for family in text_string_to_metric_families(answer.text) if answer else ():
        family.samples = [
            sample._replace(labels={**sample.labels, "worker": worker.name})
            for sample in family.samples
        ]
        yield family
    (failing,) = metrics.CHECK_FAILING.describe()
    labels = {"check": ALIVE, "worker": worker.name}
    failing.samples = [
        Sample(failing.name, labels, float(_why_not_alive(worker, answer) is not None))
    ]
    yield failing


def _why_not_alive(worker: Endpoint, answer: Answer | None) -> str | None:
    """Return why a worker does not work, None if it does.

    A worker that ends again and again answers now and then; that is not the end of its failure.
    """
    if worker.failure or answer:
        return worker.failure
    return "no answer" if worker.running else "not running"


class _Collected(Collector):
    """Metrics that were collected before."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
