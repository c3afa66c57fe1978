"""Twenty users with plans, who must have them whatever is said of others."""

from tests.support.database import Database

INNOCENT = [str(number) for number in range(20)]
GOOD = {user_id: f"plan of {user_id}" for user_id in INNOCENT}
"""What the source says of them."""
PLANS = {user_id: [plan] for user_id, plan in GOOD.items()}
"""What their profiles have then."""


async def items(database: Database) -> dict[tuple[str, str], tuple[str, int, str]]:
    """Values that are set aside: (profile, key) -> state, attempts, reason."""
    rows = await database.rows(
        """SELECT subject, place, state, attempts, reason FROM "setAside" WHERE kind = 'value'"""
    )
    return {(subject, place): (state, times, why) for subject, place, state, times, why in rows}
