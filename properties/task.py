"""What one transaction works with, and how its profiles are divided where one of them fails.

A profile fails alone where the pure work on it raises: `Attempts` keeps that from the others. Where
Postgres refuses something, all that was sent together fails. So the transaction is repeated in
careful mode: its profiles are handled in groups, each in a savepoint, and a group that fails is
halved down to the profile at fault. With n profiles of which k fail, about k * log2(n) groups fail.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection

from merganser.rulebook.rule_store import Stored
from merganser.runtime import isolation
from merganser.runtime.postgres import is_contention
from properties.rules.engine import Rulebook, RuleFailed
from properties.rules.event_view import Occurrence
from properties.rules.monoid import Skip
from properties.suspects import Suspects

Name = TypeVar("Name")

_ENDED = "25P04"
"""Transaction timeout: Postgres ends the session."""


@dataclass(slots=True)
class Tally:
    """What some work has done."""

    written: int = 0
    """Values of properties that changed."""
    recounted: int = 0
    """Profiles whose new count has come to its end."""
    set_aside: int = 0
    """Profiles that were set aside."""
    skips: Counter[tuple[str, Skip]] = field(default_factory=Counter)
    """Values that were skipped, by the rule's key and why."""
    failed: Counter[str] = field(default_factory=Counter)
    """For how many profiles a rule has failed, by its key."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why, for one of them."""
    worked: Counter[str] = field(default_factory=Counter)
    """For how many profiles a rule has worked that has failed for others."""

    def add(self, other: "Tally") -> None:
        """Take in what other work has done."""
        self.written += other.written
        self.recounted += other.recounted
        self.set_aside += other.set_aside
        self.skips += other.skips
        self.failed += other.failed
        self.reasons |= other.reasons
        self.worked += other.worked

    def skip(self, key: str, skip: Skip) -> None:
        """Count a value that a rule skips."""
        self.skips[key, skip] += 1


@dataclass(frozen=True, slots=True)
class Task:
    """What one transaction works with."""

    connection: AsyncConnection[Any]
    """In a transaction, REPEATABLE READ."""
    book: Rulebook
    """The rules, ready."""
    rules: Sequence[Stored]
    """The same rules, with how far their backfills are."""
    today: int
    """The day in UTC, in days since 1970."""
    at_most: int
    """Events, about."""
    careful: bool
    """Whether profiles are handled in savepoints."""
    suspects: Suspects
    tally: Tally = field(default_factory=Tally)
    """Of all that was handled."""

    async def handle(
        self,
        profiles: Sequence[str],
        work: Callable[[Sequence[str]], Awaitable[Tally]],
        fault: Callable[[str, Exception], Awaitable[None]],
    ) -> None:
        """Do work on profiles.

        Args:
            profiles: which.
            work: handles some of them.
            fault: in careful mode, handles a profile for which the work has failed.

        Raises:
            Exception: from `work`; in careful mode only what no profile is to blame for.
        """
        if not profiles:
            return
        if not self.careful:
            self.tally.add(await work(profiles))
            return

        async def in_savepoint(some: Sequence[str]) -> None:
            async with self.connection.transaction():
                done = await work(some)
            self.tally.add(done)

        await isolation.narrow(profiles, in_savepoint, fault, _blames_profiles)


class Attempts:
    """Pure work on many profiles, of which one that fails leaves the others as they are."""

    def __init__(self) -> None:
        self.failed: dict[str, Exception] = {}
        """Why, by profile."""

    @contextmanager
    def of(self, profile: str) -> Iterator[None]:
        """Work on one of them, for the length of a `with` block."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this profile
            self.failed[profile] = error

    def worked(self, task: Task, tally: Tally, counted: Mapping[str, Iterable[Occurrence]]) -> None:
        """Note for how many profiles a rule has worked that has failed for others.

        Args:
            task: with the rules.
            tally: where to note it.
            counted: events by profile; also of those that have failed.
        """
        failed = {error.key for error in self.failed.values() if isinstance(error, RuleFailed)}
        if watched := failed.union(task.suspects.keys):
            tally.worked.update(
                rule.key
                for rule in task.book.counted
                if rule.key in watched
                for profile, events in counted.items()
                if profile not in self.failed and any(map(rule.counts, events))
            )

    def tell(self, tally: Tally) -> None:
        """Note which rules have failed."""
        for error in self.failed.values():
            if isinstance(error, RuleFailed):
                tally.failed[error.key] += 1
                tally.reasons[error.key] = _cause(error)


def reason(error: Exception) -> str:
    """What may be said of why a profile fails: no content."""
    if isinstance(error, RuleFailed):
        return f"{_cause(error)}, rule {error.key}"
    return isolation.reason(error)


def packed(weights: Mapping[Name, int], most: int) -> Iterator[list[Name]]:
    """Names in groups that weigh no more than so much, or are of one name."""
    group: list[Name] = []
    total = 0
    for name, weight in weights.items():
        if group and total + weight > most:
            yield group
            group, total = [], 0
        group.append(name)
        total += weight
    if group:
        yield group


def _cause(error: RuleFailed) -> str:
    return isolation.reason(error.__cause__ or error)


def _blames_profiles(error: Exception) -> bool:
    """Not where the transaction must be repeated: its snapshot is too old, or it has ended."""
    if isinstance(error, psycopg.Error) and (is_contention(error) or error.sqlstate == _ENDED):
        return False
    return isolation.blames_items(error)
