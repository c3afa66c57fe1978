"""A process of Merganser as an operator runs it: with its own environment, ports and log."""

import json
import os
import re
import signal
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dev.stack.home import Home
from tests.support import ROOT
from tests.support.fork_server import Forked, Request
from tests.support.waiting import eventually

LOG_TAIL_LINES = 20

NO_BROKER = re.compile("Unable (to )?(connect|update|request)|NodeNotReadyError")

# Read once, because commands that tests run in threads change it, and so do their libraries.
_OTHERS = {k: v for k, v in os.environ.items() if not k.startswith("MERGANSER_")}


class Service:
    """The process that a command such as `merganser ingest` or `merganser resolver` runs."""

    def __init__(self, home: Home, name: str, kind: str, env: Mapping[str, str], port: int) -> None:
        self.name = name
        self.kind = kind
        self.arguments: list[str] = []
        """Of the command, such as `--only ingest`."""
        self.ops_url = f"http://127.0.0.1:{port}"
        self._env = {**env, f"MERGANSER_{kind.upper()}_METRICS_PORT": str(port)}
        self._log = home.log(name)
        self._log_start = 0
        self._process: Forked | None = None

    def set(self, **settings: object) -> None:
        """Change settings for the next start, such as `resolver_batch=10`."""
        self._env |= {f"MERGANSER_{name.upper()}": str(value) for name, value in settings.items()}

    def start(self) -> None:
        """Start it, or start it again after it ended."""
        assert not self.running, f"{self.name} already runs"
        arguments = [self.kind, *self.arguments]
        request = Request("merganser.cli.main", arguments, environment(self._env))
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            self._process = Forked(request, log, log)

    async def ready(self, within: float = 60) -> None:
        """Wait until /readyz reports ready and no warning; else fail with the end of the log."""
        try:
            await eventually(self._ready_or_dead, within=within, what="ready")
        except AssertionError:
            pytest.fail(f"{self.name} is not ready.\n{self.log_tail()}")
        if not self.running:
            pytest.fail(f"{self.name} ended with {self.exit_code}.\n{self.log_tail()}")

    async def why_not_ready(self) -> dict[str, str]:
        """Return the reasons that /readyz reports; a ready process has none."""
        reasons, _ = await self.readiness()
        return reasons

    async def readiness_warnings(self) -> dict[str, str]:
        """Return the warnings that /readyz reports; a ready process may have some."""
        _, warnings = await self.readiness()
        return warnings

    async def readiness(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the reasons and the warnings that /readyz reports."""
        answer = await self.ops("/readyz")
        body = answer.json()
        assert body["ready"] == (not body["reasons"])
        assert answer.status_code == (200 if body["ready"] else 503)
        return body["reasons"], body["warnings"]

    async def ops(self, path: str) -> httpx.Response:
        """GET a path of the operators' port."""
        async with httpx.AsyncClient(verify=False, timeout=10) as client:  # noqa: S501 - no TLS
            return await client.get(self.ops_url + path)

    async def metrics(self) -> "Metrics":
        """Return what /metrics reports now."""
        return Metrics((await self.ops("/metrics")).text)

    async def metric(self, name: str, **labels: str) -> float:
        """Return one sample of /metrics, 0 if there is none."""
        return (await self.metrics()).value(name, **labels)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process if it runs."""
        if self._process:
            self._process.send(number)

    async def ended(self, within: float = 10) -> int:
        """Wait until it exits and return the exit code, 128 + n after signal n."""
        what = f"{self.name} ends"
        await eventually(lambda: self.exit_code is not None, within=within, what=what)
        assert self.exit_code is not None
        return self.exit_code

    async def stop(self, within: float = 10) -> int:
        """Send SIGTERM and return the exit code; a shutdown may take 10 s."""
        self.send(signal.SIGTERM)
        return await self.ended(within)

    async def kill(self) -> None:
        """Send SIGKILL and wait until it has exited."""
        self.send(signal.SIGKILL)
        await self.ended()

    def close(self) -> None:
        """Send SIGKILL if it runs, and return when it has exited."""
        if self._process:
            self._process.kill()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process, f"{self.name} was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.exit_code is None

    @property
    def exit_code(self) -> int | None:
        """The exit code as a shell reports it; None while it runs."""
        return self._process.exit_code if self._process else None

    @property
    def log(self) -> str:
        """Everything it wrote to standard output and standard error."""
        return self._log.read_text(errors="replace")

    @property
    def log_lines(self) -> list[dict[str, Any]]:
        """The lines of its JSON log."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    @property
    def defects(self) -> list[str]:
        """Lines of errors and of unhandled exceptions, without the retries of aiokafka."""
        return [
            f"{self.name}: {line}"
            for line in self.log.splitlines()
            if "Traceback" in line
            or ('"level": "error"' in line and '"logger": "aiokafka' not in line)
        ]

    @property
    def warnings(self) -> list[str]:
        """Lines of warnings and errors, without the many that report a missing broker."""
        return [
            line
            for line in self.log.splitlines()
            if '"level": "info"' not in line and not NO_BROKER.search(line)
        ]

    def log_tail(self) -> str:
        """Return the last lines of the log since the last start, under a heading."""
        if not self._log.exists():
            return f"{self.name} was never started."
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join(["The end of its log:", *lines])

    async def _ready_or_dead(self) -> bool:
        if not self.running:
            return True
        try:
            return not any(await self.readiness())
        except httpx.TransportError:
            return False


class Metrics:
    """A parsed page of /metrics."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples with a name, such as `..._total`, and these labels."""
        return sum(
            value
            for (sample, own), value in self._samples.items()
            if sample == name and labels.items() <= set(own)
        )

    def total(self, name: str) -> float:
        """Return the sum over all labels."""
        return self.value(name)


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of this process, with these settings of Merganser instead of its own.

    PYTHONPATH selects the code of this repository, even if another copy is installed.
    """
    return {**_OTHERS, "PYTHONPATH": str(ROOT), **own}
