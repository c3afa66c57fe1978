"""Rules of profile properties: compare, apply and dry-run them (`merganser rules`)."""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable, QueryCanceled

from decoration import dry_run as decoration
from decoration.errors import QueryRefused, SourceUnavailable
from merganser.admin.actions import Actor, record_action
from merganser.admin.database import open_connection
from merganser.admin.errors import AdminError
from merganser.rulebook import rule_store
from merganser.rulebook.language import Rule, RuleFile, Source
from merganser.rulebook.rule_store import RuleChanges
from merganser.rulebook.values import MAX_VALUE_BYTES, to_microseconds, utf8_size
from merganser.runtime.settings import Settings
from properties import dry_run as properties
from properties.rules.event_view import EventView
from properties.store import count_rebuilds

BROKEN_RULES = (
    "A broken rule is not computed, and its values stay as they are. Find the cause, then run "
    "`merganser rules apply FILE`: the rule is computed from the events again."
)
POLL_SECONDS = 0.2
"""Between two looks at a backfill."""


class EventsLocked(AdminError):
    """A long transaction writes events, so rules cannot be applied now."""


class RulesChanged(AdminError):
    """Other rules apply than those that the new rules were to replace."""


class SourcesChange(AdminError):
    """The new rules come with other sources, and who applies them may not change these."""


class RuleNotFound(AdminError):
    """No rule has this key."""


class RuleBroken(AdminError):
    """The rule, or its source, cannot be read or computed."""


class ProfileNotFound(AdminError):
    """No profile, userId or anonymousId has this name."""


class ProfileWithoutUser(AdminError):
    """A source has values for userIds, and the profile has none."""


class SourceFailed(AdminError):
    """The company's database does not answer a rule's query, or refuses it."""


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """How far the backfill of new rules is."""

    done: int
    """Profiles."""
    profiles: int
    """About how many there are; 0 if that is unknown."""
    seconds_without_progress: float


@dataclass(frozen=True, slots=True)
class RuleDryRun:
    """What a rule gives for a profile."""

    rule: Rule
    result: properties.EventRuleDryRun | decoration.QueryRuleDryRun
    """Of a rule over events, or of one that queries a source."""


async def compare_rules(settings: Settings, file: RuleFile) -> RuleChanges:
    """Return what applying a file would change."""
    async with open_connection(settings, "rules") as connection:
        return await rule_store.compare_with_file(connection, file)


async def apply_rules(settings: Settings, actor: Actor, file: RuleFile) -> RuleChanges:
    """Do what `replace_rules` does, whatever rules apply before."""
    async with open_connection(settings, "rules") as connection:
        return await replace_rules(connection, actor, file)


async def replace_rules(
    connection: AsyncConnection[Any],
    actor: Actor,
    file: RuleFile,
    *,
    version: str | None = None,
    may_change_sources: bool = True,
) -> RuleChanges:
    """Replace the applied rules by those of a file. The properties process then backfills them.

    Args:
        connection: READ COMMITTED.
        actor: who does it.
        file: the new rules.
        version: replace only these rules, as `rule_store.read_version` returned it; None: any.
        may_change_sources: whether the file may have other sources.

    Returns:
        What changed.

    Raises:
        RulesChanged: other rules apply than those of the version.
        SourcesChange: the file has other sources, and may not.
        EventsLocked: a transaction has been writing events for too long; nothing changed.
    """
    try:
        async with connection.transaction():
            changes = await rule_store.apply_file(
                connection, file, version=version, may_change_sources=may_change_sources
            )
            counts = {
                "added": len(changes.added),
                "changed": len(changes.changed) + len(changes.repaired),
                "removed": len(changes.removed) + len(changes.removed_broken),
            }
            await record_action(connection, actor, "rules applied", counts=counts)
            return changes
    except (LockNotAvailable, QueryCanceled):
        raise EventsLocked(
            "a long transaction is writing events: run this again when it has ended"
        ) from None
    except rule_store.RulesChanged:
        raise RulesChanged("other rules were applied in the meantime: nothing changed") from None
    except rule_store.SourcesChange:
        raise SourcesChange(
            "sources name environment variables with passwords, so only `merganser rules apply` "
            "changes them: nothing changed"
        ) from None


def find_outcomes(
    rules: Iterable[Rule], event: Mapping[str, Any], now: datetime
) -> dict[str, properties.Outcome]:
    """Return what the rules over events of this type do with an event, by the rules' keys.

    Args:
        rules: any rules.
        event: as `merganser.queries.events` returns it.
        now: ends the windows of rules.
    """
    occurred_at: datetime = event["occurredAt"] or event["createdAt"]
    view = EventView(
        to_microseconds(occurred_at),
        event["guid"],
        event["type"],
        event["userId"],
        event["ipAddress"],
        {
            key: value if utf8_size(value) <= MAX_VALUE_BYTES else None
            for key, value in event["data"].items()
        },
    )
    outcomes = {rule.key: properties.find_outcome(rule, view, now) for rule in rules}
    return {key: outcome for key, outcome in outcomes.items() if outcome is not None}


async def find_rule(settings: Settings, key: str) -> Rule:
    """Return an applied rule.

    Raises:
        RuleNotFound: no rule has this key.
        RuleBroken: its definition cannot be read, or computing it failed.
    """
    async with open_connection(settings, "rules") as connection:
        return await _find_rule(connection, key)


async def dry_run_rule(
    settings: Settings,
    key: str,
    profile: str,
    now: datetime,
    file: RuleFile | None = None,
    environment: Mapping[str, str] = os.environ,
) -> RuleDryRun:
    """Compute what a rule gives for a profile. Nothing is written.

    Args:
        settings: the database's URL.
        key: of the rule.
        profile: a profile's guid, a userId or an anonymousId.
        now: the current time; it ends the rule's window.
        file: where to take rule and source from; by default the applied ones.
        environment: has the URLs of sources.

    Raises:
        RuleNotFound: no rule has this key.
        RuleBroken: the rule or its source cannot be read or computed.
        ProfileNotFound: no profile, userId or anonymousId has this name.
        ProfileWithoutUser: the rule queries a source, and the profile has no userId.
        SourceFailed: the source does not answer, or refuses the query.
    """
    async with open_connection(settings, "rules") as connection:
        rule = _find_in_file(file, key) if file else await _find_rule(connection, key)
        if rule.query is None:
            events = await properties.dry_run_event_rule(connection, rule, profile, now)
            if events is None:
                raise _profile_not_found(profile)
            return RuleDryRun(rule, events)
        sources = file.sources if file else await rule_store.read_sources(connection)
        source = _find_source(sources, rule.query.source)
        return RuleDryRun(rule, await _query(connection, rule, source, profile, environment))


async def watch_backfill(settings: Settings, progress: Callable[[BackfillProgress], None]) -> None:
    """Report the progress of a backfill until it is done.

    Args:
        settings: the database's URL.
        progress: called every `POLL_SECONDS`.
    """
    previous, seconds_without_progress = (-1, -1), 0.0
    async with open_connection(settings, "rules") as connection:
        while True:
            # In this order: the backfill leaves rebuilds to wait for before it is done.
            done, profiles = await rule_store.read_backfill_progress(connection)
            pending = await count_rebuilds(connection)
            if done < 0 and not pending:
                return
            unchanged = (done, pending) == previous
            seconds_without_progress = seconds_without_progress + POLL_SECONDS if unchanged else 0.0
            progress(BackfillProgress(max(done, 0), max(profiles, done), seconds_without_progress))
            previous = (done, pending)
            await asyncio.sleep(POLL_SECONDS)


async def _find_rule(connection: AsyncConnection[Any], key: str) -> Rule:
    applied = await rule_store.read_all_rules(connection)
    for broken in applied.broken:
        if broken.key == key:
            raise RuleBroken(f"the rule {key} is broken: {broken.problem}. {BROKEN_RULES}")
    for stored in applied.rules:
        if stored.rule.key == key:
            return stored.rule
    raise RuleNotFound(f"no rule has the key {key}: `merganser rules list` shows all rules")


def _find_in_file(file: RuleFile, key: str) -> Rule:
    for rule in file.rules:
        if rule.key == key:
            return rule
    keys = ", ".join(rule.key for rule in file.rules)
    raise RuleNotFound(f"the file has no rule with the key {key}; its rules are: {keys}")


def _find_source(sources: Mapping[str, Source], name: str) -> Source:
    if name not in sources:
        raise RuleBroken(f"the source {name} is broken: `merganser rules list` says why")
    return sources[name]


async def _query(
    connection: AsyncConnection[Any],
    rule: Rule,
    source: Source,
    profile: str,
    environment: Mapping[str, str],
) -> decoration.QueryRuleDryRun:
    name = rule.query.source if rule.query else ""
    try:
        result = await decoration.dry_run_query_rule(connection, rule, source, profile, environment)
    except (SourceUnavailable, QueryRefused) as error:
        raise SourceFailed(f"{name}: {error}") from None
    if result is None:
        raise _profile_not_found(profile)
    if result.user_id is None:
        raise ProfileWithoutUser(
            f"the profile {result.profile} has no userId, and {name} has values for userIds only"
        )
    return result


def _profile_not_found(name: str) -> ProfileNotFound:
    return ProfileNotFound(f"no profile, userId or anonymousId is {name!r}")
