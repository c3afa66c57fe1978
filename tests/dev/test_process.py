"""Killing any process of the local stack ends all others; small processes replace the servers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.stack import locks
from dev.stack.errors import StackError
from dev.stack.home import Home
from dev.stack.process import Process, run
from tests.dev import processes

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal")

# A command with a child in another process group and session that keeps its inherited
# descriptors, as the backends of Postgres do.
FAMILY = (
    "import subprocess, sys, time;"
    "subprocess.Popen(['sleep', '1000'], start_new_session=True, close_fds=False);"
    "print('has a child', flush=True); time.sleep(1000)"
)
# An owner that starts such a command and prints the pids of its guard and of the command.
OWNER = f"""
import os, sys, time
from pathlib import Path
from dev.stack.home import Home
from dev.stack.process import Process
home = Home(Path(os.environ["MERGANSER_HOME"]))
with home.owned():
    process = Process(home, "family", [sys.executable, "-c", {FAMILY!r}])
    process.start()
    print(process.guard_pid, process.pid, flush=True)
    {{then}}
"""


class Owned:
    """A running owner with its guard and command."""

    def __init__(self, home: Path, then: str = "time.sleep(1000)") -> None:
        self.home = home
        self.owner = processes.python(home, OWNER.format(then=then))
        assert self.owner.stdout
        self.guard, self.command = map(int, self.owner.stdout.readline().split())
        log = Home(home).log("family")
        processes.eventually(lambda: "has a child" in log.read_text(), "the child runs")

    def close(self) -> None:
        self.owner.kill()
        self.owner.communicate()
        # A process that only its guard knew may still run, but not after the next start.
        with Home(self.home).owned():
            assert processes.of(self.home) == []


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LEFTOVER_GRACE_SECONDS", 0.1)


@pytest.fixture
def owned(home: Path) -> Iterator[Owned]:
    family = Owned(home)
    assert len(processes.of(home)) == 4
    yield family
    family.close()


def test_killing_the_owner_ends_all(home: Path, owned: Owned) -> None:
    owned.owner.kill()
    processes.wait_until_none_left(home)


@linux_only
def test_killing_the_guard_ends_the_command(owned: Owned) -> None:
    os.kill(owned.guard, signal.SIGKILL)
    processes.eventually(lambda: processes.gone(owned.command), "the command ends")


@linux_only
def test_killing_owner_and_guard_at_once_ends_the_command(owned: Owned) -> None:
    os.kill(owned.owner.pid, signal.SIGSTOP)  # so that neither notices the end of the other
    os.kill(owned.guard, signal.SIGKILL)
    owned.owner.kill()
    processes.eventually(lambda: processes.gone(owned.command), "the command ends")


def test_killing_the_owner_of_a_suspended_command_ends_all(home: Path, owned: Owned) -> None:
    os.kill(owned.command, signal.SIGSTOP)
    owned.owner.kill()
    processes.wait_until_none_left(home)


def test_killing_the_command_ends_its_children(home: Path, owned: Owned) -> None:
    os.kill(owned.command, signal.SIGKILL)
    processes.eventually(lambda: len(processes.of(home)) == 1, "only the owner is left")


def test_a_forked_child_of_the_owner_does_not_keep_the_others_running(home: Path) -> None:
    family = Owned(home, then="time.sleep(1000 if os.fork() else 3)")
    family.owner.kill()
    processes.eventually(lambda: processes.gone(family.command), "the command ends", 2.5)
    family.close()


def test_a_new_owner_ends_remaining_processes(home: Path, owned: Owned) -> None:
    os.kill(owned.owner.pid, signal.SIGSTOP)
    os.kill(owned.guard, signal.SIGKILL)  # the child that has left the group now has no guard
    owned.owner.kill()
    owned.owner.wait()
    assert processes.of(home)
    with Home(home).owned():
        assert processes.of(home) == []


def test_killing_a_process_ends_its_children_without_the_guard(home: Path) -> None:
    process = family_of(home)
    os.kill(process.guard_pid or 0, signal.SIGKILL)
    process.wait(5)
    process.kill()
    assert processes.of(home) == []


def test_a_suspended_guard_does_not_delay_a_stop(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dev.stack.process._GUARD_SECONDS", 0.1)
    process = family_of(home)
    os.kill(process.guard_pid or 0, signal.SIGSTOP)
    process.stop(timeout=0.1)
    assert processes.of(home) == []


def test_a_suspended_process_gets_sigterm(home: Path) -> None:
    process = family_of(home)
    os.kill(process.pid or 0, signal.SIGSTOP)
    process.stop()
    assert process.exit_code == 128 + signal.SIGTERM


def test_a_process_that_ignores_sigterm_is_killed(home: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    process = Process(
        home_with_logs(home), "ignores", [sys.executable, "-c", f"{code}; time.sleep(1000)"]
    )
    process.start()
    processes.eventually(lambda: process.log.stat().st_size > 0, "it ignores SIGTERM")
    start = time.monotonic()
    process.stop(timeout=0.2)
    assert time.monotonic() - start < 5
    assert process.exit_code == 128 + signal.SIGKILL


def test_a_process_starts_again_in_the_same_log(home: Path) -> None:
    process = Process(home_with_logs(home), "short", [sys.executable, "-c", "print('once')"])
    for _ in range(2):
        process.start()
        assert process.wait(10)
    assert process.exit_code == 0
    assert process.log.read_text() == "once\nonce\n"


def test_a_running_process_is_not_started_twice(home: Path) -> None:
    process = family_of(home)
    with pytest.raises(StackError, match="already runs"):
        process.start()
    process.kill()


def test_the_error_of_a_failed_command_has_the_end_of_its_log(home: Path) -> None:
    command = [sys.executable, "-c", "print('no such table'); raise SystemExit(4)"]
    with pytest.raises(StackError, match=r"(?s)migrate failed with code 4.*no such table"):
        run(home_with_logs(home), "migrate", command, timeout=10)


def test_the_error_of_a_server_that_exits_has_the_end_of_its_log(home: Path) -> None:
    process = Process(
        home_with_logs(home), "broken", [sys.executable, "-c", "raise SystemExit('bad port')"]
    )
    process.start()
    with pytest.raises(StackError, match=r"(?s)broken ended with code 1.*bad port"):
        process.wait_until(lambda: False, timeout=10)


def test_a_command_that_takes_too_long_is_killed(home: Path) -> None:
    with pytest.raises(StackError, match="took longer than 0 s"):
        run(home_with_logs(home), "endless", ["sleep", "1000"], timeout=0.3)
    assert processes.of(home) == []


def test_the_error_names_a_missing_program(home: Path) -> None:
    with pytest.raises(StackError, match=r"(?s)could not be started.*no-such-program"):
        run(home_with_logs(home), "missing", ["no-such-program"], timeout=10)


def test_a_process_has_its_own_session(home: Path) -> None:
    process = family_of(home)
    assert os.getsid(process.pid or 0) != os.getsid(0)
    process.kill()


def home_with_logs(root: Path) -> Home:
    home = Home(root)
    home.logs.mkdir()
    return home


def family_of(root: Path) -> Process:
    """Start a command with a child in another process group; this process owns it."""
    process = Process(
        home_with_logs(root), "family", [sys.executable, "-c", FAMILY], env=dict(os.environ)
    )
    process.start()
    processes.eventually(lambda: process.log.stat().st_size > 0, "the child runs")
    return process


def test_a_home_has_one_owner(home: Path) -> None:
    with Home(home).owned(), pytest.raises(StackError, match="in use"), Home(home).owned(0.2):
        pass


def test_a_child_of_an_owner_does_not_keep_the_home(home: Path) -> None:
    with Home(home).owned():
        child = subprocess.Popen(["sleep", "1000"])
    with Home(home).owned(0.2):
        child.kill()
    child.wait()
