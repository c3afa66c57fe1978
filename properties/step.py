"""One step: what a transaction works with, what it counts, and how it isolates failures.

Where pure code fails on a profile, `ProfileErrors` keeps the failure from the other profiles. Where
Postgres rejects a statement, the whole transaction fails, so it is repeated in careful mode: its
profiles are handled in groups, each in a savepoint, and a group that fails is halved until the
failing profile is alone. Of n profiles of which k fail, about k * log2(n) groups fail.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection

from merganser.rulebook.rule_store import StoredRule
from merganser.runtime import isolation
from merganser.runtime.postgres import is_contention
from properties.rules.engine import Engine, RuleError
from properties.rules.event_view import EventView, SkipReason

Name = TypeVar("Name")

MAX_FAILURE_LEAD = 100
"""A rule is suspended once it has failed for this many profiles more than it has worked for."""

_TRANSACTION_TIMEOUT = "25P04"
"""SQLSTATE with which Postgres ends the session."""


@dataclass(slots=True)
class StepCounts:
    """What some work has done."""

    written: int = 0
    """Property values that were written or deleted."""
    rebuilt: int = 0
    """Profiles whose rebuild has finished."""
    set_aside: int = 0
    """Profiles that were set aside."""
    skips: Counter[tuple[str, SkipReason]] = field(default_factory=Counter)
    """Values that were skipped, by the rule's key and the reason."""
    failed: Counter[str] = field(default_factory=Counter)
    """Profiles for which a rule has failed, by its key."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a rule has failed for one of them, by its key."""
    worked: Counter[str] = field(default_factory=Counter)
    """Profiles for which a failing rule has worked, by its key."""

    def add(self, other: "StepCounts") -> None:
        """Add what other work has done."""
        self.written += other.written
        self.rebuilt += other.rebuilt
        self.set_aside += other.set_aside
        self.skips += other.skips
        self.failed += other.failed
        self.reasons |= other.reasons
        self.worked += other.worked

    def add_skip(self, key: str, reason: SkipReason) -> None:
        """Count a value that a rule skips."""
        self.skips[key, reason] += 1


class FailingRules:
    """Finds rules that fail for all profiles: then the rule is at fault, not the profiles."""

    def __init__(self) -> None:
        self._lead = Counter[str]()
        """Failed profiles minus profiles that worked since then, by the rule's key."""

    @property
    def keys(self) -> Collection[str]:
        """The keys of rules that have failed more often than they have worked since then."""
        return self._lead.keys()

    def update(self, failed: Mapping[str, int], worked: Mapping[str, int]) -> str | None:
        """Add the results of a step, and return the key of a rule that fails for all profiles.

        Args:
            failed: the number of profiles for which each rule has failed.
            worked: the number of profiles for which rules have worked.
        """
        self._lead.update(failed)
        self._lead.subtract({key: count for key, count in worked.items() if key in self._lead})
        self._lead = +self._lead
        return next((key for key, lead in self._lead.items() if lead >= MAX_FAILURE_LEAD), None)

    def remove(self, key: str) -> None:
        """Forget a rule, as it is suspended."""
        del self._lead[key]


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction of the properties process."""

    connection: AsyncConnection[Any]
    """In a transaction, REPEATABLE READ."""
    engine: Engine
    """The rules, prepared."""
    rules: Sequence[StoredRule]
    """The same rules, with the progress of their backfills."""
    today: int
    """The day in UTC, in days since 1970."""
    max_events: int
    """Approximate number of events to handle."""
    careful: bool
    """Whether to handle profiles in savepoints."""
    failing_rules: FailingRules
    counts: StepCounts = field(default_factory=StepCounts)
    """What the whole step has done so far."""

    async def for_profiles(
        self,
        profiles: Sequence[str],
        work: Callable[[Sequence[str]], Awaitable[StepCounts]],
        on_failure: Callable[[str, Exception], Awaitable[None]],
    ) -> None:
        """Do work on profiles; in careful mode isolate the profiles for which it fails.

        Args:
            profiles: guids of the profiles.
            work: handles some of the profiles.
            on_failure: handles a profile for which the work has failed, in careful mode.

        Raises:
            Exception: from `work`; in careful mode only what no profile can be the cause of.
        """
        if not profiles:
            return
        if not self.careful:
            self.counts.add(await work(profiles))
            return

        async def in_savepoint(group: Sequence[str]) -> None:
            async with self.connection.transaction():
                done = await work(group)
            self.counts.add(done)

        await isolation.narrow(profiles, in_savepoint, on_failure, _blames_profiles)


class ProfileErrors:
    """Collects the errors of pure work on many profiles, so that one does not stop the others."""

    def __init__(self) -> None:
        self.by_profile: dict[str, Exception] = {}

    @contextmanager
    def catch(self, profile: str) -> Iterator[None]:
        """Catch any error of the `with` block and store it for the profile."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - only this profile is affected
            self.by_profile[profile] = error

    def count_worked(
        self, step: Step, counts: StepCounts, counted: Mapping[str, Iterable[EventView]]
    ) -> None:
        """Count the profiles for which rules have worked that have failed for other profiles.

        Args:
            step: the current step.
            counts: where to count.
            counted: the counted events by profile, with those of failed profiles.
        """
        errors = self.by_profile.values()
        failed = {error.key for error in errors if isinstance(error, RuleError)}
        if watched := failed.union(step.failing_rules.keys):
            counts.worked.update(
                rule.key
                for rule in step.engine.event_rules
                if rule.key in watched
                for profile, events in counted.items()
                if profile not in self.by_profile and any(map(rule.counts, events))
            )

    def count_failed(self, counts: StepCounts) -> None:
        """Count the profiles for which rules have failed."""
        for error in self.by_profile.values():
            if isinstance(error, RuleError):
                counts.failed[error.key] += 1
                counts.reasons[error.key] = _describe_cause(error)


def describe_failure(error: Exception) -> str:
    """Return why a profile fails, without event data."""
    if isinstance(error, RuleError):
        return f"{_describe_cause(error)}, rule {error.key}"
    return isolation.reason(error)


def pack(sizes: Mapping[Name, int], max_size: int) -> Iterator[list[Name]]:
    """Yield the names in groups of at most this total size; a larger name is alone in its group."""
    group: list[Name] = []
    total = 0
    for name, size in sizes.items():
        if group and total + size > max_size:
            yield group
            group, total = [], 0
        group.append(name)
        total += size
    if group:
        yield group


def _describe_cause(error: RuleError) -> str:
    return isolation.reason(error.__cause__ or error)


def _blames_profiles(error: Exception) -> bool:
    """Return False if the whole transaction must be repeated, as after a serialization failure."""
    if isinstance(error, psycopg.Error) and (
        is_contention(error) or error.sqlstate == _TRANSACTION_TIMEOUT
    ):
        return False
    return isolation.blames_items(error)
