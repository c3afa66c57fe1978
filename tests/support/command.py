"""A command of `merganser` as an operator runs it: a process of its own, to its end."""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.service import environment


@dataclass(frozen=True)
class Ended:
    """What it left behind."""

    status: int
    out: str
    err: str

    @property
    def log(self) -> list[dict[str, Any]]:
        """Its structured log."""
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its standard output, JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


async def command(env: Mapping[str, str], *arguments: str) -> Ended:
    """Run a command."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "merganser.cli",
        *arguments,
        env=environment({**env, "MERGANSER_LOG_FORMAT": "json"}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())
