"""`merganser unlink` and `merganser relink` (docs/identity.md)."""

from functools import partial
from typing import Annotated

import structlog
import typer

from merganser.admin import unlink as admin
from merganser.cli.reason import ReasonText
from merganser.cli.terminal import actor, confirm, err, progress_bar, run
from merganser.identity.unlink import Direction
from merganser.runtime import logs
from merganser.runtime.settings import Settings

app = typer.Typer()
log = structlog.get_logger(__name__)


EventGuid = Annotated[
    str,
    typer.Argument(metavar="EVENT", help="The guid of an event with a userId and an anonymousId."),
]
Every = Annotated[
    bool, typer.Option("--all", help="Change all stored links with the same two ids.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


@app.command()
def unlink(event: EventGuid, reason: ReasonText, every: Every = False, yes: Yes = False) -> None:
    """Ignore an event as a link of its anonymousId and userId, to undo a wrong merge."""
    _change("unlink", event, reason, every=every, yes=yes)


@app.command()
def relink(event: EventGuid, reason: ReasonText, every: Every = False, yes: Yes = False) -> None:
    """Reverse `unlink`: the event is a link again."""
    _change("relink", event, reason, every=every, yes=yes)


def _change(direction: Direction, event: str, reason: str, *, every: bool, yes: bool) -> None:
    settings, who = Settings.read(), actor()
    change_link = partial(admin.change_link, settings, direction, event, who, reason, every=every)
    preview = run(change_link(preview=True))
    for line in admin.describe_change(preview, direction):
        err.print(line, highlight=False, markup=False)
    if not preview.links:
        return
    which = "this event" if preview.links == 1 else f"these {preview.links:,} events"
    confirm(f"{direction.capitalize()} {which}?", yes=yes)
    logs.configure(settings, direction)
    with progress_bar("moving events", preview.events) as progress:
        change = run(change_link(progress=progress))
    log.info(
        "link changed",
        change=direction,
        event_guid=event,
        by=who.name,
        links=change.links,
        events=change.events,
    )
