"""The gateway as a bare ASGI application: a framework would cost more than its work.

Data flows one way: request -> body -> dialect -> validate -> publish -> response. Any step may
raise `HttpError`; `Gateway.__call__` turns it into a response.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
import structlog
from prometheus_client import Histogram

from ingest import body
from ingest.dialects import Dialect, ParsedRequest, Response, StaticResponse
from ingest.publisher import Publisher
from ingest.rate_limit import RateLimiter
from ingest.refused_events import Origin, RefusedEvents
from ingest.request import Request
from ingest.routes import Routes
from ingest.usage import KeyUsage
from ingest.validate import validate
from merganser.http import authentication, client_address, cors, origins, request_ids
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
_to_json = msgspec.json.Encoder().encode
_ALLOWED_HEADERS = (
    b"authorization, content-type, content-encoding, anonymousid, sentat, x-write-key, "
    b"traceparent, tracestate, x-request-id, x-retry-count, rsa-recovered, rsa-retry-attempt, "
    b"rsa-retry-reason, rsa-since-first-attempt, rsa-since-last-attempt"
)
_ACCEPTED = {kind: metrics.ACCEPTED.labels(kind) for kind in authentication.KeyKind}
"""The series of each kind of key, shown as 0 until it counts."""


@dataclass(slots=True)
class _Progress:
    """The facts of one request for its log line, trace and metrics."""

    request_id: bytes
    trace: Sequence[Header]
    path: str = ""
    """With `*` for each part that the client chooses; empty until the route is known."""
    key_kind: str = ""
    """Empty until the request's key is known."""
    key_guid: str | None = None
    parsed_events: int = 0
    events: int = 0
    """Accepted."""
    has_refused_events: bool = False
    """Whether single events are refused and recorded."""
    error_codes: list[str] = field(default_factory=list)

    @property
    def origin(self) -> Origin:
        """Where refused events of the request come from."""
        return Origin(self.request_id, self.path, self.key_guid)


class Gateway:
    """Receives events over HTTP and publishes them."""

    def __init__(
        self,
        settings: IngestSettings,
        dialects: Sequence[Dialect],
        known_keys: authentication.ApiKeys,
        publisher: Publisher,
        usage: KeyUsage,
        tracing: Tracing | None = None,
        refused_events: RefusedEvents | None = None,
    ) -> None:
        self._settings = settings
        self._limits = EventLimits(
            id_characters=settings.ingest_max_id,
            data_keys=settings.ingest_max_keys,
            depth=settings.ingest_max_depth,
            event_bytes=settings.ingest_max_event,
            nobody=settings.nobody_ids,
            client_ip=settings.ingest_ip,
        )
        self._routes = Routes(dialects)
        self._keys = known_keys
        self._publisher = publisher
        self._usage = usage
        self._limiter = RateLimiter(settings.ingest_rate, settings.ingest_burst, time.monotonic)
        self._tracing = tracing
        self._refused_events = refused_events
        self._error_log = ErrorLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one HTTP request."""
        start = time.monotonic()
        headers = dict(scope["headers"])
        request_id = request_ids.request_id(headers)
        response_headers = cors.response_headers(
            headers, b"Retry-After, X-Request-Id", credentials=True
        )
        response_headers.append((request_ids.HEADER, request_id))
        if scope["method"] == "OPTIONS":
            preflight = cors.preflight_headers(headers, b"GET, POST, OPTIONS", _ALLOWED_HEADERS)
            await send_response(send, 204, response_headers + preflight, b"")
            return
        span = self._tracing.request(scope["method"], headers) if self._tracing else None
        progress = _Progress(request_id, span.headers if span else ())
        try:
            status, response = 200, await self._handle(scope, headers, receive, progress)
        except body.ClientDisconnected:
            return
        except HttpError as error:
            status, response = _error_response(error, response_headers, progress.key_kind)
            progress.error_codes.append(error.kind.code)
            if self._refused_events and not progress.has_refused_events:
                origin = progress.origin
                self._refused_events.record_request(origin, error, progress.parsed_events)
        except Exception:
            log.exception("internal error in a request", request_id=request_id.decode())
            status, response = _error_response(
                internal_error(), response_headers, progress.key_kind
            )
        if progress.error_codes:
            self._error_log.write(request_id, status, Counter(progress.error_codes))
        if span:
            span.end(status, progress.events)
        _request_seconds(status).observe(time.monotonic() - start)
        if isinstance(response, Response):
            content, media_type, own_headers = response
        else:
            content, media_type, own_headers = _to_json(response), _JSON, ()
        response_headers = [*response_headers, (b"content-type", media_type), *own_headers]
        await send_response(send, status, response_headers, content)

    async def _handle(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, progress: _Progress
    ) -> dict[str, Any] | Response:
        reader, parts = self._routes.find(scope["method"], scope["path"])
        progress.path = _hide(scope["path"], parts)
        max_bytes = self._settings.ingest_max_body
        raw = await body.read(receive, max_bytes, self._settings.ingest_body_timeout)
        parsed = reader(Request(body.unpack(raw, max_bytes), parts, headers, scope["query_string"]))
        if isinstance(parsed, StaticResponse):
            return parsed.response
        progress.parsed_events = len(parsed.events)
        key = await self._keys.identify(
            authentication.key_from_header(headers.get(b"authorization", b"")) or parsed.api_key
        )
        progress.key_guid = key.guid
        try:
            return await self._accept(parsed, key, scope, headers, progress)
        finally:
            self._usage.add(key.guid, progress.events, len(parsed.events) - progress.events)

    async def _accept(
        self,
        parsed: ParsedRequest,
        key: authentication.ApiKey,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        progress: _Progress,
    ) -> dict[str, Any] | Response:
        authentication.check_permission(key, authentication.Permission.WRITE_EVENTS)
        progress.key_kind = key.kind
        if key.origins:
            _check_origin(headers, key)
        if len(parsed.events) > self._settings.ingest_max_batch:
            raise HttpError(
                ErrorKind.TOO_LARGE,
                f"{len(parsed.events)} events, {self._settings.ingest_max_batch} are allowed",
            )
        self._limiter.admit(key, len(parsed.events), parsed.rate_limit_error)
        address = _client(scope, self._settings)
        results = self._validate(parsed.events, key.guid, address, progress.request_id)
        accepted = [result for result in results if isinstance(result, ValidEvent)]
        refused = len(results) - len(accepted)
        if refused and self._refused_events:
            progress.has_refused_events = True
            self._refused_events.record_events(progress.origin, parsed.events, results, refused)
        if accepted:
            if error := await self._publisher.publish(accepted, [VERSION_HEADER, *progress.trace]):
                raise HttpError(ErrorKind.UNAVAILABLE, f"{error}: try again")
            _ACCEPTED[key.kind].inc(len(accepted))
            if ignored := [True for result in accepted if result.sent_at_ignored]:
                metrics.SENT_AT_IGNORED.inc(len(ignored))
            progress.events = len(accepted)
        response = parsed.respond(
            [result.guid if isinstance(result, ValidEvent) else result for result in results]
        )
        # After `respond`, which may raise an error that is counted above.
        if refused:
            for result in results:
                if isinstance(result, HttpError):
                    metrics.REJECTED.labels(result.kind.code, key.kind).inc()
                    progress.error_codes.append(result.kind.code)
        return response

    def _validate(
        self, events: Sequence[Any], producer_guid: str, address: str | None, request_id: bytes
    ) -> list[ValidEvent | HttpError]:
        now = datetime.now(UTC)
        guids = guid.series(self._settings.guid_version, guid.EVENT, int(now.timestamp() * 1000))
        server_fields = ServerFields(
            guids.__next__, self._settings.guid_version, producer_guid, address, now
        )
        results: list[ValidEvent | HttpError] = []
        for raw in events:
            try:
                results.append(
                    raw
                    if isinstance(raw, HttpError)
                    else validate(raw, self._limits, server_fields)
                )
            except HttpError as error:
                results.append(error)
            except Exception:
                log.exception("internal error in one event", request_id=request_id.decode())
                results.append(internal_error())
        return results


@cache
def _request_seconds(status: int) -> Histogram:
    """Return the series of a status. The metric itself looks it up under a lock each time."""
    return metrics.REQUEST_SECONDS.labels(str(status))


def _hide(path: str, parts: Sequence[str]) -> str:
    """Return a path without the parts that a client chooses, such as a key."""
    for part in parts:
        path = path.replace(part, "*")
    return path


def _check_origin(headers: Mapping[bytes, bytes], key: authentication.ApiKey) -> None:
    """Check that a page may use a key with origins. A request that no page sends passes.

    Other programs than browsers can send any origin. To demand one would only exclude apps.

    Raises:
        HttpError: ORIGIN_NOT_ALLOWED.
    """
    origin = origins.request_origin(headers)
    if origin is not None and not origins.is_allowed(origin, key.origins):
        raise HttpError(
            ErrorKind.ORIGIN_NOT_ALLOWED,
            "pages of this origin may not use this API key: `merganser keys list` shows its "
            "origins, and docs/security.md says how to add one",
        )


def _error_response(
    error: HttpError, response_headers: Headers, key_kind: str
) -> tuple[int, dict[str, Any]]:
    metrics.REJECTED.labels(error.kind.code, key_kind).inc()
    response_headers += error.headers
    return error.kind.status, error.body()


def _client(scope: Scope, settings: IngestSettings) -> str | None:
    if not scope.get("client"):
        return None
    peer: str = scope["client"][0]
    if not settings.trusted_proxies:
        return peer
    # Some proxies add a second header instead of appending to the first.
    hops = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return client_address.address(peer, b",".join(hops).decode("latin-1"), settings.trusted_proxies)
