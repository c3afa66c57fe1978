"""The routes of profiles: each asks one function, in one transaction, and writes what it gives."""

from typing import Annotated

from fastapi import Path, Query
from starlette.responses import Response

from api import events, parameters, profiles, responses
from api.database import Pool
from api.responses import json
from api.routing import Routes
from merganser.http.authentication import Permission

READ = Permission.READ_PROFILES

Guid = Annotated[parameters.Guid, Path(description="Of a profile, or of one that merged into it.")]


def add(routes: Routes, pool: Pool, scan: int) -> None:
    """Add the routes; a page of events looks at `scan` of them at most."""

    @routes.get("/profiles", READ, responses.ProfilePage, [400])
    async def list_profiles(query: Annotated[parameters.Profiles, Query()]) -> Response:
        """Profiles by a userId, an anonymousId or the value of a property; otherwise all."""
        async with pool.reading() as connection:
            page, cut = await profiles.page(connection, query)
            return json(page, cut=cut)

    @routes.get("/profile/{guid}", READ, responses.OneProfile, [404])
    async def show_profile(guid: Guid) -> Response:
        """A profile with its properties; after a merge, the one that the guid leads to."""
        async with pool.reading() as connection:
            found = await profiles.one(connection, guid)
            return json(found, cut=found["profile"]["moreProperties"])

    @routes.get("/profile/{guid}/events", Permission.READ_EVENTS, responses.EventPage, [400, 404])
    async def show_timeline(guid: Guid, query: Annotated[parameters.Timeline, Query()]) -> Response:
        """A profile's events, newest first."""
        async with pool.reading() as connection:
            here = await profiles.found(connection, guid)
            page, cut = await events.page(connection, query.of_profile(here), scan)
            return json(page, cut=cut)

    @routes.get("/profile/{guid}/merges", READ, responses.MergePage, [400, 404])
    async def show_merges(guid: Guid, query: Annotated[parameters.Page, Query()]) -> Response:
        """Which anonymousIds came to this profile or left it, newest first."""
        async with pool.reading() as connection:
            page, cut = await profiles.merges(connection, guid, query)
            return json(page, cut=cut)

    @routes.get("/profile/{guid}/explain", READ, responses.Explanations, [404])
    async def explain_profile(guid: Guid) -> Response:
        """Why this profile is what it is, in data and in words, as `merganser explain` tells."""
        async with pool.reading() as connection:
            found, cut = await profiles.why(connection, guid)
            return json(found, cut=cut)
