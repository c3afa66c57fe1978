"""Recorded requests of Grouparoo's web client, sent byte for byte, become the right profiles."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from merganser.http.authentication import hash_key
from tests.support.system import System
from tests.support.waiting import equals, eventually

RECORDINGS = sorted((Path(__file__).parents[1] / "data" / "recordings").glob("*.jsonl"))
KEY = "test_write_key_1"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Request:
    """One recorded request."""

    method: str
    path: str
    headers: dict[str, str]
    body: str

    def to_bytes(self, path: str) -> bytes:
        """Return the request as bytes of HTTP/1.1, with this path."""
        head = [f"{self.method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in self.headers.items())]
        return "\r\n".join([*head, "", self.body]).encode()

    @property
    def event(self) -> dict[str, Any]:
        """The event in the body."""
        sent: dict[str, Any] = json.loads(self.body)
        return sent


def read_requests(recording: Path) -> Iterator[Request]:
    for line in recording.read_text().splitlines():
        entry = json.loads(line)
        yield Request(entry["method"], entry["path"], entry["headers"], entry["body_text"])


def test_two_recordings_exist() -> None:
    assert len(RECORDINGS) == 2


@pytest.mark.parametrize("slash", ["", "/"], ids=["as recorded", "host ends in a slash"])
@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem.rpartition("+")[2])
async def test_a_recording_becomes_profiles(system: System, recording: Path, slash: str) -> None:
    await system.database.execute(
        """INSERT INTO "apiKeys" (name, "keyHash", permissions) VALUES ('web', %s, %s)""",
        hash_key(KEY),
        ["events:write"],
    )
    gateway = await system.ingest()
    guids: dict[str, dict[str, Any]] = {}
    for request in read_requests(recording):
        status, body = await gateway.raw(request.to_bytes(slash + request.path))
        if request.method == "OPTIONS":
            assert status == 204
        else:
            assert status == 200, body
            guids[json.loads(body)["event"]["guid"]] = request.event
    assert len(guids) == 30

    await system.resolver()
    await eventually(lambda: system.database.count("events"), equals(len(guids)))

    rows = await system.database.rows(
        'SELECT guid, type, "userId", "anonymousId", "occurredAt", "ipAddress" FROM events'
    )
    assert {row[0]: row[1:] for row in rows} == {
        guid: (
            sent["type"],
            None if sent["userId"] is None else "123",
            sent["anonymousId"],
            EPOCH + timedelta(milliseconds=sent["ocurredAt"]),
            "127.0.0.1",
        )
        for guid, sent in guids.items()
    }

    data: dict[str, dict[str, str]] = {guid: {} for guid in guids}
    for guid, key, value in await system.database.rows(
        'SELECT "eventGuid", key, value FROM "eventData"'
    ):
        assert key not in data[guid]
        data[guid][key] = value
    assert data == {
        guid: {
            **{
                key: to_stored_text(value)
                for key, value in sent["data"].items()
                if value is not None
            },
            "sessionId": sent["sessionId"],
        }
        for guid, sent in guids.items()
    }

    # All events of person_1 are user 123's, also those before the sign-in; later visitors differ.
    profile = await system.database.profile_of("123")
    profiles = await system.database.rows('SELECT "anonymousId", "profileGuid" FROM events')
    assert {owner for visitor, owner in profiles if visitor == "person_1"} == {profile}
    assert profile not in {owner for visitor, owner in profiles if visitor != "person_1"}
    assert None not in {owner for _, owner in profiles}


def to_stored_text(value: object) -> str:
    """Return a value of the recordings as it must be stored; its numbers have Python's format."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


async def test_an_error_has_the_fields_that_the_client_reads(system: System) -> None:
    """It shows `error.message` and sends the event again."""
    gateway = await system.ingest()
    request = next(request for request in read_requests(RECORDINGS[0]) if request.method == "POST")
    status, body = await gateway.raw(request.to_bytes(request.path))
    assert status == 401
    assert "unknown" in json.loads(body)["error"]["message"]
