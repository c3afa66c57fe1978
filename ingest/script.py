"""The JavaScript client at `GET /merganser.js`, so that a page needs one tag.

    <script async src="https://events.example.com/merganser.js" data-api-key="mk_pub_..."></script>

It is built from `clients/javascript`: `npm run build -- --commit` there updates the copy in
`static`.
"""

from importlib.resources import files

from ingest.dialects import Dialect, StaticResponse
from ingest.request import Request
from merganser.http.static_files import StaticFile

_FILE = StaticFile(files("ingest") / "static" / "merganser.js", b"text/javascript; charset=utf-8")


def script(request: Request) -> StaticResponse:
    """Return the browser client as a script. It needs no API key."""
    return StaticResponse.of_file(_FILE, request)


ROUTES: Dialect = {"GET /merganser.js": script}
