"""Our own client for browsers, so that a page needs one tag: `GET /merganser.js`.

    <script async src="https://events.example.com/merganser.js" data-api-key="mk_pub_..."></script>

It is `clients/javascript`, built: `npm run build -- --commit` there renews the copy in `static`.
"""

import gzip
from importlib.resources import files

from ingest.dialects import Dialect, Response, StaticResponse
from ingest.request import Request

_SCRIPT = (files("ingest") / "static" / "merganser.js").read_bytes()
_PACKED = gzip.compress(_SCRIPT, mtime=0)
_TYPE = b"text/javascript; charset=utf-8"
_HEADERS = (
    # Browsers have a new version within an hour.
    (b"cache-control", b"public, max-age=3600"),
    (b"vary", b"accept-encoding"),
)


def script(request: Request) -> StaticResponse:
    """The browser client as a script, compressed if the client accepts gzip. No key needed."""
    if b"gzip" in request.headers.get(b"accept-encoding", b""):
        return StaticResponse(Response(_PACKED, _TYPE, (*_HEADERS, (b"content-encoding", b"gzip"))))
    return StaticResponse(Response(_SCRIPT, _TYPE, _HEADERS))


ROUTES: Dialect = {"GET /merganser.js": script}
