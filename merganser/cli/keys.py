"""`merganser keys`: API keys of clients that send events and of programs that read."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from merganser.admin import keys, login_links
from merganser.admin.errors import AdminError
from merganser.cli.terminal import actor, out, run
from merganser.http.authentication import Permission
from merganser.runtime.settings import ConsoleSettings, Settings

app = typer.Typer(no_args_is_help=True, help="Create, list, change and revoke API keys.")


def _name(text: str) -> str:
    try:
        keys.check_name(text)
    except AdminError as error:
        raise typer.BadParameter(str(error)) from None
    return text


def _origin(text: str) -> str:
    try:
        return keys.check_origin(text)
    except AdminError as error:
        raise typer.BadParameter(str(error)) from None


MIN_RATE, MAX_RATE = 0.001, 1_000_000

GuidOrName = Annotated[str, typer.Argument(metavar="KEY", help="The guid or the name of a key.")]
Name = Annotated[str, typer.Argument(parser=_name, help="What the key is for.")]
Permissions = Annotated[
    list[Permission],
    typer.Option("--permission", help="What a secret key allows; repeat it for several."),
]
Publishable = Annotated[
    bool,
    typer.Option(
        "--publishable", help="For web pages and apps: anyone may know it. It only sends events."
    ),
]


@app.command()
def create(
    name: Name,
    permission: Permissions = [Permission.WRITE_EVENTS],  # noqa: B006 - typer copies it
    publishable: Publishable = False,
    origin: Annotated[
        list[str],
        typer.Option(
            parser=_origin,
            metavar="ORIGIN",
            help="Of web pages that may use a publishable key, such as https://shop.example or "
            "https://*.shop.example; repeat it for several. Default: pages of any origin.",
        ),
    ] = [],  # noqa: B006 - typer copies it
    rate: Annotated[
        float | None,
        typer.Option(
            min=MIN_RATE,
            max=MAX_RATE,
            help="Most events per second in one ingest process. Default: "
            f"{keys.PUBLISHABLE_RATE:g} for a publishable key, else MERGANSER_INGEST_RATE.",
        ),
    ] = None,
) -> None:
    """Create a key and print it. It cannot be shown again: only its hash is stored."""
    settings = Settings.read()
    if publishable:
        _check_publishable(permission)
        limit = rate or keys.PUBLISHABLE_RATE
        typer.echo(run(keys.create_publishable_key(settings, actor(), name, origin, limit)))
    elif origin:
        raise typer.BadParameter("only a key with --publishable has origins", param_hint="--origin")
    else:
        typer.echo(run(keys.create_key(settings, actor(), name, permission, rate)))


@app.command()
def ensure(
    name: Name,
    secret_file: Annotated[
        Path, typer.Option(help="File with the key; created if there is no such file.")
    ],
    permission: Permissions = [Permission.WRITE_EVENTS],  # noqa: B006 - typer copies it
    publishable: Publishable = False,
) -> None:
    """Store the key that a file holds. For local stacks, whose database may be deleted."""
    settings = Settings.read()
    if publishable:
        _check_publishable(permission)
        run(keys.ensure_publishable_key(settings, actor(), name, secret_file))
    else:
        run(keys.ensure_key(settings, actor(), name, secret_file, permission))


@app.command()
def login(key: GuidOrName) -> None:
    """Print a link that logs in to the console once, as this key, within 10 minutes."""
    typer.echo(run(login_links.create_login_link(ConsoleSettings.read(), actor(), key)))


@app.command("list")
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all keys, revoked ones too, without their secrets."""
    listed = run(keys.list_keys(Settings.read()))
    if as_json:
        typer.echo(json.dumps([_to_json(key) for key in listed]))
        return
    table = Table(
        Column("guid", overflow="fold"),
        Column("name", overflow="fold"),
        Column("kind", no_wrap=True),
        Column("permissions", overflow="fold"),
        Column("limits", overflow="fold"),
        "created",
        "revoked",
    )
    for key in listed:
        rate = [f"{key.rate:g} events/s"] if key.rate else []
        table.add_row(
            key.guid,
            escape(key.name),
            key.kind,
            ", ".join(key.permissions),
            "\n".join([*rate, *key.origins]),
            f"{key.created_at:%Y-%m-%d %H:%M}",
            f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "",
            style="dim" if key.revoked_at else None,
        )
    out.print(table)


@app.command()
def change(
    key: GuidOrName,
    origin: Annotated[
        list[str],
        typer.Option(
            parser=_origin,
            metavar="ORIGIN",
            help="Of web pages that may use the key, in place of those before; repeat it.",
        ),
    ] = [],  # noqa: B006 - typer copies it
    any_origin: Annotated[
        bool, typer.Option("--any-origin", help="Let pages of any origin use the key.")
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(
            min=MIN_RATE, max=MAX_RATE, help="Most events per second in one ingest process."
        ),
    ] = None,
) -> None:
    """Change origins and rate of a publishable key. Gateways follow within seconds."""
    if origin and any_origin:
        raise typer.BadParameter("choose one of both", param_hint="--origin and --any-origin")
    if not origin and not any_origin and rate is None:
        raise typer.BadParameter("name at least one", param_hint="--origin, --any-origin or --rate")
    origins = origin if origin or any_origin else None
    changed = run(keys.change_publishable_keys(Settings.read(), actor(), key, origins, rate))
    typer.echo(f"{changed} changed")


@app.command()
def revoke(key: GuidOrName) -> None:
    """Revoke a key. Gateways refuse it within seconds."""
    typer.echo(f"{run(keys.revoke_keys(Settings.read(), actor(), key))} revoked")


def _check_publishable(permissions: list[Permission]) -> None:
    if set(permissions) != {Permission.WRITE_EVENTS}:
        raise typer.BadParameter(
            f"a publishable key only has {Permission.WRITE_EVENTS}", param_hint="--permission"
        )


def _to_json(key: keys.ApiKey) -> dict[str, Any]:
    """Return what `--json` prints, with the names of the table's columns."""
    return {
        "guid": key.guid,
        "name": key.name,
        "kind": key.kind,
        "permissions": key.permissions,
        "origins": key.origins,
        "rate": key.rate,
        "createdAt": key.created_at.isoformat(),
        "revokedAt": key.revoked_at.isoformat() if key.revoked_at else None,
    }
