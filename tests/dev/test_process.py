"""No process is left behind, whatever is killed and however: shown with small processes."""

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

# A command with a child that has left its process group and session, but keeps the descriptors
# it was born with: as Postgres backends do.
FAMILY = (
    "import subprocess, sys, time;"
    "subprocess.Popen(['sleep', '1000'], start_new_session=True, close_fds=False);"
    "print('has a child', flush=True); time.sleep(1000)"
)
# An owner that starts such a command and tells the pids of guard and command.
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
        processes.eventually(lambda: "has a child" in log.read_text(), "the child is there")

    def close(self) -> None:
        self.owner.kill()
        self.owner.communicate()
        # Whom only its guard knew of outlives that, but not the next start.
        with Home(self.home).owned():
            assert processes.of(self.home) == []


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LEFTOVER_GRACE_SECONDS", 0.1)


@pytest.fixture
def owned(home: Path) -> Iterator[Owned]:
    family = Owned(home)
    assert len(processes.of(home)) == 4
    yield family
    family.close()


def test_death_of_the_owner_ends_all(home: Path, owned: Owned) -> None:
    owned.owner.kill()
    processes.none_left(home)


@linux_only
def test_death_of_the_guard_ends_the_command(owned: Owned) -> None:
    os.kill(owned.guard, signal.SIGKILL)
    processes.eventually(lambda: processes.gone(owned.command), "the command ends")


@linux_only
def test_death_of_owner_and_guard_at_once_ends_the_command(owned: Owned) -> None:
    os.kill(owned.owner.pid, signal.SIGSTOP)  # so that neither sees the other go
    os.kill(owned.guard, signal.SIGKILL)
    owned.owner.kill()
    processes.eventually(lambda: processes.gone(owned.command), "the command ends")


def test_death_of_a_suspended_family_s_owner_ends_all(home: Path, owned: Owned) -> None:
    os.kill(owned.command, signal.SIGSTOP)
    owned.owner.kill()
    processes.none_left(home)


def test_death_of_the_command_ends_its_children(home: Path, owned: Owned) -> None:
    os.kill(owned.command, signal.SIGKILL)
    processes.eventually(lambda: len(processes.of(home)) == 1, "only the owner is left")


def test_a_forked_child_of_the_owner_does_not_keep_the_rest_alive(home: Path) -> None:
    family = Owned(home, then="time.sleep(1000 if os.fork() else 3)")
    family.owner.kill()
    processes.eventually(lambda: processes.gone(family.command), "the command ends", 2.5)
    family.close()


def test_a_new_owner_ends_what_was_left(home: Path, owned: Owned) -> None:
    os.kill(owned.owner.pid, signal.SIGSTOP)
    os.kill(owned.guard, signal.SIGKILL)  # the child that has left the group now has no guard
    owned.owner.kill()
    owned.owner.wait()
    assert processes.of(home)
    with Home(home).owned():
        assert processes.of(home) == []


def test_killing_a_process_ends_what_a_dead_guard_left(home: Path) -> None:
    process = family_of(home)
    os.kill(process.guard_pid or 0, signal.SIGKILL)
    process.wait(5)
    process.kill()
    assert processes.of(home) == []


def test_a_suspended_guard_does_not_hold_up_a_stop(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dev.stack.process._GUARD_SECONDS", 0.1)
    process = family_of(home)
    os.kill(process.guard_pid or 0, signal.SIGSTOP)
    process.stop(timeout=0.1)
    assert processes.of(home) == []


def test_a_suspended_process_is_stopped_in_order(home: Path) -> None:
    process = family_of(home)
    os.kill(process.pid or 0, signal.SIGSTOP)
    process.stop()
    assert process.exit_code == 128 + signal.SIGTERM


def test_a_process_that_will_not_listen_is_killed(home: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    process = Process(place(home), "deaf", [sys.executable, "-c", f"{code}; time.sleep(1000)"])
    process.start()
    processes.eventually(lambda: process.log.stat().st_size > 0, "it is deaf")
    begun = time.monotonic()
    process.stop(timeout=0.2)
    assert time.monotonic() - begun < 5
    assert process.exit_code == 128 + signal.SIGKILL


def test_a_process_starts_again_in_the_same_log(home: Path) -> None:
    process = Process(place(home), "short", [sys.executable, "-c", "print('once')"])
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


def test_what_fails_tells_the_end_of_its_log(home: Path) -> None:
    command = [sys.executable, "-c", "print('no such table'); raise SystemExit(4)"]
    with pytest.raises(StackError, match=r"(?s)migrate failed with code 4.*no such table"):
        run(place(home), "migrate", command, timeout=10)


def test_what_ends_while_it_is_waited_for_tells_the_end_of_its_log(home: Path) -> None:
    process = Process(place(home), "broken", [sys.executable, "-c", "raise SystemExit('bad port')"])
    process.start()
    with pytest.raises(StackError, match=r"(?s)broken ended with code 1.*bad port"):
        process.wait_until(lambda: False, timeout=10)


def test_what_hangs_is_ended(home: Path) -> None:
    with pytest.raises(StackError, match="took longer than 0 s"):
        run(place(home), "endless", ["sleep", "1000"], timeout=0.3)
    assert processes.of(home) == []


def test_a_missing_program_is_named(home: Path) -> None:
    with pytest.raises(StackError, match=r"(?s)could not be started.*no-such-program"):
        run(place(home), "missing", ["no-such-program"], timeout=10)


def test_the_owner_s_terminal_does_not_reach_the_process(home: Path) -> None:
    process = family_of(home)
    assert os.getsid(process.pid or 0) != os.getsid(0)
    process.kill()


def place(root: Path) -> Home:
    home = Home(root)
    home.logs.mkdir()
    return home


def family_of(root: Path) -> Process:
    """Start a command with a child that has left its group, owned by this very process."""
    process = Process(place(root), "family", [sys.executable, "-c", FAMILY], env=dict(os.environ))
    process.start()
    processes.eventually(lambda: process.log.stat().st_size > 0, "the child is there")
    return process


def test_a_home_has_one_owner(home: Path) -> None:
    with Home(home).owned(), pytest.raises(StackError, match="in use"), Home(home).owned(0.2):
        pass


def test_an_owner_s_child_does_not_own(home: Path) -> None:
    with Home(home).owned():
        child = subprocess.Popen(["sleep", "1000"])
    with Home(home).owned(0.2):
        child.kill()
    child.wait()
