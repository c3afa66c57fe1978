"""The log of actions: what operators did, by the console or by a command.

An action never names an id of a person: `forget` does not look for ids here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from merganser.queries import cursors
from merganser.runtime import sql

_SQL = sql.load(__package__, "actions.sql")

_AFTER_EVERY_GUID = "act`"

PAGE = 50
"""Actions of a page."""

Source = Literal["cli", "console"]


class Actor(NamedTuple):
    """Who does something."""

    source: Source
    name: str
    """Of the user of the operating system, of the API key, or of the user that a proxy names."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that an operator did."""

    guid: str
    created_at: datetime
    source: Source
    actor: str
    action: str
    """A short verb phrase, such as `key created`."""
    subject: str | None
    """What it was done to."""
    reason: str | None
    counts: dict[str, int]
    """How much it changed, by what was changed."""


@dataclass(frozen=True, slots=True)
class ActionPage:
    """Actions, the newest first."""

    actions: list[Action]
    next_cursor: str | None
    """Where the next page starts; None after the last page."""


async def record_action(
    connection: AsyncConnection[Any],
    actor: Actor,
    action: str,
    *,
    subject: str | None = None,
    reason: str | None = None,
    counts: Mapping[str, int] | None = None,
) -> None:
    """Store what an operator did.

    Args:
        connection: in the transaction that does it, if it is one transaction.
        actor: who does it.
        action: a short verb phrase, such as `key created`.
        subject: what it is done to; never an id of a person.
        reason: why, in the operator's words, checked not to contain an id of a person.
        counts: how much it changes, by what is changed.
    """
    values = {
        "source": actor.source,
        "actor": actor.name,
        "action": action,
        "subject": subject,
        "reason": reason,
        "counts": Jsonb(dict(counts or {})),
    }
    await connection.execute(_SQL["record_action"], values)


async def list_actions(
    connection: AsyncConnection[Any],
    *,
    action: str | None = None,
    actor: str | None = None,
    cursor: str | None = None,
    limit: int = PAGE,
) -> ActionPage:
    """Return a page of actions, the newest first.

    Args:
        connection: in any state.
        action: only such actions; None: any.
        actor: only of this actor; None: of any.
        cursor: of the page before; None: the first page.
        limit: the most actions.

    Raises:
        HttpError: MALFORMED, the cursor is not one of such a page.
    """
    before_time, before_guid = cursors.LATEST, _AFTER_EVERY_GUID
    if cursor is not None:
        text, before_guid = cursors.decode(cursor, "actions", 2)
        before_time = cursors.parse_time(text)
    values = {
        "before_time": before_time,
        "before_guid": before_guid,
        "action": action,
        "actor": actor,
        "limit": limit + 1,
    }
    rows = await (await connection.execute(_SQL["list_actions"], values)).fetchall()
    actions = [Action(*row) for row in rows[:limit]]
    if len(rows) <= limit:
        return ActionPage(actions, None)
    last = actions[-1]
    return ActionPage(actions, cursors.encode("actions", last.created_at.isoformat(), last.guid))
