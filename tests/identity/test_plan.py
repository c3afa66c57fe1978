"""A plan groups events as the definition does, in any order, any batches, with any repeats."""

from collections import Counter
from collections.abc import Hashable, Mapping
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merganser.identity.plan import Merge
from tests.identity.histories import START, at, deliveries
from tests.identity.memory_store import MemoryStore, to_event_ids
from tests.identity.reference import SentEvent, grouping, without_suppressed
from tests.support import examples

MANY = settings(max_examples=examples.count(fast=200, full=2_000, nightly=50_000))
Delivery = tuple[list[SentEvent], list[list[SentEvent]]]


def same_groups(left: Mapping[str, Hashable], right: Mapping[str, Hashable]) -> bool:
    """Return whether two groupings are equal, except for the names of the groups."""
    return left.keys() == right.keys() and len({(left[guid], right[guid]) for guid in left}) == len(
        set(left.values())
    ) == len(set(right.values()))


@MANY
@given(deliveries())
def test_any_order_and_batches_give_the_groups_of_the_definition(delivery: Delivery) -> None:
    history, batches = delivery
    store = MemoryStore()
    for batch in batches:
        store.receive(batch)
    assert same_groups(store.grouping(), grouping(history))


@MANY
@given(deliveries(), st.data())
def test_links_are_ignored_and_taken_back_in_any_order(
    delivery: Delivery, data: st.DataObject
) -> None:
    history, batches = delivery
    changes = st.lists(st.tuples(st.booleans(), st.sampled_from(history)), max_size=6)
    store = MemoryStore()
    seen: list[SentEvent] = []
    for batch in batches:
        store.receive(batch)
        seen += batch
        for unlinks, event in data.draw(changes) if history else []:
            if unlinks:
                store.unlink(event.guid)
            else:
                store.relink(event.guid)
            assert same_groups(store.grouping(), grouping(seen, store.ignored))
            users = [user_id for user_id in store.profiles.values() if user_id is not None]
            assert len(users) == len(set(users)), "a user has one profile"
            alone = Counter(known.profile for known in store.anonymous_ids.values())
            anonymous = [guid for guid, user_id in store.profiles.items() if user_id is None]
            assert all(alone[guid] == 1 for guid in anonymous)


@MANY
@given(deliveries())
def test_the_tables_are_consistent_after_each_batch(delivery: Delivery) -> None:
    _, batches = delivery
    store = MemoryStore()
    seen: list[SentEvent] = []
    for batch in batches:
        store.receive(batch)
        seen += batch
        assert same_groups(store.grouping(), grouping(seen))
        users = Counter(user_id for user_id in store.profiles.values() if user_id is not None)
        assert set(users.values()) <= {1}, "a user has one profile"
        assert {known.profile for known in store.anonymous_ids.values()} <= store.profiles.keys()
        for event, profile in store.events.values():
            assert (profile is None) == (event.user_id is None and event.anonymous_id is None)
            if profile is not None:
                assert profile in store.profiles, "the profile of an event exists"
                assert event.user_id in {None, store.profiles[profile]}, (
                    "an event is never on the profile of another user"
                )


@MANY
@given(deliveries())
def test_repeated_events_change_nothing(delivery: Delivery) -> None:
    history, batches = delivery
    store = MemoryStore()
    for batch in batches:
        store.receive(batch)
    before = (dict(store.profiles), dict(store.anonymous_ids), dict(store.events))
    plan = store.receive(history)
    assert (
        plan.new_profiles,
        plan.new_anonymous_ids,
        plan.changed_anonymous_ids,
        plan.merges,
    ) == ((), {}, {}, ())
    assert (store.profiles, store.anonymous_ids, store.events) == before


@MANY
@given(deliveries())
def test_equal_arguments_give_equal_plans(delivery: Delivery) -> None:
    _, batches = delivery
    first, second = MemoryStore(), MemoryStore()
    for batch in batches:
        assert first.receive(batch) == second.receive(batch)


@MANY
@given(
    deliveries(),
    st.frozensets(st.sampled_from(["a", "u1"])),
    st.frozensets(st.sampled_from(["a", "b", "d1"])),
)
def test_a_suppressed_id_is_ignored(
    delivery: Delivery, users: frozenset[str], devices: frozenset[str]
) -> None:
    history, batches = delivery
    store = MemoryStore((users, devices))
    for batch in batches:
        plan = store.receive(batch)
        assert plan.detached_events == {
            event.guid
            for event in batch
            if without_suppressed(event, users, devices) not in {None, event}
        }
    expected = grouping(
        without_suppressed(event, users, devices) or event._replace(user_id=None, anonymous_id=None)
        for event in history
    )
    assert same_groups(store.grouping(), expected)
    assert users.isdisjoint(store.profiles.values())
    assert devices.isdisjoint(store.anonymous_ids)


def sent(number: int, second: int, user_id: str | None, anonymous_id: str | None) -> SentEvent:
    return SentEvent(f"evt_{number}", START + timedelta(seconds=second), user_id, anonymous_id)


PAGE = sent(1, 1, None, "person_1")
SIGN_IN = sent(2, 2, "123", "person_1")


def test_a_claimed_profile_keeps_its_guid() -> None:
    store = MemoryStore()
    store.receive([PAGE])
    plan = store.receive([SIGN_IN])
    assert plan.merges == (Merge("claimed", "person_1", "evt_2", "123", None, "pro_1"),)
    assert store.grouping() == {"evt_1": "pro_1", "evt_2": "pro_1"}


def test_an_anonymous_profile_merges_into_the_profile_of_the_user() -> None:
    store = MemoryStore()
    store.receive([sent(3, 0, "123", None)])
    store.receive([PAGE])
    (merge,) = store.receive([SIGN_IN]).merges
    assert (merge.reason, merge.loser, merge.survivor) == ("merged", "pro_1", "pro_3")
    assert store.profiles == {"pro_3": "123"}


def test_the_earlier_of_two_links_in_a_batch_claims() -> None:
    store = MemoryStore()
    store.receive([PAGE, sent(4, 1, None, "phone")])
    plan = store.receive([sent(5, 9, "123", "phone"), SIGN_IN])
    assert [(m.reason, m.anonymous_id) for m in plan.merges] == [
        ("claimed", "person_1"),
        ("merged", "phone"),
    ]
    assert store.profiles == {"pro_1": "123"}


@pytest.mark.parametrize("late", [True, False], ids=["earlier link late", "earlier link first"])
def test_two_users_of_one_device_never_merge(late: bool) -> None:  # noqa: FBT001 - a case
    earlier, later = sent(6, 5, "ann", "shared"), sent(7, 6, "bob", "shared")
    store = MemoryStore()
    store.receive([sent(8, 1, None, "shared")])
    for link in [later, earlier] if late else [earlier, later]:
        plan = store.receive([link])
    profiles = store.grouping()
    assert profiles["evt_8"] == profiles["evt_6"] != profiles["evt_7"]
    assert [merge.reason for merge in plan.merges] == (["moved"] if late else [])
    assert plan.refused_links == (0 if late else 1)


def test_an_earlier_link_of_the_same_owner_moves_nothing() -> None:
    store = MemoryStore()
    store.receive([PAGE, SIGN_IN])
    plan = store.receive([sent(9, 0, "123", "person_1")])
    assert plan.merges == ()
    assert plan.changed_anonymous_ids["person_1"].link == (START, START, "evt_9", "123")


def test_equal_times_are_ordered_by_guid() -> None:
    store = MemoryStore()
    for event in [sent(3, 1, "bob", "d"), sent(2, 1, "ann", "d"), sent(4, 1, "cat", "d")]:
        store.receive([event])
    link = store.anonymous_ids["d"].link
    assert link is not None
    assert link.user_id == "ann"


def test_a_link_over_a_publishable_key_is_never_earlier_than_one_that_was_there() -> None:
    store = MemoryStore()
    store.receive([PAGE, SIGN_IN])
    forged = sent(3, -1_000_000, "thief", "person_1")._replace(received_at=at(9))
    plan = store.receive([forged])
    assert plan.merges == ()
    assert plan.refused_links == 1
    assert store.grouping()["evt_1"] == store.grouping()["evt_2"] != store.grouping()["evt_3"]


def test_links_received_at_the_same_time_are_ordered_by_when_they_occurred() -> None:
    links = [sent(1, 5, "bob", "d"), sent(2, 4, "ann", "d"), sent(3, 4, "cat", "d")]
    store = MemoryStore()
    for link in links:
        store.receive([link._replace(received_at=at(9))])
    assert store.anonymous_ids["d"].link == (at(9), at(4), "evt_2", "ann")


@pytest.mark.parametrize("earlier_first", [True, False])
def test_the_earliest_receipt_of_a_repeated_link_counts(earlier_first: bool) -> None:  # noqa: FBT001 - a case
    link = sent(1, 5, "ann", "shared")
    first, again = link._replace(received_at=at(6)), link._replace(received_at=at(8))
    other = sent(2, 1, "bob", "shared")._replace(received_at=at(7))
    store = MemoryStore()
    for event in [first, other, again] if earlier_first else [again, other, first]:
        store.receive([event])
    assert store.anonymous_ids["shared"].link == (at(6), at(5), "evt_1", "ann")


@pytest.mark.parametrize(
    ("user_id", "anonymous_id", "profile"),
    [
        ("ann", None, None),
        ("ann", "tablet", None),
        ("ann", "phone", None),
        (None, "phone", None),
        ("bob", "phone", "pro_1"),
        ("bob", "tablet", "pro_1"),
        ("phone", "ann", "pro_1"),
    ],
)
def test_no_event_of_a_suppressed_user_and_no_link_of_a_suppressed_device(
    user_id: str | None, anonymous_id: str | None, profile: str | None
) -> None:
    plan = MemoryStore(({"ann"}, {"phone"})).receive([sent(1, 1, user_id, anonymous_id)])
    assert plan.event_profiles == (profile,)
    kept = profile is not None and anonymous_id != "phone"
    assert list(plan.new_anonymous_ids) == ([anonymous_id] if kept else [])
    assert plan.detached_events == ({"evt_1"} if profile and not kept else set())


@pytest.mark.parametrize(
    ("user_id", "anonymous_id", "profile", "without_user"),
    [
        ("tester", None, None, False),
        ("tester", "tablet", "pro_1", True),
        ("tester", "phone", None, False),
        ("ann", "tablet", None, False),
        ("bob", "tablet", "pro_1", False),
        (None, "tester", "pro_1", False),
    ],
)
def test_an_event_with_a_placeholder_is_that_of_its_anonymous_id(
    user_id: str | None, anonymous_id: str | None, profile: str | None, *, without_user: bool
) -> None:
    store = MemoryStore(({"ann"}, {"phone"}))
    store.placeholders = {"tester"}
    plan = store.receive([sent(1, 1, user_id, anonymous_id)])
    assert plan.event_profiles == (profile,)
    assert plan.events_without_user == ({"evt_1"} if without_user else set())
    assert "tester" not in store.profiles.values()


def test_a_suppressed_device_links_no_user() -> None:
    """A suppressed anonymousId still exists until `forget` deletes it."""
    store = MemoryStore()
    store.receive([sent(1, 1, None, "phone"), sent(2, 9, "ann", "laptop")])
    store.suppressed = (set(), {"phone", "laptop"})
    plan = store.receive([sent(3, 2, "bob", "phone"), sent(4, 3, "bob", "laptop")])
    assert plan.event_profiles == ("pro_3", "pro_3")
    assert (plan.merges, plan.changed_anonymous_ids, plan.refused_links) == ((), {}, 0)


def test_an_event_without_meaningful_ids_has_no_profile() -> None:
    plan = MemoryStore().receive([sent(1, 1, "NULL", "undefined")])
    assert plan.event_profiles == (None,)
    assert not plan.new_profiles
    assert to_event_ids(sent(1, 1, " null ", None)).user_id is None
