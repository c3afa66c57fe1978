"""All ids by which something that is stored may name a person."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from merganser.identity import forget
from merganser.runtime import sql

_SQL = sql.load(__package__, "person_ids.sql")


@dataclass(frozen=True, slots=True)
class PersonIds:
    """The ids of a person."""

    user_ids: frozenset[str]
    anonymous_ids: frozenset[str]
    profiles: frozenset[str]
    """Guids, also those of profiles that were merged into the person's."""


async def find_person_ids(connection: AsyncConnection[Any], name: str) -> PersonIds:
    """Return the ids of the person with this userId or profile guid.

    Args:
        connection: to read with.
        name: a userId or profile guid. Any other text is an id by itself, of whatever kind.
    """
    person = await forget.find_person(connection, name)
    if person is None:
        name_only = frozenset([name])
        return PersonIds(name_only, name_only, name_only)
    return await read_person_ids(connection, person.profile)


async def read_person_ids(connection: AsyncConnection[Any], profile: str) -> PersonIds:
    """Return the ids of the person with this profile guid."""
    cursor = await connection.execute(_SQL["read_ids"], {"profile": profile})
    rows = await cursor.fetchall()

    def of_kind(kind: str) -> frozenset[str]:
        return frozenset(id_ for row_kind, id_ in rows if row_kind == kind)

    return PersonIds(of_kind("userId"), of_kind("anonymousId"), of_kind("profile"))


async def is_named(connection: AsyncConnection[Any], profile: str, text: str) -> bool:
    """Return whether a text contains the userId or an anonymousId of a profile, as `contains`."""
    scope = {"profile": profile, "text": text}
    cursor = await connection.execute(_SQL["find_in_text"], scope)
    return contains(text, [id_ for (id_,) in await cursor.fetchall()])


def contains(text: str, ids: Iterable[str]) -> bool:
    """Return whether a text contains one of these ids as a word, in any case."""
    return any(re.search(rf"(?<!\w){re.escape(id_)}(?!\w)", text, re.IGNORECASE) for id_ in ids)
