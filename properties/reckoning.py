"""Rules over events, as a pure function: (what is remembered, a batch of events) -> what is then.

A profile's *state* has, for each rule by its revision, what that rule remembers of the events
counted so far: a state of its aggregation, or, for a rule with a window, one for each day in UTC.
A revision that is missing was not counted yet; None means counted, and no event had a value.

So that a property can be stored and still be right tomorrow, a window moves by whole days: the
last N days are today in UTC and the N - 1 days before it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any, TypeAlias

from properties.aggregations import FROM_ZERO, aggregation
from properties.filters import Condition, condition
from properties.monoid import Aggregation, Misfit
from properties.occurrence import Occurrence
from properties.rules import Events, Rule
from properties.values import EPOCH

DAY = 86_400_000_000
"""Microseconds."""

ProfileState: TypeAlias = dict[str, Any]
Unfit: TypeAlias = Callable[[str], None]


def day_of(now: datetime) -> int:
    """The day in UTC, in days since 1970."""
    return (now - EPOCH).days


@dataclass(frozen=True, slots=True)
class Counted:
    """A rule over events, ready to count."""

    key: str
    revision: str
    events: Events
    conditions: tuple[Condition, ...]
    aggregation: Aggregation

    def meets(self, event: Occurrence) -> bool:
        """Whether the event passes the rule's filters; its type is not looked at."""
        return all(met(event) for met in self.conditions)


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
                self.counted.append(
                    Counted(
                        rule.key,
                        str(revision),
                        rule.events,
                        conditions,
                        aggregation(rule, rule.events),
                    )
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

    def count(
        self,
        state: ProfileState,
        events: Iterable[Occurrence],
        today: int,
        unfit: Unfit,
    ) -> None:
        """Count events that were not counted before, in any order.

        Args:
            state: changed in place. Only the revisions that it has are counted.
            events: of this profile.
            today: the day in UTC, in days since 1970.
            unfit: told the key of a rule for each value that does not fit its type.
        """
        for event in events:
            for rule in self._by_type.get(event.type, ()):
                if rule.revision not in state or not rule.meets(event):
                    continue
                try:
                    single = rule.aggregation.single(event)
                except Misfit:
                    unfit(rule.key)
                    continue
                if single is not None:
                    _put(rule, state, single, event.at // DAY, today)

    def expire(self, state: ProfileState, today: int) -> int | None:
        """Forget the days that have left their windows; the next day on which one will leave."""
        leaving = []
        for rule in self.counted:
            days = state.get(rule.revision)
            if not rule.events.window or not days:
                continue
            kept = {day: one for day, one in days.items() if int(day) > today - rule.events.window}
            state[rule.revision] = kept or None
            leaving += [int(day) + rule.events.window for day in kept]
        return min(leaving, default=None)

    def properties(self, state: Mapping[str, Any], user_id: str | None) -> dict[str, list[str]]:
        """The values of each property that the state has counted.

        Args:
            state: of which `expire` has forgotten what is too old.
            user_id: whose profile it is; None for an anonymous one.
        """
        found: dict[str, list[str]] = {}
        if self.identifying:
            found[self.identifying] = [] if user_id is None else [user_id]
        for rule in self.counted:
            if rule.revision in state:
                found[rule.key] = self._values(rule, state[rule.revision])
        return found

    def recount(
        self, events: Iterable[Occurrence], today: int, user_id: str | None, unfit: Unfit
    ) -> dict[str, list[str]]:
        """The properties of a profile from all its events at once."""
        state = self.fresh()
        self.count(state, events, today, unfit)
        return self.properties(state, user_id)

    def _values(self, rule: Counted, state: Any) -> list[str]:
        if state is None:  # the empty text is a value
            return ["0"] if rule.key in self._zero else []
        if rule.events.window:
            state = reduce(rule.aggregation.combine, _copies(state.values()))
        return rule.aggregation.result(state)


def _put(rule: Counted, state: ProfileState, single: Any, day: int, today: int) -> None:
    combine, revision = rule.aggregation.combine, rule.revision
    if not rule.events.window:
        stored = state[revision]
        state[revision] = single if stored is None else combine(stored, single)
    elif day > today - rule.events.window:
        days = state[revision] or {}
        stored = days.get(str(day))
        days[str(day)] = single if stored is None else combine(stored, single)
        state[revision] = days


def _copies(states: Iterable[Any]) -> Iterable[Any]:
    """To combine may change its first argument: days stay as they are."""
    return (one.copy() if isinstance(one, list | dict) else one for one in states)
