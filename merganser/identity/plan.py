"""The rules of identity, as a pure function: `make_plan(known, events) -> Plan`.

Definition
    A *link* is an event with a userId and an anonymousId. Its *link time* is its `createdAt`, when
    the gateway received it, if it came over a publishable key; else its `occurredAt`. The *owner*
    of an anonymousId is the userId of its earliest link, ordered by (link time, occurredAt, guid).

    1. An event with a userId belongs to the profile of that userId.
    2. An event with only an anonymousId belongs to the profile of its owner. While there is no
       owner, it belongs to the anonymous profile of that anonymousId.

Why a publishable key's time does not count
    Anyone can read the key of a web page and send a link with any `occurredAt`. Such a link
    never becomes earlier than one that was there before it. The events of one device keep their
    order, as a device sends them in order. A key never becomes publishable or secret, so identity
    depends on the events and their keys only. If an event arrives again, its earliest `createdAt`
    counts.

What a link changes
    claim   The anonymousId gets its first owner, who has no profile yet: its anonymous profile
            becomes the owner's profile and keeps its guid.
    merge   The anonymousId gets its first owner, who has a profile: the events go there, and the
            anonymous profile is deleted.
    move    An earlier link arrives late and names another owner: the anonymousId's own events,
            those without a userId, go to the new owner's profile.

    Profiles of two users never merge: rule 1 has no exception. A link that names another user than
    the owner is a *refused* link.

Ignored links (`merganser/identity/unlink.py`)
    An operator may ignore an event as a link, and reverse that. The definition then holds
    with all links but the ignored ones. The event itself stays on its user's profile, by rule 1.

    unlink  The ignored event was the earliest link: the anonymousId's own events go to the profile
            of the owner by its next link. Without one they go to a new anonymous profile.
    relink  The event is planned again, like one that arrives late.

Suppressed ids (`merganser/identity/forget.py`)
    No event of a suppressed userId is stored. A suppressed anonymousId is ignored: a user's event
    is stored without it, and an event that has no other id is not stored. A placeholder
    (`merganser/identity/placeholder.py`) is a userId that is ignored in the same way: the event is
    stored without it, for its anonymousId.

Why the order of events does not matter
    After each plan, two facts hold for the set S of all events so far: (a) `known` has the earliest
    link in S of each anonymousId; (b) each event of S is where rules 1 and 2 put it, given (a).

    A plan keeps (a), because the minimum of S and a batch is the smaller one of their two minimums.
    It keeps (b), because rule 1 depends on nothing else, and the events of rule 2 change their
    profile only when their anonymousId gets another owner, which is when the plan claims, merges or
    moves. So any batches in any order give the result of rules 1 and 2 over all events at once, and
    an event that arrives twice changes nothing.

    The caller must lock the anonymousIds of the batch from reading `known` until it has applied the
    plan. UserIds need no lock: the profile of a userId never changes once it exists.

New profiles
    A new profile is named after the event that first needed it: `evt_X` creates `pro_X`. An event
    needs at most one: that of its userId, or else that of its anonymousId. An event that was
    deleted may arrive again with another id, and then that guid may be taken: the store gives
    another one in `Known.replaced_guids`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from schemas import guid

Reason = Literal["claimed", "merged", "moved", "unlinked"]


class EventIds(NamedTuple):
    """What identity needs of an event. An id that means nobody must be None."""

    guid: str
    occurred_at: datetime
    user_id: str | None
    anonymous_id: str | None
    received_at: datetime | None = None
    """`createdAt` of an event that came over a publishable key; None for all others."""

    @property
    def link_time(self) -> datetime:
        """When it counts as a link."""
        return self.received_at or self.occurred_at

    @property
    def has_id(self) -> bool:
        """Whether the event has a userId or an anonymousId."""
        return self.user_id is not None or self.anonymous_id is not None


class Link(NamedTuple):
    """A link, of an anonymousId known from the context. The smaller of two links is earlier."""

    time: datetime
    """The link time."""
    occurred_at: datetime
    guid: str
    user_id: str


class AnonymousId(NamedTuple):
    """What is known of an anonymousId."""

    profile: str
    """Guid of the profile that its own events belong to."""
    link: Link | None
    """Its earliest link, which names the owner."""


class NewProfile(NamedTuple):
    """A profile to create."""

    guid: str
    user_id: str | None
    """None for an anonymous profile."""


class Merge(NamedTuple):
    """A claim, merge, move or unlink: a row of `profileMerges`."""

    reason: Reason
    anonymous_id: str
    event: str
    """Guid of the link that is the reason; of an unlink that of the ignored event."""
    user_id: str | None
    """The new owner; None only after an unlink."""
    loser: str | None
    """Guid of the profile that the anonymousId's events leave; None for a claim."""
    survivor: str
    """Guid of the profile that they belong to now."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows of the ids in a batch."""

    user_profiles: Mapping[str, str]
    """Profile guids by userId."""
    anonymous_ids: Mapping[str, AnonymousId]
    suppressed_user_ids: Collection[str] = frozenset()
    suppressed_anonymous_ids: Collection[str] = frozenset()
    placeholders: Collection[str] = frozenset()
    """UserIds that are ignored."""
    ignored_links: Collection[str] = frozenset()
    """Guids of those events of the batch that are not links."""
    replaced_guids: Mapping[str, str] = field(default_factory=dict)
    """Other guids for new profiles whose guid is taken, by the taken one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write. An empty part needs no statement."""

    new_profiles: tuple[NewProfile, ...]
    new_anonymous_ids: Mapping[str, AnonymousId]
    """AnonymousIds that were not known."""
    changed_anonymous_ids: Mapping[str, AnonymousId]
    """Known anonymousIds that got an earlier link, and maybe another profile."""
    merges: tuple[Merge, ...]
    refused_links: int
    """Number of events in the batch whose userId is not the owner of their anonymousId."""
    event_profiles: tuple[str | None, ...]
    """Profile guid of each event of the batch, in order; None if it must not be stored."""
    detached_events: frozenset[str]
    """Guids of events to store without their anonymousId, as that is suppressed."""
    events_without_user: frozenset[str]
    """Guids of events to store without their userId, as that is a placeholder."""


def make_plan(known: Known, batch: Sequence[EventIds]) -> Plan:
    """Return what to write so that the events of a batch belong where the rules put them.

    Args:
        known: of the ids in the batch.
        batch: events in any order; some may be repeated, or known already.
    """
    events = _without_suppressed_ids(known, batch)
    links = _find_earlier_links(known, events)
    user_profiles = dict(known.user_profiles)
    new_profiles: list[NewProfile] = []
    merges: list[Merge] = []

    # Claim. The earliest link first: it decides which anonymous profile becomes the user's.
    unclaimed: dict[str, Link] = {}
    for anonymous_id, link in sorted(links.items(), key=lambda item: (item[1], item[0])):
        before = known.anonymous_ids.get(anonymous_id)
        if before and not before.link and link.user_id not in user_profiles:
            user_profiles[link.user_id] = before.profile
            merges.append(
                Merge("claimed", anonymous_id, link.guid, link.user_id, None, before.profile)
            )
        else:
            unclaimed[anonymous_id] = link

    # Create profiles of the other new users.
    for event in events:
        if event.user_id is not None and event.user_id not in user_profiles:
            profile = _name_profile(event.guid, known)
            user_profiles[event.user_id] = profile
            new_profiles.append(NewProfile(profile, event.user_id))

    # Merge and move.
    for anonymous_id, link in unclaimed.items():
        before = known.anonymous_ids.get(anonymous_id)
        survivor = user_profiles[link.user_id]
        if before and before.profile != survivor:
            reason: Reason = "moved" if before.link else "merged"
            merges.append(
                Merge(reason, anonymous_id, link.guid, link.user_id, before.profile, survivor)
            )

    # Create anonymous profiles of new anonymousIds without a link.
    written = {a: AnonymousId(user_profiles[link.user_id], link) for a, link in links.items()}
    for event in events:
        if (
            event.user_id is None
            and event.anonymous_id is not None
            and event.anonymous_id not in known.anonymous_ids
            and event.anonymous_id not in written
        ):
            profile = _name_profile(event.guid, known)
            written[event.anonymous_id] = AnonymousId(profile, None)
            new_profiles.append(NewProfile(profile, None))

    anonymous_ids = {**known.anonymous_ids, **written}
    return Plan(
        new_profiles=tuple(new_profiles),
        new_anonymous_ids={a: v for a, v in written.items() if a not in known.anonymous_ids},
        changed_anonymous_ids={a: v for a, v in written.items() if a in known.anonymous_ids},
        merges=tuple(merges),
        refused_links=_count_refused_links(known, anonymous_ids, events),
        event_profiles=tuple(_profile_of(event, user_profiles, anonymous_ids) for event in events),
        detached_events=_find_detached(batch, events),
        events_without_user=_find_without_user(batch, events),
    )


def make_unlink_plan(
    anonymous_id: str,
    profile: str,
    ignored: str,
    next_link: Link | None,
    survivor: str,
) -> Plan:
    """Return what to write so that the earliest link of an anonymousId counts no more.

    Args:
        anonymous_id: its earliest link is ignored from now on.
        profile: guid of its profile until now.
        ignored: guid of that link.
        next_link: its earliest link that is not ignored.
        survivor: the profile of that link's user; without one the guid of a new profile.
    """
    owner = None if next_link is None else next_link.user_id
    merge = Merge("unlinked", anonymous_id, ignored, owner, profile, survivor)
    return Plan(
        new_profiles=() if next_link else (NewProfile(survivor, None),),
        new_anonymous_ids={},
        changed_anonymous_ids={anonymous_id: AnonymousId(survivor, next_link)},
        merges=() if survivor == profile else (merge,),
        refused_links=0,
        event_profiles=(),
        detached_events=frozenset(),
        events_without_user=frozenset(),
    )


def _without_suppressed_ids(known: Known, batch: Sequence[EventIds]) -> Sequence[EventIds]:
    """Return the events with None in place of ignored ids; none is left of a suppressed user."""
    if not (known.suppressed_user_ids or known.suppressed_anonymous_ids or known.placeholders):
        return batch
    events = []
    for original in batch:
        event = original
        if event.user_id in known.placeholders:
            event = event._replace(user_id=None)
        if event.user_id in known.suppressed_user_ids:
            event = event._replace(user_id=None, anonymous_id=None)
        elif event.anonymous_id in known.suppressed_anonymous_ids:
            event = event._replace(anonymous_id=None)
        events.append(event)
    return events


def _find_detached(batch: Sequence[EventIds], events: Sequence[EventIds]) -> frozenset[str]:
    """Return the guids of users' events that lost their anonymousId to suppression."""
    if events is batch:
        return frozenset()
    return frozenset(
        event.guid
        for original, event in zip(batch, events, strict=True)
        if event.user_id is not None and event.anonymous_id != original.anonymous_id
    )


def _find_without_user(batch: Sequence[EventIds], events: Sequence[EventIds]) -> frozenset[str]:
    """Return the guids of events that lost their userId, as that is a placeholder."""
    if events is batch:
        return frozenset()
    return frozenset(
        event.guid
        for original, event in zip(batch, events, strict=True)
        if event.anonymous_id is not None and event.user_id != original.user_id
    )


def _find_earlier_links(known: Known, events: Sequence[EventIds]) -> dict[str, Link]:
    """Return the earliest link of each anonymousId, where that is not the known one."""
    links: dict[str, Link] = {}
    for event in events:
        event_guid, occurred_at, user_id, anonymous_id, _ = event
        if user_id is None or anonymous_id is None or event_guid in known.ignored_links:
            continue
        link = Link(event.link_time, occurred_at, event_guid, user_id)
        before = known.anonymous_ids.get(anonymous_id)
        earliest = links.get(anonymous_id) or (before.link if before else None)
        if earliest is None or link < earliest or _corrects(link, earliest):
            links[anonymous_id] = link
    return links


def _corrects(link: Link, earlier: Link) -> bool:
    """Return whether it is the same event with another userId: another system corrected its row."""
    return link[:3] == earlier[:3] and link.user_id != earlier.user_id


def _name_profile(event_guid: str, known: Known) -> str:
    profile = guid.PROFILE + event_guid.removeprefix(guid.EVENT)
    return known.replaced_guids.get(profile, profile)


def _profile_of(
    event: EventIds, user_profiles: Mapping[str, str], anonymous_ids: Mapping[str, AnonymousId]
) -> str | None:
    """Apply rules 1 and 2 to an event."""
    if event.user_id is not None:
        return user_profiles[event.user_id]
    if event.anonymous_id is not None:
        return anonymous_ids[event.anonymous_id].profile
    return None


def _count_refused_links(
    known: Known, anonymous_ids: Mapping[str, AnonymousId], events: Sequence[EventIds]
) -> int:
    return sum(
        1
        for event_guid, _, user_id, anonymous_id, _ in events
        if user_id is not None
        and anonymous_id is not None
        and event_guid not in known.ignored_links
        and (link := anonymous_ids[anonymous_id].link) is not None
        and link.user_id != user_id
    )
