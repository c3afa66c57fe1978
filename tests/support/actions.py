"""Who acts in tests, and what the log of actions says."""

from typing import Any

from merganser.admin.actions import Actor
from tests.support.database import Database

OPERATOR = Actor("cli", "an operator")


async def read_actions(database: Database) -> list[tuple[Any, ...]]:
    """Return source, actor, action, subject, reason and counts of all actions, oldest first."""
    return await database.rows(
        "SELECT source, actor, action, subject, reason, counts FROM actions "
        'ORDER BY "createdAt", guid'
    )
