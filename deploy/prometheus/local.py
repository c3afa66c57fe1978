"""Debian's Prometheus on this machine, with the configuration, rules and queries of `deploy/`."""

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

HERE = Path(__file__).parent
START_SECONDS = 60.0


class Prometheus:
    """A running server's HTTP API: https://prometheus.io/docs/prometheus/latest/querying/api/."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/api/v1", timeout=30)

    def query(self, expr: str) -> list[Any]:
        """Return a query's current result: a list of series with their last values.

        Raises:
            httpx.HTTPStatusError: it is not valid PromQL, or fails.
        """
        response = self._http.post("/query", data={"query": expr}).raise_for_status()
        series: list[Any] = response.json()["data"]["result"]
        return series

    def range(self, expr: str, seconds: float, step: float) -> list[Any]:
        """Return a query's series over the last `seconds`, with one value per step."""
        end = time.time()
        query = {"query": expr, "start": end - seconds, "end": end, "step": step}
        response = self._http.post("/query_range", data=query).raise_for_status()
        series: list[Any] = response.json()["data"]["result"]
        return series

    def rules(self) -> list[Any]:
        """Every rule, with its health."""
        groups = self._http.get("/rules").raise_for_status().json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def ready(self) -> bool:
        """Whether it answers queries."""
        try:
            return self._http.get("/query", params={"query": "1"}).is_success
        except httpx.TransportError:
            return False


@contextmanager
def running(
    targets: Mapping[str, str], port: int, place: Path, interval: str = "1s"
) -> Iterator[Prometheus]:
    """Prometheus for the length of a `with` block.

    Args:
        targets: host:port of the metrics of each job of prometheus.yaml.
        port: that it listens on.
        place: an empty folder for its configuration, data and log.
        interval: between scrapes, and between evaluations of the rules.

    Raises:
        FileNotFoundError: no `prometheus` is installed (Debian: apt-get install prometheus).
        RuntimeError: it does not start.
    """
    file = place / "prometheus.yaml"
    file.write_text(yaml.safe_dump(_configuration(targets, interval)))
    command = [
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={place / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (place / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + START_SECONDS
        while not prometheus.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((place / "prometheus.log").read_text())
            time.sleep(0.2)
        yield prometheus
    finally:
        process.terminate()
        process.wait()


def _configuration(targets: Mapping[str, str], interval: str) -> Any:
    """Our configuration, with these targets in place of those that only a cluster's DNS knows."""
    configuration = yaml.safe_load((HERE / "prometheus.yaml").read_text())
    configuration["global"] = {"scrape_interval": interval, "evaluation_interval": interval}
    configuration["rule_files"] = [str(HERE / pattern) for pattern in configuration["rule_files"]]
    for job in configuration["scrape_configs"]:
        job.pop("dns_sd_configs")
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    return configuration
