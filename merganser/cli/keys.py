"""`merganser keys`: API keys of clients that send events and of programs that read."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from merganser.admin import key_terms, keys, login_links
from merganser.admin.database import run_in_transaction
from merganser.admin.errors import AdminError
from merganser.cli.terminal import actor, out, run
from merganser.http.authentication import Permission
from merganser.runtime.settings import ConsoleSettings, Settings

app = typer.Typer(no_args_is_help=True, help="Create, list, change and revoke API keys.")


def _name(text: str) -> str:
    try:
        key_terms.check_name(text)
    except AdminError as error:
        raise typer.BadParameter(str(error)) from None
    return text


def _origin(text: str) -> str:
    try:
        return key_terms.check_origin(text)
    except AdminError as error:
        raise typer.BadParameter(str(error)) from None


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
            min=key_terms.MIN_RATE,
            max=key_terms.MAX_RATE,
            help="Most events per second in one ingest process. Default: "
            f"{key_terms.PUBLISHABLE_RATE:g} for a publishable key, else MERGANSER_INGEST_RATE.",
        ),
    ] = None,
) -> None:
    """Create a key and print it. It cannot be shown again: only its hash is stored."""
    if publishable:
        _check_publishable(permission)
        terms = key_terms.publishable_terms(origin, rate or key_terms.PUBLISHABLE_RATE)
    elif origin:
        raise typer.BadParameter("only a key with --publishable has origins", param_hint="--origin")
    else:
        terms = key_terms.secret_terms(permission, rate)
    created = run(
        run_in_transaction(Settings.read(), "keys", keys.create_key, actor(), name, terms)
    )
    typer.echo(created.secret)


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
    if publishable:
        _check_publishable(permission)
        terms = key_terms.publishable_terms()
    else:
        terms = key_terms.secret_terms(permission)
    run(
        run_in_transaction(
            Settings.read(), "keys", keys.ensure_key, actor(), name, secret_file, terms
        )
    )


@app.command()
def login(key: GuidOrName) -> None:
    """Print a link that logs in to the console once, as this key, within 10 minutes."""
    typer.echo(run(login_links.create_login_link(ConsoleSettings.read(), actor(), key)))


@app.command("list")
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all keys, revoked ones too, without their secrets.

    Counts and last use are those of ingest, of 24 hours and of 30 days.
    """
    listed = run(run_in_transaction(Settings.read(), "keys", keys.list_keys))
    if as_json:
        typer.echo(json.dumps([_to_json(key) for key in listed]))
        return
    table = Table(
        Column("guid", overflow="fold"),
        Column("name", overflow="fold"),
        Column("kind", no_wrap=True),
        Column("permissions", overflow="fold"),
        Column("limits", overflow="fold"),
        "last 24 h",
        Column("times", overflow="fold"),
    )
    for key in listed:
        rate = [f"{key.rate:g} events/s"] if key.rate else []
        table.add_row(
            key.guid,
            escape(key.name),
            key.kind,
            ", ".join(key.permissions),
            "\n".join([*rate, *key.origins]),
            "\n".join(_describe_usage(key)),
            "\n".join(_describe_times(key)),
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
            min=key_terms.MIN_RATE,
            max=key_terms.MAX_RATE,
            help="Most events per second in one ingest process.",
        ),
    ] = None,
) -> None:
    """Change origins and rate of a publishable key. Gateways follow within seconds."""
    if origin and any_origin:
        raise typer.BadParameter("choose one of both", param_hint="--origin and --any-origin")
    if not origin and not any_origin and rate is None:
        raise typer.BadParameter("name at least one", param_hint="--origin, --any-origin or --rate")
    origins = origin if origin or any_origin else None
    changed = run(
        run_in_transaction(
            Settings.read(),
            "keys",
            keys.change_publishable_keys,
            actor(),
            key,
            origins,
            rate,
        )
    )
    typer.echo(f"{changed} changed")


@app.command()
def revoke(key: GuidOrName) -> None:
    """Revoke a key. Gateways refuse it within seconds."""
    revoked = run(run_in_transaction(Settings.read(), "keys", keys.revoke_keys, actor(), key))
    typer.echo(f"{revoked} revoked")


def _check_publishable(permissions: list[Permission]) -> None:
    if set(permissions) != {Permission.WRITE_EVENTS}:
        raise typer.BadParameter(
            f"a publishable key only has {Permission.WRITE_EVENTS}", param_hint="--permission"
        )


def _describe_usage(key: keys.ApiKey) -> Iterator[str]:
    for count, what in ((sum(key.events), "accepted"), (sum(key.refused), "refused")):
        if count:
            yield f"{count:,} {what}"


def _describe_times(key: keys.ApiKey) -> Iterator[str]:
    times = {"created": key.created_at, "used": key.last_used_at, "revoked": key.revoked_at}
    for what, time in times.items():
        if time:
            yield f"{what} {time:%Y-%m-%d %H:%M}"


def _to_json(key: keys.ApiKey) -> dict[str, Any]:
    """Return what `--json` prints, with the names of the table's columns."""
    return {
        "guid": key.guid,
        "name": key.name,
        "kind": key.kind,
        "permissions": key.permissions,
        "origins": key.origins,
        "rate": key.rate,
        "eventsLastDay": sum(key.events),
        "refusedLastDay": sum(key.refused),
        "lastUsedAt": key.last_used_at.isoformat() if key.last_used_at else None,
        "createdAt": key.created_at.isoformat(),
        "revokedAt": key.revoked_at.isoformat() if key.revoked_at else None,
    }
