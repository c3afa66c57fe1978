"""`merganser unlink` and `merganser relink` (docs/identity.md)."""

from functools import partial
from typing import Annotated

import structlog
import typer

from merganser.admin import unlink as admin
from merganser.cli.reason import ReasonText
from merganser.cli.terminal import actor, confirm, err, progress_bar, run
from merganser.identity.unlink import Direction, LinkChange
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
    change_link = partial(admin.change_link, settings, who, direction, event, reason, every=every)
    preview = run(change_link(preview=True))
    for line in _describe(preview, direction):
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


def _describe(change: LinkChange, direction: Direction) -> list[str]:
    """Return what a change does, in sentences."""
    if not change.links:
        now = "is not a link already" if direction == "unlink" else "was not unlinked"
        return [f"{change.event} {now}: nothing to do"]
    which = f"{change.event} links" if change.links == 1 else f"{change.links:,} events link"
    lines = [f"{which} anonymousId {change.anonymous_id} to user {change.user_id}"]
    if change.survivor == change.loser:
        owner = "nobody" if change.owner is None else f"user {change.owner}"
        return [
            *lines,
            f"{change.anonymous_id} stays with {owner}, by another link: no event moves",
        ]
    goal = (
        "a new anonymous profile, as no other event links it"
        if change.survivor is None
        else f"{change.survivor} of user {change.owner}"
    )
    return [
        *lines,
        f"{change.events:,} events of {change.anonymous_id} go from {change.loser} to {goal}",
    ]
