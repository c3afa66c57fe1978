"""What dialects share: flattening within limits, parsing event by event, responses to batches."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.dialects.common import (
    MAX_DATA_KEYS,
    MAX_FLATTENED_KEY,
    add_flattened,
    batch_response,
    flatten,
    invalid_field,
    object_field,
    parse_each,
)
from merganser.http.errors import ErrorKind, HttpError, internal_error

KEYS = st.sampled_from(["a", "b", "c", "ab", "a.b", ""])
VALUES = st.recursive(
    st.sampled_from([None, True, 1, "", "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("value", "flat"),
    [
        pytest.param(
            {"page": {"url": "/", "title": "Mugs"}, "ip": "192.0.2.1"},
            {"c.page.url": "/", "c.page.title": "Mugs", "c.ip": "192.0.2.1"},
            id="objects become dotted keys",
        ),
        pytest.param({"a": {"b": {"c": {"d": 1}}}}, {"c.a.b.c.d": 1}, id="to any depth"),
        pytest.param(
            {"tags": ["x", {"y": 1}], "none": []},
            {"c.tags": ["x", {"y": 1}], "c.none": []},
            id="arrays stay values",
        ),
        pytest.param({"a": {}, "b": {"c": {}}}, {}, id="empty objects are dropped"),
        pytest.param(
            {"a": None, "b": {"c": None, "d": False}}, {"c.b.d": False}, id="null is dropped"
        ),
        pytest.param({}, {}, id="nothing"),
        pytest.param(None, {}, id="null"),
        pytest.param("text", {"c": "text"}, id="a scalar"),
        pytest.param([1], {"c": [1]}, id="an array"),
    ],
)
def test_objects_become_dotted_keys(value: Any, flat: dict[str, Any]) -> None:
    assert flatten("c", value) == flat


def test_an_object_that_exceeds_the_room_stays_one_value() -> None:
    small, large = {"a": 1, "b": 2}, {str(n): n for n in range(10)}
    value = {"large": large, "small": small}
    assert flatten("c", value, room=12) == {
        **{f"c.large.{n}": n for n in range(10)},
        "c.small.a": 1,
        "c.small.b": 2,
    }
    assert flatten("c", value, room=11) == {
        **{f"c.large.{n}": n for n in range(10)},
        "c.small": small,
    }
    assert flatten("c", value, room=10) == {"c.large": large, "c.small.a": 1, "c.small.b": 2}
    assert flatten("c", value, room=2) == {"c.large": large, "c.small": small}
    assert flatten("c", value, room=1) == {"c": value}
    assert flatten("c", value, room=0) == {}


def test_null_and_empty_objects_take_no_room() -> None:
    value = {"empty": {}, "null": None, "a": {"x": 1, "y": None}, "b": {"p": 2, "q": 3, "r": 4}}
    assert flatten("c", value, room=4) == {"c.a.x": 1, "c.b.p": 2, "c.b.q": 3, "c.b.r": 4}


def test_an_object_under_a_long_key_stays_one_value() -> None:
    """Otherwise a body of a megabyte would become hundreds of megabytes."""
    longest = "k" * (MAX_FLATTENED_KEY - 2)
    assert flatten("c", {longest: {"x": 1}}) == {f"c.{longest}.x": 1}
    assert flatten("c", {longest + "k": {"x": 1}}) == {f"c.{longest}k": {"x": 1}}


def test_a_thousand_levels_are_flattened_within_the_key_limit() -> None:
    value: Any = 1
    for _ in range(1000):
        value = {"a": value}
    ((key, rest),) = flatten("c", value).items()
    assert len(key) <= MAX_FLATTENED_KEY + 2
    assert isinstance(rest, dict)


@given(st.dictionaries(KEYS, VALUES), st.integers(0, 20))
def test_flattening_keeps_the_limit_and_all_values(value: dict[str, Any], room: int) -> None:
    flat = flatten("c", value, room)
    assert len(flat) <= room
    assert None not in flat.values()
    if room > 0 and not any(
        "." in key for key in collect_keys(value)
    ):  # dots in keys are ambiguous
        assert nest(flat) == drop_empty({"c": value})


def collect_keys(value: Any) -> list[str]:
    inner = value.values() if isinstance(value, dict) else []
    return [
        *(value if isinstance(value, dict) else []),
        *(key for member in inner for key in collect_keys(member)),
    ]


def nest(flat: dict[str, Any]) -> dict[str, Any]:
    """Return the nested value of a flat one."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *outer, last = key.split(".")
        parent = nested
        for name in outer:
            parent = parent.setdefault(name, {})
        parent[last] = value
    return drop_empty(nested)


def drop_empty(value: dict[str, Any]) -> dict[str, Any]:
    members = {
        key: drop_empty(member) if isinstance(member, dict) else member
        for key, member in value.items()
    }
    return {key: member for key, member in members.items() if member not in (None, {})}


def test_keys_of_the_data_win_over_flattened_keys() -> None:
    assert add_flattened({"c.a": 1, "x": 2}, "c", {"a": 3, "b": 4}) == {"c.a": 1, "x": 2, "c.b": 4}


@pytest.mark.parametrize("own", [0, 200, MAX_DATA_KEYS - 1, MAX_DATA_KEYS])
def test_flattened_keys_never_exceed_the_limit_of_keys(own: int) -> None:
    data = {str(n): n for n in range(own)}
    context = {"page": {f"k{n}": n for n in range(300)}, "ip": "192.0.2.1"}
    both = add_flattened(data, "context", context)
    assert len(both) <= MAX_DATA_KEYS
    assert data.items() <= both.items()


def test_an_object_field_is_an_object_or_missing() -> None:
    assert object_field({"traits": {"a": 1}}, "traits") == {"a": 1}
    assert object_field({"traits": None}, "traits") == object_field({}, "traits") == {}
    others: list[Any] = [[], "text", True]
    for value in others:
        with pytest.raises(HttpError) as caught:
            object_field({"traits": value}, "traits")
        assert dict(caught.value.fields) == {"traits": "must be an object"}


def test_a_bad_event_does_not_affect_the_others() -> None:
    def read(event: dict[str, Any]) -> dict[str, Any]:
        if "bad" in event:
            raise invalid_field("bad", "is bad")
        return {"type": event["type"]}

    first, bad, none, last = parse_each([{"type": "a"}, {"bad": 1}, None, {"type": "b"}], read)
    assert (first, last) == ({"type": "a"}, {"type": "b"})
    assert isinstance(bad, HttpError)
    assert (bad.kind, bad.message) == (ErrorKind.INVALID, "bad: is bad")
    assert isinstance(none, HttpError)
    assert none.kind is ErrorKind.INVALID


def test_a_response_lists_rejected_events() -> None:
    good, bad, worse = (
        {"success": True},
        invalid_field("type", "is bad"),
        invalid_field("event", "is missing"),
    )
    assert batch_response(["evt_1", "evt_2"], good) == good
    assert batch_response([], good) == good
    assert batch_response(["evt_1", bad, "evt_2", worse], good) == {
        "success": True,
        "rejected": [{"index": 1, **bad.body()}, {"index": 3, **worse.body()}],
    }
    json.dumps(batch_response(["evt_1", bad], good))


def test_a_batch_without_a_valid_event_is_refused() -> None:
    bad, worse = invalid_field("type", "is bad"), invalid_field("event", "is missing")
    with pytest.raises(HttpError) as caught:
        batch_response([bad, worse], {})
    assert caught.value is bad


def test_an_internal_error_refuses_the_whole_batch() -> None:
    internal = internal_error()
    with pytest.raises(HttpError) as caught:
        batch_response(["evt_1", invalid_field("type", "is bad"), internal], {})
    assert caught.value is internal
