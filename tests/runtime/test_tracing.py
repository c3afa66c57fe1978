"""A collector gets the spans of a client's trace from ingest and the resolver."""

import json
import subprocess
import sys

from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider

from merganser.runtime.tracing import Tracing
from tests.support.collector import collecting
from tests.support.service import environment
from tests.support.system import System
from tests.support.waiting import equals, eventually

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


async def test_a_trace_continues_from_the_client_to_the_resolver(system: System) -> None:
    with collecting() as collector:
        gateway = await system.ingest(otlp_endpoint=collector.url)
        events = [{"type": "t", "userId": f"u{n}"} for n in range(3)]
        answer = await gateway.post(
            "/api/v1/batch",
            json.dumps({"events": events}).encode(),
            {"traceparent": f"00-{TRACE}-{PARENT}-01"},
        )
        assert answer.status_code == 200
        assert (await gateway.track(type="t")).status_code == 422
        unsampled = {"traceparent": f"00-{TRACE[::-1]}-{PARENT}-00"}
        alone = json.dumps({"type": "alone", "userId": "u"}).encode()
        assert (await gateway.post("/api/v1/track", alone, unsampled)).status_code == 200
        resolver = await system.resolver(otlp_endpoint=collector.url)
        await eventually(lambda: system.database.count("events"), equals(4))
        for service in (gateway, resolver):
            assert await service.stop() == 0  # sends the last spans

        traced, refused = collector.of("merganser-ingest")
        assert traced.kind == Span.SPAN_KIND_SERVER
        assert traced.trace_id.hex() == TRACE
        assert traced.parent_span_id.hex() == PARENT
        assert numbers(traced) == {"http.response.status_code": 200, "merganser.events": 3}
        assert numbers(refused)["http.response.status_code"] == 422
        assert refused.parent_span_id == b""

        batches = collector.of("merganser-resolver")
        links = [link for span in batches for link in span.links]
        assert {(link.trace_id.hex(), link.span_id) for link in links} == {(TRACE, traced.span_id)}
        assert sum(numbers(span)["merganser.events"] for span in batches) == 4
        assert len(batches) <= 4
        headers = [record.headers for record in await system.events.records()]
        carried = f"00-{TRACE}-{traced.span_id.hex()}-01".encode()
        assert sorted(header.get("traceparent", b"") for header in headers) == [b"", *[carried] * 3]
        text = "".join(str(span) for _, span in collector.spans)
        assert '"u1"' not in text


def test_an_invalid_trace_header_is_ignored() -> None:
    """The resolver has committed the batch already, so an error would stop it for nothing."""
    provider = TracerProvider(shutdown_on_exit=False)
    Tracing(provider).batch([[("traceparent", None)], [("traceparent", b"\xff")]], 0, {})


async def test_without_a_collector_the_sdk_is_not_imported(system: System) -> None:
    gateway = await system.ingest()
    body = json.dumps({"type": "t", "userId": "u"}).encode()
    await gateway.post("/api/v1/track", body, {"traceparent": f"00-{TRACE}-{PARENT}-01"})
    (record,) = await system.events.records()
    assert record.headers == {"schema-version": b"1"}
    script = (
        "import sys; from merganser.runtime import tracing; "
        "from merganser.runtime.settings import Settings; "
        "assert tracing.start_tracing(Settings(), 'test') is None; "
        "sys.exit(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", script], env=environment({}), check=True)  # noqa: ASYNC221


async def test_an_unreachable_collector_affects_no_event(system: System) -> None:
    gateway = await system.ingest(otlp_endpoint="http://127.0.0.1:9")
    for number in range(5):
        assert (await gateway.track(type="t", userId=f"u{number}")).status_code == 200
    assert await gateway.stop() == 0


def numbers(span: Span) -> dict[str, int]:
    """Return the numeric attributes of a span."""
    return {
        attribute.key: attribute.value.int_value
        for attribute in span.attributes
        if attribute.value.HasField("int_value")
    }
