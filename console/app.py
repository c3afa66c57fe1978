"""The console as an ASGI application: its routes, and what every response gets."""

import time

import structlog
from aiokafka.errors import KafkaError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from console.access import Access, Handler, LoginNeeded, check_may_write, viewer_of
from console.actions import Actions
from console.background import Background
from console.dead_letters import DeadLetters
from console.events import Events
from console.feed import Feed
from console.keys import Keys
from console.links import Links
from console.live import Live
from console.login import Login, redirect_to_login
from console.monitor import Monitor
from console.operations import Operations
from console.overview import Overview
from console.pages import STATIC_FILES, render_error
from console.privacy import Privacy
from console.profiles import Profiles
from console.rules import Rules
from merganser.admin.errors import AdminError
from merganser.http import request_ids
from merganser.http.asgi import Message, Receive, Scope, Send
from merganser.http.authentication import ApiKeys
from merganser.http.errors import ErrorKind, ErrorLog, HttpError
from merganser.queries.failures import unexpected_error
from merganser.queries.pool import Pool
from merganser.runtime import metrics
from merganser.runtime.settings import ResolverSettings

_POLICY = (
    b"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    b"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    # Not no-referrer, with which browsers send `Origin: null`.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_NOT_CACHED = (b"cache-control", b"no-store")
_FIRST_ERROR = 400


class Routes:
    """Makes the routes of pages. Every page needs a login, unless it is public."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._error_log = ErrorLog()

    def get(self, path: str, handler: Handler, *, public: bool = False) -> Route:
        """Return a route that shows something."""
        return Route(path, self._guard(path, handler, public=public), methods=["GET"])

    def post(
        self, path: str, handler: Handler, *, public: bool = False, for_readers: bool = False
    ) -> Route:
        """Return a route that changes something; only pages of the console can use it.

        Args:
            path: of the route.
            handler: changes it, and answers.
            public: whether it needs no login.
            for_readers: whether it does not need the permission `console:write`.
        """
        if not public and not for_readers:
            handler = _for_writers(handler)
        return Route(path, self._guard(path, handler, public=public), methods=["POST"])

    def _guard(self, path: str, handler: Handler, *, public: bool) -> Handler:
        async def respond(request: Request) -> Response:
            start = time.monotonic()
            response = await self._respond(request, handler, public=public)
            seconds = time.monotonic() - start
            status = str(response.status_code)
            metrics.CONSOLE_REQUEST_SECONDS.labels(path, status).observe(seconds)
            if response.status_code >= _FIRST_ERROR:
                self._error_log.write(request.state.request_id, response.status_code)
            return response

        return respond

    async def _respond(self, request: Request, handler: Handler, *, public: bool) -> Response:
        try:
            if request.method == "POST":
                self._access.check_same_origin(request)
            if not public:
                request.state.viewer = await self._access.read_viewer(request)
            return await handler(request)
        except LoginNeeded:
            return redirect_to_login(request)
        except Exception as error:  # noqa: BLE001 - each becomes a page, and bugs are logged
            return render_error(request, _http_error(error))


def create_app(
    pool: Pool,
    keys: ApiKeys,
    access: Access,
    scan: int,
    monitor: Monitor,
    settings: ResolverSettings,
    background: Background,
    feed: Feed,
) -> "ConsoleApp":
    """Return the console.

    Args:
        pool: of connections to Postgres.
        keys: the API keys in force.
        access: decides who is logged in.
        scan: the most events that a page reads to find those that match its filters.
        monitor: watches the pipeline.
        settings: how to read the topics.
        background: does what takes longer than a request.
        feed: follows the topics for the live page.
    """
    routes = Routes(access)
    login = Login(access, keys, pool)
    profiles = Profiles(pool, scan)
    events = Events(pool, settings)
    links = Links(pool, settings.nobody_ids)
    overview = Overview(monitor)
    live = Live(feed, pool, access)
    rules = Rules(pool)
    dead_letters = DeadLetters(settings)
    actions = Actions(pool)
    privacy = Privacy(pool, settings, background)
    operations = Operations(pool, settings, monitor, background)
    keys_pages = Keys(pool)
    return ConsoleApp(
        Starlette(
            routes=[
                routes.get("/login", login.show_form, public=True),
                routes.post("/login", login.log_in, public=True),
                routes.get("/login/{token}", login.log_in_by_link, public=True),
                routes.post("/logout", login.log_out, for_readers=True),
                routes.get("/", overview.show),
                routes.get("/live", live.show),
                routes.get("/live/stream", live.stream),
                routes.get("/profiles", profiles.search),
                routes.get("/profiles/{guid}", profiles.show),
                routes.get("/events/{guid}", events.show),
                routes.get("/rules", rules.show),
                routes.get("/rules/edit", rules.edit),
                routes.post("/rules/check", rules.check, for_readers=True),
                routes.post("/rules/preview", rules.preview, for_readers=True),
                routes.post("/rules/apply", rules.apply),
                routes.get("/events/{guid}/link", links.show),
                routes.post("/events/{guid}/unlink", links.unlink),
                routes.post("/events/{guid}/relink", links.relink),
                routes.get("/dead-letters", dead_letters.show_groups),
                routes.post("/dead-letters", dead_letters.act_on_group),
                routes.get("/dead-letters/{name:path}", dead_letters.show_one),
                routes.post("/dead-letters/{name:path}", dead_letters.act_on_one),
                routes.get("/actions", actions.show),
                routes.get("/keys", keys_pages.show),
                routes.post("/keys", keys_pages.create),
                routes.get("/keys/new", keys_pages.show_form),
                routes.get("/keys/{guid}/revoke", keys_pages.preview_revocation),
                routes.post("/keys/{guid}/revoke", keys_pages.revoke),
                routes.get("/privacy", privacy.show),
                routes.get("/privacy/export/{guid}", privacy.export),
                routes.post("/privacy/forget", privacy.forget),
                routes.get("/operations", operations.show),
                routes.get("/operations/replay", operations.show_replay),
                routes.post("/operations/replay", operations.replay),
                routes.get("/operations/audits", operations.show_audits),
                routes.post("/operations/audits", operations.audit),
                Route("/static/{name}", _send_file),
                routes.get("/{path:path}", _not_found),
            ]
        )
    )


def _for_writers(handler: Handler) -> Handler:
    async def respond(request: Request) -> Response:
        check_may_write(viewer_of(request))
        return await handler(request)

    return respond


def _http_error(error: Exception) -> HttpError:
    match error:
        case HttpError():
            return error
        case AdminError():
            return HttpError(ErrorKind.CONFLICT, str(error))
        case KafkaError():
            text = f"Kafka does not answer ({type(error).__name__}): try again"
            return HttpError(ErrorKind.UNAVAILABLE, text)
        case TimeoutError():
            return HttpError(ErrorKind.TOO_SLOW, "this took too long: try again")
        case _:
            return unexpected_error(error)


async def _send_file(request: Request) -> Response:
    file = STATIC_FILES.get(request.path_params["name"])
    if file is None:
        return Response(status_code=404)
    content, headers = file.encode(request.headers.get("accept-encoding", "").encode())
    response = Response(content, media_type=file.media_type.decode())
    response.raw_headers.extend(headers)
    return response


async def _not_found(_request: Request) -> Response:
    raise HttpError(ErrorKind.NOT_FOUND, "there is no such page")


class ConsoleApp:
    """Gives each request an id, and each response the headers that protect it."""

    def __init__(self, inner: Starlette) -> None:
        self._inner = inner
        self.routes = inner.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        request_id = request_ids.request_id(dict(scope["headers"]))
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", []), *_HEADERS, (request_ids.HEADER, request_id)]
                if not any(name == _NOT_CACHED[0] for name, _ in headers):
                    headers.append(_NOT_CACHED)
                message = {**message, "headers": headers}
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id.decode()):
            await self._inner(scope, receive, send_with_headers)
