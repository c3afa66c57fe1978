"""`merganser replay`: make the resolvers read the topic again."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from merganser.admin import replay as admin
from merganser.admin.replay import PartitionReplay
from merganser.cli.terminal import actor, confirm, err, out, run
from merganser.runtime.settings import ResolverSettings

app = typer.Typer()


def _start_option(text: str) -> Any:
    """Return a `ReplayStart`; typer's annotations take no unions."""
    try:
        return admin.parse_start(text, datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@app.command()
def replay(
    start: Annotated[
        Any,
        typer.Option(
            "--from",
            parser=_start_option,
            metavar="OFFSET|TIME|start",
            help="An offset, a time, an age such as 2h, or `start` for all that the topic holds.",
        ),
    ],
    partition: Annotated[
        list[int] | None, typer.Option(help="Only this partition; repeat it for several.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be read again.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Move the consumer group's offsets back, so that resolvers read records again.

    That is harmless: they skip events that are stored.
    """
    settings = ResolverSettings.read()
    plan = run(admin.plan_replay(settings, start, partition or []))
    _show(plan)
    rewound = [replay for replay in plan if replay.records]
    if not rewound:
        err.print("nothing to do: the group has not read the topic up to there yet")
        return
    if dry_run:
        return
    confirm(f"Read {_count_records(rewound)} again?", yes=yes)
    run(admin.rewind_offsets(settings, actor(), rewound))
    err.print(
        f"[green]moved the offsets of {len(rewound)} partitions back[/]; running resolvers notice "
        "within seconds",
        highlight=False,
    )


def _show(plan: Sequence[PartitionReplay]) -> None:
    table = Table("partition", "log holds", "group's offset", "new offset", "records")
    for replay in plan:
        table.add_row(
            str(replay.partition),
            f"{replay.log_start} to {replay.log_end}",
            "none: not read yet" if replay.offset is None else str(replay.offset),
            str(replay.target) if replay.records else "",
            f"{replay.records:,}",
        )
    out.print(table)
    out.print(f"{_count_records(plan)} would be read again", highlight=False)


def _count_records(plan: Sequence[PartitionReplay]) -> str:
    return f"{sum(replay.records for replay in plan):,} records"
