"""The pages of profiles: the search, and one profile."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from psycopg.errors import QueryCanceled
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console import graph
from console.access import Viewer, viewer_of
from console.ids import can_be_id
from console.pages import render
from merganser.admin.explain import describe_identity
from merganser.admin.rule_status import read_decoration
from merganser.http.errors import ErrorKind, HttpError
from merganser.identity.explain import Explanation, explain
from merganser.identity.unlink import read_ignored
from merganser.queries import cursors, events, profiles
from merganser.queries.parameters import MAX_ID_LENGTH, ProfileQuery, TimelineQuery
from merganser.queries.pool import Pool
from merganser.rulebook import rule_store
from merganser.rulebook.language import Rule
from merganser.runtime.postgres import Connection
from schemas import exact_json

NEWEST = 20
"""Profiles and merges on the page without a search."""

PAGE = 50
"""Events of a timeline, and profiles with a property's value, on one page."""

MAX_COUNTED_EVENTS = 10_000

FILTERS = ("type", "dataKey", "dataValue", "from", "to")


@dataclass(frozen=True, slots=True)
class Property:
    """A property of a profile, and where its value comes from."""

    key: str
    value: Any
    """As the read API returns it: a list if the property is an array."""
    rule: Rule | None
    """None if the rule is gone or broken."""
    changed_at: datetime | None

    @property
    def is_array(self) -> bool:
        """Whether there may be several values."""
        return isinstance(self.value, list)

    @property
    def values(self) -> list[str]:
        """The values as text."""
        values = self.value if self.is_array else [self.value]
        return [exact_json.as_text(value, 0) for value in values]

    @property
    def source(self) -> str:
        """Where the value comes from, in words."""
        if self.rule is None:
            return "no rule"
        if self.rule.events:
            of = f" of {self.rule.events.column}" if self.rule.events.column else ""
            types = ", ".join(sorted(self.rule.events.types))
            return f"{self.rule.events.aggregation}{of} over {types}"
        return f"source {self.rule.query.source}" if self.rule.query else "userId of the events"


@dataclass(frozen=True, slots=True)
class Identity:
    """Why a profile has its ids."""

    explanation: Explanation
    graph: graph.Graph
    ignored: set[str]
    """Guids of the events in the graph that are unlinked."""
    sentences: list[str]
    """The explanation in words."""


class Profiles:
    """The routes.

    Args:
        pool: of connections to Postgres.
        scan: the most events that a page reads to find those that match its filters.
    """

    def __init__(self, pool: Pool, scan: int) -> None:
        self._pool = pool
        self._scan = scan

    async def search(self, request: Request) -> Response:
        """Find profiles by an id or by a property; without a search, show the newest."""
        text = request.query_params.get("q", "").strip()
        key = request.query_params.get("property", "").strip()
        if text.startswith("evt_"):
            return RedirectResponse(f"/events/{quote(text, safe='')}", 303)
        viewer = viewer_of(request)
        problem = _find_problem(viewer, text, key)
        matches: list[profiles.Match] = []
        page: cursors.Page | None = None
        newest: list[dict[str, Any]] = []
        merges: list[dict[str, Any]] = []
        async with self._pool.reading() as connection:
            if problem:
                pass
            elif text:
                matches = await profiles.find(connection, text)
            elif key:
                page = await profiles.read_page(connection, _property_query(request, key))
            else:
                newest = await profiles.read_newest(connection, NEWEST)
                merges = await profiles.read_newest_merges(connection, NEWEST)
        return render(
            request,
            "profiles.html",
            422 if problem else 200,
            problem=problem,
            searched=text,
            property_key=key,
            matches=matches,
            page=page,
            newest=newest,
            merges=merges,
        )

    async def show(self, request: Request) -> Response:
        """Show a profile: properties, ids, identity and timeline."""
        guid = request.path_params["guid"]
        viewer = viewer_of(request)
        query, problems = _timeline_query(request, viewer)
        async with self._pool.reading() as connection:
            found = await profiles.read_profile(connection, guid)
            profile = found["profile"]
            rules = {
                stored.rule.key: stored.rule for stored in await rule_store.read_rules(connection)
            }
            times = await profiles.read_property_times(connection, profile["guid"])
            now = datetime.now(UTC)
            decoration = await read_decoration(connection, profile["guid"], now)
            page = await events.read_page(
                connection, query.for_profile(profile["guid"]), self._scan
            )
        return render(
            request,
            "profile.html",
            422 if problems else 200,
            profile=profile,
            merged_from=found["mergedFrom"],
            properties=[
                Property(key, value, rules.get(key), times.get(key))
                for key, value in sorted(profile["properties"].items())
            ],
            decoration=decoration,
            now=now,
            identity=await self._read_identity(profile["guid"]),
            max_events=MAX_COUNTED_EVENTS,
            events=page.entries,
            next_cursor=page.next_cursor,
            problems=problems,
            is_filtered=any(request.query_params.get(name) for name in FILTERS),
        )

    async def _read_identity(self, guid: str) -> Identity | None:
        """Return why a profile has its ids; None if reading that takes too long."""
        try:
            async with self._pool.reading() as connection:
                return await _explain(connection, guid)
        except QueryCanceled:
            return None


async def _explain(connection: Connection, guid: str) -> Identity | None:
    for explanation in await explain(connection, guid, MAX_COUNTED_EVENTS):
        if explanation.kind != "profile":  # the same text may be an id, too
            continue
        known = explanation.anonymous_ids
        first_seen = await profiles.read_first_seen(
            connection, [entry.anonymous_id for entry in known]
        )
        drawing = graph.draw(guid, known, explanation.merges, first_seen)
        ignored = await read_ignored(connection, {change.event for change in drawing.changes})
        return Identity(explanation, drawing, ignored, describe_identity(explanation))
    return None  # it merged a moment ago


def _find_problem(viewer: Viewer, text: str, key: str) -> str | None:
    """Return why a search cannot run, if so."""
    if not (can_be_id(text) and can_be_id(key)):
        return f"An id has at most {MAX_ID_LENGTH} characters, none of them NUL."
    if key and not viewer.may_read_profiles:
        return "Searching by a property needs a key with the permission profiles:read."
    return None


def _property_query(request: Request, key: str) -> ProfileQuery:
    values = {
        "property": key,
        "value": request.query_params.get("value", ""),
        "cursor": request.query_params.get("cursor"),
        "limit": PAGE,
    }
    try:
        return ProfileQuery.model_validate(values)
    except ValidationError as error:
        raise HttpError(ErrorKind.INVALID, error.errors()[0]["msg"]) from None


def _timeline_query(request: Request, viewer: Viewer) -> tuple[TimelineQuery, dict[str, str]]:
    """Return the filters of a timeline, and what is wrong with those that are left out, by name."""
    given = {name: request.query_params.get(name) or None for name in (*FILTERS, "cursor")}
    problems: dict[str, str] = {}
    if given["dataValue"] is not None and not viewer.may_read_events:
        problems["dataValue"] = "needs a key with the permission events:read"
        given["dataValue"] = None
    while True:
        try:
            return TimelineQuery.model_validate({**given, "limit": PAGE}), problems
        except ValidationError as error:
            for problem in error.errors():
                name = str(problem["loc"][0]) if problem["loc"] else "dataValue"
                problems[name] = problem["msg"].removeprefix("Value error, ")
                given[name] = None
