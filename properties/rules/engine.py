"""Rules over events, as a pure function: (what is remembered, a batch of events) -> what is then.

A profile's *state* has, for each rule by its revision, what that rule remembers of the events
counted so far: a state of its aggregation, or, for a rule with a window whose aggregation needs it,
one for each day in UTC. A revision that is missing was not counted yet; None means counted, and no
event had a value.

So that a property can be stored and still be right tomorrow, a window moves by whole days: the
last N days are today in UTC and the N - 1 days before it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any, TypeAlias

from merganser.rulebook.language import Events, Rule
from merganser.rulebook.values import DAY, EPOCH
from properties.rules.aggregations import FROM_ZERO, aggregation
from properties.rules.event_view import Occurrence
from properties.rules.filters import Condition, condition
from properties.rules.monoid import Aggregation, Skip

ProfileState: TypeAlias = dict[str, Any]
Skipped: TypeAlias = Callable[[str, Skip], None]
"""Told of each value that a rule skips: the rule's key, and why."""


def day_of(now: datetime) -> int:
    """The day in UTC, in days since 1970."""
    return (now - EPOCH).days


class RuleFailed(Exception):
    """An event, or what a rule remembers, cannot be worked with; the cause says why.

    Args:
        key: of the rule.
    """

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


@dataclass(frozen=True, slots=True)
class Counted:
    """A rule over events, ready to count."""

    key: str
    revision: str
    events: Events
    conditions: tuple[Condition, ...]
    aggregation: Aggregation
    by_day: bool
    """Whether each day of a window has a state of its own."""

    def meets(self, event: Occurrence) -> bool:
        """Whether the event passes the rule's filters; its type is not looked at."""
        return all(met(event) for met in self.conditions)

    def counts(self, event: Occurrence) -> bool:
        """Whether the event is of its types and passes its filters."""
        return event.type in self.events.types and self.meets(event)


class Rulebook:
    """All rules of a moment, ready to be applied to any number of profiles."""

    def __init__(self, rules: Iterable[tuple[int, Rule]]) -> None:
        """Take the rules by revision."""
        self.identifying: str | None = None
        self.counted: list[Counted] = []
        for revision, rule in rules:
            if rule.identifying:
                self.identifying = rule.key
            if rule.events:
                conditions = tuple(condition(one) for one in rule.events.filters)
                made = aggregation(rule, rule.events)
                by_day = rule.events.window is not None and made.trim is None
                self.counted.append(
                    Counted(rule.key, str(revision), rule.events, conditions, made, by_day)
                )
        self.revisions = frozenset(rule.revision for rule in self.counted)
        self.types = frozenset(type_ for rule in self.counted for type_ in rule.events.types)
        self.data_keys = frozenset(
            column.removeprefix("data.")
            for rule in self.counted
            for column in (rule.events.column, *(one.column for one in rule.events.filters))
            if column and column.startswith("data.")
        )
        self._by_type = {
            type_: [rule for rule in self.counted if type_ in rule.events.types]
            for type_ in self.types
        }
        self._zero = {rule.key for rule in self.counted if rule.events.aggregation in FROM_ZERO}

    @property
    def keys(self) -> list[str]:
        """The properties that come from events, with the identifying one."""
        identifying = [self.identifying] if self.identifying else []
        return identifying + [rule.key for rule in self.counted]

    def fresh(self) -> ProfileState:
        """The state of a profile none of whose events were counted."""
        return dict.fromkeys(self.revisions)

    def known(self, state: ProfileState) -> ProfileState:
        """The state without what rules remember that are no more."""
        return {revision: one for revision, one in state.items() if revision in self.revisions}

    def count(
        self,
        state: ProfileState,
        events: Iterable[Occurrence],
        today: int,
        skipped: Skipped,
    ) -> None:
        """Count events that were not counted before, in any order.

        Args:
            state: changed in place. Only the revisions that it has are counted.
            events: of this profile.
            today: the day in UTC, in days since 1970.
            skipped: told of each value that is no part of a property, or no longer.

        Raises:
            RuleFailed: the state is then of no use.
        """
        skips: list[Skip] = []
        rule: Counted | None = None
        try:
            for event in events:
                for rule in self._by_type.get(event.type, ()):
                    if rule.revision not in state or not rule.meets(event):
                        continue
                    single = rule.aggregation.single(event, skips)
                    if single is not None:
                        _put(rule, state, single, event.at // DAY, today, skips)
                    if skips:
                        for skip in skips:
                            skipped(rule.key, skip)
                        skips.clear()
        except Exception as error:
            raise _failed(rule) from error

    def expire(self, state: ProfileState, today: int) -> int | None:
        """Forget the days that have left their windows; the next day on which one will leave.

        Raises:
            RuleFailed: the state is then of no use.
        """
        leaving = []
        rule: Counted | None = None
        try:
            for rule in self.counted:
                stored, window = state.get(rule.revision), rule.events.window
                if window and stored is not None:
                    kept = (rule.aggregation.trim or _trimmed_days)(stored, today - window + 1)
                    state[rule.revision] = None
                    if kept:
                        state[rule.revision], oldest = kept
                        leaving.append(oldest + window)
        except Exception as error:
            raise _failed(rule) from error
        return min(leaving, default=None)

    def properties(self, state: Mapping[str, Any], user_id: str | None) -> dict[str, list[str]]:
        """The values of each property that the state has counted.

        Args:
            state: of which `expire` has forgotten what is too old.
            user_id: whose profile it is; None for an anonymous one.

        Raises:
            RuleFailed.
        """
        found: dict[str, list[str]] = {}
        if self.identifying:
            found[self.identifying] = [] if user_id is None else [user_id]
        rule: Counted | None = None
        try:
            for rule in self.counted:
                if rule.revision in state:
                    found[rule.key] = self._values(rule, state[rule.revision])
        except Exception as error:
            raise _failed(rule) from error
        return found

    def recount(
        self, events: Iterable[Occurrence], today: int, user_id: str | None, skipped: Skipped
    ) -> dict[str, list[str]]:
        """The properties of a profile from all its events at once; raises RuleFailed."""
        state = self.fresh()
        self.count(state, events, today, skipped)
        return self.properties(state, user_id)

    def _values(self, rule: Counted, state: Any) -> list[str]:
        if state is None:  # the empty text is a value
            return ["0"] if rule.key in self._zero else []
        if rule.by_day:
            combine = rule.aggregation.combine
            state = reduce(lambda one, other: combine(one, other, []), state.values())
        return rule.aggregation.result(state)


def _put(
    rule: Counted, state: ProfileState, single: Any, day: int, today: int, skips: list[Skip]
) -> None:
    combine, revision = rule.aggregation.combine, rule.revision
    stored = state[revision]
    if rule.events.window and day <= today - rule.events.window:
        return
    if rule.by_day:
        days = stored or {}
        known = days.get(str(day))
        days[str(day)] = single if known is None else combine(known, single, skips)
        state[revision] = days
    else:
        state[revision] = single if stored is None else combine(stored, single, skips)


def _trimmed_days(days: dict[str, Any], first: int) -> tuple[dict[str, Any], int] | None:
    kept = {day: one for day, one in days.items() if int(day) >= first}
    return (kept, min(map(int, kept))) if kept else None


def _failed(rule: Counted | None) -> RuleFailed:
    return RuleFailed("" if rule is None else rule.key)
