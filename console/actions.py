"""The page of the log of actions: what operators did."""

from starlette.requests import Request
from starlette.responses import Response

from console.ids import can_be_id
from console.pages import render
from merganser.admin.actions import list_actions
from merganser.http.errors import ErrorKind, HttpError
from merganser.identity.unlink import read_changes
from merganser.queries.parameters import MAX_ID_LENGTH
from merganser.queries.pool import Pool

FILTERS = ("action", "actor")


class Actions:
    """The route.

    Args:
        pool: of connections to Postgres.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def show(self, request: Request) -> Response:
        """Show actions, the newest first."""
        given = {name: request.query_params.get(name) or None for name in (*FILTERS, "cursor")}
        for name, value in given.items():
            if value and not can_be_id(value):
                raise HttpError(
                    ErrorKind.INVALID, f"{name} has at most {MAX_ID_LENGTH} characters, none NUL"
                )
        async with self._pool.reading() as connection:
            page = await list_actions(
                connection,
                action=given["action"],
                actor=given["actor"],
                cursor=given["cursor"],
            )
            subjects = [action.subject or "" for action in page.actions]
            links = [subject for subject in subjects if subject.startswith("lch_")]
            link_changes = await read_changes(connection, links) if links else {}
        return render(
            request,
            "actions.html",
            actions=page.actions,
            link_changes=link_changes,
            next_cursor=page.next_cursor,
            is_filtered=any(given[name] for name in FILTERS),
        )
