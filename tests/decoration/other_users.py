"""Twenty users who must get their plans when the source fails for other users."""

from tests.support.database import Database

INNOCENT = [str(number) for number in range(20)]
GOOD = {user_id: f"plan of {user_id}" for user_id in INNOCENT}
"""The plan of each user in the source."""
PLANS = {user_id: [plan] for user_id, plan in GOOD.items()}
"""The property values of each user."""


async def read_set_aside(database: Database) -> dict[tuple[str, str], tuple[str, int, str]]:
    """Return the values that are set aside: (profile, key) -> (state, attempts, reason)."""
    rows = await database.rows(
        """SELECT subject, place, state, attempts, reason FROM "setAside" WHERE kind = 'value'"""
    )
    return {
        (subject, key): (state, attempts, reason) for subject, key, state, attempts, reason in rows
    }
