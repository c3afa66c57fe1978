"""The routes of profiles: each calls one function in one transaction and returns its result."""

from typing import Annotated, Any

from fastapi import Path, Query
from starlette.responses import Response

from api import responses
from api.responses import json_response, page_response, take_fitting
from api.routing import Routes
from merganser.http.authentication import Permission
from merganser.identity.explain import Explanation, explain
from merganser.queries import events, parameters, profiles
from merganser.queries.pool import Pool

READ = Permission.READ_PROFILES

Guid = Annotated[
    parameters.Guid, Path(description="The guid of a profile, or of one that merged into it.")
]


def add(routes: Routes, pool: Pool, scan: int) -> None:
    """Add the routes; a page of events reads at most `scan` events."""

    @routes.get("/profiles", READ, responses.ProfilePage, [400])
    async def list_profiles(query: Annotated[parameters.ProfileQuery, Query()]) -> Response:
        """Profiles by a userId, an anonymousId or the value of a property; otherwise all."""
        async with pool.reading() as connection:
            return page_response("profiles", await profiles.read_page(connection, query))

    @routes.get("/profile/{guid}", READ, responses.OneProfile, [404])
    async def show_profile(guid: Guid) -> Response:
        """A profile with its properties; after a merge, the surviving profile."""
        async with pool.reading() as connection:
            body = await profiles.read_profile(connection, guid)
            return json_response(body, truncated=body["profile"]["moreProperties"])

    @routes.get("/profile/{guid}/events", Permission.READ_EVENTS, responses.EventPage, [400, 404])
    async def show_timeline(
        guid: Guid, query: Annotated[parameters.TimelineQuery, Query()]
    ) -> Response:
        """A profile's events, newest first."""
        async with pool.reading() as connection:
            current_guid = await profiles.current_guid(connection, guid)
            events_query = query.for_profile(current_guid)
            return page_response("events", await events.read_page(connection, events_query, scan))

    @routes.get("/profile/{guid}/merges", READ, responses.MergePage, [400, 404])
    async def show_merges(guid: Guid, query: Annotated[parameters.PageQuery, Query()]) -> Response:
        """The anonymousIds that this profile got or lost, newest first."""
        async with pool.reading() as connection:
            return page_response("merges", await profiles.read_merges(connection, guid, query))

    @routes.get("/profile/{guid}/explain", READ, responses.Explanations, [404])
    async def explain_profile(guid: Guid) -> Response:
        """Why this profile has its ids, as data and as text, as `merganser explain` shows it."""
        async with pool.reading() as connection:
            await profiles.current_guid(connection, guid)
            explanations = await explain(connection, guid)
            fitting = take_fitting(_explanation_to_json(entry) for entry in explanations)
            return json_response({"explanations": fitting.entries}, truncated=not fitting.all)


def _explanation_to_json(explanation: Explanation) -> dict[str, Any]:
    """Return what a response has of an explanation. Clients rely on the keys."""
    return {
        "id": explanation.id,
        "kind": explanation.kind,
        "because": explanation.text,
        "profile": explanation.profile,
        "userId": explanation.user_id,
        "events": explanation.events,
        "visitors": [
            {
                "anonymousId": known.anonymous_id,
                "profile": known.profile,
                "owner": known.owner,
                "linkEvent": known.link_event,
                "linkedAt": known.linked_at,
            }
            for known in explanation.anonymous_ids
        ],
        "merges": [
            {
                "reason": merge.reason,
                "anonymousId": merge.anonymous_id,
                "loser": merge.loser,
                "survivor": merge.survivor,
                "linkEvent": merge.link_event,
                "at": merge.merged_at,
            }
            for merge in explanation.merges
        ],
        "refused": [
            {
                "event": link.event,
                "anonymousId": link.anonymous_id,
                "userId": link.user_id,
                "owner": link.owner,
            }
            for link in explanation.refused_links
        ],
        "moving": [[move.anonymous_id, move.loser] for move in explanation.pending_moves],
    }
