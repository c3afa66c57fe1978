"""Our own client for browsers, so that a page needs one tag: `GET /merganser.js`.

    <script async src="https://events.example.com/merganser.js" data-api-key="..."></script>

It is `clients/javascript`, built: `npm run build -- --commit` there renews the copy in `static`.
"""

import gzip
from importlib.resources import files

from ingest.dialects import Answer, Dialect, Told
from ingest.request import Asked

_SCRIPT = (files("ingest") / "static" / "merganser.js").read_bytes()
_PACKED = gzip.compress(_SCRIPT, mtime=0)
_TYPE = b"text/javascript; charset=utf-8"
_HEADERS = (
    # So that a new version is everywhere within an hour.
    (b"cache-control", b"public, max-age=3600"),
    (b"vary", b"accept-encoding"),
)


def script(asked: Asked) -> Told:
    """Return the script, which needs no key; compressed for clients that accept that."""
    if b"gzip" in asked.headers.get(b"accept-encoding", b""):
        return Told(Answer(_PACKED, _TYPE, (*_HEADERS, (b"content-encoding", b"gzip"))))
    return Told(Answer(_SCRIPT, _TYPE, _HEADERS))


ROUTES: Dialect = {"GET /merganser.js": script}
