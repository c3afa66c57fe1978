"""Ignore a link, or take that back, for a client with the permission."""

from psycopg import Rollback

from api.parameters import LinkChangeQuery
from merganser.http.errors import ErrorKind, HttpError
from merganser.identity.unlink import LinkChange, NotALink, Unlinker
from merganser.runtime.postgres import Connection

MOVE_LIMIT = 1000
"""Events that a request moves; the scanner moves the rest."""


async def change_link(
    connection: Connection,
    guid: str,
    query: LinkChangeQuery,
    actor: str,
    unlinker: Unlinker,
    *,
    relink: bool,
) -> LinkChange:
    """Ignore an event as a link, or take that back; with `preview` only say what would change.

    Args:
        connection: in a transaction.
        guid: of the event.
        query: the reason, and whether this is a preview.
        actor: who does it, for the trail.
        unlinker: which ids mean nobody.
        relink: whether to take `unlink` back.

    Raises:
        HttpError: NOT_FOUND, it is not a stored event with both ids.
    """
    change = unlinker.relink if relink else unlinker.unlink
    try:
        async with connection.transaction() as transaction:
            changed = await change(connection, guid, actor, query.reason)
            if query.preview:
                raise Rollback(transaction)
    except NotALink as error:
        raise HttpError(ErrorKind.NOT_FOUND, str(error)) from None
    return changed
