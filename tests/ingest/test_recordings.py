"""All that Grouparoo's own web client sends, byte for byte, and what must come of it."""

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

    def bytes(self, path: str) -> bytes:
        """It, as it went over the wire."""
        head = [f"{self.method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in self.headers.items())]
        return "\r\n".join([*head, "", self.body]).encode()

    @property
    def event(self) -> dict[str, Any]:
        """What it says."""
        said: dict[str, Any] = json.loads(self.body)
        return said


def requests(recording: Path) -> Iterator[Request]:
    for line in recording.read_text().splitlines():
        entry = json.loads(line)
        yield Request(entry["method"], entry["path"], entry["headers"], entry["body_text"])


def test_there_are_recordings_of_a_browser_and_of_jsdom() -> None:
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
    for request in requests(recording):
        status, body = await gateway.raw(request.bytes(slash + request.path))
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
            said["type"],
            None if said["userId"] is None else "123",
            said["anonymousId"],
            EPOCH + timedelta(milliseconds=said["ocurredAt"]),
            "127.0.0.1",
        )
        for guid, said in guids.items()
    }

    data: dict[str, dict[str, str]] = {guid: {} for guid in guids}
    for guid, key, value in await system.database.rows(
        'SELECT "eventGuid", key, value FROM "eventData"'
    ):
        assert key not in data[guid]
        data[guid][key] = value
    assert data == {
        guid: {
            **{key: text(value) for key, value in said["data"].items() if value is not None},
            "sessionId": said["sessionId"],
        }
        for guid, said in guids.items()
    }

    # All of person_1 is user 123's, the page view before the sign-in too; who came after is not.
    profile = await system.database.profile_of("123")
    profiles = await system.database.rows('SELECT "anonymousId", "profileGuid" FROM events')
    assert {owner for visitor, owner in profiles if visitor == "person_1"} == {profile}
    assert profile not in {owner for visitor, owner in profiles if visitor != "person_1"}
    assert None not in {owner for _, owner in profiles}


def text(value: object) -> str:
    """A value of the recordings as it must be stored; they write numbers as Python does."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


async def test_errors_are_what_the_client_reads(system: System) -> None:
    """It shows `error.message` and sends the same again."""
    gateway = await system.ingest()
    request = next(request for request in requests(RECORDINGS[0]) if request.method == "POST")
    status, body = await gateway.raw(request.bytes(request.path))
    assert status == 401
    assert "unknown" in json.loads(body)["error"]["message"]
