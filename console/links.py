"""The page that ignores an event as a link, or reverses that: first what would happen."""

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.access import check_may_write, viewer_of
from console.forms import read_form
from console.ids import read_guid
from console.pages import render
from merganser.admin import unlink
from merganser.admin.forget import ReasonNamesPerson
from merganser.admin.unlink import CannotChangeLink
from merganser.http.errors import ErrorKind, HttpError
from merganser.identity.unlink import (
    MAX_REASON_CHARACTERS,
    Direction,
    LinkChange,
    Unlinker,
    read_ignored,
)
from merganser.queries.pool import Pool

MOVE_LIMIT = 1000
"""Events that a request moves; the scanner moves the rest."""

MAX_FORM_BYTES = 16 << 10
"""Of a reason in any script, percent-encoded."""

PREVIEW_REASON = "x" * MAX_REASON_CHARACTERS
"""A preview stores no reason. As one word, this is longer than any id that it could contain."""


class Links:
    """The routes.

    Args:
        pool: of connections to Postgres.
        nobody_ids: ids that mean nobody, as `schemas.ids.folded` returns them.
    """

    def __init__(self, pool: Pool, nobody_ids: frozenset[str]) -> None:
        self._pool = pool
        self._unlinker = Unlinker(nobody_ids, MOVE_LIMIT)

    async def show(self, request: Request) -> Response:
        """Show what ignoring the event as a link would do, or what reversing that would do."""
        check_may_write(viewer_of(request))
        event = read_guid(request, "an event")
        async with self._pool.reading() as connection:
            is_ignored = bool(await read_ignored(connection, [event]))
        every = bool(request.query_params.get("all"))
        return await self._show(request, "relink" if is_ignored else "unlink", every=every)

    async def unlink(self, request: Request) -> Response:
        """Ignore the event as a link."""
        return await self._change(request, "unlink")

    async def relink(self, request: Request) -> Response:
        """Reverse that."""
        return await self._change(request, "relink")

    async def _change(self, request: Request, direction: Direction) -> Response:
        form = await read_form(request, MAX_FORM_BYTES)
        reason, every = form.get("reason", "").strip(), bool(form.get("all"))
        if not 0 < len(reason) <= MAX_REASON_CHARACTERS:
            problem = f"say why, in at most {MAX_REASON_CHARACTERS:,} characters"
        else:
            try:
                change = await self._run(request, direction, reason, every=every, preview=False)
            except ReasonNamesPerson as error:
                problem = str(error)
            else:
                return RedirectResponse(_page_after(change), 303)
        return await self._show(request, direction, every=every, reason=reason, problem=problem)

    async def _show(
        self,
        request: Request,
        direction: Direction,
        *,
        every: bool,
        reason: str = "",
        problem: str | None = None,
    ) -> Response:
        change = await self._run(request, direction, PREVIEW_REASON, every=every, preview=True)
        return render(
            request,
            "link.html",
            422 if problem else 200,
            direction=direction,
            change=change,
            sentences=unlink.describe_change(change, direction),
            every=every,
            reason=reason,
            problem=problem,
            moves_later=change.events > MOVE_LIMIT,
        )

    async def _run(
        self, request: Request, direction: Direction, reason: str, *, every: bool, preview: bool
    ) -> LinkChange:
        actor = viewer_of(request).actor
        try:
            async with self._pool.writing() as connection:
                return await unlink.begin_change(
                    connection,
                    self._unlinker,
                    direction,
                    read_guid(request, "an event"),
                    actor,
                    reason,
                    every=every,
                    preview=preview,
                )
        except CannotChangeLink as error:
            raise HttpError(ErrorKind.NOT_FOUND, str(error)) from None


def _page_after(change: LinkChange) -> str:
    """Return the path of the page that shows a change, and offers to reverse it."""
    if change.is_pruned:
        return f"/profiles/{quote(change.loser, safe='')}#identity"
    return f"/events/{quote(change.event, safe='')}#link"
