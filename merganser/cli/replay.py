"""`merganser replay`: have the resolvers read the topic again from an offset or a time."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from merganser.admin import replay as replaying
from merganser.admin.replay import Refused, Standing, Start
from merganser.cli import times
from merganser.cli.terminal import confirm, err, fail, out, run
from merganser.runtime.settings import ResolverSettings

app = typer.Typer()


def _start(text: str) -> Any:
    """A `Start`; typer's annotations know no unions."""
    if text == "start":
        return "start"
    return int(text) if text.isascii() and text.isdecimal() else times.given(text)


@app.command()
def replay(
    start: Annotated[
        Any,
        typer.Option(
            "--from",
            parser=_start,
            metavar="OFFSET|TIME|start",
            help="An offset, a time or an age such as 2h, or `start` for all that the topic holds.",
        ),
    ],
    partition: Annotated[
        list[int] | None, typer.Option(help="Only this one; may be given several times.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Have the consumer group read the topic again; events that are stored are left out."""
    standings = run(_look(start, partition or []))
    _show(standings)
    back = [standing for standing in standings if standing.records]
    if not back:
        err.print("nothing to do: the group has not come so far yet")
        return
    if dry_run:
        return
    confirm(f"Read {_records(back)} again?", yes=yes)
    run(replaying.rewind(ResolverSettings.read(), back))
    err.print(
        f"[green]moved {len(back)} positions back[/]; running resolvers notice within seconds",
        highlight=False,
    )


def _show(standings: Sequence[Standing]) -> None:
    table = Table("partition", "log holds", "group stands at", "goes to", "records")
    for one in standings:
        table.add_row(
            str(one.partition.partition),
            f"{one.start} to {one.end}",
            "its start, not read yet" if one.position is None else str(one.position),
            str(one.target) if one.records else "",
            f"{one.records:,}",
        )
    out.print(table)
    out.print(f"{_records(standings)} would be read again", highlight=False)


def _records(standings: Sequence[Standing]) -> str:
    return f"{sum(one.records for one in standings):,} records"


async def _look(start: Start, partitions: Sequence[int]) -> list[Standing]:
    try:
        return await replaying.look(ResolverSettings.read(), start, partitions)
    except Refused as refused:
        fail(str(refused))
