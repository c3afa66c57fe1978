"""The gateway as an ASGI application: bare, for this is the hot path.

Data flows one way: request -> body -> dialect -> accept -> publish -> answer. Whatever refuses on
the way raises `HttpError`, which is turned into an answer in one place.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

import structlog
from prometheus_client import Histogram
from pydantic_core import to_json

from ingest import body, client_address
from ingest.dialects import Answer, Dialect, Told
from ingest.publisher import Publisher, Record
from ingest.rate_limit import Limiter, Rate
from ingest.request import Asked
from ingest.routes import Routes
from ingest.validate import validate
from merganser.http import authentication, cors, request_ids
from merganser.http.asgi import Headers, Receive, Scope, Send, send_response
from merganser.http.errors import ErrorKind, ErrorLog, HttpError, internal_error
from merganser.runtime import metrics
from merganser.runtime.settings import IngestSettings
from merganser.runtime.tracing import Header, Tracing
from schemas import guid
from schemas.event import VERSION_HEADER
from schemas.validation import EventLimits, ServerFields, ValidEvent

log = structlog.get_logger(__name__)

_JSON = b"application/json"
_ALLOWED_HEADERS = (
    b"authorization, content-type, content-encoding, anonymousid, sentat, x-write-key, "
    b"traceparent, tracestate, x-request-id, x-retry-count, rsa-recovered, rsa-retry-attempt, "
    b"rsa-retry-reason, rsa-since-first-attempt, rsa-since-last-attempt"
)


@dataclass(slots=True)
class _Taken:
    """What becomes of one request."""

    request_id: bytes
    trace: Sequence[Header]
    events: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class _Producer(NamedTuple):
    """Who sends, as far as we know."""

    key: str
    """The guid of its API key."""
    address: str | None
    request_id: bytes


class Gateway:
    """Takes events over HTTP and gives them to the publisher."""

    def __init__(
        self,
        settings: IngestSettings,
        dialects: Sequence[Dialect],
        known_keys: authentication.ApiKeys,
        publisher: Publisher,
        tracing: Tracing | None = None,
    ) -> None:
        self._settings = settings
        self._limits = EventLimits(
            id_characters=settings.ingest_max_id,
            data_keys=settings.ingest_max_keys,
            depth=settings.ingest_max_depth,
            event_bytes=settings.ingest_max_event,
            nobody=settings.nobody_ids,
        )
        self._routes = Routes(dialects)
        self._keys = known_keys
        self._publisher = publisher
        self._limiter = Limiter(
            Rate(settings.ingest_rate, settings.ingest_burst) if settings.ingest_rate else None,
            time.monotonic,
        )
        self._tracing = tracing
        self._error_log = ErrorLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        start = time.monotonic()
        headers = dict(scope["headers"])
        request_id = request_ids.request_id(headers)
        answer_headers = cors.response_headers(
            headers, b"Retry-After, X-Request-Id", credentials=True
        )
        answer_headers.append((request_ids.HEADER, request_id))
        if scope["method"] == "OPTIONS":
            asked = cors.preflight_headers(headers, b"GET, POST, OPTIONS", _ALLOWED_HEADERS)
            await send_response(send, 204, answer_headers + asked, b"")
            return
        span = self._tracing.request(scope["method"], headers) if self._tracing else None
        taken = _Taken(request_id, span.headers if span else ())
        try:
            status, answer = 200, await self._take(scope, headers, receive, taken)
        except body.Gone:
            return
        except HttpError as refused:
            status, answer = _refusal(refused, answer_headers)
            taken.refused[refused.kind.code] += 1
        except Exception:
            log.exception("a defect of ours, in a request", request_id=request_id.decode())
            status, answer = _refusal(internal_error(), answer_headers)
        if taken.refused:
            self._error_log.write(request_id, status, taken.refused)
        if span:
            span.end(status, taken.events)
        _request_seconds(status).observe(time.monotonic() - start)
        content, media_type, own = (
            answer if isinstance(answer, Answer) else Answer(to_json(answer), _JSON)
        )
        answer_headers = [*answer_headers, (b"content-type", media_type), *own]
        await send_response(send, status, answer_headers, content)

    async def _take(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, taken: _Taken
    ) -> dict[str, Any] | Answer:
        reader, parts = self._routes.find(scope["method"], scope["path"])
        most = self._settings.ingest_max_body
        raw = await body.read(receive, most, self._settings.ingest_body_timeout)
        said = reader(Asked(body.unpack(raw, most), parts, headers, scope["query_string"]))
        if isinstance(said, Told):
            return said.answer
        key = await self._keys.authorize(
            authentication.key_from_header(headers.get(b"authorization", b"")) or said.api_key,
            authentication.Permission.WRITE_EVENTS,
        )
        if len(said.events) > self._settings.ingest_max_batch:
            raise HttpError(
                ErrorKind.TOO_LARGE,
                f"{len(said.events)} events, {self._settings.ingest_max_batch} are allowed",
            )
        self._limiter.admit(key.guid, len(said.events), said.too_soon)
        producer = _Producer(key.guid, _client(scope, self._settings), taken.request_id)
        results = self._validate(said.events, producer)
        accepted = [result for result in results if isinstance(result, ValidEvent)]
        if accepted:
            await self._publish(accepted, taken.trace)
            metrics.ACCEPTED.inc(len(accepted))
            metrics.SENT_AT_IGNORED.inc(sum(result.sent_at_ignored for result in accepted))
            taken.events = len(accepted)
        answer = said.answer(
            [result.guid if isinstance(result, ValidEvent) else result for result in results]
        )
        for result in results:  # after `answer`, which may raise the refusal to be counted above
            if isinstance(result, HttpError):
                metrics.REJECTED.labels(result.kind.code).inc()
                taken.refused[result.kind.code] += 1
        return answer

    def _validate(self, events: Sequence[Any], producer: _Producer) -> list[ValidEvent | HttpError]:
        now = datetime.now(UTC)
        guids = guid.series(self._settings.guid_version, guid.EVENT, int(now.timestamp() * 1000))
        results: list[ValidEvent | HttpError] = []
        for raw, event_guid in zip(events, guids, strict=False):
            try:
                server_fields = ServerFields(
                    event_guid, self._settings.guid_version, producer.key, producer.address, now
                )
                results.append(
                    raw
                    if isinstance(raw, HttpError)
                    else validate(raw, self._limits, server_fields)
                )
            except HttpError as refused:
                results.append(refused)
            except Exception:
                log.exception(
                    "a defect of ours, in one event", request_id=producer.request_id.decode()
                )
                results.append(internal_error())
        return results

    async def _publish(self, events: Sequence[ValidEvent], trace: Sequence[Header]) -> None:
        """Publish the events of one request.

        Raises:
            HttpError: UNAVAILABLE, unless Kafka has acknowledged all of them.
        """
        records = [Record(event.key, event.value) for event in events]
        for outcome in await self._publisher.publish(records, [VERSION_HEADER, *trace]):
            if outcome.error:
                raise HttpError(ErrorKind.UNAVAILABLE, f"{outcome.error}: try again")


@cache
def _request_seconds(status: int) -> Histogram:
    """The series of a status: the metric would look for it under a lock, each time."""
    return metrics.REQUEST_SECONDS.labels(str(status))


def _refusal(refused: HttpError, answer_headers: Headers) -> tuple[int, dict[str, Any]]:
    metrics.REJECTED.labels(refused.kind.code).inc()
    answer_headers += refused.headers
    return refused.kind.status, refused.body()


def _client(scope: Scope, settings: IngestSettings) -> str | None:
    if not scope.get("client"):
        return None
    # Some proxies add a line of their own to those that they were given.
    hops = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return client_address.address(
        scope["client"][0], b",".join(hops).decode("latin-1"), settings.trusted_proxies
    )
