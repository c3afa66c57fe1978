"""Request ids, and what the log says of refusals and defects."""

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


@pytest.mark.parametrize("theirs", [b"", b"two words", b"a@b", b"x" * 129, b"\xff"])
def test_an_id_that_does_not_fit_is_replaced(theirs: bytes) -> None:
    ours = request_ids.request_id({b"x-request-id": theirs})
    assert ours != theirs
    assert len(ours) == 32
    assert ours != request_ids.request_id({})


def test_a_client_s_id_is_taken() -> None:
    assert request_ids.request_id({b"x-request-id": b"01J-a.b:c"}) == b"01J-a.b:c"


def test_a_flood_of_refusals_is_some_lines_and_a_number() -> None:
    error_log = ErrorLog(lines_per_second=2)
    with capture_logs() as logs:
        for n in range(5):
            error_log.write(b"id%d" % n, 401, {"unauthorized": 1}, now=7.5)
        error_log.write(b"next", 401, {"unauthorized": 1}, now=8.0)
    assert [line["request_id"] for line in logs] == ["id0", "id1", "next"]
    assert [line.get("lines_left_out") for line in logs] == [None, None, 3]


async def test_ingest_says_which_request_was_refused_and_nothing_of_it(system: System) -> None:
    gateway = await system.ingest()
    secret = {"type": "secret-type", "userId": "secret-user", "anonymousId": 5.5, "k": "secret"}
    body = json.dumps({"events": [{"type": "t", "userId": "u"}, secret, {}]}).encode()
    answer = await gateway.post("/api/v1/batch", body, {"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    made = (await gateway.track(type="t", userId="u")).headers["x-request-id"]
    wrong = await gateway.post("/api/v1/track", b"{", {"authorization": "Bearer secret-key"})
    line = await eventually(lambda: refusal(gateway, "mine-1"))
    assert line["reasons"]["invalid"] >= 1
    line = await eventually(lambda: refusal(gateway, wrong.headers["x-request-id"]))
    assert line["status"] in {400, 401}
    assert len(made) == 32
    assert "secret" not in gateway.log


async def test_the_read_api_too(system: System) -> None:
    api, url = await system.api()
    async with httpx.AsyncClient() as client:
        refused = await client.get(f"{url}/profiles", headers={"x-request-id": "mine-2"})
    assert refused.status_code == 401
    assert refused.headers["x-request-id"] == "mine-2"
    line = await eventually(lambda: refusal(api, "mine-2"))
    assert line["status"] == 401


def refusal(service: Service, request_id: str) -> dict[str, Any]:
    """The line of a refused request, empty while it is not there."""
    found = (line for line in service.log_lines if line.get("request_id") == request_id)
    return next(found, {})
