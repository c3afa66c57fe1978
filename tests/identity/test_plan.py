"""The plan against the definition: any order, any batches, anything repeated."""

from collections import Counter
from collections.abc import Hashable, Mapping
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merganser.identity.plan import Merge
from tests.identity.histories import START, deliveries
from tests.identity.reference import Told, admitted, grouping
from tests.identity.world import World, sighting
from tests.support import examples

MANY = settings(max_examples=examples.count(fast=200, full=2_000, nightly=50_000))
Delivery = tuple[list[Told], list[list[Told]]]


def same_groups(left: Mapping[str, Hashable], right: Mapping[str, Hashable]) -> bool:
    """Whether two groupings put the same events together, whatever they call the groups."""
    return left.keys() == right.keys() and len({(left[guid], right[guid]) for guid in left}) == len(
        set(left.values())
    ) == len(set(right.values()))


@MANY
@given(deliveries())
def test_any_delivery_ends_in_the_grouping_of_the_definition(delivery: Delivery) -> None:
    history, batches = delivery
    world = World()
    for batch in batches:
        world.receive(batch)
    assert same_groups(world.grouping(), grouping(history))


@MANY
@given(deliveries())
def test_after_every_batch_the_world_is_sound(delivery: Delivery) -> None:
    _, batches = delivery
    world = World()
    seen: list[Told] = []
    for batch in batches:
        world.receive(batch)
        seen += batch
        assert same_groups(world.grouping(), grouping(seen))
        users = Counter(user_id for user_id in world.profiles.values() if user_id is not None)
        assert set(users.values()) <= {1}, "a user has one profile"
        assert {
            visitor.profile for visitor in world.anonymous_ids.values()
        } <= world.profiles.keys()
        for event, profile in world.events.values():
            assert (profile is None) == (event.user_id is None and event.anonymous_id is None)
            if profile is not None:
                assert profile in world.profiles, "an event lies on a profile that is there"
                assert event.user_id in {None, world.profiles[profile]}, "never on another user's"


@MANY
@given(deliveries())
def test_what_is_repeated_changes_nothing(delivery: Delivery) -> None:
    history, batches = delivery
    world = World()
    for batch in batches:
        world.receive(batch)
    before = (dict(world.profiles), dict(world.anonymous_ids), dict(world.events))
    decided = world.receive(history)
    assert (
        decided.new_profiles,
        decided.new_anonymous_ids,
        decided.changed_anonymous_ids,
        decided.merges,
    ) == ((), {}, {}, ())
    assert (world.profiles, world.anonymous_ids, world.events) == before


@MANY
@given(deliveries())
def test_the_plan_is_a_function_of_its_arguments(delivery: Delivery) -> None:
    _, batches = delivery
    one, other = World(), World()
    for batch in batches:
        assert one.receive(batch) == other.receive(batch)


@MANY
@given(
    deliveries(),
    st.frozensets(st.sampled_from(["a", "u1"])),
    st.frozensets(st.sampled_from(["a", "b", "d1"])),
)
def test_suppressed_ids_might_as_well_not_have_been_sent(
    delivery: Delivery, users: frozenset[str], devices: frozenset[str]
) -> None:
    history, batches = delivery
    world = World((users, devices))
    for batch in batches:
        left = {event.guid: admitted(event, users, devices) for event in batch}
        decided = world.receive(batch)
        assert decided.unlinked_events == {
            event.guid for event in batch if left[event.guid] not in {None, event}
        }
    expected = grouping(
        admitted(event, users, devices) or event._replace(user_id=None, anonymous_id=None)
        for event in history
    )
    assert same_groups(world.grouping(), expected)
    assert users.isdisjoint(world.profiles.values())
    assert devices.isdisjoint(world.anonymous_ids)


def told(number: int, second: int, user_id: str | None, anonymous_id: str | None) -> Told:
    return Told(f"evt_{number}", START + timedelta(seconds=second), user_id, anonymous_id)


PAGE = told(1, 1, None, "person_1")
SIGN_IN = told(2, 2, "123", "person_1")


def test_an_anonymous_profile_becomes_the_users_with_the_same_guid() -> None:
    world = World()
    world.receive([PAGE])
    decided = world.receive([SIGN_IN])
    link = world.anonymous_ids["person_1"].link
    assert link is not None
    assert decided.merges == (Merge("claimed", "person_1", link, None, "pro_1"),)
    assert world.grouping() == {"evt_1": "pro_1", "evt_2": "pro_1"}


def test_an_anonymous_profile_goes_into_the_profile_that_the_user_has() -> None:
    world = World()
    world.receive([told(3, 0, "123", None)])
    world.receive([PAGE])
    (merge,) = world.receive([SIGN_IN]).merges
    assert (merge.reason, merge.loser, merge.survivor) == ("merged", "pro_1", "pro_3")
    assert world.profiles == {"pro_3": "123"}


def test_of_two_devices_linked_together_the_earlier_link_decides_which_becomes() -> None:
    world = World()
    world.receive([PAGE, told(4, 1, None, "phone")])
    decided = world.receive([told(5, 9, "123", "phone"), SIGN_IN])
    assert [(m.reason, m.anonymous_id) for m in decided.merges] == [
        ("claimed", "person_1"),
        ("merged", "phone"),
    ]
    assert world.profiles == {"pro_1": "123"}


@pytest.mark.parametrize("late", [True, False], ids=["earlier link late", "earlier link first"])
def test_two_users_of_one_device_stay_two(late: bool) -> None:  # noqa: FBT001 - a case
    earlier, later = told(6, 5, "ann", "shared"), told(7, 6, "bob", "shared")
    world = World()
    world.receive([told(8, 1, None, "shared")])
    for link in [later, earlier] if late else [earlier, later]:
        decided = world.receive([link])
    profiles = world.grouping()
    assert profiles["evt_8"] == profiles["evt_6"] != profiles["evt_7"]
    assert [merge.reason for merge in decided.merges] == (["moved"] if late else [])
    assert decided.refused_links == (0 if late else 1)


def test_an_earlier_link_of_the_same_owner_moves_nothing() -> None:
    world = World()
    world.receive([PAGE, SIGN_IN])
    decided = world.receive([told(9, 0, "123", "person_1")])
    assert decided.merges == ()
    assert decided.changed_anonymous_ids["person_1"].link == (START, "evt_9", "123")


def test_equal_times_are_ordered_by_guid() -> None:
    world = World()
    for event in [told(3, 1, "bob", "d"), told(2, 1, "ann", "d"), told(4, 1, "cat", "d")]:
        world.receive([event])
    link = world.anonymous_ids["d"].link
    assert link is not None
    assert link.user_id == "ann"


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
def test_a_suppressed_user_is_nobody_and_a_suppressed_device_no_link(
    user_id: str | None, anonymous_id: str | None, profile: str | None
) -> None:
    decided = World(({"ann"}, {"phone"})).receive([told(1, 1, user_id, anonymous_id)])
    assert decided.event_profiles == (profile,)
    kept = profile is not None and anonymous_id != "phone"
    assert list(decided.new_anonymous_ids) == ([anonymous_id] if kept else [])
    assert decided.unlinked_events == ({"evt_1"} if profile and not kept else set())


def test_a_suppressed_device_that_is_known_still_links_nobody() -> None:
    """Between its suppression and its end, an anonymousId is there."""
    world = World()
    world.receive([told(1, 1, None, "phone"), told(2, 9, "ann", "laptop")])
    world.suppressed = (set(), {"phone", "laptop"})
    decided = world.receive([told(3, 2, "bob", "phone"), told(4, 3, "bob", "laptop")])
    assert decided.event_profiles == ("pro_3", "pro_3")
    assert (decided.merges, decided.changed_anonymous_ids, decided.refused_links) == ((), {}, 0)


def test_an_event_of_nobody_is_assigned_to_nobody() -> None:
    decided = World().receive([told(1, 1, "NULL", "undefined")])
    assert decided.event_profiles == (None,)
    assert not decided.new_profiles
    assert sighting(told(1, 1, " null ", None)).user_id is None
