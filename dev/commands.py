"""`merganser up`, `status`, `logs`, `down` and `run`: the whole system on one machine."""

from typing import Annotated

import typer

from dev import shop, story
from dev.stack import commands, live_view
from dev.stack.launch import Launch

app = typer.Typer()


@app.command()
def up(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Start Kafka, Postgres and one of each process in the background."""
    raise typer.Exit(commands.up(json=json))


@app.command()
def status() -> None:
    """Show what runs."""
    raise typer.Exit(commands.status())


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="One process; all without it.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until Ctrl-C.")] = False,
) -> None:
    """Show the end of the logs."""
    raise typer.Exit(commands.logs(name, follow=follow))


@app.command()
def down(
    wipe: Annotated[bool, typer.Option("--wipe", help="Delete all data, too.")] = False,
) -> None:
    """Stop all of it."""
    raise typer.Exit(commands.down(wipe=wipe))


@app.command()
def run(
    leave: Annotated[bool, typer.Option("--exit", help="End after the story.")] = False,
) -> None:
    """Start everything, tell the seed's story, then show what happens until Ctrl-C."""

    def tell(launch: Launch) -> None:
        story.tell(launch.info)
        if not leave:
            with shop.opened(launch.info) as url:
                live_view.watch(launch.info, f"a demo shop: {url}?utm_campaign=my-ad-campaign")

    code = commands.run(tell)
    raise typer.Exit(commands.OK if code == commands.INTERRUPTED else code)
