"""API keys: where a request has them, what they permit, and how soon a change takes effect."""

import base64
import json

import pytest

from merganser.http.authentication import hash_key
from tests.support import proxy
from tests.support.gateway import Gateway
from tests.support.system import System
from tests.support.waiting import equals, eventually

EVENT = {"type": "t", "userId": "1"}
TRACK = "/api/v1/track"


async def post_event(gateway: Gateway, key: str | None) -> int:
    body = json.dumps({**EVENT, "apiKey": key}).encode()
    return (await gateway.request("POST", TRACK, body)).status_code


def basic_authorization(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


async def test_a_key_may_be_in_the_body_or_in_the_header(gateway: Gateway) -> None:
    body = json.dumps(EVENT).encode()
    for authorization in (
        f"Bearer {gateway.key}",
        f"bearer   {gateway.key}",
        basic_authorization(f"{gateway.key}:"),
        basic_authorization(gateway.key),
        basic_authorization(f"{gateway.key}:password"),
    ):
        answer = await gateway.request("POST", TRACK, body, {"authorization": authorization})
        assert answer.status_code == 200, authorization
    assert await post_event(gateway, gateway.key) == 200
    assert (await gateway.batch([EVENT])).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        *("", "Bearer", "Bearer unknown", "Basic", "Basic !!!", "Digest x"),
        *(
            basic_authorization(":"),
            basic_authorization("unknown:"),
            "Basic /////w==",
            "Basic \xe9".encode("latin-1"),
        ),
    ],
)
async def test_other_keys_in_the_header_are_unauthorized(
    gateway: Gateway, authorization: str | bytes
) -> None:
    answer = await gateway.request(
        "POST", TRACK, json.dumps(EVENT).encode(), {"authorization": authorization}
    )
    assert answer.status_code == 401, answer.text
    assert answer.json()["code"] == answer.json()["error"]["code"] == "unauthorized"
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("key", [None, "", "unknown", 7, {}, "\ud800", "x" * 100_000])
async def test_other_keys_in_the_body_are_unauthorized(gateway: Gateway, key: object) -> None:
    body = json.dumps({**EVENT, "apiKey": key}).encode()
    answer = await gateway.request("POST", TRACK, body)
    assert answer.status_code == 401, answer.text


async def test_a_key_without_the_permission_is_forbidden(shared: System, gateway: Gateway) -> None:
    reader = await shared.key("reader", "events:read")
    both = await shared.key("both", "events:read", "events:write")
    await eventually(lambda: post_event(gateway, both), equals(200))
    answer = await gateway.request("POST", TRACK, json.dumps({**EVENT, "apiKey": reader}).encode())
    assert answer.status_code == 403
    assert answer.json()["code"] == "forbidden"


async def test_a_new_key_works_at_once(system: System) -> None:
    gateway = await system.ingest(ingest_keys_interval=3600)
    assert await post_event(gateway, await system.key("new")) == 200


async def test_a_revoked_key_stops_working_on_every_gateway(
    system: System,
) -> None:
    gateways = [await system.ingest(), await system.ingest()]
    leaver, stayer = await system.key("leaver"), await system.key("stayer")
    for gateway in gateways:
        await eventually(lambda g=gateway: post_event(g, leaver), equals(200))  # type: ignore[misc]
        assert await post_event(gateway, stayer) == 200
    assert await system.cli("keys", "revoke", "leaver") == "1 revoked\n"
    for gateway in gateways:
        await eventually(lambda g=gateway: post_event(g, leaver), equals(401), within=5)  # type: ignore[misc]
        assert await post_event(gateway, stayer) == 200


async def test_only_a_hash_is_stored(system: System) -> None:
    secret = await system.key("named", "events:write")
    row = (await system.database.rows('SELECT * FROM "apiKeys"'))[0]
    assert secret not in str(row)
    assert "named" in (listed := await system.cli("keys", "list"))
    assert secret not in listed


async def test_a_key_is_compared_by_its_whole_hash(system: System) -> None:
    secret = await system.key("alike")
    await system.database.execute(
        """UPDATE "apiKeys" SET "keyHash" = left("keyHash", 16) || repeat('0', 48)"""
    )
    assert await post_event(await system.ingest(), secret) == 401


async def test_known_keys_work_while_postgres_is_unreachable(
    system: System,
) -> None:
    async with proxy.run(system.database.url) as (network, url):
        gateway = await system.ingest(database_url=url)
        await network.stop()
        await eventually(lambda: post_event(gateway, "unknown"), equals(503))
        answer = await gateway.request("POST", TRACK, b'{"apiKey": "unknown"}')
        assert int(answer.headers["retry-after"]) > 0
        for _ in range(20):
            assert await post_event(gateway, gateway.key) == 200
        assert await gateway.why_not_ready() == {}

        await network.start()
        late = await system.key("late")
        await eventually(lambda: post_event(gateway, late), equals(200))
        assert await post_event(gateway, "unknown") == 401


async def test_known_keys_work_while_postgres_hangs(system: System) -> None:
    async with proxy.run(system.database.url) as (network, url):
        gateway = await system.ingest(database_url=url, ingest_keys_interval=3600)
        network.freeze()
        await eventually(lambda: post_event(gateway, "unknown"), equals(503))
        for _ in range(20):
            assert await post_event(gateway, gateway.key) == 200

        network.thaw()
        late = await system.key("late")
        await eventually(lambda: post_event(gateway, late), equals(200))


async def test_a_key_has_256_random_bits_and_its_hash_is_not_a_key(system: System) -> None:
    secrets = [await system.key(f"key {number}") for number in range(3)]
    for secret in secrets:
        assert len(base64.urlsafe_b64decode(secret.removeprefix("mk_") + "=")) == 32
    assert len(set(secrets)) == 3
    gateway = await system.ingest()
    hashes = await system.database.column('SELECT "keyHash" FROM "apiKeys"')
    assert set(map(hash_key, secrets)) < set(hashes)
    for stolen in hashes:
        assert await post_event(gateway, stolen) == 401
