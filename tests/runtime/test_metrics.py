"""/metrics of each process has exactly the metrics that `merganser/runtime/metrics.py` defines."""

import asyncio
from importlib.metadata import version

import pytest
from prometheus_client import CollectorRegistry

from merganser.runtime import metrics
from tests.support.system import System

REGISTRIES = {
    "ingest": metrics.INGEST,
    "resolver": metrics.RESOLVER,
    "scanner": metrics.SCANNER,
    "properties": metrics.PROPERTIES,
    "decoration": metrics.DECORATION,
    "api": metrics.API,
    "console": metrics.CONSOLE,
}


async def test_each_process_has_only_its_own_metrics(system: System) -> None:
    services = await asyncio.gather(system.ingest(), system.resolver(), system.scanner())
    for service in services:
        listed = {family.name: family for family in (await service.metrics()).families}
        own = {family.name for family in REGISTRIES[service.kind].collect()}
        ours = {name for name in listed if name.startswith("merganser_")}
        assert ours
        assert (
            set(listed) - ours == {name for name in listed if name.startswith("process_")} != set()
        )
        assert ours <= own
        for family in listed.values():
            assert family.documentation, family.name
        answer = await service.ops("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")


async def test_each_process_has_its_version_as_a_metric(system: System) -> None:
    scanner = await system.scanner()
    assert await scanner.metric("merganser_build_info", version=version("merganser")) == 1
    for registry in REGISTRIES.values():
        assert "merganser_build_info" in {family.name for family in registry.collect()}


async def test_the_operations_port_serves_healthz_and_readyz(system: System) -> None:
    scanner = await system.scanner()
    assert (await scanner.ops("/healthz")).json() == {"alive": True}
    assert (await scanner.ops("/readyz")).json() == {"ready": True, "reasons": {}, "warnings": {}}
    assert (await scanner.ops("/other")).status_code == 404


@pytest.mark.parametrize("registry", REGISTRIES.values(), ids=list(REGISTRIES))
def test_metric_names_follow_the_conventions(registry: CollectorRegistry) -> None:
    for family in registry.collect():
        if family.name.startswith("process_"):
            continue
        assert family.name.startswith("merganser_")
        assert family.documentation.endswith(".")
        units = {"seconds", "bytes", "records", "rows", "events", "letters", "pending", "profiles"}
        units |= {"halted", "failing", "open", "info", "rules", "viewers"}  # states, counts
        if family.type in ("gauge", "histogram"):
            assert family.name.rsplit("_", 1)[-1] in units, family.name
