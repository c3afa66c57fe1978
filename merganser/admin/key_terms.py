"""What an API key is called and allows."""

import secrets
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

from merganser.admin.errors import AdminError
from merganser.http.authentication import PUBLISHABLE_PREFIX, KeyKind, Permission
from merganser.http.origins import normalize_origin
from schemas.ids import WHITE_SPACE

LONGEST_NAME = 191
"""Characters of a key's name."""

PUBLISHABLE_RATE = 100.0
"""Events per second of a publishable key that is created without a rate. That is 8.6 million events
a day in each ingest process: more than most sites send, and little enough that a stranger who uses
the key neither takes all of ingest nor fills the disk within days."""

MIN_RATE, MAX_RATE = 0.001, 1_000_000.0
"""Events per second that a key may have."""


class InvalidKeyName(AdminError):
    """A key cannot have this name."""


class InvalidOrigin(AdminError):
    """A publishable key cannot have this origin."""


class NoPermission(AdminError):
    """A secret key would allow nothing."""


class InvalidRate(AdminError):
    """A key cannot have this rate."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a key allows."""

    kind: KeyKind
    permissions: Collection[Permission]
    origins: Collection[str] = ()
    """Of the pages that may use a publishable key; empty: pages of any origin."""
    rate: float | None = None
    """Events per second in one ingest process; None: MERGANSER_INGEST_RATE."""

    def new_secret(self) -> str:
        """Return a new key of this kind."""
        # 256 random bits cannot be guessed, so the hash needs neither salt nor stretching.
        prefix = PUBLISHABLE_PREFIX if self.kind is KeyKind.PUBLISHABLE else "mk_"
        return prefix + secrets.token_urlsafe(32)


def check_name(name: str) -> None:
    """Check a key's name.

    Raises:
        InvalidKeyName: it is blank, too long or has control characters.
    """
    if not name.strip(WHITE_SPACE):
        raise InvalidKeyName("the name of a key is blank: give one that says what the key is for")
    if len(name) > LONGEST_NAME:
        raise InvalidKeyName(
            f"the name of a key has {len(name)} characters; at most {LONGEST_NAME} are allowed"
        )
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise InvalidKeyName("the name of a key has control characters: remove them")


def check_origin(text: str) -> str:
    """Return an origin as a browser writes it.

    Raises:
        InvalidOrigin: it is not an origin.
    """
    try:
        return normalize_origin(text)
    except ValueError as error:
        raise InvalidOrigin(str(error)) from None


def check_rate(rate: float) -> None:
    """Check a key's rate.

    Raises:
        InvalidRate: it is out of bounds.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidRate(
            f"{rate:g} events/s is not a rate of a key: choose one from {MIN_RATE:g} to "
            f"{MAX_RATE:,.0f}"
        )


def secret_terms(permissions: Collection[Permission], rate: float | None = None) -> Terms:
    """Return what a secret key allows.

    Raises:
        NoPermission: there is no permission.
    """
    if not permissions:
        raise NoPermission("choose at least one permission: a key without one can do nothing")
    return Terms(KeyKind.SECRET, permissions, rate=rate)


def publishable_terms(origins: Collection[str] = (), rate: float = PUBLISHABLE_RATE) -> Terms:
    """Return what a publishable key allows.

    Raises:
        InvalidOrigin: see `check_origin`.
    """
    return Terms(KeyKind.PUBLISHABLE, [Permission.WRITE_EVENTS], normalize_origins(origins), rate)


def normalize_origins(origins: Collection[str]) -> list[str]:
    """Return origins as browsers write them, each once.

    Raises:
        InvalidOrigin: see `check_origin`.
    """
    return sorted({check_origin(origin) for origin in origins})
