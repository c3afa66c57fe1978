"""The values of profile properties: one store for all processes that compute them."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from psycopg import AsyncConnection

from merganser.rulebook.values import LONGEST_VALUE
from merganser.runtime import sql

_SQL = sql.load(__package__, "property_store.sql")

Values = Mapping[str, Sequence[str]]
"""The values of a profile by the key of the property."""

_LITERAL = 63
"""Bytes of a value that the statement `compared` gives as it is."""


async def put(
    connection: AsyncConnection[Any], keys: Collection[str], wanted: Mapping[str, Values]
) -> int:
    """Make stored properties what they should be; only what differs is written.

    Args:
        connection: in a transaction.
        keys: of the properties to look at; those of other processes are not among them.
        wanted: by profile; a key that is missing there is left as it is.

    Returns:
        How many values were written or deleted.
    """
    cursor = await connection.execute(
        _SQL["compared"],
        {"profiles": sql.texts(wanted), "keys": list(keys), "longest": LONGEST_VALUE},
    )
    stored = {
        (profile, key, position): value
        for profile, key, position, value in await cursor.fetchall()
        if key in wanted[profile]
    }
    right = {
        (profile, key, position): value
        for profile, properties in wanted.items()
        for key, values in properties.items()
        for position, value in enumerate(values)
    }
    changed = [item for item in right.items() if stored.get(item[0]) != _compared(item[1])]
    gone = [place for place in stored if place not in right]
    if changed:
        values = sql.texts(value for _, value in changed)
        places = _columns(place for place, _ in changed)
        await connection.execute(_SQL["put"], {**places, "values": values})
    if gone:
        await connection.execute(_SQL["drop"], _columns(gone))
    return len(changed) + len(gone)


async def forget(connection: AsyncConnection[Any], profiles: Collection[str]) -> None:
    """Delete all properties of profiles."""
    await connection.execute(_SQL["forget"], {"profiles": sql.texts(profiles)})


def _compared(value: str) -> str:
    """A value as the statement `compared` gives it."""
    text = value.encode()
    return value if len(text) <= _LITERAL else hashlib.sha256(text).hexdigest()


def _columns(places: Iterable[tuple[str, str, int]]) -> dict[str, Any]:
    guids, keys, positions = zip(*places, strict=True)
    return {"profiles": sql.texts(guids), "keys": sql.texts(keys), "positions": list(positions)}
