"""Explain which profile an id leads to, and why (`merganser explain`)."""

from merganser.admin.database import open_connection
from merganser.admin.errors import AdminError
from merganser.identity import explain
from merganser.identity.explain import ExplainedMerge, Explanation, describe_merge
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


def describe_identity(explanation: Explanation) -> list[str]:
    """Return in sentences why the profile of an explanation has its ids."""
    lines = []
    for known in explanation.anonymous_ids:
        link = f", linked by {known.link_event}" if known.link_event else ", not linked"
        lines.append(f"has anonymousId {known.anonymous_id}{link}")
    lines += [
        f"{merge.merged_at:%Y-%m-%d %H:%M:%S} {describe_merge(merge)}{_describe_cause(merge)}"
        for merge in explanation.merges
    ]
    lines += [
        f"refused: {link.event} links {link.anonymous_id} to user {link.user_id}, "
        f"but it belongs to user {link.owner}"
        for link in explanation.refused_links
    ]
    lines += [
        f"a move of events of {move.anonymous_id} from {move.loser} is in progress"
        for move in explanation.pending_moves
    ]
    return lines


def _describe_cause(merge: ExplainedMerge) -> str:
    if merge.reason == "unlinked":
        return f", as link {merge.link_event} was ignored"
    return f", by link {merge.link_event}"
