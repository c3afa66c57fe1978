"""`merganser prune`: old events go, identity stays (docs/runbook.md#retention)."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import structlog
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from merganser.admin import prune as pruning
from merganser.admin.prune import RuleBroken
from merganser.cli.terminal import err, fail, run
from merganser.runtime import logs
from merganser.runtime.settings import Settings

app = typer.Typer()
log = structlog.get_logger(__name__)

_DAYS = re.compile(r"(\d{1,6})d")


@app.command()
def prune(
    older_than: Annotated[
        str, typer.Option(metavar="DAYS", help="As in 400d, by when events occurred.")
    ],
    counted: Annotated[
        bool,
        typer.Option("--counted", help="Also what rules count: properties then say what is left."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
) -> None:
    """Delete old events with their data. Profiles, and who is who, stay as they are."""
    match = _DAYS.fullmatch(older_than)
    if match is None or not int(match[1]):
        fail("--older-than takes days, as in 400d")
    days = int(match[1])
    try:
        before = datetime.now(UTC) - timedelta(days=days)
    except OverflowError:
        fail("no event is that old")
    settings = Settings.read()
    logs.configure(settings, "prune")
    columns = (TextColumn("looking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task("looking")
        pruned = pruning.prune(
            settings,
            before,
            days,
            lambda done, total: progress.update(bar, completed=done, total=max(done, total)),
            counted=counted,
            dry=dry_run,
        )
        try:
            deleted, kept, needed = run(pruned)
        except RuleBroken as broken:
            fail(
                f"the rule {broken} is broken, so nothing tells which events it needs: "
                "`merganser rules apply` it again, or prune with --counted"
            )
    err.print(f"{'would delete' if dry_run else 'deleted'} {deleted:,} events", highlight=False)
    if kept:
        rules = ", ".join(sorted({key for keys in needed.values() for key in keys}))
        why = f"rules count them ({rules}; --counted deletes them too), or " if rules else ""
        err.print(f"{kept:,} stay: {why}they are not resolved yet", highlight=False)
    if not dry_run:
        log.info("events pruned", before=before.isoformat(), deleted=deleted, kept=kept)
