import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from enum import Enum, IntEnum
from typing import Any

import pytest

from merganser_client.event import MAX_BYTES, build_event

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


class Plan(str, Enum):
    GOLD = "gold"


class Number(IntEnum):
    SEVEN = 7


def build(**arguments: Any) -> dict[str, Any]:
    """Build an event, and return its decoded JSON."""
    defaults: dict[str, Any] = {
        "event_type": "purchase",
        "user_id": None,
        "anonymous_id": None,
        "data": None,
        "occurred_at": None,
        "message_id": None,
    }
    fields: dict[str, Any] = json.loads(build_event(**{**defaults, **arguments}).json)
    return fields


def test_an_event_with_all_fields() -> None:
    assert build(
        user_id="1", anonymous_id="a", data={"k": 1}, occurred_at=NOON, message_id="m"
    ) == {
        "type": "purchase",
        "userId": "1",
        "anonymousId": "a",
        "messageId": "m",
        "occurredAt": "2026-03-01T12:00:00+00:00",
        "sentAt": None,
        "data": {"k": 1},
    }


def test_defaults_are_the_time_and_a_unique_message_id() -> None:
    before = datetime.now(timezone.utc)
    first, second = build(user_id="1"), build(user_id="1")
    assert set(first) == {"type", "userId", "messageId", "occurredAt"}
    assert before <= datetime.fromisoformat(first["occurredAt"]) <= datetime.now(timezone.utc)
    assert re.fullmatch("[0-9a-f-]{36}", first["messageId"])
    assert first["messageId"] != second["messageId"]


def test_message_id_and_type_are_those_of_the_json() -> None:
    event = build_event('a "quoted" ü', "1", None, None, None, None)
    fields = json.loads(event.json)
    assert (event.message_id, event.type) == (fields["messageId"], fields["type"])


@pytest.mark.parametrize(
    ("id_", "sent"), [(123, "123"), (Number.SEVEN, "7"), (Plan.GOLD, "gold"), ("0", "0")]
)
def test_ids_are_strings_or_integers(id_: Any, sent: str) -> None:
    assert build(user_id=id_)["userId"] == sent
    assert build(anonymous_id=id_)["anonymousId"] == sent


@pytest.mark.parametrize("id_", [True, 1.5, b"1", ["1"]])
@pytest.mark.parametrize("name", ["user_id", "anonymous_id"])
def test_ids_of_other_types_are_refused(name: str, id_: object) -> None:
    with pytest.raises(TypeError, match=name):
        build(**{name: id_})


@pytest.mark.parametrize("ids", [{}, {"user_id": ""}, {"user_id": "", "anonymous_id": ""}])
def test_an_event_needs_an_id(ids: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="user_id or an anonymous_id"):
        build(**ids)


def test_the_user_id_may_be_empty_beside_an_anonymous_id() -> None:
    assert build(user_id="", anonymous_id="a")["anonymousId"] == "a"


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"event_type": ""}, ValueError, "type must not be empty"),
        ({"event_type": 1}, TypeError, "type must be a string"),
        ({"message_id": ""}, ValueError, "message_id must not be empty"),
        ({"message_id": 1}, TypeError, "message_id must be a string"),
        ({"occurred_at": datetime(2026, 1, 1)}, ValueError, "time zone"),  # noqa: DTZ001 - refused for this reason
        ({"occurred_at": "2026-01-01"}, TypeError, "must be a datetime"),
        ({"data": [1]}, TypeError, "data must be a mapping"),
        ({"data": {"good": 1, "bad": {2}}}, TypeError, r"data\['bad'\].*set"),
        ({"data": {"good": 1, "bad": [float("nan")]}}, ValueError, r"data\['bad'\]"),
        ({"user_id": "\ud800"}, ValueError, "lone surrogate"),
        ({"data": {"k": "x" * MAX_BYTES}}, ValueError, "65536 are allowed"),
    ],
)
def test_track_raises_for_invalid_arguments(
    fields: Mapping[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(**{"user_id": "1", **fields})


def test_a_time_keeps_its_zone_and_its_microseconds() -> None:
    east = timezone(timedelta(hours=2))
    moment = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=east)
    assert (
        build(user_id="1", occurred_at=moment)["occurredAt"] == "2026-03-01T12:00:00.123456+02:00"
    )
