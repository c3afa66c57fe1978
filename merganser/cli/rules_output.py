"""Output of `merganser rules`: differences, states and dry runs, as text, tables and JSON."""

from typing import Any

from rich.markup import escape
from rich.table import Table

from decoration import dry_run as decoration
from decoration.source_status import SourceStatus
from merganser.admin.rule_status import (
    RuleStatus,
    describe_origin,
    describe_rule,
    describe_state,
    describe_type,
)
from merganser.admin.rules import BROKEN_RULES, RuleDryRun
from merganser.cli.terminal import err, out
from merganser.rulebook import rule_file
from merganser.rulebook.language import Rule
from merganser.rulebook.rule_store import RuleChanges, StoredRule
from merganser.rulebook.values import format_time
from properties import dry_run as properties

_COLORS = {"good": "green", "waiting": "yellow", "bad": "red"}
"""By the kind of a state."""

SHOWN = 100
"""Events of a dry run that the table shows."""


def show_difference(difference: RuleChanges) -> None:
    """Print what applying a file changes."""
    for rule in difference.added:
        out.print(f"[green]+ {escape(describe_rule(rule))}", highlight=False)
    for before, after in difference.changed:
        out.print(f"[red]- {escape(describe_rule(before))}", highlight=False)
        out.print(f"[green]+ {escape(describe_rule(after))}", highlight=False)
    for rule in difference.removed:
        out.print(f"[red]- {escape(describe_rule(rule))}", highlight=False)
    for rule in difference.repaired:
        out.print(f"[yellow]~ {escape(describe_rule(rule))}[/] (broken now)", highlight=False)
    for key in difference.removed_broken:
        out.print(f"[red]- {escape(key)}[/] (broken now)", highlight=False)
    if difference.sources:
        out.print("[yellow]~ sources", highlight=False)
    out.print(f"  {len(difference.unchanged)} unchanged", highlight=False)


def show_rules(status: RuleStatus) -> None:
    """Print a table of rules and their states, and what is broken."""
    table = Table("key", "type", "from", "state")
    for stored in status.rules:
        rule = stored.rule
        table.add_row(
            *map(escape, (rule.key, describe_type(rule), describe_origin(rule))),
            _state(stored, status),
        )
    for broken in status.broken:
        table.add_row(escape(broken.key), "", "", f"[red]broken: {escape(broken.problem)}")
    out.print(table)
    for broken in status.broken_sources:
        err.print(f"[red]the source {escape(broken.key)} is broken[/]: {escape(broken.problem)}")
    if status.broken or status.broken_sources:
        err.print(BROKEN_RULES)


def rules_json(status: RuleStatus) -> list[dict[str, Any]]:
    """Return all rules and their states as JSON data."""
    return [
        *(_rule_json(stored, status) for stored in status.rules),
        *({"key": broken.key, "broken": broken.problem} for broken in status.broken),
    ]


def rule_yaml(rule: Rule) -> str:
    """Return a file with one rule."""
    return rule_file.dump([rule]).rstrip()


def show_dry_run(dry_run: RuleDryRun) -> None:
    """Print what a rule gives for a profile, and from which events or rows."""
    result = dry_run.result
    owner = "no known user" if result.user_id is None else f"user {result.user_id}"
    value = ", ".join(result.values) or "no value"
    out.print(
        f"[bold]{escape(dry_run.rule.key)}[/] of {result.profile} ({escape(owner)}): "
        f"[bold green]{escape(value)}",
        highlight=False,
    )
    if isinstance(result, properties.EventRuleDryRun):
        _show_events(result)
    else:
        _show_rows(dry_run.rule, result)


def _show_events(result: properties.EventRuleDryRun) -> None:
    table = Table("occurred", "event", "type", "data", "")
    for tried in result.events[-SHOWN:]:
        event = tried.event
        color = "green" if tried.outcome == "counted" else "yellow"
        data = " ".join(
            f"{key}={'(too long)' if value is None else value}" for key, value in event.data.items()
        )
        table.add_row(
            format_time(event.at),
            event.guid,
            escape(event.type),
            escape(data),
            f"[{color}]{tried.outcome}",
        )
    if result.events:
        out.print(table)
    if len(result.events) > SHOWN:
        out.print(f"and {len(result.events) - SHOWN:,} earlier ones", highlight=False)


def _show_rows(rule: Rule, result: decoration.QueryRuleDryRun) -> None:
    if result.unfit:
        out.print(f"[yellow]{result.unfit} do not fit the type {rule.type}", highlight=False)
    if result.too_long:
        out.print(f"[yellow]{result.too_long} are too long", highlight=False)
    if result.failure:
        out.print(f"[red]the value cannot be read: {escape(result.failure)}", highlight=False)
    table = Table(*map(escape, result.columns))
    for row in result.rows:
        table.add_row(*map(escape, row))
    if result.rows:
        out.print(table)
    elif rule.query:
        out.print(f"{rule.query.source} has no row for this user", highlight=False)


def _state(stored: StoredRule, status: RuleStatus) -> str:
    state = describe_state(stored, status)
    return f"[{_COLORS[state.kind]}]{escape(state.text)}"


def _rule_json(stored: StoredRule, status: RuleStatus) -> dict[str, Any]:
    data = {
        **stored.rule.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "revision": stored.revision,
        "appliedAt": stored.applied_at.isoformat(),
        "backfilled": stored.backfilled_to is None,
    }
    if stored.rule.query:
        data["source"] = _source_json(stored, status.sources.get(stored.rule.query.source))
    return data


def _source_json(stored: StoredRule, source: SourceStatus | None) -> dict[str, Any]:
    if source is None:
        return {"seen": False}
    return {
        "seen": stored.revision in source.revisions,
        "scheduled": source.scheduled,
        "due": source.due,
        "error": source.error or source.rule_errors.get(stored.rule.key),
        "failures": source.breaker.failures,
        "failingSince": source.failing_since and source.failing_since.isoformat(),
        "succeededAt": source.succeeded_at and source.succeeded_at.isoformat(),
    }
