"""With `MERGANSER_INGEST_IP`, no dialect publishes the address of a client."""

import json

import pytest

from schemas.client_ip import IpPolicy
from tests.support.system import System
from tests.support.waiting import equals, eventually

ADDRESS, NETWORK = "203.0.113.77", "203.0.113.0"

REQUESTS = {
    "/api/v1/track": {"type": "t", "userId": "1", "data": {"context": {"ip": ADDRESS}}},
    "/v1/t": {"event": "t", "userId": "1", "context": {"ip": ADDRESS}},
    "/e/": {"event": "t", "distinct_id": "1", "properties": {"$ip": ADDRESS}},
    "/api/s/track": {"event": "t", "userId": "1", "context": {"ip": ADDRESS}},
    "/api/v1/event": {"event_type": "t", "user": {"id": "1"}, "source_ip": ADDRESS},
    "/beacon/v1/batch": {
        "batch": [{"type": "track", "event": "t", "userId": "1", "context": {"ip": ADDRESS}}]
    },
    "/com.snowplowanalytics.snowplow/tp2": {
        "schema": "s",
        "data": [{"e": "pv", "uid": "1", "ip": ADDRESS}],
    },
}
"""An event with the address in its data, by the path of each dialect."""


@pytest.mark.parametrize(
    ("policy", "stored"), [("keep", ADDRESS), ("truncate", NETWORK), ("drop", None)]
)
async def test_a_clients_address_is_kept_truncated_or_dropped(
    system: System, policy: IpPolicy, stored: str | None
) -> None:
    gateway = await system.ingest(ingest_ip=policy, trusted_proxies="127.0.0.0/8")
    await system.resolver()
    headers = {"authorization": f"Bearer {gateway.key}", "x-forwarded-for": ADDRESS}
    for path, body in REQUESTS.items():
        answer = await gateway.request("POST", path, json.dumps(body).encode(), headers)
        assert answer.status_code == 200, answer.text
    await eventually(lambda: system.database.count("events"), equals(len(REQUESTS)))
    assert await system.database.column('SELECT DISTINCT "ipAddress" FROM events') == [stored]
    in_data = await system.database.column(
        """SELECT value FROM "eventData" WHERE value LIKE '%.113.%'"""
    )
    assert len(in_data) == (len(REQUESTS) if stored else 0)
    assert all((stored or "") in value for value in in_data)
    records = [record.value or b"" for record in await system.events.records()]
    assert any(ADDRESS.encode() in value for value in records) == (policy == "keep")
