"""`merganser export`: everything stored about a person (docs/runbook.md#privacy)."""

import sys

import structlog
import typer

from merganser.admin import export as admin
from merganser.cli.forget import UserOrProfile
from merganser.cli.terminal import operator, run
from merganser.runtime import logs
from merganser.runtime.settings import Settings

app = typer.Typer()
log = structlog.get_logger(__name__)


@app.command()
def export(name: UserOrProfile) -> None:
    """Write everything that is stored about a person, as JSON lines."""
    settings = Settings.read()
    logs.configure(settings, "export")
    exported = run(admin.export_person(settings, name, sys.stdout.write))
    log.info("person exported", profile=exported.profile, by=operator(), lines=exported.lines)
