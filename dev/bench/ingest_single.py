"""`ingest-single`: one event a request, compared with the same server and a constant response."""

from collections.abc import Iterator

from dev.bench import gateway, servers, topics
from dev.bench.gateway import Gateway
from dev.bench.load import Driven
from dev.bench.ratios import Finding, Round, Run, finding

CONNECTIONS = (32, 256)


def measure(run: Run) -> Iterator[Finding]:
    """Measure requests per second by number of connections, and the generator's own ceiling.

    The last figure is the rate that the generator could send without waiting; the rate of the
    constant server must be well below it.
    """
    requests = gateway.singles(run.events(50_000))
    rounds: dict[int, list[Round]] = {connections: [] for connections in CONNECTIONS}
    generator: list[Round] = []
    with (
        servers.running(kafka=True) as running,
        servers.database(running) as url,
        gateway.ingest(running, topics.topic(running), url) as ours,
        gateway.constant() as constant,
    ):
        gateway.drive(running, ours, requests, 256, run.seconds(gateway.WARMUP_SECONDS))
        for _ in range(run.rounds):
            for connections, found in rounds.items():

                def run_load(server: Gateway, connections: int = connections) -> Driven:
                    return gateway.drive(running, server, requests, connections, run.seconds(5))

                ceiling, driven = run_load(constant), run_load(ours)
                found.append(Round(driven.rate, ceiling.rate, driven.microseconds_each()))
                generator.append(Round(ceiling.rate, ceiling.requests / ceiling.own_cpu))
    for connections, found in rounds.items():
        yield finding(f"ingest-single-{connections}", "events/s", found)
    yield finding("ingest-single-generator", "requests/s", generator)
