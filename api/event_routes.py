"""The routes of events: each calls one function in one transaction and returns its result."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path, Query, Request
from starlette.responses import Response

from api import responses, types
from api.responses import json_response, page_response
from api.routing import Routes
from merganser.http.authentication import ApiKey, Permission
from merganser.http.errors import ErrorKind, HttpError
from merganser.identity.unlink import Direction, LinkChange, NotALink, ReasonHasId, Unlinker
from merganser.queries import events, parameters
from merganser.queries.pool import Pool

READ = Permission.READ_EVENTS

MOVE_LIMIT = 1000
"""Events that a request moves when a link changes; the scanner moves the rest."""

Guid = Annotated[parameters.Guid, Path(description="The guid of an event.")]


def add(routes: Routes, pool: Pool, scan: int, nobody_ids: frozenset[str]) -> None:
    """Add the routes.

    Args:
        routes: where to add them.
        pool: of connections to Postgres.
        scan: the most events that a page reads.
        nobody_ids: ids that mean nobody, as `schemas.ids.folded` returns them.
    """
    unlinker = Unlinker(nobody_ids, MOVE_LIMIT)

    @routes.get("/events", READ, responses.EventPage, [400])
    async def list_events(query: Annotated[parameters.EventQuery, Query()]) -> Response:
        """Events that match all filters, newest first by (occurredAt, guid)."""
        async with pool.reading() as connection:
            return page_response("events", await events.read_page(connection, query, scan))

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

    async def change_link(
        request: Request, direction: Direction, guid: str, query: parameters.LinkChangeQuery
    ) -> Response:
        key: ApiKey = request.state.key
        async with pool.writing() as connection, _refused():
            change = await unlinker.change(
                connection,
                direction,
                guid,
                f"API key {key.guid}",
                query.reason,
                every=query.every,
                preview=query.preview,
            )
        return json_response(_link_change_to_json(change, may_read=READ in key.permissions))

    @routes.route(
        "POST", "/event/{guid}/unlink", Permission.CHANGE_LINKS, responses.LinkChanged, [404]
    )
    async def unlink_event(
        request: Request, guid: Guid, query: Annotated[parameters.LinkChangeQuery, Query()]
    ) -> Response:
        """Ignore an event as a link of its anonymousId and userId, to undo a wrong merge."""
        return await change_link(request, "unlink", guid, query)

    @routes.route(
        "POST", "/event/{guid}/relink", Permission.CHANGE_LINKS, responses.LinkChanged, [404]
    )
    async def relink_event(
        request: Request, guid: Guid, query: Annotated[parameters.LinkChangeQuery, Query()]
    ) -> Response:
        """Reverse `unlink`: the event is a link again."""
        return await change_link(request, "relink", guid, query)


@asynccontextmanager
async def _refused() -> AsyncIterator[None]:
    """Turn the errors of a change into responses.

    Raises:
        HttpError: NOT_FOUND, INVALID.
    """
    try:
        yield
    except NotALink as error:
        raise HttpError(ErrorKind.NOT_FOUND, str(error)) from None
    except ReasonHasId as error:
        raise HttpError(ErrorKind.INVALID, str(error), {"reason": str(error)}) from None


def _link_change_to_json(change: LinkChange, *, may_read: bool) -> dict[str, Any]:
    """Return what a response has of a change; without ids for a key that may not read them."""
    return {
        "eventGuid": change.event,
        "changed": change.links > 0,
        "links": change.links,
        "isPruned": change.is_pruned,
        "events": change.events,
        "loserGuid": change.loser,
        "survivorGuid": change.survivor,
        "userId": change.user_id if may_read else None,
        "anonymousId": change.anonymous_id if may_read else None,
        "ownerUserId": change.owner if may_read else None,
    }
