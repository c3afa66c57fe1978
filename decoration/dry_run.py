"""What a rule's source says of one user: asked once, nothing is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from decoration.errors import Refused
from decoration.source_client import Company
from decoration.texts import TooLong, text
from decoration.values import Table, lacks, user_ids, values
from merganser.rulebook.language import Rule, Source
from merganser.runtime import isolation, sql

_SQL = sql.load("properties", "dry_run.sql")

SHOWN = 100
"""Rows of an answer that are shown."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a rule gives for a user."""

    profile: str
    user_id: str | None
    values: list[str]
    unfit: int
    """Values that do not fit the type."""
    too_long: int
    """Values that are too long, or beyond the bounds of their array."""
    failure: str | None
    """Why the value cannot be read; None if it can."""
    columns: tuple[str, ...]
    rows: list[list[str]]
    """The answer's rows about the user, as texts, the first `SHOWN` of them."""


async def trial(
    connection: AsyncConnection[Any],
    rule: Rule,
    source: Source,
    name: str,
    environment: Mapping[str, str],
) -> Trial | None:
    """Try a rule on a profile.

    Args:
        connection: to find the profile with.
        rule: one that asks a source; it need not be applied.
        source: that one.
        name: a profile's guid, a userId or an anonymousId.
        environment: has the source's URL.

    Returns:
        None if nobody has that name.

    Raises:
        Outage: the source does not answer.
        Refused: it cannot run the query, or its answer lacks the rule's column.
    """
    cursor = await connection.execute(_SQL["profile"], {"name": name})
    found = await cursor.fetchone()
    if found is None:
        return None
    profile, user_id = found
    if user_id is None or rule.query is None:
        return Trial(profile, user_id, [], 0, 0, None, (), [])
    company = Company(source, environment)
    try:
        table = await company.ask(rule.query, [user_id])
    finally:
        company.close()
    if why := lacks(table, rule):
        raise Refused(why)
    found = values(table, user_ids(table)[0], rule)
    return Trial(
        profile,
        user_id,
        found.values.get(user_id, []),
        found.unfit,
        found.too_long,
        found.failures.get(user_id),
        table.columns,
        _told(table),
    )


def _told(table: Table) -> list[list[str]]:
    return [[_shown(value) for value in row] for row in table.rows[:SHOWN]]


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    try:
        written = text(value)
    except TooLong:
        return "too long"
    except Exception as error:  # noqa: BLE001 - values raise what their drivers like
        return f"cannot be read: {isolation.reason(error)}"
    return "what Postgres cannot store" if written is None else written
