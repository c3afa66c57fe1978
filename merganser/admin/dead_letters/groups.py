"""Groups of dead letters and set-aside items with the same cause."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from merganser.admin.dead_letters.letters import LetterSummary
from merganser.admin.dead_letters.service import Listing
from merganser.admin.dead_letters.set_aside_items import SetAsideItem
from merganser.runtime.set_aside import Kind


class Cause(NamedTuple):
    """Why items are set aside: what a group has in common."""

    kind: Kind
    reason: str
    error: str = ""
    """Of dead letters."""

    @property
    def id(self) -> str:
        """A short name of it, as an error may be long."""
        return hashlib.sha256("\0".join(self).encode(errors="replace")).hexdigest()[:16]


@dataclass(slots=True)
class Group:
    """How many items have a cause, and when they failed."""

    cause: Cause
    count: int
    first: datetime
    last: datetime


def group_by_cause(listing: Listing) -> list[Group]:
    """Return the groups of a listing, the largest first."""
    groups: dict[Cause, Group] = {}
    for cause, failed_at in _causes(listing):
        group = groups.get(cause)
        if group is None:
            groups[cause] = Group(cause, 1, failed_at, failed_at)
        else:
            group.count += 1
            group.first, group.last = min(group.first, failed_at), max(group.last, failed_at)
    return sorted(groups.values(), key=lambda group: (-group.count, group.cause))


def select_cause(listing: Listing, cause: Cause, until: datetime | None = None) -> Listing:
    """Return what has a cause.

    Args:
        listing: of any letters and items.
        cause: of the group.
        until: only what failed then or earlier; None: all.
    """
    letters = [letter for letter in listing.letters if _cause_of(letter) == cause]
    items = [item for item in listing.items if _cause_of(item) == cause]
    if until:
        letters = [letter for letter in letters if letter.written_at <= until]
        items = [item for item in items if item.updated_at <= until]
    return replace(listing, letters=letters, items=items)


def _causes(listing: Listing) -> Iterator[tuple[Cause, datetime]]:
    for letter in listing.letters:
        yield _cause_of(letter), letter.written_at
    for item in listing.items:
        yield _cause_of(item), item.updated_at


def _cause_of(entry: LetterSummary | SetAsideItem) -> Cause:
    if isinstance(entry, LetterSummary):
        return Cause(Kind.RECORD, entry.letter.reason, entry.letter.error)
    return Cause(entry.kind, entry.reason)
