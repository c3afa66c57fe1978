"""The commands' output: results on stdout, progress and messages on stderr."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import psutil
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from dev.stack import kafka, postgres, services
from dev.stack.launch import Event
from dev.stack.state import ProcessState, StackInfo, State

_out = Console()
_err = Console(stderr=True)


def say(message: str) -> None:
    """Show a message."""
    _err.print(message, markup=False, highlight=False)


def error(message: str) -> None:
    """Show why something failed."""
    _err.print(message, style="red", markup=False, highlight=False)


@contextmanager
def progress() -> Iterator[Callable[[Event], None]]:
    """Show the running steps for the length of a `with` block."""
    waiting: list[object] = []
    with _err.status("Starting…") as shown:

        def on_event(event: Event) -> None:
            if "begin" in event:
                waiting.append(event["begin"])
            else:
                waiting.remove(event["done"])
                _err.print(f"[green]✓[/] {event['done']} [dim]{event['seconds']:.1f} s")
            shown.update("Waiting for " + ", ".join(map(str, waiting)) + "…")

        yield on_event


def show_info(info: StackInfo, login_url: str, *, json: bool) -> None:
    """Show the addresses of the stack, and a link that logs in to the console once."""
    if json:
        print(info.as_json(console_login_url=login_url))  # noqa: T201 -- rich would wrap it
        return
    _out.print("See it in the console", Text(login_url), soft_wrap=True)
    _out.print(
        f"This link logs in once; `merganser up` shows a new one. Later: {info.console_url}/"
    )
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("Send events to", f"{info.ingest_url}/api/v1/track")
    table.add_row("Read from", f"{info.api_url}/docs")
    table.add_row("with the secret API key", info.api_key)
    table.add_row("In web pages use", info.publishable_key)
    table.add_row("Postgres", info.database_url)
    table.add_row("Kafka", info.kafka_bootstrap)
    for name, url in info.metrics.items():
        table.add_row(f"Metrics of {name}", url)
    _out.print(table)


def show_status(current: State) -> bool:
    """Show a row per process; return whether all are running and ready."""
    address = Column(
        "address", overflow="fold"
    )  # not cut off, so that it can be copied from a narrow terminal
    table = Table("process", "pid", "state", address, "uptime", "ready")
    rows = [(process, _alive(process), _ready(process.probe)) for process in current.processes]
    for process, alive, ready in rows:
        since = process.started_at
        uptime = timedelta(seconds=round(time.time() - since)) if since and alive else None
        table.add_row(
            process.name,
            str(process.pid or ""),
            "external" if not process.ours else "running" if alive else "down",
            _without_password(process.address),
            str(uptime or ""),
            Text("yes", "green") if ready else Text("no", "red"),
        )
    _out.print(table)
    if current.info is None or current.phase != "ready":
        say(f"The stack is {current.phase}.")
    return all(alive and ready for _, alive, ready in rows)


def log_line(name: str | None, line: str) -> None:
    """Show a line of a log, with the name of the process if there is one."""
    prefix = Text(f"{name:9} ", style="cyan") if name else Text()
    _out.print(prefix + Text(line), soft_wrap=True)


def _alive(process: ProcessState) -> bool:
    return not process.ours or (process.pid is not None and psutil.pid_exists(process.pid))


def _ready(probe: str) -> bool:
    scheme, _, rest = probe.partition("://")
    if scheme == "kafka":
        return kafka.answers(rest)
    return services.answers(probe) if scheme == "http" else postgres.answers(probe)


def _without_password(address: str) -> str:
    return re.sub("(//[^/@:]*):[^/@]*@", r"\1:…@", address)
