"""`merganser up`, `status`, `logs`, `down` and `run`: a local stack on one machine."""

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
    """Show which processes of the local stack run."""
    raise typer.Exit(commands.status())


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="Name of a process; by default all.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow the logs until Ctrl-C.")
    ] = False,
) -> None:
    """Show the last lines of the logs."""
    raise typer.Exit(commands.logs(name, follow=follow))


@app.command()
def down(
    wipe: Annotated[bool, typer.Option("--wipe", help="Also delete all data.")] = False,
) -> None:
    """Stop the local stack."""
    raise typer.Exit(commands.down(wipe=wipe))


@app.command()
def run(
    leave: Annotated[bool, typer.Option("--exit", help="Stop after the demo story.")] = False,
) -> None:
    """Start a local stack, play the demo story, then show a live view until Ctrl-C."""

    def show_demo(launch: Launch) -> None:
        story.play_story(launch.info)
        if not leave:
            with shop.serve_shop(launch.info) as url:
                live_view.watch(launch.info, f"a demo shop: {url}?utm_campaign=my-ad-campaign")

    code = commands.run(show_demo)
    raise typer.Exit(commands.OK if code == commands.INTERRUPTED else code)
