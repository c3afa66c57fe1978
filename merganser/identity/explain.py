"""Why an event, a profile, a user or a visitor is where it is: in data, and in plain words."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from merganser.runtime import sql

_SQL = sql.load(__package__, "explain.sql")

MOST = 50
"""Anonymous ids, merges and refused links that are listed of one profile."""
MOST_GONE = 5
"""Merges of a profile that went."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """An anonymousId and the link that owns it, if any."""

    anonymous_id: str
    profile: str
    owner: str | None
    link_event: str | None
    linked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Merge:
    """An entry of the trail."""

    reason: str
    anonymous_id: str
    loser: str | None
    survivor: str
    link_event: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Refused:
    """A link that was not followed."""

    event: str
    anonymous_id: str
    user_id: str
    owner: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one id is, whose profile it leads to, and why."""

    id: str
    kind: str
    """event, profile, merged profile, userId or anonymousId."""
    because: str
    profile: str | None
    user_id: str | None = None
    events: int = 0
    visitors: list[Visitor] = field(default_factory=list)
    merges: list[Merge] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    moving: list[tuple[str, str]] = field(default_factory=list)
    """AnonymousIds whose events still follow, and the profile they come from."""


async def explain(connection: psycopg.AsyncConnection[Any], name: str) -> list[Explanation]:
    """All that this id is: an id may be a userId and an anonymousId at once; none if unknown."""
    found = [
        *await _event(connection, name),
        *await _profile(connection, name),
        *await _gone(connection, name),
        *await _visitor(connection, name),
    ]
    return [await _with_profile(connection, explanation) for explanation in found]


async def _event(connection: psycopg.AsyncConnection[Any], name: str) -> list[Explanation]:
    found = []
    for row in await _rows(connection, "event", {"id": name}):
        guid, kind, occurred_at, user_id, anonymous_id, profile, owner, link, linked_at = row
        text = f"it is a {kind} of {occurred_at:%Y-%m-%d %H:%M:%S.%f} "
        if profile is None:
            text += "that is not resolved: the scanner has not come to it, or its ids mean nobody"
        elif user_id is not None and owner not in {None, user_id}:
            text += (
                f"with userId {user_id}, which takes precedence; its anonymousId {anonymous_id} "
                f"stays with user {owner}, whose link {link} is earlier: two users never merge"
            )
        elif user_id is not None:
            text += f"with userId {user_id}, so it is on that user's profile"
        elif owner is not None:
            text += (
                f"whose anonymousId {anonymous_id} belongs to user {owner} by its earliest link, "
                f"{link} of {linked_at:%Y-%m-%d %H:%M:%S.%f}"
            )
        else:
            text += f"whose anonymousId {anonymous_id} has never been seen with a userId"
        found.append(Explanation(guid, "event", text, profile))
    return found


async def _profile(connection: psycopg.AsyncConnection[Any], name: str) -> list[Explanation]:
    found = []
    for guid, user_id, created_at in await _rows(connection, "profile", {"id": name}):
        whose = f"user {user_id}" if user_id is not None else "a visitor whom nobody knows yet"
        found.append(
            Explanation(
                name,
                "profile" if name == guid else "userId",
                f"it is the profile of {whose}, made {created_at:%Y-%m-%d %H:%M:%S}"
                if name == guid
                else f"user {user_id} has this profile, made {created_at:%Y-%m-%d %H:%M:%S}",
                guid,
            )
        )
    return found


async def _gone(connection: psycopg.AsyncConnection[Any], name: str) -> list[Explanation]:
    return [
        Explanation(
            name,
            "merged profile",
            f"it was the anonymous profile of {anonymous_id} and merged on "
            f"{at:%Y-%m-%d %H:%M:%S}, when {event} linked it",
            profile,
        )
        for _, anonymous_id, profile, event, at in await _rows(
            connection, "gone", {"id": name, "most": MOST_GONE}
        )
    ]


async def _visitor(connection: psycopg.AsyncConnection[Any], name: str) -> list[Explanation]:
    found = []
    for visitor in [Visitor(*row) for row in await _rows(connection, "visitor", {"id": name})]:
        if visitor.owner is None:
            text = "no event has been seen with this anonymousId and a userId"
        else:
            text = (
                f"it belongs to user {visitor.owner} by its earliest link, {visitor.link_event} "
                f"of {visitor.linked_at:%Y-%m-%d %H:%M:%S.%f}"
            )
        found.append(Explanation(name, "anonymousId", text, visitor.profile))
    return found


async def _with_profile(connection: psycopg.AsyncConnection[Any], bare: Explanation) -> Explanation:
    if bare.profile is None:
        return bare
    scope = {"profile": bare.profile, "most": MOST}
    profiles = await _rows(connection, "profile", {"id": bare.profile})
    ((events,),) = await _rows(connection, "count", scope)
    return Explanation(
        bare.id,
        bare.kind,
        bare.because,
        bare.profile,
        next((user_id for guid, user_id, _ in profiles if guid == bare.profile), None),
        events,
        [Visitor(*row) for row in await _rows(connection, "visitors_of", scope)],
        [Merge(*row) for row in await _rows(connection, "merges_of", scope)],
        [Refused(*row) for row in await _rows(connection, "refused_of", scope)],
        await _rows(connection, "moving", scope),
    )


async def _rows(
    connection: psycopg.AsyncConnection[Any], statement: str, values: dict[str, Any]
) -> list[Any]:
    return await (await connection.execute(_SQL[statement], values)).fetchall()
