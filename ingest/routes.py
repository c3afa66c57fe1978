"""Find the parser of a request by its method and path."""

import re
from collections.abc import Iterable

from ingest.dialects import Dialect, RequestParser
from merganser.http.errors import ErrorKind, HttpError

_SLASHES = re.compile("/{2,}")


class Routes:
    """The routes of all dialects. A path without `*` comes before one with it."""

    def __init__(self, dialects: Iterable[Dialect]) -> None:
        self._exact: dict[str, dict[str, RequestParser]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, RequestParser]]] = []
        wild: dict[str, dict[str, RequestParser]] = {}
        for dialect in dialects:
            for route, reader in dialect.items():
                method, path = route.split(" ")
                methods = (wild if "*" in path else self._exact).setdefault(path, {})
                if method in methods:
                    raise ValueError(f"two dialects have the route {route}")
                methods[method] = reader
        for path, readers in wild.items():
            pattern = "([^/]+)".join(map(re.escape, path.split("*")))
            self._patterns.append((re.compile(pattern), readers))

    def find(self, method: str, path: str) -> tuple[RequestParser, tuple[str, ...]]:
        """Return the parser of a request, and the part of the path for each `*` of its route.

        Clients join host and path carelessly, so doubled and trailing slashes are ignored.

        Raises:
            HttpError: NOT_FOUND, or METHOD_NOT_ALLOWED.
        """
        found = self._exact.get(path)
        if found is None:
            path = _SLASHES.sub("/", path).rstrip("/")
            found = self._exact.get(path)
        readers, parts = (found, ()) if found else self._match(path)
        if reader := readers.get(method):
            return reader, parts
        allowed = ", ".join([*readers, "OPTIONS"])
        raise HttpError(
            ErrorKind.METHOD_NOT_ALLOWED,
            f"send one of {allowed}",
            headers=[(b"allow", allowed.encode())],
        )

    def _match(self, path: str) -> tuple[dict[str, RequestParser], tuple[str, ...]]:
        for pattern, readers in self._patterns:
            if found := pattern.fullmatch(path):
                return readers, found.groups()
        raise HttpError(ErrorKind.NOT_FOUND, "no such path: try POST /api/v1/track")
