"""The routes of profiles: each calls one function in one transaction and returns its result."""

from typing import Annotated

from fastapi import Path, Query
from starlette.responses import Response

from api import events, parameters, profiles, responses
from api.database import Pool
from api.responses import json_response
from api.routing import Routes
from merganser.http.authentication import Permission

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
            page, truncated = await profiles.read_page(connection, query)
            return json_response(page, truncated=truncated)

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
            page, truncated = await events.read_page(
                connection, query.for_profile(current_guid), scan
            )
            return json_response(page, truncated=truncated)

    @routes.get("/profile/{guid}/merges", READ, responses.MergePage, [400, 404])
    async def show_merges(guid: Guid, query: Annotated[parameters.PageQuery, Query()]) -> Response:
        """The anonymousIds that this profile got or lost, newest first."""
        async with pool.reading() as connection:
            page, truncated = await profiles.read_merges(connection, guid, query)
            return json_response(page, truncated=truncated)

    @routes.get("/profile/{guid}/explain", READ, responses.Explanations, [404])
    async def explain_profile(guid: Guid) -> Response:
        """Why this profile has its ids, as data and as text, as `merganser explain` shows it."""
        async with pool.reading() as connection:
            body, truncated = await profiles.read_explanations(connection, guid)
            return json_response(body, truncated=truncated)
