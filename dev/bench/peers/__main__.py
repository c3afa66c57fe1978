"""`python -m dev.bench.peers`: ingest and other gateways to the same Kafka, in turn.

Each figure is the CPU time of one event, compared with that of ingest in the same round. The
gateways take the same events from the same generator, and answer after Kafka has acknowledged them
(`acks=all`, idempotent, no compression). docs/performance.md says what each does with an event.
"""

import argparse
import json
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from http.client import HTTPResponse
from pathlib import Path
from typing import NamedTuple

from dev.bench import gateway, load, report, servers, topics
from dev.bench.gateway import Gateway
from dev.bench.load import Driven
from dev.bench.peers import bento
from dev.bench.processes import peak_mebibytes
from dev.bench.ratios import Finding, Round, Run, finding
from dev.bench.table import show
from dev.stack import Servers
from dev.stack.errors import StackError
from merganser.runtime.settings import Settings

OURS = "merganser"
CONFIGS = ("passing_through", "mapping_alike")

WARMUP_SECONDS = 10
"""For each gateway, of each load: Java compiles code at run time, so a new broker is slower."""

COLUMNS = ("what", "value", OURS, "unit", "ratio", "spread", "CPU of an event, µs")

Start = Callable[[Settings], AbstractContextManager[Gateway]]
"""Runs a gateway that publishes to the topic of these settings."""


class Load(NamedTuple):
    """How events arrive."""

    connections: int
    events: int
    """Of one request."""


LOADS = {
    "single-32": Load(32, 1),
    "single-256": Load(256, 1),
    "batch-32": Load(32, gateway.BATCH),
}

Requests = Mapping[int, Sequence[bytes]]
"""Requests by the number of their events."""


class _Peer:
    """A running gateway, and how many events it accepted."""

    def __init__(self, started: Gateway, settings: Settings, requests: Requests) -> None:
        self.gateway = started
        self.settings = settings
        self.accepted = 0
        self._requests = requests

    def drive(self, running: Servers, how: Load, seconds: float) -> Driven:
        requests = self._requests[how.events]
        driven = gateway.drive(running, self.gateway, requests, how.connections, seconds)
        self.accepted += driven.total * how.events
        return driven


def main() -> None:
    """Parse the command line, measure, and print a table or JSON lines."""
    parser = argparse.ArgumentParser(prog="python -m dev.bench.peers", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument("--quick", action="store_true", help="one short round: ignore its figures")
    parser.add_argument("--save", type=Path, help="also append the JSON objects to this file")
    parser.add_argument(
        "--answers", type=int, default=1000, help="answers before SIGKILL (default: %(default)s)"
    )
    arguments = parser.parse_args()
    run = Run(quick=arguments.quick)
    try:
        program = bento.install()
    except StackError as error:
        sys.exit(str(error))
    findings: list[Finding] = []
    for found in measure(run, program, arguments.answers):
        findings.append(found)
        report.write_line(found, arguments.save, show=arguments.json)
    if not arguments.json:
        rows = [[*cells[:6], cells[-1]] for cells in map(report.row, findings)]
        show(f"beside others, {run.rounds} rounds each", COLUMNS, rows)


def measure(run: Run, program: Path, answers: int) -> Iterator[Finding]:
    """Measure CPU of an event and memory, then the accepted events that SIGKILL loses."""
    with servers.running(kafka=True) as running, servers.database(running) as url:
        starts: dict[str, Start] = {OURS: lambda settings: gateway.ingest(running, settings, url)}
        for name in CONFIGS:
            starts[f"bento-{name}"] = partial(bento.run, program, name, running)
        requests = {name: _requests(run, arrays=name != OURS) for name in starts}
        with ExitStack() as stack:
            peers = {
                name: _Peer(stack.enter_context(start(settings)), settings, requests[name])
                for name, start in starts.items()
                for settings in [topics.topic(running)]
            }
            yield from _costs(running, peers, run)
            yield from _memory(peers)
        lost = {
            name: _lost(running, start, requests[name][1], answers)
            for name, start in starts.items()
        }
        for name, events in lost.items():
            yield finding(f"lost-{name}", "events", [Round(events, answers)])


def _requests(run: Run, *, arrays: bool) -> Requests:
    """Return the same events for ingest, or for gateways whose batches are arrays."""
    count = run.events(50_000)
    batches = gateway.batches(count)
    if arrays:
        bodies = (json.loads(body)["events"] for body in gateway.batch_bodies(count))
        batches = [
            load.request("/api/v1/batch", json.dumps(body, separators=(",", ":")).encode(), "")
            for body in bodies
        ]
    return {1: gateway.singles(count), gateway.BATCH: batches}


def _costs(running: Servers, peers: Mapping[str, _Peer], run: Run) -> Iterator[Finding]:
    for how in LOADS.values():
        for peer in peers.values():
            peer.drive(running, how, run.seconds(WARMUP_SECONDS))
    rounds: dict[str, list[Round]] = {}
    for _ in range(run.rounds):
        for name, how in LOADS.items():
            cpu = {
                peer_name: peer.drive(running, how, run.seconds(5)).microseconds_each(how.events)
                for peer_name, peer in peers.items()
            }
            for peer_name, used in cpu.items():
                measured = Round(used["gateway"], cpu[OURS]["gateway"], used)
                rounds.setdefault(f"{name}-{peer_name}", []).append(measured)
    for name, peer in peers.items():
        published = topics.count(peer.settings)
        if published != peer.accepted:
            raise RuntimeError(f"{name} accepted {peer.accepted} events, and has {published}")
    for name, found in rounds.items():
        yield finding(name, "µs/event", found)


def _memory(peers: Mapping[str, _Peer]) -> Iterator[Finding]:
    """Yield the highest resident memory of each gateway."""
    ours = peak_mebibytes(peers[OURS].gateway.process)
    for name, peer in peers.items():
        mebibytes = peak_mebibytes(peer.gateway.process)
        yield finding(f"memory-{name}", "MiB", [Round(mebibytes, ours)])


def _lost(running: Servers, start: Start, requests: Sequence[bytes], answers: int) -> int:
    """Kill a gateway after this many answers to one event each; return how many events are lost."""
    settings = topics.topic(running)
    with start(settings) as started:
        with socket.create_connection(("127.0.0.1", started.port)) as connection:
            for number in range(answers):
                connection.sendall(requests[number % len(requests)])
                response = HTTPResponse(connection)
                response.begin()
                response.read()
                if response.status != 200:  # noqa: PLR2004 - OK
                    raise RuntimeError(f"the server answered {response.status}")
        started.process.kill()
        started.process.wait()
    return answers - topics.count(settings)


main()
