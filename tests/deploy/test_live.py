"""A real Prometheus scrapes all processes under light traffic: each query finds data."""

import asyncio
import math
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.grafana.processes import all_dashboards
from deploy.grafana.traffic import send
from deploy.prometheus import local
from deploy.prometheus.local import Prometheus
from dev.stack.ports import free_port
from tests.support.gateway import Gateway
from tests.support.service import Service
from tests.support.system import System
from tests.support.topics import Record
from tests.support.waiting import equals, eventually

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(600)]

SELECTOR = re.compile(r"(?:merganser_|process_|up\b|merganser:)[a-z0-9_:]*(?:\{[^}]*\})?")

RULES = """
sources:
  crm: {url: CRM_URL}
rules:
  - {key: userId, type: string, unique: true, identifying: true}
  - {key: visits, type: integer, events: {type: pageview, aggregation: count}}
  - key: plan
    type: string
    query: {source: crm, sql: "SELECT id, plan FROM users WHERE id IN (:userIds)", column: plan}
  # Values that do not fit the type are counted.
  - key: cents
    type: integer
    events: {type: purchase, column: data.price, aggregation: most recent}
  - key: seats
    type: integer
    query: {source: crm, sql: "SELECT id, plan FROM users WHERE id IN (:userIds)", column: plan}
"""


async def test_every_query_finds_data(system: System, tmp_path: Path) -> None:
    services, api_url, console_url = await start_all(system, tmp_path)
    for service in services:
        check_metrics(await service.ops("/metrics"))
    targets = {
        f"merganser-{service.kind}": service.ops_url.removeprefix("http://") for service in services
    }
    await cause_503(system, services[0])
    folder = tmp_path / "prometheus"
    folder.mkdir()
    with local.running(targets, free_port(), folder) as prometheus:
        key = await system.key("traffic", "events:write", "events:read", "profiles:read")
        url = services[0].url
        traffic = asyncio.create_task(send(url, api_url, key, system.database.url, lambda _: 40))
        pages = asyncio.create_task(open_pages(console_url))
        await system.events.publish(Record(b"no event"))
        missing = {*dashboard_queries(), *rule_queries(prometheus)}
        assert len(missing) > 100

        async def without_data() -> set[str]:
            for task in (traffic, pages):
                if task.done():
                    await task  # raises its error
            for expr in tuple(missing):
                if await asyncio.to_thread(finds_data, prometheus, expr):
                    missing.remove(expr)
            return missing

        await eventually(without_data, equals(set()), within=240)
        traffic.cancel()
        pages.cancel()
        unhealthy = [rule for rule in prometheus.rules() if rule["health"] != "ok"]
        assert not unhealthy


def dashboard_queries() -> Iterator[str]:
    for model in all_dashboards().values():
        for panel in model["panels"]:
            for target in panel["targets"]:
                expr = target["expr"].replace("$__rate_interval", "30s")
                yield expr.replace("$instance", ".*")


def rule_queries(prometheus: Prometheus) -> Iterator[str]:
    """Yield recorded series and the selectors of all rules.

    Alerts are series only while they fire, and a recorded series may exist although one of its
    selectors finds nothing.
    """
    for rule in prometheus.rules():
        if rule["type"] == "recording":
            yield rule["name"]
        yield from SELECTOR.findall(rule["query"])


def finds_data(prometheus: Prometheus, expr: str) -> bool:
    """Return whether a query has a number; a quantile of nothing is NaN."""
    return any(math.isfinite(float(series["value"][1])) for series in prometheus.query(expr))


async def cause_503(system: System, ingest: Gateway) -> None:
    """Cause an answer 503, before the traffic starts, which stops at any error."""
    await system.events.refuse_larger(20_000)

    async def send_large_event() -> int:
        return (await ingest.track(type="t", userId="1", data={"a": "x" * 50_000})).status_code

    await eventually(send_large_event, equals(503))


async def open_pages(console_url: str) -> None:
    """Open a page of the console again and again; it asks Postgres for a link to log in."""
    async with httpx.AsyncClient(base_url=console_url) as client:
        while True:
            assert (await client.get("/login/unknown")).status_code == 401
            await asyncio.sleep(0.2)


def check_metrics(answer: httpx.Response) -> None:
    """Check a page of metrics with the linter of Prometheus."""
    result = subprocess.run(
        ["promtool", "check", "metrics"], input=answer.content, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr.decode()


async def start_all(
    system: System, tmp_path: Path
) -> tuple[tuple[Gateway, *tuple[Service, ...]], str, str]:
    """Start one of each process, ingest first, with rules on events and on a source.

    Returns:
        The processes, and the URLs of the API and of the console.
    """
    file = tmp_path / "company.db"
    with sqlite3.connect(file) as company:
        company.execute("CREATE TABLE users (id TEXT PRIMARY KEY, plan TEXT)")
        company.executemany("INSERT INTO users VALUES (?, 'free')", [(str(n),) for n in range(99)])
    company.close()
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    system.env["CRM_URL"] = f"sqlite:///{file}"
    decoration = system.new("decoration", decoration_interval=0.1)
    decoration.start()
    ingest, resolver, scanner, properties, (api, api_url), (console, url) = await asyncio.gather(
        system.ingest(ingest_workers=2),
        system.resolver(),
        system.scanner(),
        system.properties(),
        system.api(),
        system.console(),
    )
    await decoration.ready()
    await system.cli("rules", "apply", "--yes", str(rules))  # waits for the backfill
    return (ingest, resolver, scanner, properties, decoration, api, console), api_url, url
