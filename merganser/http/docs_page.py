"""The page at /docs: Swagger UI, which shows the /openapi.json of the process that serves it.

All files come from this process: the page sends no request to another host.
`swagger_ui/README.md` has their origin.
"""

from importlib.resources import files

from merganser.http.static_files import StaticFile

_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS = [(b"content-security-policy", _POLICY)]
_SCRIPT = b"text/javascript; charset=utf-8"
_FOLDER = files("merganser.http") / "swagger_ui"

FILES = {
    "/docs": StaticFile(_FOLDER / "index.html", b"text/html; charset=utf-8", _PAGE_HEADERS),
    "/docs/initialize.js": StaticFile(_FOLDER / "initialize.js", _SCRIPT),
    "/docs/swagger-ui-bundle.js": StaticFile(_FOLDER / "swagger-ui-bundle.js.gz", _SCRIPT),
    "/docs/swagger-ui.css": StaticFile(_FOLDER / "swagger-ui.css.gz", b"text/css; charset=utf-8"),
}
"""By path."""
