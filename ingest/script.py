"""Our own client for browsers, so that a page needs one tag: `GET /merganser.js`.

    <script async src="https://events.example.com/merganser.js" data-api-key="..."></script>

It is `clients/javascript`, built: `npm run build -- --commit` there renews the copy in `static`.
"""

from importlib.resources import files

from ingest.asked import Asked
from ingest.dialects import Answer, Dialect, Told

_SCRIPT = Told(
    Answer(
        (files("ingest") / "static" / "merganser.js").read_bytes(),
        b"text/javascript; charset=utf-8",
    )
)


def script(_: Asked) -> Told:
    """The script, which needs no key."""
    return _SCRIPT


ROUTES: Dialect = {"GET /merganser.js": script}
