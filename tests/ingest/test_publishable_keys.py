"""Publishable keys: what a key that anyone can read may do, from which pages, and how often."""

import base64
import json
from typing import Any

import pytest

from tests.support.gateway import Gateway
from tests.support.system import System
from tests.support.waiting import equals, eventually

TRACK = "/api/v1/track"
SHOP, OTHER = "https://shop.example", "https://other.example"
REJECTED = "merganser_ingest_events_rejected_total"


async def publishable_key(system: System, *options: str) -> str:
    return (await system.cli("keys", "create", "page", "--publishable", *options)).strip()


async def send(
    gateway: Gateway, key: str, headers: dict[str, str] | None = None, events: int = 1
) -> int:
    body = json.dumps({"apiKey": key, "events": [{"type": "t", "userId": "1"}] * events}).encode()
    return (await gateway.request("POST", "/api/v1/batch", body, headers)).status_code


async def test_producer_guid_leads_to_the_kind_of_key(system: System) -> None:
    gateway = await system.ingest()
    await system.resolver()
    key = await publishable_key(system)
    assert len(base64.urlsafe_b64decode(key.removeprefix("mk_pub_") + "=")) == 32
    await gateway.tracked(type="by a page", userId="1", apiKey=key)
    await gateway.tracked(type="by a server", userId="1")
    await eventually(lambda: system.database.count("events"), equals(2))
    await system.cli("keys", "revoke", "page")
    kinds = 'SELECT type, kind FROM events JOIN "apiKeys" ON "apiKeys".guid = "producerGuid"'
    assert set(await system.database.rows(kinds)) == {
        ("by a page", "publishable"),
        ("by a server", "secret"),
    }
    accepted = "merganser_ingest_events_accepted_total"
    assert await gateway.metric(accepted, key_kind="publishable") == 1
    assert await gateway.metric(accepted, key_kind="secret") == 1


NATIVE = {"type": "t", "userId": "1"}
SEGMENT = {"type": "track", "event": "t", "userId": "1"}
POSTHOG = {"event": "t", "distinct_id": "1"}
SNOWPLOW = {"e": "pv", "uid": "1"}


def form(event: dict[str, Any]) -> str:
    return "data=" + base64.b64encode(json.dumps(event).encode()).decode()


REQUESTS: dict[str, tuple[str, str, Any, dict[str, str]]] = {
    "body": ("POST", TRACK, {**NATIVE, "apiKey": "KEY"}, {}),
    "Bearer": ("POST", TRACK, NATIVE, {"authorization": "Bearer KEY"}),
    "Basic": ("POST", TRACK, NATIVE, {"authorization": "Basic KEY"}),
    "batch": ("POST", "/api/v1/batch", {"apiKey": "KEY", "events": [NATIVE, {}, NATIVE]}, {}),
    "Segment": ("POST", "/v1/t", {**SEGMENT, "writeKey": "KEY"}, {}),
    "Segment batch": ("POST", "/v1/b", {"batch": [{**SEGMENT, "writeKey": "KEY"}]}, {}),
    "beacon": ("POST", "/beacon/v1/batch?writeKey=KEY", {"batch": [SEGMENT]}, {}),
    "PostHog": ("POST", "/e/", {**POSTHOG, "api_key": "KEY"}, {}),
    "PostHog form": ("POST", "/e/", {**POSTHOG, "token": "KEY"}, {"content-type": "form"}),
    "Jitsu header": ("POST", "/api/s/track", SEGMENT, {"x-write-key": "any:KEY"}),
    "Jitsu URL": ("POST", "/api/v1/event?token=KEY", {"event_type": "t", "user": {"id": "1"}}, {}),
    "Snowplow": (
        "POST",
        "/com.snowplowanalytics.snowplow/tp2",
        {"data": [SNOWPLOW | {"aid": "KEY"}]},
        {},
    ),
}


def filled(value: Any, key: str) -> Any:
    """A request's part with the key."""
    return json.loads(json.dumps(value).replace("KEY", key))


@pytest.mark.parametrize("name", REQUESTS)
async def test_pages_of_other_origins_cannot_use_a_key_in_any_dialect(
    shared: System, gateway: Gateway, name: str
) -> None:
    key = await publishable_key(shared, "--origin", f"{SHOP}/", "--origin", "http://localhost:3000")
    method, path, body, headers = filled(REQUESTS[name], key)
    if headers.get("authorization") == f"Basic {key}":
        headers["authorization"] = "Basic " + base64.b64encode(f"{key}:".encode()).decode()
    content = (form(body) if headers.get("content-type") == "form" else json.dumps(body)).encode()

    async def answer(origin: str | None) -> Any:
        own = {} if origin is None else {"origin": origin}
        return await gateway.request(method, path, content, {**headers, **own})

    before = await shared.events.size()
    counted = await gateway.metric(REJECTED, reason="origin_not_allowed", key_kind="publishable")
    for origin in (OTHER, "null", "http://shop.example", f"{SHOP}:8443", f"https://a.{SHOP[8:]}"):
        refused = await answer(origin)
        assert refused.status_code == 403, origin
        assert refused.json()["code"] == refused.json()["error"]["code"] == "origin_not_allowed"
        assert "docs/security.md" in refused.json()["message"]
        assert "shop.example" not in refused.text  # the response does not list the allowed origins
        assert "localhost" not in refused.text
        assert refused.headers["access-control-allow-origin"] == origin
    assert await shared.events.size() == before
    assert (
        await gateway.metric(REJECTED, reason="origin_not_allowed", key_kind="publishable")
        == counted + 5
    )
    for allowed in (SHOP, "http://localhost:3000", None):
        assert (await answer(allowed)).status_code == 200, allowed


async def test_the_referer_of_a_pixel_must_be_an_allowed_origin(
    shared: System, gateway: Gateway
) -> None:
    key = await publishable_key(shared, "--origin", SHOP)
    path = f"/i?e=pv&uid=1&aid={key}"
    for referer, status in ((f"{OTHER}/", 403), (f"{SHOP}/", 200), (f"{SHOP}/cart?a=b", 200)):
        answer = await gateway.request("GET", path, headers={"referer": referer})
        assert answer.status_code == status, referer
    assert (await gateway.request("GET", path)).status_code == 200


async def test_a_wildcard_allows_all_subdomains(shared: System, gateway: Gateway) -> None:
    key = await publishable_key(shared, "--origin", "https://*.shop.example")
    for origin, status in (
        ("https://www.shop.example", 200),
        ("https://a.b.shop.example", 200),
        ("https://shop.example", 403),
        ("https://evilshop.example", 403),
    ):
        assert await send(gateway, key, {"origin": origin}) == status, origin


async def test_pages_of_every_origin_can_use_a_key_without_origins(
    shared: System, gateway: Gateway
) -> None:
    key = await publishable_key(shared)
    for origin in (SHOP, OTHER, "null"):
        assert await send(gateway, key, {"origin": origin}) == 200


async def test_a_preflight_gets_204_from_every_origin(gateway: Gateway) -> None:
    for origin in (SHOP, OTHER, "null"):
        answer = await gateway.request("OPTIONS", TRACK, headers={"origin": origin})
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == origin


async def test_a_running_gateway_applies_changed_origins_and_rate(system: System) -> None:
    gateway = await system.ingest(ingest_burst=1)
    key = await publishable_key(system, "--origin", SHOP, "--rate", "0.001")
    mobile = "https://m.shop.example"
    assert await send(gateway, key, {"origin": mobile}) == 403
    assert await send(gateway, key, {"origin": SHOP}) == 200
    assert await send(gateway, key, {"origin": SHOP}) == 429
    await system.cli("keys", "change", "page", "--origin", f"{mobile}/", "--rate", "100000")
    await eventually(lambda: send(gateway, key, {"origin": mobile}), equals(200))
    assert await send(gateway, key, {"origin": SHOP}) == 403
    assert await send(gateway, key, {"origin": mobile}) == 200
    await system.cli("keys", "change", "page", "--any-origin")
    await eventually(lambda: send(gateway, key, {"origin": OTHER}), equals(200))


async def test_a_key_with_a_rate_ignores_the_setting(system: System) -> None:
    """A publishable key has a rate, and any key may have one, lower or higher than the setting."""
    gateway = await system.ingest(ingest_rate=1, ingest_burst=10)
    rates = {
        gateway.key: 1,
        await publishable_key(system): 100,
        await publishable_key(system, "--rate", "0.5"): 0.5,
        (await system.cli("keys", "create", "import", "--rate", "20")).strip(): 20,
    }
    assert await system.database.column('SELECT rate FROM "apiKeys" ORDER BY "createdAt"') == [
        *(None, 100, 0.5, 20)
    ]
    for key, rate in rates.items():
        assert await send(gateway, key, events=1000) == 200
        body = json.dumps({"apiKey": key, "events": [NATIVE]}).encode()
        refused = await gateway.request("POST", "/api/v1/batch", body)
        assert refused.status_code == 429
        assert f"may send {rate} events/s" in refused.json()["message"]
    assert await gateway.metric(REJECTED, reason="rate_limited", key_kind="publishable") == 2
    assert await gateway.metric(REJECTED, reason="rate_limited", key_kind="secret") == 2


async def test_a_refused_origin_does_not_use_up_the_rate(system: System) -> None:
    gateway = await system.ingest(ingest_burst=1)
    key = await publishable_key(system, "--origin", SHOP, "--rate", "0.001")
    for _ in range(3):
        assert await send(gateway, key, {"origin": OTHER}) == 403
    assert await send(gateway, key, {"origin": SHOP}) == 200
    assert await send(gateway, key, {"origin": SHOP}) == 429
