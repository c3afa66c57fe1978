"""Every rule of identity, as a pure function: (what is known, a batch) -> a plan (design §4).

Rules
    1. A *link* is an event with both ids. The *owner* of an anonymousId is the userId of its
       earliest link, ordered by (occurredAt, guid).
    2. An event with a userId belongs to the profile of that userId.
    3. An event with only an anonymousId belongs to the profile of the owner, or, while there is
       none, to the anonymous profile of that id.
    4. When an anonymousId gets its first owner, its anonymous profile *becomes* the owner's if the
       owner has none (`claimed`: same guid), else it goes into the owner's (`merged`).
    5. Two known users never merge. When an earlier link names another owner, only the anonymousId's
       own events, those without a userId, go over (`moved`).
    6. Of a suppressed userId no event is stored, and a suppressed anonymousId counts as not sent:
       another user's event is stored without it, and one with no other id is not stored
       (`merganser/identity/forget.py`).

Why order does not matter
    Call S the set of events applied so far. Two facts hold after every plan: (a) for each
    anonymousId in S, `known` holds the minimum of its links in S; (b) each event of S lies where
    rules 2 and 3 put it given those minima. A plan keeps (a), because min over S and a batch is the
    min of the two mins, and min knows neither order nor repetition. It keeps (b) because an event
    with a userId depends on nothing else, and the others change place only when the minimum of
    their anonymousId changes owner, which is exactly when this module asks for their move. So the
    grouping after any batches in any order is that of rules 1 to 3 over the whole set, and an
    event seen twice changes nothing.

    The store must make (known, batch) -> plan atomic for the anonymousIds in the batch. The profile
    of a userId never changes once it exists, so reading it needs no lock.

A profile is named after the event that first needed it (`evt_X` makes `pro_X`), so the plan needs
no source of guids. An event needs at most one new profile: with a userId, that of its user; else
that of its anonymousId. An event that was deleted or corrected may come again with another id, when
its name is another profile's already: then the store gives a new name for it (`Known.renamed`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from schemas import guid

Reason = Literal["claimed", "merged", "moved"]


class Sighting(NamedTuple):
    """What identity needs of an event; ids that mean nobody are already None."""

    guid: str
    occurred_at: datetime
    user_id: str | None
    anonymous_id: str | None

    @property
    def names_somebody(self) -> bool:
        """Whether it has an id."""
        return self.user_id is not None or self.anonymous_id is not None


class Link(NamedTuple):
    """An event with both ids, seen from its anonymousId; the smaller one is the earlier one."""

    occurred_at: datetime
    guid: str
    user_id: str


class Visitor(NamedTuple):
    """An anonymousId: the profile of its events, and its earliest link, which names its owner."""

    profile: str
    link: Link | None


class NewProfile(NamedTuple):
    """A profile to make; without a userId it is an anonymous one."""

    guid: str
    user_id: str | None


class Merge(NamedTuple):
    """An anonymousId came to a user: by which link, and which profile its events leave, if any."""

    reason: Reason
    anonymous_id: str
    link: Link
    loser: str | None
    survivor: str


@dataclass(frozen=True, slots=True)
class Known:
    """What the store holds of the ids in a batch."""

    users: Mapping[str, str]
    """userId -> profile guid."""
    visitors: Mapping[str, Visitor]
    """anonymousId -> visitor."""
    suppressed_users: Collection[str] = frozenset()
    """userIds of which no event is stored."""
    suppressed_visitors: Collection[str] = frozenset()
    """anonymousIds that are not stored."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Guids that new profiles must not have -> those that they have instead."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write so that the batch is resolved. Empty parts need no statement."""

    profiles: tuple[NewProfile, ...]
    arrivals: Mapping[str, Visitor]
    """anonymousIds seen for the first time."""
    changes: Mapping[str, Visitor]
    """Known anonymousIds with a new link, and perhaps a new profile."""
    merges: tuple[Merge, ...]
    refused: int
    """Links in the batch that name another user than the owner: two known users stay two."""
    assignments: tuple[str | None, ...]
    """A profile guid for each event of the batch, in its order; None where it has no id left."""
    unlinked: frozenset[str]
    """Events that are a user's and must be stored without their anonymousId: it is suppressed."""


def plan(known: Known, batch: Sequence[Sighting]) -> Plan:
    """Decide for a batch; it may repeat itself and what is known already."""
    batch, unlinked = _admitted(known, batch)
    links, new_users, new_visitors = _read(known, batch)
    joining: dict[str, Link] = {}
    users = dict(known.users)
    profiles: list[NewProfile] = []
    merges: list[Merge] = []

    # Earliest link first: it decides whose anonymous profile becomes the user's.
    for anonymous_id, link in sorted(links.items(), key=_by_link):
        visitor = known.visitors.get(anonymous_id)
        if visitor and not visitor.link and link.user_id not in users:
            users[link.user_id] = visitor.profile
            merges.append(Merge("claimed", anonymous_id, link, None, visitor.profile))
        else:
            joining[anonymous_id] = link

    for user_id, event_guid in new_users.items():
        if user_id not in users:
            users[user_id] = _profile_of(event_guid, known)
            profiles.append(NewProfile(users[user_id], user_id))

    for anonymous_id, link in joining.items():
        visitor = known.visitors.get(anonymous_id)
        survivor = users[link.user_id]
        if visitor and visitor.profile != survivor:
            reason: Reason = "moved" if visitor.link else "merged"
            merges.append(Merge(reason, anonymous_id, link, visitor.profile, survivor))

    placed = {
        anonymous_id: Visitor(users[link.user_id], link) for anonymous_id, link in links.items()
    }
    for anonymous_id, event_guid in new_visitors.items():
        if anonymous_id not in placed:
            placed[anonymous_id] = Visitor(_profile_of(event_guid, known), None)
            profiles.append(NewProfile(_profile_of(event_guid, known), None))

    visitors = {**known.visitors, **placed}
    return Plan(
        profiles=tuple(profiles),
        arrivals={a: visitor for a, visitor in placed.items() if a not in known.visitors},
        changes={a: visitor for a, visitor in placed.items() if a in known.visitors},
        merges=tuple(merges),
        refused=_refused(visitors, batch),
        assignments=tuple(_place(users, visitors, sighting) for sighting in batch),
        unlinked=unlinked,
    )


def _admitted(known: Known, batch: Sequence[Sighting]) -> tuple[Sequence[Sighting], frozenset[str]]:
    """The batch without what is suppressed, and which events are a user's and lost an id."""
    if not known.suppressed_users and not known.suppressed_visitors:
        return batch, frozenset()
    admitted = [_admit(known, sighting) for sighting in batch]
    unlinked = (
        left.guid
        for sent, left in zip(batch, admitted, strict=True)
        if left.user_id is not None and left.anonymous_id != sent.anonymous_id
    )
    return admitted, frozenset(unlinked)


def _admit(known: Known, sighting: Sighting) -> Sighting:
    if sighting.user_id in known.suppressed_users:
        return sighting._replace(user_id=None, anonymous_id=None)
    if sighting.anonymous_id in known.suppressed_visitors:
        return sighting._replace(anonymous_id=None)
    return sighting


def _read(
    known: Known, batch: Sequence[Sighting]
) -> tuple[dict[str, Link], dict[str, str], dict[str, str]]:
    """New earliest links by anonymousId; new userIds and anonymousIds with their first event."""
    links: dict[str, Link] = {}
    new_users: dict[str, str] = {}
    new_visitors: dict[str, str] = {}
    for event_guid, occurred_at, user_id, anonymous_id in batch:
        if user_id is not None:
            if user_id not in known.users:
                new_users.setdefault(user_id, event_guid)
            if anonymous_id is not None:
                link = Link(occurred_at, event_guid, user_id)
                visitor = known.visitors.get(anonymous_id)
                best = links.get(anonymous_id) or (visitor.link if visitor else None)
                if best is None or link < best or _replaces(link, best):
                    links[anonymous_id] = link
        elif anonymous_id is not None and anonymous_id not in known.visitors:
            new_visitors.setdefault(anonymous_id, event_guid)
    return links, new_users, new_visitors


def _replaces(link: Link, earlier: Link) -> bool:
    """Whether a link is the same event with another userId: another system corrected its row."""
    return link[:2] == earlier[:2] and link.user_id != earlier.user_id


def _by_link(item: tuple[str, Link]) -> tuple[Link, str]:
    """One event links one anonymousId, so links differ; the id is there for a total order."""
    return item[1], item[0]


def _profile_of(event_guid: str, known: Known) -> str:
    name = guid.PROFILE + event_guid.removeprefix(guid.EVENT)
    return known.renamed.get(name, name)


def _place(
    users: Mapping[str, str], visitors: Mapping[str, Visitor], sighting: Sighting
) -> str | None:
    if sighting.user_id is not None:
        return users[sighting.user_id]
    if sighting.anonymous_id is not None:
        return visitors[sighting.anonymous_id].profile
    return None


def _refused(visitors: Mapping[str, Visitor], batch: Sequence[Sighting]) -> int:
    return sum(
        1
        for _, _, user_id, anonymous_id in batch
        if user_id is not None
        and anonymous_id is not None
        and (link := visitors[anonymous_id].link) is not None
        and link.user_id != user_id
    )
