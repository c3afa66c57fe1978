"""The page of privacy: export and forget a person, the ledger of erasures, suppressed ids."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from console.access import viewer_of
from console.background import Background
from console.forms import read_form
from console.ids import can_be_id, read_guid
from console.pages import render
from console.text import format_time, show_hidden
from merganser.admin import export, forget
from merganser.admin.errors import AdminError
from merganser.http.errors import ErrorKind, HttpError
from merganser.identity import erasures, suppressed_ids
from merganser.identity import forget as identity
from merganser.identity.forget import Person, SuppressionScope
from merganser.identity.unlink import MAX_REASON_CHARACTERS
from merganser.queries import profiles
from merganser.queries.parameters import MAX_ID_LENGTH
from merganser.queries.pool import Pool
from merganser.runtime.postgres import Connection
from merganser.runtime.settings import Settings

PAGE = 50
"""Erasures of one page."""

CONTINUED = "continued"
"""The reason of an order to continue; the ledger keeps that of the first order."""

MAX_EXPORTS = 2
"""Exports at once: each has a connection to Postgres for as long as its reader takes."""


@dataclass(frozen=True, slots=True)
class Found:
    """Whom an id may name."""

    person: Person
    profile: dict[str, Any] | None
    """None if an unfinished erasure has deleted it."""
    confirmation: str
    """What to type to erase the person."""


class Privacy:
    """The routes.

    Args:
        pool: of connections to Postgres.
        settings: the database's URL, and how to reach Kafka.
        background: finishes long erasures.
    """

    def __init__(self, pool: Pool, settings: Settings, background: Background) -> None:
        self._pool = pool
        self._settings = settings
        self._background = background
        self._exports = asyncio.Semaphore(MAX_EXPORTS)

    async def show(self, request: Request) -> Response:
        """Show the ledger; with an id, whom it names and whether it is suppressed."""
        return await self._render(request, request.query_params.get("id", "").strip())

    async def export(self, request: Request) -> Response:
        """Send everything that is stored about a person, line by line."""
        viewer = viewer_of(request)
        if not (viewer.may_read_events and viewer.may_read_profiles):
            text = "an export needs a key with the permissions events:read and profiles:read"
            raise HttpError(ErrorKind.FORBIDDEN, text)
        guid = read_guid(request, "a profile")
        if self._exports.locked():
            raise HttpError(ErrorKind.UNAVAILABLE, "other exports are running: try again")
        lines = self._limit(export.export_person(self._settings, viewer.actor, guid))
        first = await anext(lines)  # until then, an error becomes a page
        return _Download(first, lines, re.sub(r"[^\w.-]", "_", guid, flags=re.ASCII))

    async def forget(self, request: Request) -> Response:
        """Erase a person whose id was typed."""
        form = await read_form(request)
        name, guid = form.get("id", ""), form.get("profile", "")
        async with self._pool.reading() as connection:
            found = {entry.person.profile: entry for entry in await _find(connection, name)}
        if problem := _find_problem(form, found.get(guid)):
            return await self._render(request, name, problem, form)
        actor = viewer_of(request).actor
        reason = form.get("reason", "").strip() or CONTINUED
        suppresses: SuppressionScope = "all" if "suppress" in form else "none"
        order = identity.Request(guid, actor.name, reason, suppresses)
        try:
            person = await forget.find_person(self._settings, order)
            if person.profile != guid:  # it has merged since the check
                text = "the profile is another one now. Look at the counts again"
                return await self._render(request, name, f"Nothing is erased: {text}.", form)
            work = forget.forget_person(self._settings, actor, person, order, lambda _: None)
            erasure = await self._background.run("forget", work)
        except AdminError as error:
            return await self._render(request, name, f"Nothing is erased: {error}.", form)
        done = "begun" if erasure is None else f"erased={erasure.deleted.get('events', 0)}"
        return RedirectResponse(f"/privacy?{done}", 303)

    async def _limit(self, lines: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        async with self._exports, aclosing(lines):
            async for line in lines:
                yield line

    async def _render(
        self,
        request: Request,
        name: str,
        problem: str | None = None,
        form: dict[str, str] | None = None,
    ) -> Response:
        before = request.query_params.get("before")
        found: list[Found] = []
        suppressions: list[suppressed_ids.Suppression] = []
        if not can_be_id(name) or "\0" in (before or ""):
            text = f"an id has at most {MAX_ID_LENGTH} characters, none of them NUL"
            raise HttpError(ErrorKind.INVALID, text)
        async with self._pool.reading() as connection:
            if name:
                found = await _find(connection, name)
                suppressions = await suppressed_ids.find_suppressions(connection, name)
            ledger = await erasures.read_newest(connection, name or None, before, PAGE + 1)
        return render(
            request,
            "privacy.html",
            422 if problem else 200,
            searched=name,
            problem=problem,
            notice=_notice(request),
            form=form or {},
            found=found,
            suppressions=suppressions,
            erasures=ledger[:PAGE],
            next_before=ledger[PAGE - 1].guid if len(ledger) > PAGE else None,
            show_until=_show_until,
            max_reason=MAX_REASON_CHARACTERS,
        )


class _Download(StreamingResponse):
    """A file, written as it is sent; `lines` is closed even if the reader goes away."""

    def __init__(self, first: str, lines: AsyncGenerator[str, None], name: str) -> None:
        self._lines = lines

        async def content() -> AsyncIterator[str]:
            yield first
            async for line in lines:
                yield line

        super().__init__(
            content(),
            media_type="application/x-ndjson",
            headers={"content-disposition": f'attachment; filename="{name}.jsonl"'},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._lines):
            await super().__call__(scope, receive, send)


async def _find(connection: Connection, name: str) -> list[Found]:
    """Return whom an id names: profiles, and an erasure that has not finished."""
    found: dict[str, Found] = {}
    for match in await profiles.find(connection, name):
        profile = match.profile
        person = await identity.find_person(connection, profile["guid"])
        if person:
            found[person.profile] = Found(person, profile, profile["userId"] or name)
    rest = await identity.find_erasure(connection, name)
    if rest and rest.profile not in found:
        found[rest.profile] = Found(rest, None, name)
    return list(found.values())


def _notice(request: Request) -> str | None:
    """Return what the erasure that led to this page has done."""
    if "begun" in request.query_params:
        return "The erasure has begun and goes on: the ledger shows its progress."
    erased = request.query_params.get("erased", "")
    if not (erased.isascii() and erased.isdecimal()):
        return None
    count = int(erased[:12])
    return f"The person is erased, with {count:,} event{'' if count == 1 else 's'}."


def _show_until(time: str | None) -> str:
    """Return until when a topic may hold records, as the ledger says it, for a page."""
    if time is None:
        return "unknown"
    return time if time == "forever" else format_time(datetime.fromisoformat(time))


def _as_typed(text: str) -> str:
    """Return an id as the page shows it: a person cannot type what is invisible."""
    return " ".join(show_hidden(text).split())


def _find_problem(form: dict[str, str], chosen: Found | None) -> str | None:
    """Return why nothing is erased, if so."""
    if chosen is None:
        return "Nothing is erased: this id does not lead to that profile any more."
    if _as_typed(form.get("confirmation", "")) != _as_typed(chosen.confirmation):
        return "Nothing is erased: type the id exactly as it is shown."
    length = len(form.get("reason", "").strip())
    if not chosen.person.unfinished and not 0 < length <= MAX_REASON_CHARACTERS:
        return f"Nothing is erased: say why, in at most {MAX_REASON_CHARACTERS:,} characters."
    return None
