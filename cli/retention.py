"""`merganser prune`: old events go, identity stays (docs/runbook.md#retention)."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import structlog
import typer
from psycopg import AsyncConnection
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.terminal import err, fail, run
from cli.work import transactions
from profiles import pruning
from profiles.pruning import Pruned
from properties import rulebook
from runtime import logs
from runtime.settings import Settings

app = typer.Typer()
log = structlog.get_logger(__name__)

CHUNK = 5000
"""Events that one transaction looks at."""

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
        deleted, kept, needed = run(
            pruned(
                settings,
                before,
                days,
                lambda done, total: progress.update(bar, completed=done, total=max(done, total)),
                counted=counted,
                dry=dry_run,
            )
        )
    err.print(f"{'would delete' if dry_run else 'deleted'} {deleted:,} events", highlight=False)
    if kept:
        rules = ", ".join(sorted({key for keys in needed.values() for key in keys}))
        why = f"rules count them ({rules}; --counted deletes them too), or " if rules else ""
        err.print(f"{kept:,} stay: {why}they are not resolved yet", highlight=False)
    if not dry_run:
        log.info("events pruned", before=before.isoformat(), deleted=deleted, kept=kept)


async def pruned(
    settings: Settings,
    before: datetime,
    days: int,
    progress: Callable[[int, int], None],
    *,
    counted: bool,
    dry: bool,
) -> tuple[int, int, dict[str, list[str]]]:
    """Delete what is old, chunk by chunk.

    Args:
        settings: for the database.
        before: what occurred earlier is old.
        days: how old that is; a rule whose window is longer counts it.
        progress: told how many events were looked at, and how many there are, about.
        counted: whether events that rules count go, too.
        dry: delete nothing.

    Returns:
        How many events went, how many old ones stay, and which types rules count, by which rules.
    """
    place, more = pruning.START, True
    held = settings.topic_holds
    held_since = None if held is None else datetime.now(UTC) - held
    deleted = kept = 0
    needed: dict[str, list[str]] = {}

    async def chunk(connection: AsyncConnection[Any]) -> Pruned:
        nonlocal needed
        await pruning.hold_rules(connection)
        applied = await rulebook.read(connection)
        if applied.broken and not counted:
            fail(
                f"the rule {applied.broken[0].key} is broken, so nothing tells which events it "
                "needs: `merganser rules apply` it again, or prune with --counted"
            )
        needed = {} if counted else rulebook.needed(applied.rules, days)
        return await pruning.chunk(
            connection,
            before,
            place,
            needed,
            CHUNK,
            held_since=held_since,
            dry=dry,
            counted=counted,
        )

    async def remember(connection: AsyncConnection[Any]) -> None:
        await pruning.remember(connection, before)

    async with transactions(settings, "prune") as transact:
        total = await transact(lambda connection: pruning.estimate(connection, before))
        if not dry:
            await transact(remember)
        while more:
            done = await transact(chunk)
            place, more = done.place, done.more
            deleted, kept = deleted + done.deleted, kept + done.kept
            progress(deleted + kept, total)
    return deleted, kept, needed
