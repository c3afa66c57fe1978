"""The routes of events: each asks one function, in one transaction, and writes what it gives."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Query, Request
from starlette.responses import Response

from api import events, parameters, responses, types
from api.database import Pool
from api.responses import json
from api.routing import Routes
from merganser.http.authentication import ApiKey, Permission

READ = Permission.READ_EVENTS

Guid = Annotated[parameters.Guid, Path(description="Of an event.")]


def add(routes: Routes, pool: Pool, scan: int) -> None:
    """Add the routes; a page looks at `scan` events at most."""

    @routes.get("/events", READ, responses.EventPage, [400])
    async def list_events(query: Annotated[parameters.Events, Query()]) -> Response:
        """Events that match all filters, newest first by (occurredAt, guid)."""
        async with pool.reading() as connection:
            page, cut = await events.page(connection, query, scan)
            return json(page, cut=cut)

    @routes.get("/events/counts", READ, responses.EventCounts)
    async def count_events(query: Annotated[parameters.Counts, Query()]) -> Response:
        """How many events of each type occurred in each minute, hour, day, week or month."""
        async with pool.reading() as connection:
            return json(await types.counts(connection, query, datetime.now(UTC)))

    @routes.get("/events/types", READ, responses.TypePage, [400])
    async def list_types(query: Annotated[parameters.Page, Query()]) -> Response:
        """The types of events by name, each with its first and last time and newest event."""
        async with pool.reading() as connection:
            page, cut = await types.page(connection, query)
            return json(page, cut=cut)

    @routes.get("/events/autocompleteType", READ, responses.TypeNames)
    async def search_types(query: Annotated[parameters.Match, Query()]) -> Response:
        """The first types that contain a text, in any case."""
        async with pool.reading() as connection:
            return json(await types.search(connection, query))

    @routes.get("/event/{guid}", READ, responses.OneEvent, [404])
    async def show_event(guid: Guid) -> Response:
        """An event with its data."""
        async with pool.reading() as connection:
            event = await events.one(connection, guid)
            return json({"event": event}, cut=event["moreData"])

    @routes.route(
        "DELETE", "/event/{guid}", Permission.DELETE_EVENTS, responses.Deleted, [404, 409]
    )
    async def delete_event(request: Request, guid: Guid) -> Response:
        """Delete an event and its data. Who is who stays as it is."""
        key: ApiKey = request.state.key
        async with pool.writing() as connection:
            await events.delete(connection, guid, may_read=READ in key.permissions)
        return json({"success": True, "event": {"guid": guid}})
