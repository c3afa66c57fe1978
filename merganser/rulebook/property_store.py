"""The table of property values, used by every process that computes properties."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from psycopg import AsyncConnection

from merganser.rulebook.values import MAX_VALUE_BYTES
from merganser.runtime import sql

_SQL = sql.load(__package__, "property_store.sql")

ProfileProperties = Mapping[str, Sequence[str]]
"""The values of one profile's properties, by property key."""

_MAX_LITERAL_BYTES = 63
"""`read_for_comparison` returns values up to this size unchanged, and longer ones as a hash."""


async def write_properties(
    connection: AsyncConnection[Any],
    keys: Collection[str],
    wanted: Mapping[str, ProfileProperties],
) -> int:
    """Write the property values that differ from the stored ones, and delete surplus ones.

    Args:
        connection: in a transaction.
        keys: keys of the properties that the caller computes; others are not touched.
        wanted: the properties of each profile, by guid. A key that is missing is not touched.

    Returns:
        The number of values that were written or deleted.
    """
    cursor = await connection.execute(
        _SQL["read_for_comparison"],
        {"profiles": sql.texts(wanted), "keys": list(keys), "max_bytes": MAX_VALUE_BYTES},
    )
    stored = {
        (profile, key, position): value
        for profile, key, position, value in await cursor.fetchall()
        if key in wanted[profile]
    }
    expected = {
        (profile, key, position): value
        for profile, properties in wanted.items()
        for key, values in properties.items()
        for position, value in enumerate(values)
    }
    changed = [
        (row_key, value)
        for row_key, value in expected.items()
        if stored.get(row_key) != _for_comparison(value)
    ]
    surplus = [row_key for row_key in stored if row_key not in expected]
    if changed:
        values = sql.texts(value for _, value in changed)
        row_keys = _to_columns(row_key for row_key, _ in changed)
        await connection.execute(_SQL["write_values"], {**row_keys, "values": values})
    if surplus:
        await connection.execute(_SQL["delete_values"], _to_columns(surplus))
    return len(changed) + len(surplus)


async def read_values(
    connection: AsyncConnection[Any], profiles: Collection[str], keys: Collection[str]
) -> dict[tuple[str, str], list[str]]:
    """Return the stored values by (profile, property key). A value that is too long is cut."""
    cursor = await connection.execute(
        _SQL["read_values"],
        {
            "profiles": sql.texts(profiles),
            "keys": sql.texts(keys),
            "max_value_bytes": MAX_VALUE_BYTES,
        },
    )
    return {(profile, key): values for profile, key, values in await cursor.fetchall()}


async def delete_properties(connection: AsyncConnection[Any], profiles: Collection[str]) -> int:
    """Delete all properties of profiles; return the number of values."""
    cursor = await connection.execute(_SQL["delete_profiles"], {"profiles": sql.texts(profiles)})
    return cursor.rowcount


async def delete_anonymous_properties(
    connection: AsyncConnection[Any], keys: Collection[str], after: str, limit: int
) -> None:
    """Delete properties of the anonymous profiles among the next profiles.

    Args:
        connection: in a transaction.
        keys: keys of the properties.
        after: the profiles come after this guid.
        limit: the number of profiles.
    """
    await connection.execute(
        _SQL["delete_anonymous_properties"], {"keys": list(keys), "after": after, "limit": limit}
    )


async def read_keys(connection: AsyncConnection[Any]) -> set[str]:
    """Return the keys of all properties that any profile has."""
    cursor = await connection.execute(_SQL["read_keys"])
    return {key for (key,) in await cursor.fetchall()}


async def delete_property(connection: AsyncConnection[Any], key: str, limit: int) -> None:
    """Delete some values of a property, at most `limit`."""
    await connection.execute(_SQL["delete_property"], {"key": key, "limit": limit})


def _for_comparison(value: str) -> str:
    """Return a value as the statement `read_for_comparison` returns it."""
    text = value.encode()
    return value if len(text) <= _MAX_LITERAL_BYTES else hashlib.sha256(text).hexdigest()


def _to_columns(row_keys: Iterable[tuple[str, str, int]]) -> dict[str, Any]:
    guids, keys, positions = zip(*row_keys, strict=True)
    return {"profiles": sql.texts(guids), "keys": sql.texts(keys), "positions": list(positions)}
