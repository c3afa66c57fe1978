"""Users whom a reverse proxy names in a header, such as that of a single sign-on.

Anyone can send a header. So it counts only if the connection itself comes from a trusted proxy,
and if the proxy has sent it once: a second one may be the client's own.
"""

from dataclasses import dataclass
from typing import Self

from starlette.requests import Request

from merganser.http import client_address
from merganser.http.client_address import Network
from merganser.http.errors import ErrorKind, HttpError
from merganser.runtime.settings import ConsoleSettings

MAX_NAME_LENGTH = 191
"""Characters of a user's name."""


@dataclass(frozen=True, slots=True)
class ProxyUsers:
    """Which proxies are trusted, and what the users that they name may do."""

    header: str
    proxies: tuple[Network, ...]
    permissions: frozenset[str]

    @classmethod
    def from_settings(cls, settings: ConsoleSettings) -> Self | None:
        """Return the users that the settings allow; None if no proxy may name one."""
        if settings.console_user_header is None:
            return None
        return cls(
            settings.console_user_header,
            settings.console_trusted_proxies,
            settings.console_user_permissions,
        )

    def read(self, request: Request) -> str | None:
        """Return the user's name; None if no trusted proxy names one.

        Raises:
            HttpError: FORBIDDEN, a trusted proxy sends the header twice, or not with one name.
        """
        if request.client is None or not client_address.is_within(
            request.client.host, self.proxies
        ):
            return None
        values = request.headers.getlist(self.header)
        if not any(values):
            return None
        try:
            (name,) = values
            name = name.encode("latin-1").decode().strip()
        except ValueError:  # several, or not UTF-8
            raise self._refusal() from None
        # Some proxies join what they add to a client's header by a comma.
        if not name.isprintable() or "," in name or len(name) > MAX_NAME_LENGTH:
            raise self._refusal()
        return name or None

    def _refusal(self) -> HttpError:
        return HttpError(
            ErrorKind.FORBIDDEN,
            f"the proxy must send the header {self.header} once, with one name of at most "
            f"{MAX_NAME_LENGTH} characters in UTF-8, and remove this header of clients",
        )
