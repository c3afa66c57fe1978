"""The engine applies all rules to one profile: (profile state, events) -> new state -> properties.

A profile's state has one entry for each rule, by the rule's revision: the state of its aggregation
over the events counted so far. A rule with a window whose aggregation cannot trim has one state for
each day in UTC. A missing revision means that the rule has not counted the profile yet; None means
that no event had a value.

A window moves by whole days, so that a stored property is valid until midnight: the last N days are
today in UTC and the N - 1 days before.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any, TypeAlias

from merganser.rulebook.language import Events, Rule
from merganser.rulebook.values import DAY, EPOCH
from properties.rules.aggregations import ZERO_WITHOUT_EVENTS, Aggregation, build_aggregation
from properties.rules.event_view import EventTest, EventView, SkipReason
from properties.rules.filters import build_filter

ProfileState: TypeAlias = dict[str, Any]
OnSkip: TypeAlias = Callable[[str, SkipReason], None]
"""Called for each value that a rule skips, with the rule's key and the reason."""


def day_of(now: datetime) -> int:
    """Return the day in UTC, in days since 1970."""
    return (now - EPOCH).days


def ignore_skip(_key: str, _reason: SkipReason) -> None:
    """Do nothing about a skipped value."""


class RuleError(Exception):
    """A rule fails on an event or on its own state; the cause says why.

    Args:
        key: the rule's key.
    """

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


@dataclass(frozen=True, slots=True)
class EventRule:
    """A rule over events, prepared for counting."""

    key: str
    revision: str
    events: Events
    filters: tuple[EventTest, ...]
    aggregation: Aggregation
    by_day: bool
    """Whether each day of the window has its own state."""

    def passes_filters(self, event: EventView) -> bool:
        """Return whether the event meets all filters, whatever its type."""
        return all(meets(event) for meets in self.filters)

    def counts(self, event: EventView) -> bool:
        """Return whether the event has one of the rule's types and meets all filters."""
        return event.type in self.events.types and self.passes_filters(event)


class Engine:
    """All rules of a moment, prepared for any number of profiles."""

    def __init__(self, rules: Iterable[tuple[int, Rule]]) -> None:
        """Prepare rules, each given with its revision."""
        self.identifying: str | None = None
        self.event_rules: list[EventRule] = []
        for revision, rule in rules:
            if rule.identifying:
                self.identifying = rule.key
            if rule.events:
                filters = tuple(build_filter(filter_) for filter_ in rule.events.filters)
                aggregation = build_aggregation(rule, rule.events)
                by_day = rule.events.window is not None and aggregation.trim is None
                self.event_rules.append(
                    EventRule(rule.key, str(revision), rule.events, filters, aggregation, by_day)
                )
        self.revisions = frozenset(rule.revision for rule in self.event_rules)
        self.types = frozenset(type_ for rule in self.event_rules for type_ in rule.events.types)
        self.data_keys = frozenset(
            column.removeprefix("data.")
            for rule in self.event_rules
            for column in (rule.events.column, *(item.column for item in rule.events.filters))
            if column and column.startswith("data.")
        )
        self._by_type = {
            type_: [rule for rule in self.event_rules if type_ in rule.events.types]
            for type_ in self.types
        }

    @property
    def keys(self) -> list[str]:
        """The keys of the properties that the engine computes, with the identifying one."""
        identifying = [self.identifying] if self.identifying else []
        return identifying + [rule.key for rule in self.event_rules]

    def empty_state(self) -> ProfileState:
        """Return the state of a profile without counted events."""
        return dict.fromkeys(self.revisions)

    def without_removed_rules(self, state: ProfileState) -> ProfileState:
        """Return the state without the entries of rules that no longer apply."""
        return {revision: entry for revision, entry in state.items() if revision in self.revisions}

    def count(
        self, state: ProfileState, events: Iterable[EventView], today: int, on_skip: OnSkip
    ) -> None:
        """Count events that were not counted before, in any order.

        Args:
            state: changed in place. Only rules that have an entry in it count.
            events: events of this profile.
            today: the day in UTC, in days since 1970.
            on_skip: called for each value that a rule skips or drops.

        Raises:
            RuleError: a rule fails. The state cannot be used any more.
        """
        skips: list[SkipReason] = []
        rule: EventRule | None = None
        try:
            for event in events:
                for rule in self._by_type.get(event.type, ()):
                    if rule.revision not in state or not rule.passes_filters(event):
                        continue
                    event_state = rule.aggregation.from_event(event, skips)
                    if event_state is not None:
                        _add(rule, state, event_state, event.at // DAY, today, skips)
                    if skips:
                        for skip in skips:
                            on_skip(rule.key, skip)
                        skips.clear()
        except Exception as error:
            raise _rule_error(rule) from error

    def expire(self, state: ProfileState, today: int) -> int | None:
        """Remove the days that have left their windows from a state, in place.

        Returns:
            The next day on which something leaves a window, or None.

        Raises:
            RuleError: a rule fails. The state cannot be used any more.
        """
        expiry_days = []
        rule: EventRule | None = None
        try:
            for rule in self.event_rules:
                entry, window = state.get(rule.revision), rule.events.window
                if window and entry is not None:
                    trim = rule.aggregation.trim or _trim_days
                    remaining = trim(entry, today - window + 1)
                    state[rule.revision] = None
                    if remaining:
                        state[rule.revision], earliest = remaining
                        expiry_days.append(earliest + window)
        except Exception as error:
            raise _rule_error(rule) from error
        return min(expiry_days, default=None)

    def compute_properties(
        self, state: Mapping[str, Any], user_id: str | None
    ) -> dict[str, list[str]]:
        """Return the values of each property whose rule has an entry in the state.

        Args:
            state: a state after `expire`.
            user_id: the profile's userId, or None for an anonymous profile.

        Raises:
            RuleError: a rule fails.
        """
        properties: dict[str, list[str]] = {}
        if self.identifying:
            properties[self.identifying] = [] if user_id is None else [user_id]
        rule: EventRule | None = None
        try:
            for rule in self.event_rules:
                if rule.revision in state:
                    properties[rule.key] = _values(rule, state[rule.revision])
        except Exception as error:
            raise _rule_error(rule) from error
        return properties

    def compute_from_events(
        self, events: Iterable[EventView], today: int, user_id: str | None, on_skip: OnSkip
    ) -> dict[str, list[str]]:
        """Return the properties of a profile, given all its events. Raises RuleError."""
        state = self.empty_state()
        self.count(state, events, today, on_skip)
        return self.compute_properties(state, user_id)


def _add(
    rule: EventRule,
    state: ProfileState,
    event_state: Any,
    day: int,
    today: int,
    skips: list[SkipReason],
) -> None:
    combine, revision = rule.aggregation.combine, rule.revision
    entry = state[revision]
    if rule.events.window and day <= today - rule.events.window:
        return
    if rule.by_day:
        days = entry or {}
        known = days.get(str(day))
        days[str(day)] = event_state if known is None else combine(known, event_state, skips)
        state[revision] = days
    else:
        state[revision] = event_state if entry is None else combine(entry, event_state, skips)


def _values(rule: EventRule, entry: Any) -> list[str]:
    if entry is None:  # not `if not entry`: the empty text is a value
        return ["0"] if rule.events.aggregation in ZERO_WITHOUT_EVENTS else []
    if rule.by_day:
        combine = rule.aggregation.combine
        entry = reduce(lambda left, right: combine(left, right, []), entry.values())
    return rule.aggregation.values(entry)


def _trim_days(days: dict[str, Any], first: int) -> tuple[dict[str, Any], int] | None:
    remaining = {day: state for day, state in days.items() if int(day) >= first}
    return (remaining, min(map(int, remaining))) if remaining else None


def _rule_error(rule: EventRule | None) -> RuleError:
    return RuleError("" if rule is None else rule.key)
