"""The engine computes the values of the definition: in any order, in any batches, on any day."""

import json
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from merganser.rulebook.language import Rule
from properties.rules.engine import Engine, ignore_skip
from tests.properties import reference
from tests.properties.reference import ReferenceEvent
from tests.properties.strategies import NOW, TODAY, event_rules, reference_events, to_event_view
from tests.support import examples

MANY = settings(max_examples=examples.count(fast=200, full=1_500, nightly=20_000))


EVENTS = st.lists(reference_events(), max_size=12, unique_by=lambda event: event.guid)


@given(rule=event_rules(), events=EVENTS)
@MANY
def test_computing_all_events_at_once_matches_the_definition(
    rule: Rule, events: list[ReferenceEvent]
) -> None:
    engine = Engine([(1, rule)])
    found = engine.compute_from_events(
        [to_event_view(event) for event in events], TODAY, None, ignore_skip
    )
    assert found["tested"] == reference.compute_values(rule, events, NOW)


@given(rule=event_rules(), data=st.data(), events=EVENTS)
@MANY
def test_order_and_batches_do_not_matter(
    rule: Rule, data: st.DataObject, events: list[ReferenceEvent]
) -> None:
    engine = Engine([(1, rule)])
    state = engine.empty_state()
    for event in data.draw(st.permutations(events)):
        if data.draw(st.booleans()):
            state = json.loads(json.dumps(state))  # as between two transactions
        engine.count(state, [to_event_view(event)], TODAY, ignore_skip)
    assert engine.compute_properties(state, None)["tested"] == reference.compute_values(
        rule, events, NOW
    )


@given(rule=event_rules(), days=st.integers(0, 6), events=EVENTS)
@MANY
def test_events_leave_their_windows_as_days_pass(
    rule: Rule, days: int, events: list[ReferenceEvent]
) -> None:
    """`expire` returns the day of the next change; before it, no value changes."""
    engine = Engine([(1, rule)])
    state = engine.empty_state()
    engine.count(state, [to_event_view(event) for event in events], TODAY, ignore_skip)
    next_change = engine.expire(state, TODAY)
    before = engine.compute_properties(state, None)
    for day in range(1, days + 1):
        if next_change is None or TODAY + day < next_change:
            assert engine.compute_properties(state, None) == before
        else:
            next_change = engine.expire(state, TODAY + day)
        before = engine.compute_properties(state, None)
        later = NOW + timedelta(days=day)
        assert before["tested"] == reference.compute_values(rule, events, later)
