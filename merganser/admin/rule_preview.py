"""What rules would give if they were applied, for one profile or for a sample. Nothing is written.

Rules over events are computed as the properties process computes them. Queries to sources do not
run: only the decoration process has their URLs.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from merganser.admin.rules import ProfileNotFound, RuleBroken
from merganser.queries import profiles
from merganser.rulebook import property_store
from merganser.rulebook.language import RuleFile
from merganser.rulebook.profile_lookup import find_profile
from merganser.rulebook.rule_store import RuleChanges
from merganser.runtime.postgres import Connection
from properties.dry_run import ProfileDryRun, dry_run_profile
from properties.rules.engine import Engine, RuleError, day_of
from properties.rules.event_view import SkipReason

SAMPLE = 50
"""Profiles of a comparison."""

MAX_SAMPLE_EVENTS = 1_000
"""Events of a profile of the sample; those with more are left out."""

MAX_EVENTS = 10_000
"""Events of one profile."""

MAX_SECONDS = 3.0
"""How long the events of a preview may take."""

MAX_EXAMPLES = 3

Change = Literal["added", "changed", "removed", "unchanged"]
Values = list[str]


@dataclass(frozen=True, slots=True)
class PropertyPreview:
    """A property of one profile, now and by the new rules."""

    key: str
    change: Change
    """Of its rule."""
    before: Values
    after: Values | None
    """None: a source has the values."""

    @property
    def differs(self) -> bool:
        """Whether the values change."""
        return self.after is not None and self.before != self.after


@dataclass(frozen=True, slots=True)
class ProfilePreview:
    """The properties of one profile, now and by the new rules."""

    guid: str
    user_id: str | None
    properties: list[PropertyPreview] | None
    """None: the profile has too many events, or they take too long."""


@dataclass(slots=True)
class PropertyComparison:
    """A property of the profiles of a sample, now and by the new rules."""

    key: str
    change: Change
    """Of its rule."""
    is_computed: bool
    """False: a source has the values."""
    before: int = 0
    """Profiles that have a value now."""
    after: int = 0
    """Profiles that will have one."""
    differing: int = 0
    """Profiles whose values change."""
    examples: list[tuple[str, Values, Values]] = field(default_factory=list)
    """Some of these: guid, values now, values by the new rules."""
    skipped: dict[SkipReason, int] = field(default_factory=dict)
    """Values that the new rule skips, by reason."""


@dataclass(frozen=True, slots=True)
class SampleComparison:
    """The properties of a sample of profiles, now and by the new rules."""

    profiles: int
    """Compared ones."""
    left_out: int
    """Those that have too many events, or whose events take too long."""
    is_complete: bool
    """Whether the sample is all profiles."""
    properties: list[PropertyComparison]


def find_changes(changes: RuleChanges) -> dict[str, Change]:
    """Return what happens to each rule, by key; those that stay come last."""
    found: dict[str, Change] = {}
    found |= dict.fromkeys((rule.key for rule in changes.added), "added")
    changed = [*(rule for _, rule in changes.changed), *changes.repaired]
    found |= dict.fromkeys((rule.key for rule in changed), "changed")
    removed = [*(rule.key for rule in changes.removed), *changes.removed_broken]
    found |= dict.fromkeys(removed, "removed")
    found |= dict.fromkeys((rule.key for rule in changes.unchanged), "unchanged")
    return found


async def preview_profile(
    connection: Connection, file: RuleFile, changes: RuleChanges, any_id: str, now: datetime
) -> ProfilePreview:
    """Return the properties of one profile, now and by new rules.

    Args:
        connection: in a transaction that reads.
        file: the new rules.
        changes: what applying them changes.
        any_id: a profile's guid, a userId or an anonymousId.
        now: the current time; it ends the windows of rules.

    Raises:
        ProfileNotFound: no profile has this id.
        RuleBroken: a rule fails.
    """
    profile = await find_profile(connection, any_id)
    if profile is None:
        raise ProfileNotFound(f"no profile, userId or anonymousId is {any_id!r}")
    guid, user_id = profile
    runs = await _dry_run(connection, file, [profile], now, MAX_EVENTS)
    if not runs:
        return ProfilePreview(guid, user_id, None)
    return ProfilePreview(
        guid, user_id, (await _preview(connection, file, find_changes(changes), runs))[guid]
    )


async def compare_sample(
    connection: Connection, file: RuleFile, changes: RuleChanges, now: datetime
) -> SampleComparison:
    """Return how the properties of some profiles change, known users first; see `preview_profile`.

    Raises:
        RuleBroken: a rule fails.
    """
    sample = await profiles.read_sample(connection, 10 * SAMPLE)
    picked = list(sample.user_ids.items())[:SAMPLE]
    runs = await _dry_run(connection, file, picked, now, MAX_SAMPLE_EVENTS)
    by_key = find_changes(changes)
    compared = {
        key: PropertyComparison(key, change, is_computed=True) for key, change in by_key.items()
    }
    for guid, properties in (await _preview(connection, file, by_key, runs)).items():
        for preview in properties:
            _add(compared[preview.key], guid, preview)
    for run in runs.values():
        for (key, reason), count in run.skipped.items():
            skipped = compared[key].skipped
            skipped[reason] = skipped.get(reason, 0) + count
    return SampleComparison(
        len(runs),
        len(picked) - len(runs),
        sample.is_complete and len(picked) == len(sample.user_ids),
        list(compared.values()),
    )


async def _dry_run(
    connection: Connection,
    file: RuleFile,
    picked: Iterable[tuple[str, str | None]],
    now: datetime,
    max_events: int,
) -> dict[str, ProfileDryRun]:
    """Return what the rules give for profiles, by guid, without those that cost too much."""
    engine, deadline = Engine(enumerate(file.rules)), time.monotonic() + MAX_SECONDS
    runs = {}
    try:
        for profile in picked:
            run = await dry_run_profile(
                connection, engine, profile, day_of(now), max_events, deadline
            )
            if run is not None:
                runs[profile[0]] = run
            if time.monotonic() > deadline:
                break
    except RuleError as error:
        raise RuleBroken(f"the rule {error.key} fails on an event: please report it") from None
    return runs


async def _preview(
    connection: Connection,
    file: RuleFile,
    changes: dict[str, Change],
    runs: dict[str, ProfileDryRun],
) -> dict[str, list[PropertyPreview]]:
    stored = await property_store.read_values(connection, runs, changes)
    queried = {rule.key for rule in file.rules if rule.query}
    previews: dict[str, list[PropertyPreview]] = {}
    for guid, run in runs.items():
        previews[guid] = []
        for key, change in changes.items():
            before = stored.get((guid, key), [])
            after: Values | None = []
            if key in queried:
                after = before if change == "unchanged" else None
            elif change != "removed":
                after = run.values[key]
            previews[guid].append(PropertyPreview(key, change, before, after))
    return previews


def _add(compared: PropertyComparison, guid: str, preview: PropertyPreview) -> None:
    compared.before += bool(preview.before)
    if preview.after is None:
        compared.is_computed = False
        return
    compared.after += bool(preview.after)
    if preview.differs:
        compared.differing += 1
        if len(compared.examples) < MAX_EXAMPLES:
            compared.examples.append((guid, preview.before, preview.after))
