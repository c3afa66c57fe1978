"""Renders templates. A page has no inline script or style, and loads nothing from another host."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import jinja2
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from console import text
from merganser.http.errors import HttpError
from merganser.http.static_files import StaticFile

_FOLDER = files(__package__) / "static"
_TYPES = {
    "console.css": b"text/css; charset=utf-8",
    "console.js": b"text/javascript; charset=utf-8",
    "htmx.min.js": b"text/javascript; charset=utf-8",
    "icon.svg": b"image/svg+xml",
}

NAVIGATION = (
    ("/", "Overview"),
    ("/live", "Live"),
    ("/profiles", "Profiles"),
    ("/rules", "Rules"),
    ("/dead-letters", "Dead letters"),
    ("/keys", "Keys"),
    ("/actions", "Actions"),
    ("/privacy", "Privacy"),
    ("/operations", "Operations"),
)
"""Path and name of each page in the navigation."""

STATIC_FILES = {name: StaticFile(_FOLDER / name, media_type) for name, media_type in _TYPES.items()}
"""By name."""


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "visible": text.show_hidden,
        "escape_hidden": text.escape_hidden,
        "text": text.show_bytes,
        "guid": text.shorten_guid,
        "shorten": text.shorten,
        "time": text.format_time,
        "number": text.format_number,
        "decimal": text.format_decimal,
        "ago": text.format_ago,
    }
    environment.globals |= {"static": static_url, "navigation": NAVIGATION}
    return environment


@cache
def static_url(name: str) -> str:
    """Return the URL of a static file. It changes with the content, as browsers cache files."""
    content = (_FOLDER / name).read_bytes()
    return f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"


_ENVIRONMENT = _environment()


def path_of(request: Request) -> str:
    """Return the path of a request, as a URL has it."""
    return quote(request.scope["path"])


def render(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """Return a page.

    Args:
        request: that the page answers; its viewer, if there is one, decides what the page shows.
        template: name of the file.
        status: of HTTP.
        values: of the template.
    """

    def with_parameters(**changes: str | None) -> str:
        """Return the URL of this page with other parameters; None removes one."""
        kept = {name: value for name, value in request.query_params.items() if name not in changes}
        added = {name: value for name, value in changes.items() if value is not None}
        return str(URL(path=path_of(request)).include_query_params(**kept, **added))

    values |= {
        "viewer": getattr(request.state, "viewer", None),
        "path": path_of(request),
        "parameters": request.query_params,
        "with_parameters": with_parameters,
    }
    return HTMLResponse(_ENVIRONMENT.get_template(template).render(values), status)


def render_part(template: str, **values: Any) -> str:
    """Return a part of a page that is sent later than the page."""
    return _ENVIRONMENT.get_template(template).render(values)


def render_error(request: Request, error: HttpError) -> Response:
    """Return the page for an error; it says what happened, and links back to the same filters."""
    response = render(
        request, "error.html", error.kind.status, message=error.message, code=error.kind.code
    )
    for name, value in error.headers:
        if name != b"www-authenticate":  # a browser would ask for a password
            response.raw_headers.append((name, value))
    return response
