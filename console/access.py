"""Access to the console: who is logged in, and where a request comes from."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from console import sessions
from console.proxy_users import ProxyUsers
from console.sessions import Lifetime
from merganser.admin.actions import Actor
from merganser.http.authentication import CONSOLE_PERMISSIONS, ApiKey, ApiKeys, Permission
from merganser.http.errors import ErrorKind, HttpError
from merganser.queries.pool import Pool

_DEFAULT_PORTS = {"http": 80, "https": 443}

BACKGROUND = "x-background"
"""The header of requests that a page sends by itself. They do not keep a session alive."""

Handler = Callable[[Request], Awaitable[Response]]


class LoginNeeded(Exception):
    """The request has no session that is valid."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who uses the console: an API key that logged in, or a user that a proxy names."""

    name: str
    """Of the key or the user."""
    known_by: str
    """The guid of the key, or the header that names the user."""
    permissions: frozenset[str]
    token: str | None = None
    """Of the key's session."""

    @property
    def may_read_events(self) -> bool:
        """Whether the viewer may see the values of events' data."""
        return Permission.READ_EVENTS in self.permissions

    @property
    def may_read_profiles(self) -> bool:
        """Whether the viewer may see the values of properties."""
        return Permission.READ_PROFILES in self.permissions

    @property
    def may_write(self) -> bool:
        """Whether the viewer may act, instead of only look."""
        return Permission.WRITE_CONSOLE in self.permissions

    @property
    def actor(self) -> Actor:
        """The viewer in the log of actions."""
        return Actor("console", f"{self.name} ({self.known_by})")


def viewer_of(request: Request) -> Viewer:
    """Return who sent the request of a page that needs a login."""
    viewer: Viewer = request.state.viewer
    return viewer


class Access:
    """Sessions and their cookie.

    Args:
        pool: of connections to Postgres.
        keys: the API keys in force.
        lifetime: of sessions.
        url: that browsers use, or None: that of each request.
        users: that a proxy may name; None: no users.
    """

    def __init__(
        self,
        pool: Pool,
        keys: ApiKeys,
        lifetime: Lifetime,
        url: str | None,
        users: ProxyUsers | None = None,
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._lifetime = lifetime
        self._users = users
        self._origin = None if url is None else _origin(url)
        self._is_secure = self._origin is not None and self._origin[0] == "https"
        # A browser accepts a cookie with this prefix only from this host, over TLS.
        self._cookie = "__Host-merganser" if self._is_secure else "merganser"

    async def log_in(self, key: ApiKey) -> str:
        """Start a session and return the value of Set-Cookie.

        Raises:
            HttpError: FORBIDDEN, the key has no permission for the console.
        """
        if not may_log_in(key):
            raise HttpError(
                ErrorKind.FORBIDDEN,
                f"this API key has no permission {Permission.READ_CONSOLE}: use another key",
            )
        async with self._pool.writing() as connection:
            token = await sessions.start_session(connection, key.key_hash, self._lifetime)
        return self._set_cookie(token, self._lifetime.longest)

    async def log_out(self, viewer: Viewer) -> str:
        """End a session and return the value of Set-Cookie."""
        if viewer.token is not None:
            async with self._pool.writing() as connection:
                await sessions.end_session(connection, viewer.token)
        return self._set_cookie("", 0)

    async def read_viewer(self, request: Request) -> Viewer:
        """Return who sent a request.

        Raises:
            LoginNeeded: nobody who is logged in.
            HttpError: UNAVAILABLE; FORBIDDEN, the header of the proxy is not valid.
        """
        if self._users and (user := self._users.read(request)):
            return Viewer(user, self._users.header, self._users.permissions)
        token = request.cookies.get(self._cookie)
        if not token:
            raise LoginNeeded
        by_person = BACKGROUND not in request.headers and not is_for_stream(request)
        async with self._pool.writing() as connection:
            key_hash = await sessions.read_session(
                connection, token, self._lifetime, by_person=by_person
            )
        if key_hash is None:
            raise LoginNeeded
        try:
            key = await self._keys.find(key_hash)
        except HttpError as error:
            if error.kind is ErrorKind.UNAUTHORIZED:
                raise LoginNeeded from None
            raise
        if not may_log_in(key):  # the permissions of a key may change
            raise LoginNeeded
        return Viewer(key.name, key.guid, key.permissions, token)

    def check_same_origin(self, request: Request) -> None:
        """Check that a page of the console sent a request that changes something.

        Raises:
            HttpError: FORBIDDEN.
        """
        site = request.headers.get("sec-fetch-site")
        origin = request.headers.get("origin")
        expected = self._origin or _origin(str(request.base_url))
        same_site = site in (None, "same-origin")
        same_origin = origin is None or _origin(origin) == expected
        if not (same_site and same_origin) or (site is None and origin is None):
            raise HttpError(
                ErrorKind.FORBIDDEN,
                "this request does not come from a page of the console: open the console and try "
                "again. Behind a proxy, MERGANSER_CONSOLE_URL must be the URL that browsers use",
            )

    def _set_cookie(self, value: str, seconds: int) -> str:
        attributes = f"Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict"
        return f"{self._cookie}={value}; {attributes}{'; Secure' if self._is_secure else ''}"


def is_for_stream(request: Request) -> bool:
    """Return whether a page opened a stream of events, which browsers do by themselves."""
    return request.headers.get("accept") == "text/event-stream"


def check_may_write(viewer: Viewer) -> None:
    """Check that a viewer may act.

    Raises:
        HttpError: FORBIDDEN.
    """
    if not viewer.may_write:
        raise HttpError(
            ErrorKind.FORBIDDEN,
            f"you have no permission {Permission.WRITE_CONSOLE}: nothing has changed; log in with "
            "a key that has it",
        )


def may_log_in(key: ApiKey) -> bool:
    """Return whether a key has a permission for the console."""
    return not key.permissions.isdisjoint(CONSOLE_PERMISSIONS)


def _origin(url: str) -> tuple[str, str, int | None] | None:
    """Return scheme, host and port of a URL; None if it has no host, such as the origin `null`."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None
