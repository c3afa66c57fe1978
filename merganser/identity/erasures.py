"""The ledger of erasures: read it, write it to a file, and erase again after a restore.

`forget.py` writes the ledger. After a restore from a backup, the people who were erased since then
are back. `merganser/admin/erasures.py` imports a file of the ledger, and finds these people: the
file has only hashes, but the database has the ids, and it has the salt of the hashes.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg import AsyncConnection

from merganser.identity import forget, placeholder
from merganser.identity.forget import Request, SuppressionScope
from merganser.runtime import sql

_SQL = sql.load(__package__, "erasures.sql")

FETCH_SIZE = 500
"""Rows held in memory at a time."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """What the ledger says about an erasure."""

    guid: str
    profile: str
    requested_by: str
    reason: str
    suppresses: SuppressionScope
    started_at: datetime
    finished_at: datetime | None
    deleted: Mapping[str, int]
    """Number of deleted rows by table."""
    topic_until: str | None
    """Until when the topic of events may hold a record of the person: a time, `forever`, or None
    if Kafka did not say."""
    dead_topic_until: str | None
    """Until when the dead-letter topic may hold a letter from before the erasure."""
    json: str
    """All of it, as the file has it."""


async def read_erasures(
    connection: AsyncConnection[Any], name: str | None = None
) -> AsyncIterator[Erasure]:
    """Yield erasures, oldest first.

    Args:
        connection: in a transaction.
        name: only those of this userId, anonymousId or guid.
    """
    async with connection.cursor("erasures") as cursor:
        cursor.itersize = FETCH_SIZE
        await cursor.execute(_SQL["read_erasures"], {"profile": None, "name": name, "guids": None})
        async for row in cursor:
            yield Erasure(*row)


async def read_last(connection: AsyncConnection[Any], profile: str) -> Erasure | None:
    """Return the last erasure of a profile."""
    values = {"profile": profile, "name": None, "guids": None}
    cursor = await connection.execute(_SQL["read_erasures"], values)
    rows = await cursor.fetchall()
    return Erasure(*rows[-1]) if rows else None


async def read_newest(
    connection: AsyncConnection[Any], name: str | None, before: str | None, at_most: int
) -> list[Erasure]:
    """Return some erasures, newest first.

    Args:
        connection: to read with.
        name: only those of this userId, anonymousId or guid.
        before: guid of an erasure: only older ones.
        at_most: number of erasures.
    """
    values = {"name": name, "before": before, "at_most": at_most}
    cursor = await connection.execute(_SQL["find_newest"], values)
    guids = [guid for (guid,) in await cursor.fetchall()]
    cursor = await connection.execute(
        _SQL["read_erasures"], {"profile": None, "name": None, "guids": guids}
    )
    return [Erasure(*row) for row in reversed(await cursor.fetchall())]


async def read_ids(connection: AsyncConnection[Any]) -> AsyncIterator[str]:
    """Yield a line of JSON for each erased id.

    Args:
        connection: in a transaction.
    """
    async with connection.cursor("ids") as cursor:
        cursor.itersize = FETCH_SIZE
        await cursor.execute(_SQL["read_ids"])
        async for (line,) in cursor:
            yield line


async def read_fingerprint(connection: AsyncConnection[Any]) -> str:
    """Return a text that only databases with the salt of this one have."""
    (fingerprint,) = await (await connection.execute(_SQL["fingerprint"])).fetchone() or ("",)
    return str(fingerprint)


async def import_erasures(connection: AsyncConnection[Any], lines: Sequence[str]) -> int:
    """Insert erasures that the ledger does not have; return how many.

    Args:
        connection: in a transaction.
        lines: of JSON, as `Erasure` has them.
    """
    cursor = await connection.execute(_SQL["import_erasures"], {"lines": _to_array(lines)})
    (imported,) = await cursor.fetchone() or (0,)
    return int(imported)


async def import_ids(connection: AsyncConnection[Any], lines: Sequence[str]) -> None:
    """Insert ids of erasures that are in the ledger, and suppress those that are suppressed.

    Args:
        connection: in a transaction for this call only.
        lines: of JSON, as `read_ids` yields them.
    """
    await forget.lock_suppressed_ids(connection)
    for statement in ("import_ids", "suppress_imported_ids", "lift_imported_ids"):
        await connection.execute(_SQL[statement], {"lines": _to_array(lines)})


Search = Literal["find_begun", "find_users", "find_placeholders", "find_anonymous_ids"]
"""What to look for: guids of profiles that an unfinished erasure erases, or whose userId an
imported erasure erased; userIds that are placeholders; anonymousIds that were erased."""


async def find_next(
    connection: AsyncConnection[Any], search: Search, after: str, at_most: int
) -> list[str]:
    """Return the next guids or ids of a search, in order."""
    cursor = await connection.execute(_SQL[search], {"after": after, "at_most": at_most})
    return [found for (found,) in await cursor.fetchall()]


async def read_profile(connection: AsyncConnection[Any], anonymous_id: str) -> str | None:
    """Return the guid of the profile of an anonymousId."""
    cursor = await connection.execute(_SQL["read_profile"], {"anonymous_id": anonymous_id})
    row = await cursor.fetchone()
    return None if row is None else str(row[0])


async def begin(
    connection: AsyncConnection[Any], anonymous_id: str, request: Request
) -> str | None:
    """Begin to erase the profile of an erased anonymousId; return its guid.

    If the anonymousId belongs to a user who was not erased, as an earlier link is missing in the
    backup, it gets its own profile, so that the user stays.

    Args:
        connection: in a transaction for this call only.
        anonymous_id: as `find_next` returned it.
        request: counts if the erasure has not begun.
    """
    await forget.lock_suppressed_ids(connection)
    await connection.execute(_SQL["split_profile"], {"anonymous_id": anonymous_id})
    profile = await read_profile(connection, anonymous_id)
    if profile is not None:
        await forget.suppress_ids(connection, profile, request, 1)
    return profile


async def keep_other_ids(
    connection: AsyncConnection[Any],
    profile: str,
    request: Request,
    nobody_ids: Collection[str],
    at_most: int,
) -> bool:
    """Begin to erase a profile without some anonymousIds that left it before it was erased.

    They get their next owner or an anonymous profile. Without that they would be erased, as the
    backup does not have the link or unlink by which they left.

    Args:
        connection: in a READ COMMITTED transaction for this call only.
        profile: guid, as `find_next` returned it.
        request: counts if the erasure has not begun.
        nobody_ids: ids that mean nobody, as `schemas.ids.folded` returns them.
        at_most: number of anonymousIds.

    Returns:
        Whether there may be more to do.
    """
    await forget.begin(connection, profile, request)
    scope = {"profile": profile, "at_most": at_most}
    cursor = await connection.execute(_SQL["find_other_ids"], scope)
    if anonymous_ids := [anonymous_id for (anonymous_id,) in await cursor.fetchall()]:
        await placeholder.change_owners_of(connection, profile, anonymous_ids, nobody_ids)
    return bool(anonymous_ids)


async def finish_replay(connection: AsyncConnection[Any]) -> None:
    """Write to the ledger that what the database had of imported erasures is erased."""
    await connection.execute(_SQL["finish_replay"])


def _to_array(lines: Sequence[str]) -> str:
    return f"[{','.join(lines)}]"
