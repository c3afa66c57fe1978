"""`merganser rules`: properties as code."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from psycopg.errors import LockNotAvailable
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from decoration.source_status import SourceState, states
from merganser.admin.database import connected
from merganser.cli import sources
from merganser.cli.terminal import confirm, err, fail, out, run
from merganser.rulebook import rule_file, rule_store
from merganser.rulebook.language import Rule, RuleFile, Source
from merganser.rulebook.rule_file import Mistaken
from merganser.rulebook.rule_store import Applied, Broken, Difference, Stored
from merganser.rulebook.values import write_time
from merganser.runtime.settings import Settings
from properties.dry_run import Trial, trial

app = typer.Typer(no_args_is_help=True, help="Apply, list and try rules of profile properties.")

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A YAML file of rules.")]
SHOWN = 100
"""Events that `rules test` lists."""
BROKEN = (
    "What is broken is not computed, and its values stay as they are. Look for the cause, then run "
    "`merganser rules apply FILE`: it is computed from the events again."
)
PATIENCE = 10
"""Seconds without any progress after which the bar says what may be wrong."""


@app.command("apply")
def apply_(
    file: File,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Show the backfill until it is done.")
    ] = True,
) -> None:
    """Make the rules in FILE those that apply, after showing what that changes."""
    rules = _read(file)
    difference = run(_difference(rules))
    if not difference:
        err.print("nothing to do: these rules apply already")
        return
    _show(difference)
    confirm("Apply?", yes=yes)
    run(_apply(rules))
    err.print("[green]applied[/]; what the rules say of events stored before follows by itself")
    if wait:
        try:
            run(_watch())
        except KeyboardInterrupt:
            err.print("the backfill goes on; `merganser rules list` shows how far it is")


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="As data.")] = False) -> None:
    """List the rules that apply, and how far each is."""
    applied, profiles, broken_sources = run(_applied())
    seen = run(_seen())
    if as_json:
        rules = [_as_data(one, seen) for one in applied.rules]
        rules += [{"key": one.key, "broken": one.problem} for one in applied.broken]
        typer.echo(json.dumps(rules))
        return
    table = Table("key", "type", "from", "state")
    for one in applied.rules:
        table.add_row(
            *map(escape, (one.rule.key, _type(one.rule), _source(one.rule))),
            _state(one, profiles, seen),
        )
    for broken in applied.broken:
        table.add_row(escape(broken.key), "", "", f"[red]broken: {escape(broken.problem)}")
    out.print(table)
    for broken in broken_sources:
        err.print(f"[red]the source {escape(broken.key)} is broken[/]: {escape(broken.problem)}")
    if applied.broken or broken_sources:
        err.print(BROKEN)


@app.command()
def show(key: str) -> None:
    """Show one rule as a file would have it."""
    typer.echo(_yaml([_known(key).model_dump(mode="json", by_alias=True, exclude_defaults=True)]))


@app.command("test")
def try_(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="The key of a rule.")],
    profile: Annotated[str, typer.Option(help="A profile's guid, a userId or an anonymousId.")],
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Take the rule of this file instead."),
    ] = None,
) -> None:
    """Tell what a rule gives for a profile, and from which events; nothing is written."""
    found = _of_file(file, rule) if file else _known(rule)
    if found.query:
        source = _source_of(file, found.query.source)
        sources.try_(_connected, found, found.query, source, profile)
        return
    tried = run(_try(found, profile))
    if tried is None:
        fail(f"nobody is {profile!r}: no profile, userId or anonymousId")
    _tell(found, tried)


@app.command()
def schema() -> None:
    """Print the JSON Schema of rule files, for editors."""
    typer.echo(json.dumps(RuleFile.model_json_schema(), indent=2))


def _read(file: Path) -> RuleFile:
    try:
        return rule_file.read(file)
    except Mistaken as mistaken:
        for line in mistaken.args:
            err.print(line, highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from None


def _of_file(file: Path, key: str) -> Rule:
    rules = {rule.key: rule for rule in _read(file).rules}
    if key not in rules:
        fail(f"{file} has no rule with the key {key}")
    return rules[key]


def _source_of(file: Path | None, name: str) -> Source:
    sources = _read(file).sources if file else run(_sources())
    if name not in sources:
        fail(f"the source {name} is broken: `merganser rules list` says why")
    return sources[name]


def _known(key: str) -> Rule:
    applied, _, _ = run(_applied())
    rules = {one.rule.key: one.rule for one in applied.rules}
    for one in applied.broken:
        if one.key == key:
            fail(f"the rule {key} is broken: {one.problem}. {BROKEN}")
    if key not in rules:
        fail(f"no rule has the key {key}: `merganser rules list` shows those there are")
    return rules[key]


async def _applied() -> tuple[Applied, int, list[Broken]]:
    """The rules, about how many profiles there are, and the sources that are broken."""
    async with await _connected() as connection:
        _, profiles, _ = await rule_store.backfill(connection)
        _, broken = await rule_store.read_sources(connection)
        return await rule_store.read(connection), profiles, broken


async def _sources() -> dict[str, Source]:
    async with await _connected() as connection:
        return await rule_store.sources(connection)


async def _seen() -> dict[str, SourceState]:
    async with await _connected() as connection:
        return await states(connection, datetime.now(UTC))


async def _difference(file: RuleFile) -> Difference:
    async with await _connected() as connection:
        return await rule_store.difference(connection, file)


async def _apply(file: RuleFile) -> None:
    async with await _connected() as connection:
        try:
            await rule_store.apply(connection, file)
        except LockNotAvailable:
            fail("somebody writes events in one long transaction: try again when that has ended")


async def _try(rule: Rule, name: str) -> Trial | None:
    async with await _connected() as connection:
        return await trial(connection, rule, name, datetime.now(UTC))


async def _watch() -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    async with await _connected() as connection:
        with Progress(*columns, console=err, transient=True) as progress:
            bar = progress.add_task("backfill, profiles", total=None)
            still, before = 0.0, (-1, -1)
            while True:
                done, profiles, pending = await rule_store.backfill(connection)
                if done < 0 and not pending:
                    return
                progress.update(bar, completed=max(done, 0), total=max(profiles, done) or None)
                still = still + 0.2 if (done, pending) == before else 0.0
                if still > PATIENCE:
                    progress.update(bar, description="waiting: does `merganser properties` run?")
                before = (done, pending)
                await asyncio.sleep(0.2)


async def _connected() -> Any:
    return await connected(Settings.read(), "rules")


def _show(difference: Difference) -> None:
    for rule in difference.added:
        out.print(f"[green]+ {escape(_line(rule))}", highlight=False)
    for before, after in difference.changed:
        out.print(f"[red]- {escape(_line(before))}", highlight=False)
        out.print(f"[green]+ {escape(_line(after))}", highlight=False)
    for rule in difference.removed:
        out.print(f"[red]- {escape(_line(rule))}", highlight=False)
    for rule in difference.replaced:
        out.print(f"[yellow]~ {escape(_line(rule))}[/] (broken now)", highlight=False)
    for key in difference.dropped:
        out.print(f"[red]- {escape(key)}[/] (broken now)", highlight=False)
    if difference.sources:
        out.print("[yellow]~ sources", highlight=False)
    out.print(f"  {len(difference.unchanged)} unchanged", highlight=False)


def _line(rule: Rule) -> str:
    return f"{rule.key}: {_type(rule)}, {_source(rule)}"


def _type(rule: Rule) -> str:
    flags = [name for name in ("unique", "array", "identifying") if getattr(rule, name)]
    return " ".join([rule.type, *flags])


def _source(rule: Rule) -> str:
    if rule.query:
        return f"{rule.query.source}: {rule.query.column}"
    if rule.events is None:
        return "the userIds of events"
    return ", ".join(
        _said(rule.events.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    )


def _said(source: dict[str, Any]) -> Iterator[str]:
    for name, value in source.items():
        match name, value:
            case "filters", list():
                for one in value:
                    yield " ".join(str(part) for part in one.values())
            case (("from" | "to"), dict()):
                yield f"{name} {value.get('take', 'first')} {'|'.join(value['type'])}"
            case "type", list():
                yield "|".join(value)
            case "window", _:
                yield f"last {value} days"
            case _:
                yield str(value)


def _state(one: Stored, profiles: int, seen: Mapping[str, SourceState]) -> str:
    if one.rule.query:
        return sources.told(one, seen.get(one.rule.query.source))
    if one.backfilled_to is None:
        return "[green]up to date"
    return f"[yellow]backfill: {one.backfilled:,} of about {max(profiles, one.backfilled):,}"


def _as_data(one: Stored, seen: Mapping[str, SourceState]) -> dict[str, Any]:
    data = {
        **one.rule.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "revision": one.revision,
        "appliedAt": one.applied_at.isoformat(),
        "backfilled": one.backfilled_to is None,
    }
    if one.rule.query:
        data["source"] = sources.as_data(one, seen.get(one.rule.query.source))
    return data


def _tell(rule: Rule, tried: Trial) -> None:
    whose = f"user {tried.user_id}" if tried.user_id is not None else "nobody known"
    value = ", ".join(tried.values) or "no value"
    out.print(
        f"[bold]{escape(rule.key)}[/] of {tried.profile} ({escape(whose)}): "
        f"[bold green]{escape(value)}",
        highlight=False,
    )
    table = Table("occurred", "event", "type", "data", "")
    for one in tried.events[-SHOWN:]:
        event = one.event
        colour = "green" if one.outcome == "counted" else "yellow"
        data = " ".join(
            f"{key}={'(too long)' if value is None else value}" for key, value in event.data.items()
        )
        table.add_row(
            write_time(event.at),
            event.guid,
            escape(event.type),
            escape(data),
            f"[{colour}]{one.outcome}",
        )
    if tried.events:
        out.print(table)
    if len(tried.events) > SHOWN:
        out.print(f"and {len(tried.events) - SHOWN:,} earlier ones", highlight=False)


def _yaml(rules: list[dict[str, Any]]) -> str:
    return yaml.safe_dump({"rules": rules}, sort_keys=False, allow_unicode=True).rstrip()
