"""The pages of dead letters and set-aside items: see why they failed, edit, retry and drop them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import urlencode

from aiokafka.errors import KafkaError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.access import Viewer, viewer_of
from console.forms import read_form
from console.pages import path_of, render
from merganser.admin.dead_letters import edit, groups, service
from merganser.admin.dead_letters.service import (
    Identifier,
    LetterErased,
    Listing,
    NotFound,
    RetryResult,
    Selection,
)
from merganser.admin.dead_letters.set_aside_items import KIND_MEANING, PLACE_MEANING, ItemName
from merganser.admin.dead_letters.topic import LetterAddress
from merganser.http.errors import ErrorKind, HttpError
from merganser.runtime.set_aside import Kind
from merganser.runtime.settings import ResolverSettings
from schemas.dead_letter import DeadLetter, InvalidDeadLetter, Reason
from schemas.event import InvalidEvent
from schemas.guid import EVENT

MAX_READ = 10_000
"""Records of the topic, and set-aside items, that a page reads: the newest. If none of the letters
is in the state that the page shows, it reads as many older records, for `SEARCH_SECONDS`."""

SEARCH_SECONDS = 5.0

MAX_GROUPS, MAX_ROWS = 100, 100
"""What a page shows of them."""

MAX_SHOWN_BYTES = 16 << 10
"""Of a record's value that cannot be edited."""

MAX_FORM_BYTES = 8 * edit.MAX_BYTES
"""A form may need three bytes for one, and the text is indented."""

AT_ONCE = 4
"""Requests that read the topic at once; further ones wait."""

READ_SECONDS, ACT_SECONDS = 15.0, 60.0
"""How long reading the topic, or a retry of a group, may take."""

_ADVICE = {
    Reason.UNREADABLE: "The record is not an event. Find out who writes to the topic besides "
    "ingest; edit and resend the event here, or drop it.",
    Reason.VERSION: "The record has no supported schema version. If it is from a newer Merganser, "
    "upgrade the resolvers, then retry. Otherwise fix its writer.",
    Reason.TOMBSTONE: "The record has no value: another writer sent it. Drop it.",
    Reason.NOBODY: "The event has no id that names somebody. If its id is real, remove it from "
    "MERGANSER_NOBODY_IDS, restart the resolvers, then retry. Otherwise add an id, or drop it.",
    Reason.REFUSED: "Postgres refuses the event, mostly because of a constraint or trigger of your "
    "own: fix it, then retry.",
    Reason.FAILED: "The code fails. Report the defect, upgrade, then retry.",
}

_NOTICES = {
    "nothing": "Nothing has changed: nothing of it is open any more.",
    "sent": "Sent again: {}. A record that fails again comes back with the next attempt.",
    "items": "Items that go back to their processes: {}.",
    "dropped": "Dropped: {}.",
    "others": "Resolved by another operator meanwhile: {}.",
    "erased": "Not sent, as they are of erased people: {}. They stay open until you drop them.",
    "too_large": "Not sent, as they are too large for the topic of events: {}. They stay open.",
    "deleted": "Not sent, as the topic no longer has their letters: {}. Drop them.",
}
"""Sentences about what an action did, by the parameter with the number."""


class DeadLetters:
    """The routes.

    Args:
        settings: how to reach Kafka and Postgres.
    """

    def __init__(self, settings: ResolverSettings) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def show_groups(self, request: Request) -> Response:
        """Show groups of letters and items with the same cause, and what is in one of them."""
        is_handled = "handled" in request.query_params
        before = _parse_before(request.query_params.get("before", ""))
        before, listing, problem = await self._read(before, resolved=is_handled)
        found = groups.group_by_cause(listing)
        group = next((g for g in found if g.cause.id == request.query_params.get("group")), None)
        members = groups.select_cause(listing, group.cause) if group else None
        return render(
            request,
            "dead_letters.html",
            groups=found[:MAX_GROUPS],
            more_groups=len(found) - MAX_GROUPS,
            total=len(listing.letters) + len(listing.items),
            group=group,
            letters=members.letters[: -MAX_ROWS - 1 : -1] if members else [],
            items=members.items[: -MAX_ROWS - 1 : -1] if members else [],
            is_handled=is_handled,
            before=_join(before),
            older=_join(listing.unread.before),
            unread=listing.unread.count,
            foreign=len(listing.foreign),
            max_read=MAX_READ,
            max_rows=MAX_ROWS,
            problem=problem,
            notices=_notices(request),
            advice=_ADVICE,
            kind_meaning=KIND_MEANING,
            place_meaning=PLACE_MEANING,
        )

    async def show_one(self, request: Request) -> Response:
        """Show one letter with its record, or the items of one name."""
        return await self._show(request, _parse_name(request))

    async def act_on_group(self, request: Request) -> Response:
        """Retry or drop what a page has shown of a group."""
        form = await read_form(request)
        try:
            until = datetime.fromisoformat(form.get("until", "")).astimezone(UTC)
        except (ValueError, OverflowError):
            raise _malformed() from None
        async with self._slot(ACT_SECONDS):
            before = _parse_before(form.get("before", ""))
            selection = Selection.build(before=before, newest=MAX_READ)
            listing = await service.list_selected(self._settings, selection)
            found = groups.group_by_cause(listing)
            causes = [g.cause for g in found if g.cause.id == form.get("group")]
            chosen = [groups.select_cause(listing, cause, until) for cause in causes]
            done = await self._act(request, form, chosen[0] if chosen else Listing([], [], []))
        return _redirect("/dead-letters", done)

    async def act_on_one(self, request: Request) -> Response:
        """Retry or drop a letter or the items of one name, or resend a letter's edited event."""
        name = _parse_name(request)
        form = await read_form(request, MAX_FORM_BYTES)
        edited, typed = None, form.get("event", "").replace("\r\n", "\n")
        if form.get("do") == "resend" and isinstance(name, LetterAddress):
            viewer = viewer_of(request)
            if not viewer.may_read_events:
                raise HttpError(
                    ErrorKind.FORBIDDEN,
                    "editing an event needs a key with the permission events:read",
                )
            try:
                edited = edit.check_text(typed, self._settings.nobody_ids, datetime.now(UTC))
            except InvalidEvent as error:
                return await self._show(request, name, typed, error.fields)
        async with self._slot(ACT_SECONDS):
            listing = await service.find_open(self._settings, Selection.build([name]))
            if edited:
                result = await service.retry(
                    self._settings, viewer_of(request).actor, listing, edited
                )
                done = _count(result)
                if result.sent:
                    done = {"edited": edited.guid}
            else:
                done = await self._act(request, form, listing)
        return _redirect(path_of(request), done)

    async def _act(
        self, request: Request, form: Mapping[str, str], listing: Listing
    ) -> dict[str, str]:
        """Do what the form says; return the parameters of a notice."""
        actor = viewer_of(request).actor
        match form.get("do"):
            case "retry":
                return _count(await service.retry(self._settings, actor, listing))
            case "drop":
                dropped = await service.drop(self._settings, actor, listing)
                others = len(listing.letters) + len(listing.items) - dropped
                return {"dropped": str(dropped), "others": str(others)}
        raise _malformed()

    async def _show(
        self,
        request: Request,
        name: Identifier,
        typed: str | None = None,
        problems: Mapping[str, str] | None = None,
    ) -> Response:
        """Show one letter or the items of one name; with `typed`, an edited text and its errors."""
        try:
            async with self._slot(READ_SECONDS):
                if isinstance(name, ItemName):
                    return await self._show_items(request, name)
                return await self._show_letter(request, name, typed, problems)
        except NotFound as error:
            raise HttpError(ErrorKind.NOT_FOUND, str(error)) from None

    async def _show_items(self, request: Request, name: ItemName) -> Response:
        return render(
            request,
            "set_aside_item.html",
            name=name,
            items=await service.read_named_items(self._settings, name),
            meaning=KIND_MEANING[name.kind],
            place_meaning=PLACE_MEANING.get(name.kind),
            notices=_notices(request),
        )

    async def _show_letter(
        self,
        request: Request,
        address: LetterAddress,
        typed: str | None,
        problems: Mapping[str, str] | None,
    ) -> Response:
        try:
            record, resolution = await service.read_letter(self._settings, address)
        except LetterErased:
            return render(
                request, "dead_letter_erased.html", address=address, notices=_notices(request)
            )
        if isinstance(record.letter, InvalidDeadLetter):
            raise HttpError(ErrorKind.NOT_FOUND, f"{address} is not a dead letter: {record.letter}")
        letter = record.letter
        may_edit = _may_edit(viewer_of(request)) and resolution is None
        text = edit.read_text(letter)
        edited = request.query_params.get("edited", "")
        return render(
            request,
            "dead_letter.html",
            422 if problems else 200,
            address=address,
            written_at=record.written_at,
            letter=letter,
            resolution=resolution,
            advice=_ADVICE[letter.reason],
            event=_read_guid(letter),
            text=text,
            may_edit=may_edit and text is not None,
            typed=text if typed is None else typed,
            problems=problems or {},
            notices=_notices(request),
            edited=edited if edited.startswith(EVENT) else None,
            max_bytes=edit.MAX_BYTES,
            max_shown=MAX_SHOWN_BYTES,
        )

    async def _read(
        self, before: frozenset[LetterAddress], *, resolved: bool
    ) -> tuple[frozenset[LetterAddress], Listing, str | None]:
        """Return the newest letters before some addresses, and all items.

        Returns:
            The addresses, which are earlier ones if all of the newest letters are in the other
            state; the letters and items; why there are no letters, if Kafka is the reason.
        """
        end = time.monotonic() + SEARCH_SECONDS
        try:
            async with self._slot(READ_SECONDS):
                while True:
                    selection = Selection.build(before=before, newest=MAX_READ)
                    listing = await service.list_selected(
                        self._settings, selection, resolved=resolved
                    )
                    older = listing.unread
                    if listing.letters or not older.count or time.monotonic() > end:
                        return before, listing, None
                    before = older.before
        except KafkaError as error:
            problem = f"Kafka does not answer ({type(error).__name__})"
        except TimeoutError:
            problem = "Reading the topic of dead letters takes too long"
        async with self._slot(READ_SECONDS):
            others = [kind for kind in Kind if kind is not Kind.RECORD]
            selection = Selection.build(kinds=others, newest=MAX_READ)
            listing = await service.list_selected(self._settings, selection, resolved=resolved)
        return before, listing, problem

    @asynccontextmanager
    async def _slot(self, seconds: float) -> AsyncIterator[None]:
        """Limit how many requests read the topic at once, and for how long."""
        async with asyncio.timeout(seconds), self._slots:
            yield


def _may_edit(viewer: Viewer) -> bool:
    return viewer.may_write and viewer.may_read_events


def _parse_before(text: str) -> frozenset[LetterAddress]:
    """Return the addresses in a parameter or field that `_join` wrote."""
    try:
        names = [service.parse_identifier(part) for part in text.split(",") if part]
    except ValueError as error:
        raise HttpError(ErrorKind.MALFORMED, str(error)) from None
    return frozenset(name for name in names if isinstance(name, LetterAddress))


def _join(before: Collection[LetterAddress]) -> str:
    return ",".join(str(address) for address in sorted(before))


def _parse_name(request: Request) -> Identifier:
    try:
        return service.parse_identifier(request.path_params["name"])
    except ValueError as error:
        raise HttpError(ErrorKind.NOT_FOUND, str(error)) from None


def _read_guid(letter: DeadLetter) -> str | None:
    """Return the guid of the event in a letter's record, if it has one."""
    try:
        event = json.loads(letter.value or b"")
    except (ValueError, RecursionError):
        return None
    guid = event.get("guid") if isinstance(event, dict) else None
    return guid if isinstance(guid, str) and guid.startswith(EVENT) else None


def _count(result: RetryResult) -> dict[str, str]:
    counts = {
        "sent": result.sent,
        "items": result.items,
        "others": result.resolved_by_others,
        "erased": len(result.erased),
        "too_large": len(result.too_large),
        "deleted": len(result.deleted),
    }
    return {name: str(count) for name, count in counts.items() if count} or {"nothing": "1"}


def _notices(request: Request) -> list[str]:
    """Return what an action did, from the parameters that `_redirect` has added."""
    given = {name: request.query_params.get(name, "") for name in _NOTICES}
    return [
        _NOTICES[name].format(f"{int(text):,}")
        for name, text in given.items()
        if text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_READ)) and int(text)
    ]


def _redirect(path: str, parameters: Mapping[str, str]) -> Response:
    return RedirectResponse(f"{path}?{urlencode(parameters)}" if parameters else path, 303)


def _malformed() -> HttpError:
    return HttpError(ErrorKind.MALFORMED, "the form is not valid: open the page again")
