"""Spans of requests and batches, to an OTLP collector where one is configured.

Without one nothing of OpenTelemetry's SDK is loaded, and no record has a trace header. A request's
context travels in its records by the W3C header names (https://www.w3.org/TR/trace-context/). One
batch has one span, which links to the requests of its records. The standard variables `OTEL_*`
configure the rest: OTEL_TRACES_SAMPLER above all.
"""

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from merganser.runtime.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

Header = tuple[str, bytes]
Received = tuple[str, bytes | None]
"""Others write to the topic as well, and Kafka has headers without a value."""

MOST_LINKS = 128
"""Requests that a batch's span names, at most; what OTEL_SPAN_LINK_COUNT_LIMIT is by default."""

EXPORT_SECONDS = 2
"""For the collector to take some spans, tries included; they are dropped then. A process that ends
waits no longer than that, once."""

_OUR_ERROR = 500
_W3C = TraceContextTextMapPropagator()


class RequestSpan:
    """A request that is being answered."""

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def headers(self) -> list[Header]:
        """For the records of the request: none if it is not sampled."""
        if not self._span.is_recording():
            return []
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, trace.set_span_in_context(self._span))
        return [(name, value.encode()) for name, value in carrier.items()]

    def end(self, status: int, events: int) -> None:
        """It was answered.

        Args:
            status: HTTP's.
            events: how many were accepted.
        """
        self._span.set_attribute("http.response.status_code", status)
        self._span.set_attribute("merganser.events", events)
        if status >= _OUR_ERROR:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class Tracing:
    """Makes spans."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("merganser")

    def request(self, method: str, headers: Mapping[bytes, bytes]) -> RequestSpan:
        """Begin the span of a request, as a child of the client's if it names one."""
        context = _W3C.extract(
            {
                name: value.decode("latin-1")
                for name in ("traceparent", "tracestate")
                if (value := headers.get(name.encode())) is not None
            }
        )
        return RequestSpan(
            self._tracer.start_span(
                f"{method} events",
                context,
                SpanKind.SERVER,
                attributes={"http.request.method": method},
            )
        )

    def batch(
        self, records: Iterable[Iterable[Received]], start_ns: int, attributes: Mapping[str, int]
    ) -> None:
        """Tell of a batch that was just committed.

        Args:
            records: the headers of each of its records.
            start_ns: when its transaction began, in nanoseconds since 1970.
            attributes: what it did.
        """
        links = [Link(context) for context in _contexts(records)]
        span = self._tracer.start_span(
            "resolve batch",
            trace.set_span_in_context(trace.INVALID_SPAN),
            SpanKind.CONSUMER,
            attributes={f"merganser.{name}": value for name, value in attributes.items()},
            links=links,
            start_time=start_ns,
        )
        span.end()

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()


def opened(settings: Settings, process: str) -> Tracing | None:
    """Spans of this process, or None where no collector is configured.

    Raises:
        SystemExit: one is, but the packages for it are not installed.
    """
    ours = settings.otlp_endpoint
    if not (ours or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")):
        return None
    try:
        # Only who traces needs them.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise SystemExit(
            "merganser: MERGANSER_OTLP_ENDPOINT: tracing needs `pip install merganser[tracing]`"
        ) from error
    resource = Resource.create({"service.name": f"merganser-{process}"})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    endpoint = f"{ours.rstrip('/')}/v1/traces" if ours else None
    exporter = OTLPSpanExporter(endpoint, timeout=EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)


def _contexts(records: Iterable[Iterable[Received]]) -> list[SpanContext]:
    """Of the requests of these records, each once."""
    found: dict[bytes, SpanContext] = {}
    for headers in records:
        for name, value in headers:
            if name == "traceparent" and value is not None and value not in found:
                carrier: dict[str, Any] = {name: value.decode("latin-1")}
                context = trace.get_current_span(_W3C.extract(carrier)).get_span_context()
                if context.is_valid:
                    found[value] = context
        if len(found) >= MOST_LINKS:
            break
    return list(found.values())
