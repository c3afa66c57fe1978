"""Run a command of `merganser` as an operator does: in a separate process."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

from tests.support.fork_server import Forked, Request
from tests.support.service import environment

LIMIT_SECONDS = 120.0

KILLED = 137
"""The status of a command that got SIGKILL."""


@dataclass(frozen=True)
class CommandResult:
    """The exit code and the output of a command."""

    status: int
    out: str
    err: str

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of its JSON log."""
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its standard output, parsed as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


async def command(
    env: Mapping[str, str], *arguments: str, kill_after: float | None = None
) -> CommandResult:
    """Run a command, kill it after `kill_after` seconds, and return its result."""
    own = environment({**env, "MERGANSER_LOG_FORMAT": "json"})
    with TemporaryFile() as out, TemporaryFile() as err:
        process = Forked(Request("merganser.cli.main", list(arguments), own), out, err)
        try:
            limit = LIMIT_SECONDS if kill_after is None else kill_after
            ended = await asyncio.to_thread(process.wait, limit)
        finally:
            process.kill()
        assert ended or kill_after is not None, f"{arguments} took longer than {LIMIT_SECONDS:g} s"
        assert process.exit_code is not None
        for file in (out, err):
            file.seek(0)
        return CommandResult(process.exit_code, out.read().decode(), err.read().decode())
