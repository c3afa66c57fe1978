"""Explain which profile an id leads to, and why (`merganser explain`)."""

from merganser.admin.database import open_connection
from merganser.admin.errors import AdminError
from merganser.identity import explain
from merganser.identity.explain import Explanation
from merganser.runtime.settings import Settings


class IdNotFound(AdminError):
    """Nothing stored has this id."""


async def explain_id(settings: Settings, name: str) -> list[Explanation]:
    """Explain an id. It may be a userId and an anonymousId at once, each with an explanation.

    Args:
        settings: the database's URL.
        name: guid of an event or a profile, a userId or an anonymousId.

    Raises:
        IdNotFound: it is none of these.
    """
    async with open_connection(settings, "explain") as connection:
        explanations = await explain.explain(connection, name)
    if not explanations:
        raise IdNotFound(f"no event, profile, userId or anonymousId is {name!r}")
    return explanations
