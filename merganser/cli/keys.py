"""`merganser keys`: API keys of clients that send events and of programs that read."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from merganser.admin import keys
from merganser.cli.terminal import out, run
from merganser.http.authentication import Permission
from merganser.runtime.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")


def _name(text: str) -> str:
    try:
        keys.check_name(text)
    except keys.InvalidKeyName as error:
        raise typer.BadParameter(str(error)) from None
    return text


Name = Annotated[str, typer.Argument(parser=_name, help="What the key is for.")]
Permissions = Annotated[
    list[Permission],
    typer.Option("--permission", help="What the key allows; repeat it for several."),
]


@app.command()
def create(name: Name, permission: Permissions = [Permission.WRITE_EVENTS]) -> None:  # noqa: B006 - typer copies it
    """Create a key and print it. It cannot be shown again: only its hash is stored."""
    typer.echo(run(keys.create_key(Settings.read(), name, permission)))


@app.command()
def ensure(
    name: Name,
    secret_file: Annotated[
        Path, typer.Option(help="File with the key; created if there is no such file.")
    ],
    permission: Permissions = [Permission.WRITE_EVENTS],  # noqa: B006 - typer copies it
) -> None:
    """Store the key that a file holds. For local stacks, whose database may be deleted."""
    run(keys.ensure_key(Settings.read(), name, secret_file, permission))


@app.command("list")
def list_keys() -> None:
    """List all keys, revoked ones too, without their secrets."""
    table = Table("guid", "name", "permissions", "created", "revoked")
    for key in run(keys.list_keys(Settings.read())):
        table.add_row(
            key.guid,
            escape(key.name),
            ", ".join(key.permissions),
            f"{key.created_at:%Y-%m-%d %H:%M}",
            f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "",
            style="dim" if key.revoked_at else None,
        )
    out.print(table)


@app.command()
def revoke(key: Annotated[str, typer.Argument(help="The guid or the name of a key.")]) -> None:
    """Revoke a key. Gateways refuse it within seconds."""
    typer.echo(f"{run(keys.revoke_keys(Settings.read(), key))} revoked")
