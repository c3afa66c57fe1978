"""Request ids in responses and in the log lines of refused requests."""

import json
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from merganser.http import request_ids
from merganser.http.errors import ErrorLog
from tests.support.service import Service
from tests.support.system import System
from tests.support.waiting import eventually


@pytest.mark.parametrize("sent", [b"", b"two words", b"a@b", b"x" * 129, b"\xff"])
def test_an_invalid_request_id_is_replaced(sent: bytes) -> None:
    request_id = request_ids.request_id({b"x-request-id": sent})
    assert request_id != sent
    assert len(request_id) == 32
    assert request_id != request_ids.request_id({})


def test_the_request_id_of_a_client_is_kept() -> None:
    assert request_ids.request_id({b"x-request-id": b"01J-a.b:c"}) == b"01J-a.b:c"


def test_many_refusals_log_a_few_lines_and_a_count() -> None:
    error_log = ErrorLog(lines_per_second=2)
    with capture_logs() as logs:
        for n in range(5):
            error_log.write(b"id%d" % n, 401, {"unauthorized": 1}, now=7.5)
        error_log.write(b"next", 401, {"unauthorized": 1}, now=8.0)
    assert [line["request_id"] for line in logs] == ["id0", "id1", "next"]
    assert [line.get("lines_left_out") for line in logs] == [None, None, 3]


async def test_ingest_logs_the_id_of_a_refused_request_and_no_content(system: System) -> None:
    gateway = await system.ingest()
    secret = {"type": "secret-type", "userId": "secret-user", "anonymousId": 5.5, "k": "secret"}
    body = json.dumps({"events": [{"type": "t", "userId": "u"}, secret, {}]}).encode()
    answer = await gateway.post("/api/v1/batch", body, {"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    generated = (await gateway.track(type="t", userId="u")).headers["x-request-id"]
    wrong = await gateway.post("/api/v1/track", b"{", {"authorization": "Bearer secret-key"})
    line = await eventually(lambda: find_log_line(gateway, "mine-1"))
    assert line["reasons"]["invalid"] >= 1
    line = await eventually(lambda: find_log_line(gateway, wrong.headers["x-request-id"]))
    assert line["status"] in {400, 401}
    assert len(generated) == 32
    assert "secret" not in gateway.log


async def test_the_read_api_logs_the_id_of_a_refused_request(system: System) -> None:
    api, url = await system.api()
    async with httpx.AsyncClient() as client:
        refused = await client.get(f"{url}/profiles", headers={"x-request-id": "mine-2"})
    assert refused.status_code == 401
    assert refused.headers["x-request-id"] == "mine-2"
    line = await eventually(lambda: find_log_line(api, "mine-2"))
    assert line["status"] == 401


def find_log_line(service: Service, request_id: str) -> dict[str, Any]:
    """Return the log line of a refused request, or nothing if the log does not have it yet."""
    found = (line for line in service.log_lines if line.get("request_id") == request_id)
    return next(found, {})
