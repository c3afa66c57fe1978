"""How `merganser rules` speaks of rules whose values come from a source."""

import os
from collections.abc import Awaitable, Callable
from typing import Any

from rich.markup import escape
from rich.table import Table

from decoration.dry_run import Trial, trial
from decoration.errors import Outage, Refused
from decoration.schedule import COUNTED
from decoration.source_status import SourceState
from merganser.cli.terminal import fail, out, run
from merganser.rulebook.language import Query, Rule, Source
from merganser.rulebook.rule_store import Stored


def told(one: Stored, state: SourceState | None) -> str:
    """How a rule is doing, in colours."""
    if state is None or one.revision not in state.revisions:
        return "[yellow]waiting: does `merganser decoration` run?"
    if state.error:
        return f"[red]failing since {state.failing_since:%Y-%m-%d %H:%M:%S}Z: {escape(state.error)}"
    if error := state.rule_errors.get(one.rule.key):
        return f"[red]{escape(error)}"
    if state.due or not state.scheduled:
        more = " or more" if state.due >= COUNTED or not state.scheduled else ""
        return f"[yellow]{state.due:,}{more} due"
    return "[green]up to date"


def as_data(one: Stored, state: SourceState | None) -> dict[str, Any]:
    """The same as data."""
    if state is None:
        return {"seen": False}
    return {
        "seen": one.revision in state.revisions,
        "scheduled": state.scheduled,
        "due": state.due,
        "error": state.error or state.rule_errors.get(one.rule.key),
        "failures": state.breaker.failures,
        "failingSince": state.failing_since and state.failing_since.isoformat(),
        "succeededAt": state.succeeded_at and state.succeeded_at.isoformat(),
    }


def try_(
    connected: Callable[[], Awaitable[Any]], rule: Rule, query: Query, source: Source, name: str
) -> None:
    """Ask a source for one user, and show what it says and what the rule makes of it."""

    async def ask() -> Trial | None:
        async with await connected() as connection:
            return await trial(connection, rule, source, name, os.environ)

    try:
        tried = run(ask())
    except (Outage, Refused) as error:
        fail(f"{query.source}: {error}")
    if tried is None:
        fail(f"nobody is {name!r}: no profile, userId or anonymousId")
    if tried.user_id is None:
        fail(f"{tried.profile} is nobody known yet: {query.source} is asked for userIds")
    value = ", ".join(tried.values) or "no value"
    out.print(
        f"[bold]{escape(rule.key)}[/] of {tried.profile} (user {escape(tried.user_id)}): "
        f"[bold green]{escape(value)}",
        highlight=False,
    )
    if tried.unfit:
        out.print(f"[yellow]{tried.unfit} do not fit the type {rule.type}", highlight=False)
    if tried.too_long:
        out.print(f"[yellow]{tried.too_long} are too long", highlight=False)
    if tried.failure:
        out.print(f"[red]it cannot be read: {escape(tried.failure)}", highlight=False)
    table = Table(*map(escape, tried.columns))
    for row in tried.rows:
        table.add_row(*map(escape, row))
    if tried.rows:
        out.print(table)
    else:
        out.print(f"{query.source} has no row for this user", highlight=False)
