"""`merganser export`: everything stored about a person (docs/runbook.md#privacy)."""

import sys

import typer

from merganser.admin import export as admin
from merganser.cli.forget import UserOrProfile
from merganser.cli.terminal import actor, run
from merganser.runtime import logs
from merganser.runtime.settings import Settings

app = typer.Typer()


@app.command()
def export(name: UserOrProfile) -> None:
    """Write everything that is stored about a person, as JSON lines."""
    settings = Settings.read()
    logs.configure(settings, "export")
    run(_write(settings, name))


async def _write(settings: Settings, name: str) -> None:
    async for line in admin.export_person(settings, actor(), name):
        sys.stdout.write(line)
