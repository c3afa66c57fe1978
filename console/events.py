"""The page of one event: where it came from, and what it led to."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from console.pages import render
from merganser.http.errors import ErrorKind, HttpError
from merganser.identity.explain import read_event_reason
from merganser.queries import events, profiles
from merganser.queries.parameters import MAX_GUID_LENGTH
from merganser.queries.pool import Pool


class Events:
    """The routes.

    Args:
        pool: of connections to Postgres.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def show(self, request: Request) -> Response:
        """Trace an event."""
        guid = request.path_params["guid"]
        if "\0" in guid or len(guid) > MAX_GUID_LENGTH:
            raise HttpError(ErrorKind.NOT_FOUND, "this is not the guid of an event")
        async with self._pool.reading() as connection:
            found = await events.read_events(connection, [guid])
            if not found:
                return render(request, "event_missing.html", 404, guid=guid)
            event = found[0]
            why = await read_event_reason(connection, guid)
            merges: list[dict[str, Any]] = []
            if event["anonymousId"] is not None:
                merges = await profiles.read_merges_of_event(connection, guid, event["anonymousId"])
        return render(request, "event.html", event=event, why=why, merges=merges)
