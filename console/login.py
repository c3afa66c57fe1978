"""The pages that log in and out."""

import time
from collections import OrderedDict
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console import sessions
from console.access import Access, viewer_of
from console.forms import read_form
from console.pages import path_of, render
from merganser.http.authentication import ApiKeys, hash_key
from merganser.http.errors import ErrorKind, HttpError
from merganser.queries.pool import Pool
from merganser.runtime import metrics

FAILURES = 10
"""Failed attempts of one address within `WINDOW_SECONDS`; then it has to wait."""

WINDOW_SECONDS = 60.0
MAX_ADDRESSES = 10_000
"""Addresses whose failures are remembered."""


class FailureLimit:
    """Counts failed attempts to log in, by the client's address."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def seconds_to_wait(self, address: str, now: float) -> float:
        """Return how long an address has to wait; 0.0 if it may try. `now` is monotonic seconds."""
        recent = [at for at in self._failures.get(address, []) if at > now - WINDOW_SECONDS]
        return recent[-FAILURES] + WINDOW_SECONDS - now if len(recent) >= FAILURES else 0.0

    def add(self, address: str, now: float) -> None:
        """Note a failure."""
        self._failures[address] = [*self._failures.pop(address, []), now][-FAILURES:]
        while len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)


class Login:
    """The routes.

    Args:
        access: starts and ends sessions.
        keys: the API keys in force.
        pool: of connections to Postgres.
    """

    def __init__(self, access: Access, keys: ApiKeys, pool: Pool) -> None:
        self._access = access
        self._keys = keys
        self._pool = pool
        self._limit = FailureLimit()

    async def show_form(self, request: Request) -> Response:
        """Show the form that logs in with an API key."""
        return render(request, "login.html", next=_local_path(request), message=None)

    async def log_in(self, request: Request) -> Response:
        """Log in with the API key of the form."""
        form = await read_form(request)
        return await self._log_in(request, hash_key(form.get("key", "").strip()))

    async def log_in_by_link(self, request: Request) -> Response:
        """Log in by a link that works once."""
        async with self._pool.writing() as connection:
            key_hash = await sessions.use_login_link(connection, request.path_params["token"])
            if key_hash is not None:
                await self._keys.find(key_hash)  # if that fails, the link stays valid
        if key_hash is None:
            text = "this link was used already or is older than 10 minutes: log in with an API key"
            return _refuse(request, 401, text)
        return await self._log_in(request, key_hash)

    async def log_out(self, request: Request) -> Response:
        """End the session."""
        response = RedirectResponse("/login", 303)
        response.headers["set-cookie"] = await self._access.log_out(viewer_of(request))
        return response

    async def _log_in(self, request: Request, key_hash: str) -> Response:
        address = request.client.host if request.client else ""
        if wait := self._limit.seconds_to_wait(address, time.monotonic()):
            metrics.CONSOLE_LOGINS.labels("rate_limited").inc()
            text = f"too many attempts: try again in {wait:.0f} seconds"
            response = _refuse(request, 429, text)
            response.headers["retry-after"] = str(int(wait) + 1)
            return response
        try:
            cookie = await self._access.log_in(await self._keys.find(key_hash))
        except HttpError as error:
            if error.kind not in (ErrorKind.UNAUTHORIZED, ErrorKind.FORBIDDEN):
                raise
            self._limit.add(address, time.monotonic())
            metrics.CONSOLE_LOGINS.labels("refused").inc()
            return _refuse(request, error.kind.status, error.message)
        metrics.CONSOLE_LOGINS.labels("accepted").inc()
        response = RedirectResponse(_local_path(request), 303)
        response.headers["set-cookie"] = cookie
        return response


def redirect_to_login(request: Request) -> Response:
    """Return the response to a request without a session.

    The cookie is SameSite=Strict: a browser does not send it when a link on another site leads
    here. The page then opens itself again, as a page of this site.
    """
    if request.headers.get("sec-fetch-site") == "cross-site" and request.method == "GET":
        return render(request, "reopen.html", url=_own_path(request))
    query = urlencode({"next": _own_path(request)}) if request.method == "GET" else ""
    url = f"/login?{query}" if query and request.url.path != "/" else "/login"
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"hx-redirect": url})
    return RedirectResponse(url, 303)


def _refuse(request: Request, status: int, message: str) -> Response:
    return render(request, "login.html", status, next=_local_path(request), message=message)


def _own_path(request: Request) -> str:
    return path_of(request) + (f"?{request.url.query}" if request.url.query else "")


def _local_path(request: Request) -> str:
    """Return the path to open after the login; never one that leads to another host."""
    path = request.query_params.get("next", "/")
    # A browser reads `//host`, `/\host` and a `/` before tabs as another host.
    is_local = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_local else "/"
