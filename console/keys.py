"""The pages of API keys: what each sends, a new key, which is shown once, and revoking one."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.access import Viewer, check_may_write, viewer_of
from console.forms import read_form
from console.pages import render
from merganser.admin import keys
from merganser.admin.errors import AdminError
from merganser.admin.key_terms import (
    PUBLISHABLE_RATE,
    InvalidRate,
    Terms,
    publishable_terms,
    secret_terms,
)
from merganser.http.authentication import KeyKind, Permission
from merganser.http.errors import ErrorKind, HttpError
from merganser.queries.pool import Pool
from merganser.runtime.postgres import Connection

MAX_KEYS = 200
"""On the page."""

PERMISSIONS = {
    Permission.WRITE_EVENTS: "send events",
    Permission.READ_EVENTS: "read events",
    Permission.DELETE_EVENTS: "delete events",
    Permission.READ_PROFILES: "read profiles",
    Permission.CHANGE_LINKS: "unlink and relink events",
    Permission.READ_CONSOLE: "log in to the console and look",
    Permission.WRITE_CONSOLE: "log in to the console, look and act",
}
"""What each permission allows."""

EXAMPLES = {
    Permission.WRITE_EVENTS: (
        "Send an event",
        """curl http://127.0.0.1:8080/api/v1/track \\
  -H "Authorization: Bearer {key}" \\
  -d '{{"type": "pageview", "anonymousId": "person_1"}}'""",
    ),
    Permission.READ_PROFILES: (
        "Read a profile",
        """curl "http://127.0.0.1:8081/api/v1/profiles?userId=ann" \\
  -H "Authorization: Bearer {key}\"""",
    ),
    Permission.READ_EVENTS: (
        "Read the newest events",
        """curl "http://127.0.0.1:8081/api/v1/events?limit=10" \\
  -H "Authorization: Bearer {key}\"""",
    ),
}
"""What to try with a key that has a permission, and the command."""

BAR, BAR_STEP, CHART_HEIGHT = 4, 5, 28
"""Width of a bar, its distance to the next one's start, and the height of the chart."""


class Bar(NamedTuple):
    """An hour in the chart of a key: accepted events, and above them refused ones."""

    x: int
    accepted: float
    """Height."""
    refused: float
    """Height."""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key in the table."""

    key: keys.ApiKey

    @property
    def may_send(self) -> bool:
        """Whether ingest may have counted events of it."""
        return Permission.WRITE_EVENTS in self.key.permissions

    @property
    def accepted(self) -> int:
        """Events within 24 hours."""
        return sum(self.key.events)

    @property
    def refused(self) -> int:
        """Events within 24 hours."""
        return sum(self.key.refused)

    @property
    def bars(self) -> list[Bar]:
        """The chart of the 24 hours; empty if there is nothing to show."""
        hours = list(zip(self.key.events, self.key.refused, strict=True))
        highest = max(map(sum, hours))
        if not highest:
            return []
        return [
            Bar(number * BAR_STEP, _height(accepted, highest), _height(refused, highest))
            for number, (accepted, refused) in enumerate(hours)
        ]


@dataclass(frozen=True, slots=True)
class KeyForm:
    """What was typed into the form of a new key."""

    name: str = ""
    kind: str = KeyKind.SECRET
    permissions: frozenset[str] = frozenset()
    origins: str = ""
    """One on each line."""
    rate: str = ""

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> "KeyForm":
        """Return the form that was sent."""
        return cls(
            fields.get("name", "").strip(),
            fields.get("kind", ""),
            frozenset(permission for permission in PERMISSIONS if permission in fields),
            fields.get("origins", ""),
            fields.get("rate", "").strip(),
        )

    def terms(self) -> Terms:
        """Return what the key will allow.

        Raises:
            AdminError: it cannot be so.
        """
        try:
            rate = float(self.rate) if self.rate else None
        except ValueError:
            raise InvalidRate("the rate is not a number: type events per second") from None
        if self.kind == KeyKind.PUBLISHABLE:
            return publishable_terms(
                self.origins.split(), PUBLISHABLE_RATE if rate is None else rate
            )
        return secret_terms([Permission(name) for name in sorted(self.permissions)], rate)


class Keys:
    """The routes.

    Args:
        pool: of connections to Postgres.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def show(self, request: Request) -> Response:
        """List the keys, revoked ones below."""
        async with self._pool.reading() as connection:
            listed = await keys.list_keys(connection, MAX_KEYS)
        rows = [KeyRow(key) for key in reversed(listed)]
        noticed = request.query_params.get("revoked")
        return render(
            request,
            "keys.html",
            valid=[row for row in rows if row.key.revoked_at is None],
            revoked=[row for row in rows if row.key.revoked_at is not None],
            just_revoked=[
                row for row in rows if row.key.revoked_at is not None and row.key.guid == noticed
            ],
            more=len(rows) == MAX_KEYS,
            chart=(BAR, CHART_HEIGHT, len(rows[0].key.events) * BAR_STEP if rows else 0),
        )

    async def show_form(self, request: Request) -> Response:
        """Show the form of a new key."""
        viewer = viewer_of(request)
        check_may_write(viewer)
        return _render_form(request, viewer, KeyForm(permissions=frozenset({"events:write"})))

    async def create(self, request: Request) -> Response:
        """Create a key and show it, this once."""
        viewer = viewer_of(request)
        form = KeyForm.read(await read_form(request))
        try:
            terms = form.terms()
            async with self._pool.writing() as connection:
                created = await keys.create_key(
                    connection, viewer.actor, form.name, terms, viewer.permissions
                )
        except AdminError as error:
            return _render_form(request, viewer, form, str(error))
        return render(
            request,
            "key_created.html",
            created=created,
            name=form.name,
            terms=terms,
            example=_find_example(terms.permissions, created.secret),
        )

    async def preview_revocation(self, request: Request) -> Response:
        """Say what revoking a key stops."""
        check_may_write(viewer_of(request))
        async with self._pool.reading() as connection:
            key = await _read_key(connection, request)
        return render(request, "key_revoke.html", row=KeyRow(key))

    async def revoke(self, request: Request) -> Response:
        """Revoke a key."""
        async with self._pool.writing() as connection:
            key = await _read_key(connection, request)
            if key.revoked_at is None:
                await keys.revoke_keys(connection, viewer_of(request).actor, key.guid)
        return RedirectResponse(f"/keys?revoked={key.guid}", 303)


async def _read_key(connection: Connection, request: Request) -> keys.ApiKey:
    """Return the key of the path.

    Raises:
        HttpError: NOT_FOUND.
    """
    guid = request.path_params["guid"]
    if "\0" in guid:
        raise HttpError(ErrorKind.NOT_FOUND, "no key has a guid with a NUL character")
    try:
        return await keys.read_key(connection, guid)
    except keys.KeyNotFound as error:
        raise HttpError(ErrorKind.NOT_FOUND, str(error)) from None


def _render_form(
    request: Request, viewer: Viewer, form: KeyForm, problem: str | None = None
) -> Response:
    values: dict[str, Any] = {
        "form": form,
        "problem": problem,
        "permissions": PERMISSIONS,
        "lacking": sorted(PERMISSIONS.keys() - viewer.permissions),
        "publishable_rate": PUBLISHABLE_RATE,
    }
    return render(request, "key_new.html", 422 if problem else 200, **values)


def _find_example(permissions: Collection[str], secret: str) -> tuple[str, str] | None:
    """Return what to try with a new key, and the command; None if there is nothing."""
    for permission, (title, command) in EXAMPLES.items():
        if permission in permissions:
            return title, command.format(key=secret)
    return None


def _height(count: int, highest: int) -> float:
    """Return the height of a bar; also one event is visible."""
    return max(round(count / highest * CHART_HEIGHT, 1), 1.5) if count else 0
