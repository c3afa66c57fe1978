"""The ops port of all workers: /metrics and /readyz combine their pages."""

import asyncio
import signal

from tests.support.service import Metrics
from tests.support.system import System
from tests.support.waiting import equals, eventually
from tests.workers.processes import processes

ACCEPTED = "merganser_ingest_events_accepted_total"
BUILD = "merganser_build_info"
"""1 on the page of each worker: `Metrics.value` is also 0 for a worker that is not there."""
ALIVE = {"check": "alive"}


async def test_metrics_have_the_samples_of_each_worker(system: System) -> None:
    gateway = await system.ingest(ingest_workers=2)
    for number in range(40):  # each on its own connection
        await gateway.tracked(type="t", userId=f"user-{number}")
    both = await gateway.metrics()
    assert both.value(ACCEPTED) == 40
    for sample in ("merganser_ingest_request_seconds_count", ACCEPTED):
        assert sum(both.value(sample, worker=f"ingest-{n}") for n in (1, 2)) == 40
    for worker, process in processes(gateway).items():
        assert both.value(BUILD, worker=worker) == 1
        # A gauge with a function, a metric of a collector, and a check.
        assert both.value("merganser_ingest_keys_age_seconds", worker=worker) > 0
        memory = both.value("process_resident_memory_bytes", worker=worker)
        assert abs(memory / process.memory_info().rss - 1) < 0.2
        assert both.value("merganser_check_failing", worker=worker, **ALIVE) == 0
    names = [family.name for family in both.families]
    assert len(names) == len(set(names))
    alone = await system.ingest()
    assert set(names) == {family.name for family in (await alone.metrics()).families}


async def test_the_counters_of_a_restarted_worker_start_at_zero(system: System) -> None:
    """Prometheus handles the reset of a counter, as after any restart."""
    gateway = await system.ingest(ingest_workers=2)
    while await gateway.metric(ACCEPTED, worker="ingest-1") == 0:
        await gateway.tracked(type="t", userId="1")
    while (other := await gateway.metric(ACCEPTED, worker="ingest-2")) == 0:
        await gateway.tracked(type="t", userId="1")
    processes(gateway)["ingest-1"].kill()
    await eventually(lambda: "it starts again" in gateway.log)
    await gateway.ready()
    page = await gateway.metrics()
    assert page.value(BUILD, worker="ingest-1") == 1
    assert page.value(ACCEPTED, worker="ingest-1") == 0
    assert page.value(ACCEPTED, worker="ingest-2") == other


async def test_a_worker_that_hangs_is_not_ready_and_delays_no_page(system: System) -> None:
    gateway = await system.ingest(ingest_workers=2)
    hanging = processes(gateway)["ingest-2"]
    hanging.suspend()
    try:
        await eventually(gateway.why_not_ready, equals({"ingest-2/alive": "no answer"}))
        page = await gateway.metrics()
        assert page.value(BUILD, worker="ingest-1") == 1
        assert page.value("merganser_check_failing", worker="ingest-1", **ALIVE) == 0
        assert page.value("merganser_check_failing", worker="ingest-2", **ALIVE) == 1
        answers = await asyncio.gather(*(gateway.ops("/metrics") for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}
        assert (await gateway.ops("/healthz")).json() == {"alive": True}
    finally:
        hanging.resume()
    await gateway.ready()


async def test_reasons_and_warnings_name_the_worker(system: System) -> None:
    resolver = await system.resolver(resolver_workers=2)
    processes(resolver)["resolver-1"].send_signal(signal.SIGKILL)
    reasons = await eventually(resolver.why_not_ready)
    assert {name.split("/")[0] for name in reasons} == {"resolver-1"}
    await resolver.ready()


async def test_metrics_can_be_selected_by_process(system: System) -> None:
    """Rules and dashboards expect a scrape job for each process."""
    gateway = await system.ingest(ingest_workers=2)
    page = await gateway.ops("/metrics?process=ingest")
    assert Metrics(page.text).value(BUILD) == 2
    assert (await gateway.ops("/metrics?process=resolver")).status_code == 503
    assert (await gateway.ops("/other")).status_code == 404


async def test_a_resolver_worker_is_a_member_of_the_group(system: System) -> None:
    resolver = await system.resolver(resolver_workers=2, resolver_instance="pod-0")
    lag = "merganser_resolver_lag_records"

    async def workers() -> set[str]:
        metrics = await resolver.metrics()
        return {
            sample.labels["worker"]
            for family in metrics.families
            for sample in family.samples
            if sample.name == lag
        }

    await eventually(workers, equals({"resolver-1", "resolver-2"}))
    assert resolver.defects == []
