"""`merganser rules`: rules of profile properties, kept in a file (docs/properties.md)."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from merganser.admin import rules as admin
from merganser.admin.rule_status import list_rules
from merganser.admin.rules import BackfillProgress
from merganser.cli import rules_output
from merganser.cli.terminal import actor, confirm, err, progress_bar, run
from merganser.rulebook import rule_file
from merganser.rulebook.language import RuleFile
from merganser.rulebook.rule_file import RuleFileError
from merganser.runtime.settings import Settings

app = typer.Typer(
    no_args_is_help=True, help="Apply, list and test the rules of profile properties."
)

STALL_SECONDS = 10
"""Without progress for this time the progress bar asks whether the properties process runs."""


@app.command("apply")
def apply_(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A YAML file of rules.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Show the backfill until it is done.")
    ] = True,
) -> None:
    """Replace the applied rules by those in FILE, after showing what changes."""
    settings, rules = Settings.read(), _read_file(file)
    difference = run(admin.compare_rules(settings, rules))
    if not difference:
        err.print("nothing to do: these rules are applied already")
        return
    rules_output.show_difference(difference)
    confirm("Apply?", yes=yes)
    run(admin.apply_rules(settings, actor(), rules))
    err.print("[green]applied[/]; the properties process computes them from the stored events")
    if wait:
        try:
            _show_backfill(settings)
        except KeyboardInterrupt:
            err.print("the backfill continues: `merganser rules list` shows how far it is")


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the applied rules and the state of each."""
    status = run(list_rules(Settings.read(), datetime.now(UTC)))
    if as_json:
        typer.echo(json.dumps(rules_output.rules_json(status)))
    else:
        rules_output.show_rules(status)


@app.command()
def show(key: Annotated[str, typer.Argument(help="The key of a rule.")]) -> None:
    """Show one applied rule, in the format of a file."""
    typer.echo(rules_output.rule_yaml(run(admin.find_rule(Settings.read(), key))))


@app.command("test")
def dry_run(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="The key of a rule.")],
    profile: Annotated[str, typer.Option(help="A profile's guid, a userId or an anonymousId.")],
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Take the rule from this file."),
    ] = None,
) -> None:
    """Dry run: show what a rule gives for a profile, and from which events. Nothing is written."""
    rules = _read_file(file) if file else None
    result = run(admin.dry_run_rule(Settings.read(), rule, profile, datetime.now(UTC), rules))
    rules_output.show_dry_run(result)


@app.command()
def schema() -> None:
    """Print the JSON Schema of rule files, for editors."""
    typer.echo(json.dumps(RuleFile.model_json_schema(), indent=2))


def _read_file(path: Path) -> RuleFile:
    try:
        return rule_file.read(path)
    except RuleFileError as mistaken:
        for line in mistaken.args:
            err.print(line, highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from None


def _show_backfill(settings: Settings) -> None:
    with progress_bar("backfill, profiles") as progress:

        def show_progress(backfill: BackfillProgress) -> None:
            stalled = backfill.seconds_without_progress > STALL_SECONDS
            progress(
                backfill.done,
                backfill.profiles or None,
                "waiting: does `merganser properties` run?" if stalled else "backfill, profiles",
            )

        run(admin.watch_backfill(settings, show_progress))
