"""`merganser prune`: delete old events (docs/runbook.md#retention)."""

import re
from datetime import UTC, datetime
from typing import Annotated

import structlog
import typer

from merganser.admin import prune as admin
from merganser.cli.terminal import actor, err, fail, progress_bar, run
from merganser.runtime import logs
from merganser.runtime.settings import Settings

app = typer.Typer()
log = structlog.get_logger(__name__)

_DAYS = re.compile(r"(\d{1,6})d")


@app.command()
def prune(
    older_than: Annotated[
        str, typer.Option(metavar="DAYS", help="Age by time of occurrence, such as 400d.")
    ],
    counted: Annotated[
        bool,
        typer.Option(
            "--counted",
            help="Also delete events that rules count: properties then show what is left.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
) -> None:
    """Delete old events with their data. Profiles and their ids stay as they are."""
    days = _DAYS.fullmatch(older_than)
    if days is None or not int(days[1]):
        fail(f"--older-than takes a number of days, such as 400d, not {older_than!r}")
    settings = Settings.read()
    logs.configure(settings, "prune")
    with progress_bar("reading old events") as progress:
        result = run(
            admin.prune_events(
                settings,
                actor(),
                int(days[1]),
                datetime.now(UTC),
                lambda read, estimate: progress(read, max(read, estimate)),
                include_counted=counted,
                dry_run=dry_run,
            )
        )
    done = "would delete" if dry_run else "deleted"
    err.print(f"{done} {result.deleted:,} events", highlight=False)
    if result.kept:
        reasons = "they are not resolved yet"
        if result.rules:
            keys = ", ".join(result.rules)
            reasons = f"rules count them ({keys}; --counted deletes them too), or {reasons}"
        err.print(f"{result.kept:,} stay: {reasons}", highlight=False)
    if not dry_run:
        log.info(
            "events pruned",
            before=result.before.isoformat(),
            deleted=result.deleted,
            kept=result.kept,
        )
