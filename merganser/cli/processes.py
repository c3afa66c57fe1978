"""The commands that run processes: one, several workers of one kind, or all kinds."""

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from merganser.runtime.settings import (
    ApiSettings,
    ConsoleSettings,
    DecorationSettings,
    IngestSettings,
    PropertiesSettings,
    ResolverSettings,
    ScannerSettings,
    ServeSettings,
    Settings,
)
from merganser.workers.supervisor import Group, run_workers

app = typer.Typer()

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", help="Number of processes that share the ports; overrides the setting."
    ),
]


def _ingest(settings: IngestSettings) -> Group:
    address = settings.ingest_host, settings.ingest_port
    return Group("ingest", settings.ingest_workers, address)


def _resolver(settings: ResolverSettings) -> Group:
    return Group("resolver", settings.resolver_workers)


def _api(settings: ApiSettings) -> Group:
    return Group("api", address=(settings.api_host, settings.api_port))


def _console(settings: ConsoleSettings) -> Group:
    return Group("console", address=(settings.console_host, settings.console_port))


def _alone(kind: str, settings: type[Settings]) -> Group:
    settings.read()
    return Group(kind)


GROUPS: dict[str, Callable[[], Group]] = {
    "ingest": lambda: _ingest(IngestSettings.read()),
    "resolver": lambda: _resolver(ResolverSettings.read()),
    "scanner": lambda: _alone("scanner", ScannerSettings),
    "properties": lambda: _alone("properties", PropertiesSettings),
    "decoration": lambda: _alone("decoration", DecorationSettings),
    "api": lambda: _api(ApiSettings.read()),
    "console": lambda: _console(ConsoleSettings.read()),
}
"""Each reads the settings of its kind, so that one that is not valid is an error of the command."""


@app.command("ingest")
def ingest_command(workers: Workers = None) -> None:
    """Run an ingest gateway: events from HTTP to Kafka."""
    _override("INGEST_WORKERS", workers)
    settings = IngestSettings.read()
    _run_group(_ingest(settings), settings, settings.ingest_metrics_port)


@app.command("resolver")
def resolver_command(workers: Workers = None) -> None:
    """Run a resolver: events from Kafka to their profiles in Postgres."""
    _override("RESOLVER_WORKERS", workers)
    settings = ResolverSettings.read()
    _run_group(_resolver(settings), settings, settings.resolver_metrics_port)


@app.command("scanner")
def scanner_command() -> None:
    """Run a scanner: resolve rows of other systems, finish large merges and erasures."""
    _run_alone("scanner")


@app.command("api")
def api_command() -> None:
    """Run the read API: events and profiles over HTTP."""
    _run_alone("api")


@app.command("console")
def console_command() -> None:
    """Run the console: pages that show what the pipeline does."""
    _run_alone("console")


@app.command("properties")
def properties_command() -> None:
    """Run the properties process: keep profile properties up to date with rules and events."""
    _run_alone("properties")


@app.command("decoration")
def decoration_command() -> None:
    """Run the decoration process: profile properties from the company's databases."""
    _run_alone("decoration")


@app.command("serve")
def serve_command(
    only: Annotated[
        str, typer.Option(help="Processes to run, separated by commas. Default: all.")
    ] = ",".join(GROUPS),
) -> None:
    """Run all processes, or some of them, with one port for /metrics, /healthz and /readyz."""
    kinds = [kind.strip() for kind in only.split(",")]
    if unknown := set(kinds) - set(GROUPS):
        raise typer.BadParameter(
            f"{', '.join(sorted(unknown))}: not among {', '.join(GROUPS)}", param_hint="--only"
        )
    settings = ServeSettings.read()
    groups: Sequence[Group] = [GROUPS[kind]() for kind in dict.fromkeys(kinds)]
    run_workers("serve", settings, settings.serve_metrics_port, groups)


def _override(setting: str, value: int | None) -> None:
    if value is not None:
        os.environ[f"MERGANSER_{setting}"] = str(value)


def _run_group(group: Group, settings: Settings, ops_port: int) -> None:
    """Run the workers of a group; one worker needs no supervisor."""
    if group.count == 1:
        _run_alone(group.kind)
    else:
        run_workers(group.kind, settings, ops_port, [group])


def _run_alone(kind: str) -> None:
    # Import only this process: the libraries of the others cost memory and time.
    importlib.import_module(f"{kind}.main").main()
