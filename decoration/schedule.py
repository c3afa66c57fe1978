"""Which profiles a source is asked for next.

A claim is a lease: the row's time is put off, the transaction ends, and only then is the company's
database asked, which may take long. So a row is locked for milliseconds, and never while somebody
else's server decides how long. What is claimed by a process that dies comes back when the lease
passes. When the answer is there, only rows that still have the lease are written for: it tells
whose they are.
"""

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from merganser.runtime import sql

_SQL = sql.load(__package__, "schedule.sql")

CHUNK = 2000
"""Profiles that one transaction schedules or forgets."""
COUNTED = 10_000
"""Due profiles are counted up to this number."""
_SHUFFLED = timedelta(seconds=1)
"""Within this time profiles without an answer are due again, in another order."""
_SPREAD = 0.1
"""How much earlier or later than `refresh` a profile may come, so that not all come at once."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Profiles that nobody else asks a source for until the lease passes."""

    source: str
    lease: datetime
    users: Mapping[str, str]
    """Profile -> userId."""
    due: Mapping[str, datetime]
    """Profile -> when it was due."""

    def only(self, profiles: Collection[str]) -> "Claim":
        """Some of its profiles, under the same lease."""
        return replace(self, users={profile: self.users[profile] for profile in profiles})


def chance(name: str) -> float:
    """A number from 0 to 1 that looks like chance and is the same for the same name."""
    return zlib.crc32(name.encode()) / 2**32


def next_due(profile: str, refresh: float, now: datetime) -> datetime:
    """When a profile is due again, spread by its guid."""
    return now + timedelta(seconds=refresh * (1 - _SPREAD + 2 * _SPREAD * chance(profile)))


async def claim(
    connection: AsyncConnection[Any], source: str, at_most: int, now: datetime, lease: datetime
) -> Claim:
    """Take profiles that are due, those first that never were asked for."""
    cursor = await connection.execute(
        _SQL["claim"], {"source": source, "at_most": at_most, "now": now, "lease": lease}
    )
    rows = await cursor.fetchall()
    if gone := [profile for profile, user_id, _ in rows if user_id is None]:
        await connection.execute(_SQL["drop"], {"source": source, "profiles": gone})
        await connection.execute(_SQL["forget_values"], {"profiles": gone})
    known = [row for row in rows if row[1] is not None]
    return Claim(
        source,
        lease,
        {profile: user_id for profile, user_id, _ in known},
        {profile: due for profile, _, due in known},
    )


async def put_off(
    connection: AsyncConnection[Any], claimed: Claim, due: Mapping[str, datetime]
) -> set[str]:
    """Set when claimed profiles are due next.

    Returns:
        Those whose lease was still ours.
    """
    cursor = await connection.execute(
        _SQL["put_off"],
        {
            "source": claimed.source,
            "lease": claimed.lease,
            "profiles": list(due),
            "due": list(due.values()),
        },
    )
    return {profile for (profile,) in await cursor.fetchall()}


async def release(connection: AsyncConnection[Any], claims: Sequence[Claim]) -> None:
    """Give back what was claimed, due as it was."""
    for claimed in claims:
        await put_off(connection, claimed, claimed.due)


async def give_back(connection: AsyncConnection[Any], claimed: Claim, now: datetime) -> None:
    """Give back what a source had no answer for, behind those who have waited longer.

    One of the profiles may be why: so they do not all come together again, nor before all others.
    """
    due = {
        profile: now - _SHUFFLED * chance(f"{profile} {claimed.lease}") for profile in claimed.users
    }
    await put_off(connection, claimed, due)


async def make_due(
    connection: AsyncConnection[Any], values: Collection[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Have values asked for again, before all that wait.

    Args:
        connection: in a transaction.
        values: each a profile's guid and the key of a rule.

    Returns:
        Those whose source is asked again; the others' rule or profile is gone.
    """
    if not values:
        return set()
    profiles, keys = zip(*values, strict=True)
    cursor = await connection.execute(
        _SQL["make_due"], {"profiles": sql.texts(profiles), "keys": sql.texts(keys)}
    )
    return set(await cursor.fetchall())


async def due(connection: AsyncConnection[Any], source: str, now: datetime) -> int:
    """How many profiles are due, at most `COUNTED`."""
    cursor = await connection.execute(
        _SQL["due"], {"source": source, "now": now, "at_most": COUNTED}
    )
    (count,) = await cursor.fetchone() or (0,)
    return int(count)


async def schedule_all(
    connection: AsyncConnection[Any], source: str, keys: Sequence[str], now: datetime
) -> bool:
    """Make the next profiles due for a source's new rules; whether there was anything to do.

    Args:
        connection: in a transaction.
        source: a source.
        keys: of its rules.
        now: when they are due.
    """
    cursor = await connection.execute(_SQL["scheduling"], {"source": source})
    found = await cursor.fetchone()
    if found is None:
        return False
    chunk = {"after": found[0], "at_most": CHUNK}
    await connection.execute(_SQL["drop_strangers"], {**chunk, "keys": list(keys)})
    cursor = await connection.execute(_SQL["schedule"], {**chunk, "source": source, "now": now})
    last, count = await cursor.fetchone() or (None, 0)
    upto = last if count == CHUNK else None
    await connection.execute(_SQL["scheduled"], {"source": source, "upto": upto})
    return True


async def forget(connection: AsyncConnection[Any], asked: Sequence[str]) -> bool:
    """Drop some rows of sources that no rule asks any more; whether there were any."""
    cursor = await connection.execute(_SQL["sources"])
    dropped = 0
    for source in {source for (source,) in await cursor.fetchall()} - set(asked):
        cursor = await connection.execute(_SQL["forget"], {"source": source, "at_most": CHUNK})
        dropped += cursor.rowcount
    return dropped > 0
