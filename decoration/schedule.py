"""The schedule: which profiles are due for a source, and the leases of those being queried.

A lease moves the due time of its profiles to the time when the lease expires. Then the transaction
ends, and only then the process queries the company's database, which may take long. So a row is
locked for milliseconds, never for as long as another server needs. If a process dies, its profiles
become due when the lease expires. When the answer arrives, only profiles that still have the
lease's time are written: that time identifies the lease.
"""

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from merganser.rulebook import property_store, rule_store
from merganser.runtime import set_aside, sql
from merganser.runtime.set_aside import Kind

_SQL = sql.load(__package__, "schedule.sql")

CHUNK = 2000
"""Profiles that one transaction schedules or deletes."""
MAX_DUE_COUNT = 10_000
"""Due profiles are counted up to this number."""
_SHUFFLE_TIME = timedelta(seconds=1)
"""Profiles without an answer become due again within this time, in another order."""
_SPREAD = 0.1
"""A profile becomes due up to this fraction of `refresh` earlier or later than others."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Profiles that no other process queries a source for until the lease expires."""

    source: str
    expires_at: datetime
    user_ids: Mapping[str, str]
    """The userId of each profile, by guid."""
    due: Mapping[str, datetime]
    """When each profile was due, by guid."""

    def only(self, profiles: Collection[str]) -> "Lease":
        """Return the same lease with some of its profiles."""
        return replace(self, user_ids={profile: self.user_ids[profile] for profile in profiles})


def hash_fraction(name: str) -> float:
    """Return a number from 0 to 1 that looks random and is always the same for a name."""
    return zlib.crc32(name.encode()) / 2**32


def next_due(profile: str, refresh: float, now: datetime) -> datetime:
    """Return when a profile is due again, about `refresh` seconds after now."""
    fraction = 1 - _SPREAD + 2 * _SPREAD * hash_fraction(profile)
    return now + timedelta(seconds=refresh * fraction)


async def lease_due_profiles(
    connection: AsyncConnection[Any],
    source: str,
    max_profiles: int,
    now: datetime,
    expires_at: datetime,
) -> Lease:
    """Lease the profiles that have been due for longest; those never queried come first."""
    cursor = await connection.execute(
        _SQL["lease_due_profiles"],
        {"source": source, "limit": max_profiles, "now": now, "expires_at": expires_at},
    )
    rows = await cursor.fetchall()
    if deleted := [profile for profile, user_id, _ in rows if user_id is None]:
        await connection.execute(_SQL["delete_profiles"], {"source": source, "profiles": deleted})
        await set_aside.delete(connection, [Kind.VALUE], deleted)
    leased = [row for row in rows if row[1] is not None]
    return Lease(
        source,
        expires_at,
        {profile: user_id for profile, user_id, _ in leased},
        {profile: due for profile, _, due in leased},
    )


async def delete_profile(connection: AsyncConnection[Any], profile: str) -> dict[str, int]:
    """Delete what is scheduled and set aside of a profile that `forget` deletes.

    Args:
        connection: in the transaction that deletes the profile.
        profile: guid.

    Returns:
        The number of deleted rows by table.
    """
    deleted = await connection.execute(_SQL["delete_profile"], {"profile": profile})
    aside = await set_aside.delete(connection, [Kind.VALUE], [profile])
    return {"profileDecorations": deleted.rowcount, "setAside": aside}


async def reschedule(
    connection: AsyncConnection[Any], lease: Lease, due: Mapping[str, datetime]
) -> set[str]:
    """Set when leased profiles are due next.

    Returns:
        The profiles that this lease still had.
    """
    cursor = await connection.execute(
        _SQL["reschedule"],
        {
            "source": lease.source,
            "expires_at": lease.expires_at,
            "profiles": list(due),
            "due": list(due.values()),
        },
    )
    return {profile for (profile,) in await cursor.fetchall()}


async def release(connection: AsyncConnection[Any], leases: Sequence[Lease]) -> None:
    """End leases without a query: the profiles are due as before."""
    for lease in leases:
        await reschedule(connection, lease, lease.due)


async def return_unanswered(connection: AsyncConnection[Any], lease: Lease, now: datetime) -> None:
    """End a lease after a failure: its profiles are due behind those that have waited longer.

    One of the profiles may be the cause, so they do not return in the same order and batch.
    """
    due = {
        profile: now - _SHUFFLE_TIME * hash_fraction(f"{profile} {lease.expires_at}")
        for profile in lease.user_ids
    }
    await reschedule(connection, lease, due)


async def make_due(
    connection: AsyncConnection[Any], values: Collection[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Make values due before all others.

    Args:
        connection: in a transaction.
        values: (profile, rule key) pairs.

    Returns:
        The pairs whose source will be queried; the rule or profile of the others no longer exists.
    """
    if not values:
        return set()
    sources = await rule_store.read_query_sources(connection)
    profiles, keys = zip(*values, strict=True)
    cursor = await connection.execute(
        _SQL["make_due"],
        {
            "profiles": sql.texts(profiles),
            "keys": sql.texts(keys),
            "sources": sql.texts(sources.get(key) for key in keys),
        },
    )
    return set(await cursor.fetchall())


async def count_due(connection: AsyncConnection[Any], source: str, now: datetime) -> int:
    """Return how many profiles are due, at most `MAX_DUE_COUNT`."""
    cursor = await connection.execute(
        _SQL["count_due"], {"source": source, "now": now, "limit": MAX_DUE_COUNT}
    )
    (count,) = await cursor.fetchone() or (0,)
    return int(count)


async def read_due(connection: AsyncConnection[Any], profile: str) -> dict[str, datetime]:
    """Return when a profile is due, by source; in 1970: as soon as possible."""
    cursor = await connection.execute(_SQL["read_due"], {"profile": profile})
    return dict(await cursor.fetchall())


async def schedule_all(
    connection: AsyncConnection[Any], source: str, keys: Sequence[str], now: datetime
) -> bool:
    """Make the next profiles due for the new rules of a source.

    Args:
        connection: in a transaction.
        source: name of the source.
        keys: keys of its rules.
        now: when the profiles are due.

    Returns:
        Whether there was anything to do.
    """
    cursor = await connection.execute(_SQL["lock_progress"], {"source": source})
    progress = await cursor.fetchone()
    if progress is None:
        return False
    (after,) = progress
    # Of an earlier rule with the same key: no source has values for anonymous profiles.
    await property_store.delete_anonymous_properties(connection, keys, after, CHUNK)
    cursor = await connection.execute(
        _SQL["schedule_profiles"], {"source": source, "now": now, "after": after, "limit": CHUNK}
    )
    last, count = await cursor.fetchone() or (None, 0)
    scheduled_to = last if count == CHUNK else None
    await connection.execute(_SQL["write_progress"], {"source": source, "to": scheduled_to})
    return True


async def delete_unused(connection: AsyncConnection[Any], used_sources: Sequence[str]) -> bool:
    """Delete some rows of sources that no rule queries, and return whether there were any."""
    cursor = await connection.execute(_SQL["read_sources"])
    deleted = 0
    for source in {source for (source,) in await cursor.fetchall()} - set(used_sources):
        cursor = await connection.execute(_SQL["delete_source"], {"source": source, "limit": CHUNK})
        deleted += cursor.rowcount
    return deleted > 0
