"""Limits of the state of rules: exact in any order of events, and small for any events."""

import json
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merganser.rulebook.language import Rule
from merganser.rulebook.values import MAX_VALUE_BYTES
from properties.rules import aggregations
from properties.rules.aggregations import build_aggregation
from properties.rules.engine import Engine, ignore_skip
from properties.rules.event_view import SkipReason
from tests.properties import reference
from tests.properties.reference import ReferenceEvent
from tests.properties.single_rule import CaseEvent, compute_values, compute_values_and_skips
from tests.properties.strategies import NOW, TODAY, to_event_view
from tests.support import examples

VALUES = ["", "a", "b", "cc", "ddd", "eeee", "ü", "üü", '["a","bb","ccc"]', '["","",""]']
EVENTS = st.lists(
    st.builds(
        lambda number, hours, value: ReferenceEvent(
            f"evt_{number:03}", NOW + timedelta(hours=hours), "view", data={"name": value}
        ),
        st.integers(0, 999),
        st.integers(-100, 30),
        st.sampled_from(VALUES),
    ),
    max_size=30,
    unique_by=lambda event: event.guid,
)
CAPPED = settings(
    max_examples=examples.count(fast=100, full=600),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def build_rule(name: str, window: int | None, *, array: bool = False) -> Rule:
    kind = "integer" if name == "distinct count" else "string"
    events = {"type": "view", "aggregation": name, "column": "data.name", "window": window}
    return Rule.model_validate({"key": "tested", "type": kind, "array": array, "events": events})


RULES = [
    build_rule(name, window, array=array)
    for name, array in {
        "all values": True,
        "distinct count": False,
        "most recent": True,
        "least recent": True,
    }.items()
    for window in (None, 1, 2, 3)
]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the caps so that few events reach them."""
    monkeypatch.setattr(aggregations, "MAX_ARRAY_VALUES", 3)
    monkeypatch.setattr(aggregations, "MAX_ALL_VALUES_BYTES", MAX_VALUE_BYTES + 6)
    monkeypatch.setattr(aggregations, "MAX_DISTINCT", 3)
    monkeypatch.setattr(reference, "MAX_VALUES", 3)
    monkeypatch.setattr(reference, "ENOUGH_BYTES", 6)
    monkeypatch.setattr(reference, "MAX_DISTINCT", 3)


@pytest.mark.usefixtures("tiny")
@CAPPED
@given(rule=st.sampled_from(RULES), events=EVENTS, data=st.data())
def test_caps_are_exact_in_any_order_and_batches_and_as_days_pass(
    rule: Rule, events: list[ReferenceEvent], data: st.DataObject
) -> None:
    engine = Engine([(1, rule)])
    state, remaining, today = engine.empty_state(), data.draw(st.permutations(events)), TODAY
    for _ in range(6):
        taken = data.draw(st.integers(0, len(remaining)))
        engine.count(
            state, [to_event_view(event) for event in remaining[:taken]], today, ignore_skip
        )
        remaining = remaining[taken:]
        if data.draw(st.booleans()):
            engine.expire(state, today)
            state = json.loads(json.dumps(state))  # as between two transactions
        today += data.draw(st.integers(0, 1))
    engine.count(state, [to_event_view(event) for event in remaining], today, ignore_skip)
    if data.draw(st.booleans()):
        today += data.draw(st.integers(0, 3))
    engine.expire(state, today)
    now = NOW + timedelta(days=today - TODAY)
    assert engine.compute_properties(state, None)["tested"] == reference.compute_values(
        rule, events, now
    )


@pytest.mark.usefixtures("tiny")
@CAPPED
@given(
    rule=st.sampled_from(RULES),
    parts=st.tuples(EVENTS, EVENTS, EVENTS),
    day=st.integers(TODAY - 3, TODAY + 1),
)
def test_combining_is_associative_and_commutative(
    rule: Rule, parts: tuple[list[ReferenceEvent], ...], day: int
) -> None:
    """It stays so if a state is trimmed in between, as before it is stored."""
    assert rule.events
    aggregation = build_aggregation(rule, rule.events)

    def add_up(events: list[ReferenceEvent]) -> Any:
        state = None
        for event in events:
            single = aggregation.from_event(to_event_view(event), [])
            state = combine(state, single)
        return state

    def combine(left: Any, right: Any) -> Any:
        if left is None or right is None:
            return left or right
        return aggregation.combine(json.loads(json.dumps(left)), right, [])

    def compute(state: Any) -> list[str]:
        if state is not None and aggregation.trim:
            state, _ = aggregation.trim(state, day) or (None, 0)
        return [] if state is None else aggregation.values(state)

    def trim(state: Any) -> Any:
        trimmed = aggregation.trim(state, 0) if state is not None and aggregation.trim else None
        return trimmed[0] if trimmed else state

    def state(part: int) -> Any:
        return add_up(parts[part])

    expected = compute(combine(combine(state(0), state(1)), state(2)))
    assert compute(combine(state(0), combine(state(1), state(2)))) == expected
    trimmed = combine(trim(combine(trim(state(2)), state(0))), trim(state(1)))
    assert compute(trimmed) == expected


def test_all_values_stop_at_the_value_that_reaches_48_kib() -> None:
    """In any order of events. So all values together have at most 64 KiB."""
    source = {"type": "buy", "column": "data.n", "aggregation": "all values"}
    long = "x" * MAX_VALUE_BYTES
    events: list[CaseEvent] = [(n, "buy", {"n": long}) for n in range(5)]
    events += [(9, "buy", {"n": "y"})]
    for order in (events, events[::-1]):
        assert compute_values(source, order, array=True)[0] == [long] * 3 + ["y"]
    events = [(n, "buy", {"n": "x" * 16_000}) for n in range(9)]
    assert compute_values(source, events, array=True)[0] == ["x" * 16_000] * 4


def test_a_value_of_more_than_16_kib_is_skipped_and_counted() -> None:
    long, too_long = "ü" * (MAX_VALUE_BYTES // 2), None
    events: list[CaseEvent] = [(1, "buy", {"n": long}), (2, "buy", {"n": too_long}), (3, "buy", {})]
    for name, expected in {
        "most recent": [long],
        "least recent": [long],
        "max": [long],
        "count": ["2"],
        "distinct count": ["1"],
    }.items():
        source = {"type": "buy", "column": "data.n", "aggregation": name}
        kind = "integer" if "count" in name else "string"
        found, skips = compute_values_and_skips(source, events, kind=kind)
        assert found == expected, name
        assert skips == ({} if name == "count" else {SkipReason.TOO_LONG: 1}), name


@pytest.mark.parametrize(("op", "met"), [("exists", 1), ("equals", 0), ("does not contain", 0)])
def test_a_value_of_more_than_16_kib_exists_and_meets_nothing_else(op: str, met: int) -> None:
    value = {} if op == "exists" else {"value": "x"}
    source = {
        "type": "buy",
        "aggregation": "count",
        "filters": [{"column": "data.n", "op": op, **value}],
    }
    assert compute_values(source, [(1, "buy", {"n": None})], kind="integer")[0] == [str(met)]


@pytest.mark.parametrize("name", ["min", "max", "least recent"])
@pytest.mark.parametrize(("window", "longest"), [(5, 13_107), (8, 8_192), (3650, 256)])
def test_more_days_in_a_window_lower_the_length_limit_of_a_value(
    name: str, window: int, longest: int
) -> None:
    source = {"type": "buy", "column": "data.n", "aggregation": name, "window": window}
    fits: list[CaseEvent] = [(0, "buy", {"n": "x" * longest})]
    assert compute_values_and_skips(source, fits) == (["x" * longest], {})
    longer: list[CaseEvent] = [(0, "buy", {"n": "x" * longest + "x"})]
    assert compute_values_and_skips(source, longer) == ([], {SkipReason.TOO_LONG: 1})


@pytest.mark.parametrize("name", ["most recent", "least recent"])
def test_an_array_property_has_a_thousand_elements_at_most(name: str) -> None:
    source = {"type": "buy", "column": "data.n", "aggregation": name}
    events: list[CaseEvent] = [(0, "buy", {"n": json.dumps(list(range(1_005)))})]
    found, skips = compute_values_and_skips(source, events, array=True)
    assert found == [str(n) for n in range(1_000)]
    assert skips == {SkipReason.CAPPED: 5}


def test_values_that_a_cap_drops_are_counted() -> None:
    source = {"type": "buy", "column": "data.n", "aggregation": "all values"}
    events: list[CaseEvent] = [(n, "buy", {"n": str(n)}) for n in range(1_003)]
    assert compute_values_and_skips(source, events, array=True)[1] == {SkipReason.CAPPED: 3}
    source["aggregation"] = "distinct count"
    events = [(n, "buy", {"n": str(n)}) for n in range(10_003)]
    for window in (None, 1):
        found, skips = compute_values_and_skips(
            {**source, "window": window}, events, kind="integer"
        )
        assert (found, skips) == (["10000"], {SkipReason.CAPPED: 3})


@pytest.mark.parametrize(
    ("name", "window", "most"),
    [
        ("all values", None, 200_000),
        ("all values", 30, 200_000),
        ("distinct count", None, 250_000),
        ("distinct count", 30, 270_000),
        ("most recent", 3650, 20_000),
        ("least recent", 3650, 1_200_000),
        ("max", 3650, 1_200_000),
    ],
)
def test_a_state_stays_small_for_any_events(name: str, window: int | None, most: int) -> None:
    """As JSON: 20,000 long values over ten years."""
    rule = build_rule(name, window, array=name == "all values")
    engine, random, state = Engine([(1, rule)]), Random(1), None
    state = engine.empty_state()
    for number in range(20_000):
        day = NOW - timedelta(days=random.randrange(3650 if window == 3650 else 30), hours=6)
        value = f"{number:05}" * random.choice([1, 50, 50, 2000])
        event = ReferenceEvent(f"evt_{number:060}", day, "view", data={"name": value})
        engine.count(state, [to_event_view(event)], TODAY, ignore_skip)
    engine.expire(state, TODAY)
    assert len(json.dumps(state)) < most
