"""The routes of events: each calls one function in one transaction and returns its result."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Query, Request
from starlette.responses import Response

from api import events, parameters, responses, types
from api.database import Pool
from api.responses import json_response
from api.routing import Routes
from merganser.http.authentication import ApiKey, Permission

READ = Permission.READ_EVENTS

Guid = Annotated[parameters.Guid, Path(description="The guid of an event.")]


def add(routes: Routes, pool: Pool, scan: int) -> None:
    """Add the routes; a page reads at most `scan` events."""

    @routes.get("/events", READ, responses.EventPage, [400])
    async def list_events(query: Annotated[parameters.EventQuery, Query()]) -> Response:
        """Events that match all filters, newest first by (occurredAt, guid)."""
        async with pool.reading() as connection:
            page, truncated = await events.read_page(connection, query, scan)
            return json_response(page, truncated=truncated)

    @routes.get("/events/counts", READ, responses.EventCounts)
    async def count_events(query: Annotated[parameters.CountQuery, Query()]) -> Response:
        """The number of events of each type in each minute, hour, day, week or month."""
        async with pool.reading() as connection:
            return json_response(await types.count_events(connection, query, datetime.now(UTC)))

    @routes.get("/events/types", READ, responses.TypePage, [400])
    async def list_types(query: Annotated[parameters.PageQuery, Query()]) -> Response:
        """Event types by name, each with its first and last time and its newest event."""
        async with pool.reading() as connection:
            page, truncated = await types.read_page(connection, query)
            return json_response(page, truncated=truncated)

    @routes.get("/events/autocompleteType", READ, responses.TypeNames)
    async def search_types(query: Annotated[parameters.TypeSearch, Query()]) -> Response:
        """The first types that contain a text, in any case."""
        async with pool.reading() as connection:
            return json_response(await types.search_types(connection, query))

    @routes.get("/event/{guid}", READ, responses.OneEvent, [404])
    async def show_event(guid: Guid) -> Response:
        """An event with its data."""
        async with pool.reading() as connection:
            event = await events.read_event(connection, guid)
            return json_response({"event": event}, truncated=event["moreData"])

    @routes.route(
        "DELETE", "/event/{guid}", Permission.DELETE_EVENTS, responses.Deleted, [404, 409]
    )
    async def delete_event(request: Request, guid: Guid) -> Response:
        """Delete an event and its data. Profiles keep their ids."""
        key: ApiKey = request.state.key
        async with pool.writing() as connection:
            await events.delete_event(connection, guid, may_read=READ in key.permissions)
        return json_response({"success": True, "event": {"guid": guid}})
