"""Find, wait for and start processes."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
STANDIN = (sys.executable, "-I", "-S", str(Path(__file__).parent / "standin.py"))
"""Command line of the stand-in; without site packages it starts in a tenth of the time."""


def of(home: Path) -> list[str]:
    """Return the command lines of all processes that mention `home`, except this one."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            traces = [*process.cmdline(), *process.environ().values(), process.cwd()]
            if any(str(home) in trace for trace in traces):
                found.append(f"{process.pid}: {' '.join(process.cmdline())}")
    return found


def gone(pid: int | None) -> bool:
    try:
        return psutil.Process(pid or -1).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def eventually(condition: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.02)


def wait_until_none_left(home: Path) -> None:
    """Wait until no process of `home` runs; fail after a minute."""
    deadline = time.monotonic() + 60
    while left := of(home):
        assert time.monotonic() < deadline, "these still run:\n" + "\n".join(left)
        time.sleep(0.05)


def python(home: Path, code: str, **env: str) -> "subprocess.Popen[str]":
    """Run code in another Python with this home; its stdin and stdout are pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment(home, env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def environment(home: Path, env: Mapping[str, str]) -> dict[str, str]:
    others = {k: v for k, v in os.environ.items() if not k.startswith("MERGANSER_")}
    return {**others, "PYTHONPATH": str(ROOT), "MERGANSER_HOME": str(home), **env}
