import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from enum import Enum, IntEnum
from typing import Any

import pytest

from merganser_client import event

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


class Plan(str, Enum):
    GOLD = "gold"


class Number(IntEnum):
    SEVEN = 7


def made(**fields: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "kind": "purchase",
        "user_id": None,
        "anonymous_id": None,
        "data": None,
        "occurred_at": None,
        "message_id": None,
        **fields,
    }
    written: dict[str, Any] = json.loads(event.make(**given).json)
    return written


def test_an_event_in_full() -> None:
    assert made(user_id="1", anonymous_id="a", data={"k": 1}, occurred_at=NOON, message_id="m") == {
        "type": "purchase",
        "userId": "1",
        "anonymousId": "a",
        "messageId": "m",
        "occurredAt": "2026-03-01T12:00:00+00:00",
        "sentAt": None,
        "data": {"k": 1},
    }


def test_what_is_not_given_is_made_once() -> None:
    before = datetime.now(timezone.utc)
    first, second = made(user_id="1"), made(user_id="1")
    assert set(first) == {"type", "userId", "messageId", "occurredAt"}
    assert before <= datetime.fromisoformat(first["occurredAt"]) <= datetime.now(timezone.utc)
    assert re.fullmatch("[0-9a-f-]{36}", first["messageId"])
    assert first["messageId"] != second["messageId"]


def test_the_message_id_is_known_beside_the_json() -> None:
    one = event.make("t", "1", None, None, None, None)
    assert one.message_id == json.loads(one.json)["messageId"]


@pytest.mark.parametrize(
    ("given", "sent"), [(123, "123"), (Number.SEVEN, "7"), (Plan.GOLD, "gold"), ("0", "0")]
)
def test_ids_are_strings_or_integers(given: Any, sent: str) -> None:
    assert made(user_id=given)["userId"] == sent
    assert made(anonymous_id=given)["anonymousId"] == sent


@pytest.mark.parametrize("given", [True, 1.5, b"1", ["1"]])
@pytest.mark.parametrize("name", ["user_id", "anonymous_id"])
def test_other_ids_are_mistakes(name: str, given: object) -> None:
    with pytest.raises(TypeError, match=name):
        made(**{name: given})


@pytest.mark.parametrize("ids", [{}, {"user_id": ""}, {"user_id": "", "anonymous_id": ""}])
def test_an_event_is_about_somebody(ids: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="user_id or an anonymous_id"):
        made(**ids)


def test_a_visitor_who_is_not_signed_in_may_have_an_empty_user_id() -> None:
    assert made(user_id="", anonymous_id="a")["anonymousId"] == "a"


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"kind": ""}, ValueError, "type must not be empty"),
        ({"kind": 1}, TypeError, "type must be a string"),
        ({"message_id": ""}, ValueError, "message_id must not be empty"),
        ({"message_id": 1}, TypeError, "message_id must be a string"),
        ({"occurred_at": datetime(2026, 1, 1)}, ValueError, "time zone"),  # noqa: DTZ001 - the point
        ({"occurred_at": "2026-01-01"}, TypeError, "must be a datetime"),
        ({"data": [1]}, TypeError, "data must be a mapping"),
        ({"data": {"good": 1, "bad": {2}}}, TypeError, r"data\['bad'\].*set"),
        ({"data": {"good": 1, "bad": [float("nan")]}}, ValueError, r"data\['bad'\]"),
        ({"user_id": "\ud800"}, ValueError, "lone surrogate"),
        ({"data": {"k": "x" * event.MOST_BYTES}}, ValueError, "65536 are allowed"),
    ],
)
def test_mistakes_are_told_where_they_are_made(
    fields: Mapping[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        made(**{"user_id": "1", **fields})


def test_a_time_keeps_its_zone_and_its_microseconds() -> None:
    east = timezone(timedelta(hours=2))
    moment = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=east)
    assert made(user_id="1", occurred_at=moment)["occurredAt"] == "2026-03-01T12:00:00.123456+02:00"
