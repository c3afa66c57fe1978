"""The dry run of a rule with a query: what its source answers for one user. Nothing is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from decoration.errors import QueryRefused
from decoration.source_client import SourceClient
from decoration.values import (
    ValueTooLong,
    find_missing_column,
    read_user_ids,
    read_values,
    to_text,
)
from merganser.rulebook.language import Rule, Source
from merganser.rulebook.profile_lookup import find_profile
from merganser.runtime import isolation

MAX_ROWS = 100
"""Rows of an answer that are returned."""


@dataclass(frozen=True, slots=True)
class QueryRuleDryRun:
    """What the rule gives for a user."""

    profile: str
    user_id: str | None
    values: list[str]
    unfit: int
    """Values that do not fit the type."""
    too_long: int
    """Values that are too long, or exceed the limits of their array."""
    failure: str | None
    """Why the value cannot be read; None if it can."""
    columns: tuple[str, ...]
    rows: list[list[str]]
    """The first `MAX_ROWS` rows of the answer, as texts."""


async def dry_run_query_rule(
    connection: AsyncConnection[Any],
    rule: Rule,
    source: Source,
    any_id: str,
    environment: Mapping[str, str],
) -> QueryRuleDryRun | None:
    """Run a rule's query for one user.

    Args:
        connection: to find the profile with.
        rule: a rule with a query. It need not be applied.
        source: the source of the query.
        any_id: a profile's guid, a userId or an anonymousId.
        environment: has the URL of the source.

    Returns:
        The values and the rows, or None if no profile has the id.

    Raises:
        SourceUnavailable: the source does not answer.
        QueryRefused: it cannot run the query, or its answer lacks the rule's column.
    """
    found = await find_profile(connection, any_id)
    if found is None:
        return None
    profile, user_id = found
    if user_id is None or rule.query is None:
        return QueryRuleDryRun(profile, user_id, [], 0, 0, None, (), [])
    client = SourceClient(source, environment)
    try:
        table = await client.run_query(rule.query, [user_id])
    finally:
        client.close()
    if missing := find_missing_column(table, rule):
        raise QueryRefused(missing)
    result = read_values(table, read_user_ids(table)[0], rule)
    return QueryRuleDryRun(
        profile,
        user_id,
        result.values.get(user_id, []),
        result.unfit,
        result.too_long,
        result.failures.get(user_id),
        table.columns,
        [[_display(value) for value in row] for row in table.rows[:MAX_ROWS]],
    )


def _display(value: Any) -> str:
    if value is None:
        return "null"
    try:
        text = to_text(value)
    except ValueTooLong:
        return "too long"
    except Exception as error:  # noqa: BLE001 - a value raises anything when it is converted
        return f"cannot be read: {isolation.reason(error)}"
    return "cannot be stored by Postgres" if text is None else text
