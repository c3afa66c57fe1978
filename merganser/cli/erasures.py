"""`merganser erasures`: the ledger of erasures (docs/runbook.md#privacy)."""

import sys
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.markup import escape
from rich.table import Column, Table

from merganser.admin import erasures as admin
from merganser.cli.terminal import (
    actor,
    confirm,
    err,
    fail,
    operator,
    out,
    progress_bar,
    run,
)
from merganser.identity.erasures import Erasure
from merganser.runtime import logs
from merganser.runtime.settings import Settings

app = typer.Typer(
    no_args_is_help=True, help="Prove erasures, and erase again after a restore from a backup."
)
log = structlog.get_logger(__name__)


@app.command("list")
def list_erasures(
    name: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Only of this userId, anonymousId or guid."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON for each; also in a pipe.")
    ] = False,
) -> None:
    """List erasures, oldest first: who, when, why and how much."""
    settings = Settings.read()
    if as_json or not sys.stdout.isatty():
        run(_print_lines(settings, name))
    else:
        run(_print_table(settings, name))


@app.command()
def export(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Default: standard output.")
    ] = None,
) -> None:
    """Write the ledger to a file for `replay`, without any id. Keep it outside of the database."""
    settings = Settings.read()
    if file is None:
        run(admin.export_erasures(settings, sys.stdout.write))
        return
    erasures = run(admin.export_to_file(settings, file))
    err.print(f"{erasures:,} erasures", highlight=False)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As `export` wrote it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Erase again everyone in the file, after a restore and before the resolvers start."""
    settings = Settings.read()
    confirm("Erase everyone in the file for good?", yes=yes)
    logs.configure(settings, "erasures")
    with progress_bar("erasing profiles") as progress:
        replayed = run(admin.replay_erasures(settings, actor(), file, progress))
    log.info(
        "erasures replayed",
        by=operator(),
        imported=replayed.imported,
        profiles=replayed.profiles,
        events=replayed.events,
        failures=len(replayed.failures),
    )
    for profile, reason in replayed.failures.items():
        err.print(f"{profile}: {reason}", highlight=False, markup=False)
    if replayed.failures:
        fail(
            "the profiles above could not be erased: find the reason in the log of Postgres, fix "
            "it, and run the command again before the resolvers start"
        )


async def _print_lines(settings: Settings, name: str | None) -> None:
    async for erasure in admin.list_erasures(settings, name):
        typer.echo(erasure.json)


async def _print_table(settings: Settings, name: str | None) -> None:
    table = Table(
        Column("erasure", overflow="fold"),
        "started",
        "finished",
        "by",
        Column("events deleted", justify="right"),
        "topic may hold records until",
        "dead letters until",
        "reason",
    )
    async for erasure in admin.list_erasures(settings, name):
        table.add_row(*_describe(erasure))
    out.print(table)


def _describe(erasure: Erasure) -> tuple[str, ...]:
    return (
        erasure.guid,
        f"{erasure.started_at:%Y-%m-%d %H:%M:%S}",
        f"{erasure.finished_at:%Y-%m-%d %H:%M:%S}" if erasure.finished_at else "not yet",
        escape(erasure.requested_by),
        f"{erasure.deleted.get('events', 0):,}",
        erasure.topic_until or "unknown",
        erasure.dead_topic_until or "unknown",
        escape(erasure.reason),
    )
