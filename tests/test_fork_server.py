"""The children of the fork server behave like fresh Python processes, and end with their owner."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dev.stack.ports import free_port
from tests.support.fork_server import Forked, Request
from tests.support.service import environment
from tests.support.waiting import eventually


def fork(log: Path, env: dict[str, str], *arguments: str) -> Forked:
    """Run a command of `merganser` with its output in `log`."""
    with log.open("ab") as file:
        return Forked(Request("merganser.cli.main", list(arguments), environment(env)), file, file)


def test_a_child_has_its_exit_code_and_output(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = fork(log, {}, "--version")
    assert child.wait(30)
    assert child.exit_code == 0
    assert log.read_text().startswith("merganser ")
    child = fork(log, {}, "no-such-command")
    assert child.wait(30)
    assert child.exit_code == 2
    assert "no-such-command" in log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_signals_end_a_child(tmp_path: Path, number: signal.Signals) -> None:
    """The child is a scanner that waits for a Postgres that does not exist."""
    log = tmp_path / "log"
    child = fork(log, scanner_env(), "scanner")
    await eventually(lambda: "trying again" in log.read_text())
    assert child.exit_code is None
    child.send(number)
    assert child.wait(30)
    assert child.exit_code == (0 if number == signal.SIGTERM else 128 + number)
    assert not psutil.pid_exists(child.pid)


@pytest.mark.parametrize("killed", ["owner", "fork server"])
def test_a_child_is_killed_with_its_parents(killed: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, env=environment(scanner_env())
    ) as owner:
        assert owner.stdout
        child = psutil.Process(int(owner.stdout.readline()))
        server = child.parent()
        assert server
        (owner if killed == "owner" else server).kill()
        deadline = time.monotonic() + 30
        while any(map(is_alive, (child, server))):
            assert time.monotonic() < deadline, "the children still run"
            time.sleep(0.01)
        owner.kill()


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def scanner_env() -> dict[str, str]:
    """Return settings of a scanner whose Postgres does not exist."""
    return {
        "MERGANSER_DATABASE_URL": "postgresql://127.0.0.1:1/none",
        "MERGANSER_SCANNER_METRICS_PORT": str(free_port()),
    }


OWNER = """
import os, sys, time
from tests.support.fork_server import Forked, Request
log = sys.stderr.buffer
child = Forked(Request("merganser.cli.main", ["scanner"], dict(os.environ)), log, log)
print(child.pid, flush=True)
time.sleep(100)
"""
