"""`merganser forget`, `readmit` and `suppressed` (docs/runbook.md#privacy)."""

import json
from typing import Annotated

import structlog
import typer

from merganser.admin import forget as admin
from merganser.admin import placeholder as placeholders
from merganser.cli.reason import ReasonText
from merganser.cli.terminal import actor, confirm, err, operator, progress_bar, run
from merganser.identity.forget import Request
from merganser.runtime import logs
from merganser.runtime.settings import Settings

app = typer.Typer()
log = structlog.get_logger(__name__)

NOT_SUPPRESSED = 3
"""Exit status of `suppressed`. An error has status 1, a wrong option 2."""

UserOrProfile = Annotated[
    str, typer.Argument(metavar="USER_OR_PROFILE", help="A userId, or the guid of a profile.")
]


@app.command()
def forget(
    name: UserOrProfile,
    reason: ReasonText = "not given",
    suppress: Annotated[
        bool,
        typer.Option(
            "--suppress/--no-suppress",
            help="Whether to discard later events with the person's ids.",
        ),
    ] = True,
    placeholder: Annotated[
        bool,
        typer.Option(
            "--placeholder",
            help="The userId names no one, such as null: remove it, and keep the devices' events.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Erase a person: events with their data, ids, profile, properties. It cannot be undone."""
    settings = Settings.read()
    if placeholder:
        if not suppress:
            raise typer.BadParameter("a placeholder is always suppressed")
        _remove_placeholder(settings, Request(name, operator(), reason, "placeholder"), yes=yes)
        return
    request = Request(name, operator(), reason, "all" if suppress else "none")
    person = run(admin.find_person(settings, request))
    err.print(
        f"{person.profile}: {person.events:,} events and {person.anonymous_ids:,} anonymousIds",
        highlight=False,
    )
    if person.unfinished:
        err.print("an interrupted erasure: it continues with the reason and options that it has")
    confirm("Erase all of it for good?", yes=yes)
    logs.configure(settings, "forget")
    with progress_bar("erasing", person.events) as progress:
        erasure = run(admin.forget_person(settings, actor(), person, request, progress))
    log.info(
        "person forgotten",
        profile=erasure.profile,
        erasure=erasure.guid,
        by=request.requested_by,
        events=erasure.deleted.get("events", 0),
        anonymous_ids=erasure.deleted.get("anonymousIds", 0),
        suppresses=erasure.suppresses,
    )


def _remove_placeholder(settings: Settings, request: Request, *, yes: bool) -> None:
    found = run(placeholders.find_placeholder(settings, request))
    for line in (
        f"{found.profile}: {found.anonymous_ids:,} anonymousIds get another profile",
        f"{found.kept:,} events with an anonymousId stay, without this userId",
        f"{found.erased:,} events without an anonymousId are erased",
    ):
        err.print(line, highlight=False)
    confirm("Remove this userId for good?", yes=yes)
    logs.configure(settings, "forget")
    with progress_bar("moving and erasing", found.kept + found.erased) as progress:
        erasure = run(placeholders.remove_placeholder(settings, actor(), found, request, progress))
    log.info(
        "placeholder removed",
        profile=found.profile,
        erasure=erasure.guid,
        by=request.requested_by,
        kept=found.kept,
        erased=found.erased,
        anonymous_ids=found.anonymous_ids,
    )


@app.command()
def readmit(
    name: Annotated[str, typer.Argument(metavar="ID", help="A userId or an anonymousId.")],
) -> None:
    """Store events with an id again that `forget` has suppressed."""
    settings = Settings.read()
    run(admin.readmit_id(settings, actor(), name))
    logs.configure(settings, "readmit")
    log.info("id readmitted", by=operator())


@app.command()
def suppressed(
    name: Annotated[str, typer.Argument(metavar="ID", help="A userId or an anonymousId.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say whether an id is suppressed, and since when; exit with status 3 if it is not."""
    suppressions = run(admin.find_suppressions(Settings.read(), name))
    if as_json:
        found = [{"kind": kind, "since": since.isoformat()} for kind, since in suppressions]
        typer.echo(json.dumps({"suppressed": bool(found), "suppressions": found}))
    for kind, since in suppressions if not as_json else ():
        typer.echo(f"suppressed as {kind} since {since.isoformat()}")
    if not suppressions:
        err.print("this id is not suppressed: events with it are stored")
        raise typer.Exit(NOT_SUPPRESSED)
