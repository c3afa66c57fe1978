"""Explain which profile an id leads to and why, as data and as text."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from merganser.identity.plan import Reason
from merganser.identity.store import PendingMove
from merganser.runtime import sql

_SQL = sql.load(__package__, "explain.sql")

MAX_ENTRIES = 50
"""AnonymousIds, merges, refused links or pending moves of a profile that are listed."""

MAX_MERGES_OF_LOSER = 5
"""Merges of a merged profile that are explained, newest first."""

_TIME_FORMAT = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True, slots=True)
class ExplainedAnonymousId:
    """An anonymousId and its earliest link, if there is one."""

    anonymous_id: str
    profile: str
    """Guid."""
    owner: str | None
    """UserId."""
    link_event: str | None
    """Guid of the earliest link."""
    linked_at: datetime | None
    """Its link time."""
    link_occurred_at: datetime | None
    """When the link occurred by its client's clock, if that is not its link time."""


@dataclass(frozen=True, slots=True)
class ExplainedMerge:
    """A claim, merge or move: a row of `profileMerges`."""

    reason: Reason
    anonymous_id: str
    loser: str | None
    """Guid of the profile that the events left; None for a claim."""
    survivor: str
    """Guid of the profile that the events went to."""
    link_event: str
    """Guid of the link."""
    merged_at: datetime


@dataclass(frozen=True, slots=True)
class RefusedLink:
    """A link that names another user than the owner of its anonymousId."""

    event: str
    """Guid."""
    anonymous_id: str
    user_id: str
    """UserId of the link."""
    owner: str
    """UserId."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an id is, which profile it leads to, and why."""

    id: str
    kind: str
    """event, profile, merged profile, userId or anonymousId."""
    text: str
    """Why the id leads to the profile."""
    profile: str | None
    """Guid; None for an event without a profile. The other fields describe this profile."""
    user_id: str | None = None
    events: int = 0
    """Number of events."""
    anonymous_ids: list[ExplainedAnonymousId] = field(default_factory=list)
    merges: list[ExplainedMerge] = field(default_factory=list)
    refused_links: list[RefusedLink] = field(default_factory=list)
    pending_moves: list[PendingMove] = field(default_factory=list)
    """Moves to this profile."""


async def explain(
    connection: AsyncConnection[Any], name: str, max_events: int | None = None
) -> list[Explanation]:
    """Explain an id. It may be a userId and an anonymousId at once, each with an explanation.

    Args:
        connection: outside or inside of a transaction; it only reads.
        name: guid of an event or a profile, a userId or an anonymousId.
        max_events: of each profile to count; None: all.

    Returns:
        The explanations; none if nothing stored has this id.
    """
    explanations = [
        *await _explain_event(connection, name),
        *await _explain_profile(connection, name),
        *await _explain_merged_profile(connection, name),
        *await _explain_anonymous_id(connection, name),
    ]
    return [await _add_profile(connection, explanation, max_events) for explanation in explanations]


def describe_merge(merge: ExplainedMerge) -> str:
    """Return what a merge did, without the link that caused it."""
    match merge.reason:
        case "claimed":
            return f"the anonymous profile of {merge.anonymous_id} became this user's"
        case "merged":
            return f"{merge.loser}, the anonymous profile of {merge.anonymous_id}, merged into it"
        case "moved" | "unlinked":
            return (
                f"the events of {merge.anonymous_id} moved from {merge.loser} to {merge.survivor}"
            )


async def read_event_reason(connection: AsyncConnection[Any], guid: str) -> str | None:
    """Return why an event is on its profile, after "it is an event"; None if it is not stored."""
    rows = await _read(connection, "event", {"id": guid})
    return _event_reason(*rows[0][3:]) if rows else None


async def _explain_event(connection: AsyncConnection[Any], name: str) -> list[Explanation]:
    explanations = []
    for guid, type_, occurred_at, *rest in await _read(connection, "event", {"id": name}):
        text = f"it is a {type_} of {_format_exact_time(occurred_at)} {_event_reason(*rest)}"
        profile = rest[2]
        explanations.append(Explanation(guid, "event", text, profile))
    return explanations


def _event_reason(
    user_id: str | None,
    anonymous_id: str | None,
    profile: str | None,
    owner: str | None,
    link: str | None,
    *times: Any,
) -> str:
    if profile is None:
        return "without a profile: the scanner has not resolved it yet, or its ids mean nobody"
    if user_id is not None and owner not in {None, user_id}:
        return (
            f"with userId {user_id}, which takes precedence; its anonymousId {anonymous_id} "
            f"stays with user {owner}, whose link {link} is earlier: two users never merge"
        )
    if user_id is not None:
        return f"with userId {user_id}, so it is on that user's profile"
    if owner is not None:
        return (
            f"whose anonymousId {anonymous_id} belongs to user {owner} by its earliest link, "
            f"{link} {_format_link_time(*times)}"
        )
    return f"whose anonymousId {anonymous_id} has no link to a userId"


async def _explain_profile(connection: AsyncConnection[Any], name: str) -> list[Explanation]:
    explanations = []
    for guid, user_id, created_at in await _read(connection, "profile", {"id": name}):
        created = f"created {created_at:{_TIME_FORMAT}}"
        if name != guid:
            kind, text = "userId", f"user {user_id} has this profile, {created}"
        elif user_id is not None:
            kind, text = "profile", f"it is the profile of user {user_id}, {created}"
        else:
            kind, text = "profile", f"it is the profile of an anonymous visitor, {created}"
        explanations.append(Explanation(name, kind, text, guid))
    return explanations


async def _explain_merged_profile(connection: AsyncConnection[Any], name: str) -> list[Explanation]:
    scope = {"id": name, "at_most": MAX_MERGES_OF_LOSER}
    return [
        Explanation(
            name,
            "merged profile",
            f"it was the anonymous profile of {anonymous_id} and merged on "
            f"{merged_at:{_TIME_FORMAT}}, when {link_event} linked it",
            profile,
        )
        for anonymous_id, profile, link_event, merged_at in await _read(
            connection, "merges_of_loser", scope
        )
    ]


async def _explain_anonymous_id(connection: AsyncConnection[Any], name: str) -> list[Explanation]:
    explanations = []
    for row in await _read(connection, "anonymous_id", {"id": name}):
        known = ExplainedAnonymousId(*row)
        if known.owner is None or known.linked_at is None:
            text = "no event links it to a userId"
        else:
            text = (
                f"it belongs to user {known.owner} by its earliest link, {known.link_event} "
                f"{_format_link_time(known.linked_at, known.link_occurred_at)}"
            )
        explanations.append(Explanation(name, "anonymousId", text, known.profile))
    return explanations


async def _add_profile(
    connection: AsyncConnection[Any], explanation: Explanation, max_events: int | None
) -> Explanation:
    """Return the explanation with what is stored of its profile."""
    if explanation.profile is None:
        return explanation
    scope = {
        "profile": explanation.profile,
        "at_most": MAX_ENTRIES,
        "max_events": max_events,
    }
    profiles = await _read(connection, "profile", {"id": explanation.profile})
    ((events,),) = await _read(connection, "count_events", scope)
    return replace(
        explanation,
        user_id=next((user for guid, user, _ in profiles if guid == explanation.profile), None),
        events=events,
        anonymous_ids=[
            ExplainedAnonymousId(*row)
            for row in await _read(connection, "anonymous_ids_of_profile", scope)
        ],
        merges=[
            ExplainedMerge(*row) for row in await _read(connection, "merges_of_profile", scope)
        ],
        refused_links=[
            RefusedLink(*row) for row in await _read(connection, "refused_links_of_profile", scope)
        ],
        pending_moves=[
            PendingMove(*row) for row in await _read(connection, "pending_moves_to_profile", scope)
        ],
    )


async def _read(
    connection: AsyncConnection[Any], statement: str, values: dict[str, Any]
) -> list[Any]:
    return await (await connection.execute(_SQL[statement], values)).fetchall()


def _format_link_time(linked_at: datetime, occurred_at: datetime | None) -> str:
    if occurred_at is None:
        return f"of {_format_exact_time(linked_at)}"
    return (
        f"that a publishable key sent and the gateway received at {_format_exact_time(linked_at)}"
    )


def _format_exact_time(time: datetime) -> str:
    """Format a time with microseconds: they decide which link is the earliest."""
    return f"{time:{_TIME_FORMAT}.%f}"
