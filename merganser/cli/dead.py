"""`merganser dead`: dead letters and set-aside items (docs/dead-letters.md)."""

import json
import sys
from datetime import datetime
from typing import Annotated, Any

import typer

from merganser.admin.dead_letters import service
from merganser.admin.dead_letters.service import Selection
from merganser.admin.dead_letters.set_aside_items import ItemName
from merganser.cli import dead_output
from merganser.cli.terminal import actor, confirm, err, fail, out, run
from merganser.cli.time_options import time_option
from merganser.runtime.set_aside import Kind
from merganser.runtime.settings import Settings
from schemas.dead_letter import DeadLetter, Reason

app = typer.Typer(no_args_is_help=True, help="List, show, retry and drop what failed.")


def _identifier(text: str) -> Any:
    """Return an `Identifier`; typer's annotations take no unions."""
    try:
        return service.parse_identifier(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Item = Annotated[
    Any,
    typer.Argument(
        metavar="ITEM", parser=_identifier, help="As `list` shows it: 0:17, or row:evt_1."
    ),
]
Items = Annotated[
    list[Any] | None,
    typer.Argument(metavar="[ITEM]...", parser=_identifier, help="As `list` shows them."),
]
Kinds = Annotated[
    list[Kind] | None,
    typer.Option("--kind", help="`record` is a dead letter. Repeat it for several kinds."),
]
Reasons = Annotated[
    list[Reason] | None,
    typer.Option("--reason", help="Only dead letters with it. Repeat it for several reasons."),
]
Since = Annotated[
    datetime | None,
    typer.Option(
        parser=time_option, metavar="TIME", help="Failed then or later: a time, or an age as 2h."
    ),
]
Until = Annotated[
    datetime | None,
    typer.Option(parser=time_option, metavar="TIME", help="Failed before: a time, or an age."),
]
All = Annotated[bool, typer.Option("--all", help="All open letters and items.")]


@app.command("list")
def list_(
    items: Items = None,
    kind: Kinds = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    id_: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="ID",
            help="Only what names this userId, anonymousId or profile guid. A userId or profile "
            "guid means all ids of the person.",
        ),
    ] = None,
    handled: Annotated[
        bool, typer.Option("--handled", help="Those that were retried or dropped instead.")
    ] = False,
    as_json: Annotated[
        bool | None,
        typer.Option("--json/--table", help="Print JSON lines; the default if output is piped."),
    ] = None,
) -> None:
    """List open dead letters and set-aside items."""
    settings = Settings.read()
    person = None if id_ is None else run(service.find_person_ids(settings, id_))
    selection = Selection.build(items or (), kind or (), reason or (), since, until, person)
    listing = run(service.list_selected(settings, selection, resolved=handled))
    if as_json is None:
        as_json = not out.is_terminal
    if as_json:
        for letter in listing.letters:
            typer.echo(json.dumps(dead_output.letter_json(letter)))
        for item in listing.items:
            typer.echo(json.dumps(dead_output.item_json(item)))
    else:
        dead_output.show_letters(listing.letters)
        dead_output.show_items(listing.items)
    for foreign in listing.foreign[: dead_output.SHOWN]:
        err.print(
            f"[yellow]{foreign.address} is not a dead letter: {foreign.letter}", highlight=False
        )


@app.command()
def show(
    item: Item,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Write only the bytes of a record's value, for a file or pipe."),
    ] = False,
) -> None:
    """Show a dead letter with the original record, or a set-aside item."""
    settings = Settings.read()
    if isinstance(item, ItemName):
        for set_aside_item in run(service.read_named_items(settings, item)):
            dead_output.show_item(set_aside_item)
        return
    record, resolution = run(service.read_letter(settings, item))
    if not isinstance(record.letter, DeadLetter):
        fail(f"{record.address} is not a dead letter: {record.letter}")
    if raw:
        if record.letter.omitted_bytes:
            fail(dead_output.where_record_is(record.letter))
        sys.stdout.buffer.write(record.letter.value or b"")
        sys.stdout.buffer.flush()
        return
    dead_output.show_letter(record, record.letter, resolution)


@app.command()
def retry(
    items: Items = None,
    kind: Kinds = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    everything: All = False,
) -> None:
    """Process open items again. Records go to the topic of events as they were."""
    settings = Settings.read()
    selection = _select(items, kind, reason, since, until, everything=everything)
    listing = run(service.find_open(settings, selection))
    result = run(service.retry(settings, actor(), listing))
    if listing.letters or not listing.items:
        others = ""
        if result.resolved_by_others:
            others = f", {result.resolved_by_others:,} were resolved by another operator meanwhile"
        err.print(f"[green]{result.sent:,} sent again[/]{others}")
        err.print("a record that fails again comes back as a letter with the next attempt")
    if len(listing.items) > len(result.deleted):
        err.print(f"[green]{result.items:,} set-aside items go back[/] to their processes")
    if result.deleted:
        names = ", ".join(map(str, result.deleted[: dead_output.SHOWN]))
        err.print(
            f"[yellow]{len(result.deleted):,} records stay open[/], as the dead-letter topic no "
            f"longer has their letters; drop them: {names}",
            highlight=False,
            soft_wrap=True,
        )
    if result.erased:
        addresses = ", ".join(map(str, result.erased[: dead_output.SHOWN]))
        err.print(
            f"[yellow]{len(result.erased):,} letters are of erased people[/], so they are not sent "
            f"again and stay open; drop them: {addresses}",
            highlight=False,
            soft_wrap=True,
        )
    if result.too_large:
        addresses = ", ".join(map(str, result.too_large[: dead_output.SHOWN]))
        fail(
            f"{len(result.too_large):,} records are too large for the topic of events, so their "
            f"letters stay open: {addresses}"
        )
    if result.erased:
        raise typer.Exit(1)


@app.command()
def drop(
    items: Items = None,
    kind: Kinds = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Close open items without processing them. Letters stay in their topic."""
    settings = Settings.read()
    selection = _select(items, kind, reason, since, until, everything=everything)
    listing = run(service.find_open(settings, selection))
    dead_output.show_letters(listing.letters)
    dead_output.show_items(listing.items)
    if count := len(listing.letters) + len(listing.items):
        confirm(f"Drop {count:,}?", yes=yes)
    err.print(f"[green]{run(service.drop(settings, actor(), listing)):,} dropped")


def _select(
    items: list[Any] | None,
    kinds: list[Kind] | None,
    reasons: list[Reason] | None,
    since: datetime | None,
    until: datetime | None,
    *,
    everything: bool,
) -> Selection:
    """Return the selection to act on; exit if the command line names nothing."""
    if everything == any((items, kinds, reasons, since, until)):
        fail("select items with ITEM, --kind, --reason, --since or --until, or all with --all")
    return Selection.build(items or (), kinds or (), reasons or (), since, until)
