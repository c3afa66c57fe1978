"""Spans of requests and batches, sent to an OTLP collector if one is configured.

Without a collector, the process does not load OpenTelemetry's SDK, and records have no trace
headers. With one, a record carries its request's context in the W3C headers
(https://www.w3.org/TR/trace-context/). A batch has one span, with links to the requests of its
records. The standard variables `OTEL_*`, such as OTEL_TRACES_SAMPLER, configure the rest.
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
"""A header of a record that any producer may have written: its value may be missing."""

MOST_LINKS = 128
"""Links of a batch's span; the default of OTEL_SPAN_LINK_COUNT_LIMIT."""

EXPORT_SECONDS = 2
"""Timeout of an export including its tries; then the spans are dropped. A process that stops waits
this long at most."""

_OUR_ERROR = 500
_W3C = TraceContextTextMapPropagator()


class RequestSpan:
    """The span of a request."""

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def headers(self) -> list[Header]:
        """Return the trace headers of the request's records; none if it is not sampled."""
        if not self._span.is_recording():
            return []
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, trace.set_span_in_context(self._span))
        return [(name, value.encode()) for name, value in carrier.items()]

    def end(self, status: int, events: int) -> None:
        """End the span.

        Args:
            status: HTTP status of the response.
            events: the number of accepted events.
        """
        self._span.set_attribute("http.response.status_code", status)
        self._span.set_attribute("merganser.events", events)
        if status >= _OUR_ERROR:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class Tracing:
    """Creates spans."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("merganser")

    def request(self, method: str, headers: Mapping[bytes, bytes]) -> RequestSpan:
        """Start the span of a request, as a child of the client's span if its headers name one."""
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
        """Export the span of a batch that was just committed.

        Args:
            records: the headers of each of its records.
            start_ns: the start of its transaction, in nanoseconds since 1970.
            attributes: numbers that describe it.
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
        """Export the remaining spans."""
        self._provider.shutdown()


def start_tracing(settings: Settings, process: str) -> Tracing | None:
    """Return the tracing of this process, or None if no collector is configured.

    Raises:
        SystemExit: the packages for tracing are not installed.
    """
    collector = settings.otlp_endpoint
    if not (collector or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")):
        return None
    try:
        # Optional packages, which only tracing needs.
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
    endpoint = f"{collector.rstrip('/')}/v1/traces" if collector else None
    exporter = OTLPSpanExporter(endpoint, timeout=EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)


def _contexts(records: Iterable[Iterable[Received]]) -> list[SpanContext]:
    """Return the span contexts of the records' requests, each once."""
    contexts: dict[bytes, SpanContext] = {}
    for headers in records:
        for name, value in headers:
            if name == "traceparent" and value is not None and value not in contexts:
                carrier: dict[str, Any] = {name: value.decode("latin-1")}
                context = trace.get_current_span(_W3C.extract(carrier)).get_span_context()
                if context.is_valid:
                    contexts[value] = context
        if len(contexts) >= MOST_LINKS:
            break
    return list(contexts.values())
