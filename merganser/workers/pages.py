"""The ops pages of all workers together, put together from the pages of each.

Each sample of /metrics gets the label `worker`. prometheus_client's multiprocess mode would add the
workers up itself. But it knows neither gauges with functions nor collectors such as `process_*`,
and it needs files on a disk. With a label, each kind of metric keeps its meaning, and Prometheus
handles the counters of a restarted worker like those of any restarted process.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import NamedTuple, Protocol, TypeVar
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

Parsed = TypeVar("Parsed")


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


class Readiness(NamedTuple):
    """A worker's own /readyz."""

    ready: bool
    reasons: dict[str, str]
    warnings: dict[str, str]


async def get_readiness(port: int) -> Readiness | None:
    """Return the /readyz of a port of 127.0.0.1, or None if there is no valid one in time."""
    statuses = {HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE}
    return await _get(port, "/readyz", statuses, lambda text: Readiness(**json.loads(text)))


async def get_metrics(port: int) -> list[Metric] | None:
    """Return the /metrics of a port of 127.0.0.1, or None if there is no valid one in time."""
    return await _get(
        port, "/metrics", {HTTPStatus.OK}, lambda text: list(text_string_to_metric_families(text))
    )


async def _get(
    port: int, path: str, statuses: Collection[int], parse: Callable[[str], Parsed]
) -> Parsed | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n".encode())
                head, _, content = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
        # A worker that is killed while it sends leaves a part of a page, perhaps of a number.
        whole = b"content-length: %d\r\n" % len(content) in head + b"\r\n"
        if not whole or int(head.split()[1]) not in statuses:
            return None
        return parse(content.decode())
    except (OSError, TimeoutError, ValueError, TypeError, LookupError):  # none, or not such a page
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
        answers = await _ask(workers, get_metrics)
        if all(
            answer is None for answer in answers
        ):  # a scrape that fails is what `up` and its alert need
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
        answers = await _ask(self._workers, get_readiness)
        for worker, answer in zip(self._workers, answers, strict=True):
            if answer and answer.ready:
                worker.note_ready()
            if why := _why_not_alive(worker, answer):
                reasons[f"{worker.name}/{ALIVE}"] = why
            if answer:
                reasons |= {f"{worker.name}/{check}": why for check, why in answer.reasons.items()}
                warnings |= {
                    f"{worker.name}/{check}": why for check, why in answer.warnings.items()
                }
        return readiness_page(reasons, warnings)


async def _ask(
    workers: Iterable[Endpoint], get: Callable[[int], Awaitable[Parsed | None]]
) -> list[Parsed | None]:
    """Return the page of each worker, asked at the same time; None if it does not answer."""

    async def ask(worker: Endpoint) -> Parsed | None:
        return await get(worker.ops_port) if worker.running else None

    return await asyncio.gather(*map(ask, workers))


def _families(worker: Endpoint, answer: list[Metric] | None) -> Iterator[Metric]:
    """Yield the metrics of a worker with its label, and whether it works as one of its checks."""
    for family in answer or ():
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


def _why_not_alive(worker: Endpoint, answer: object) -> str | None:
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
