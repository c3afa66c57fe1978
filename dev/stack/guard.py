"""The guard: the parent of one process of the stack, which ends it when the owner dies.

Run as a script (`python -I guard.py CRASH_SIGNAL LOCK_FD COMMAND...`), one guard per process, by
`dev.stack.process.Process`. A process cannot clean up after SIGKILL, so
another process must notice the owner's death. On every Unix, the kernel closes the pipes of a dead
process.

- stdin is the *lifeline*. Each byte is the number of a signal to pass on (only the parent can be
  sure that a pid still is its child). End of file means that the owner is dead: the guard ends
  the command, first with CRASH_SIGNAL, and after some seconds with SIGKILL.
- stdout carries one line, the pid of the command.
- stderr is the log, and becomes the command's stdout and stderr.
- LOCK_FD is a locked file, inherited by the command and its descendants (see `process.py`).
- The exit code is the command's, or 128 + the number of the signal that ended it.

The guard itself may be killed too. Then the command gets SIGKILL: on Linux from the kernel, on
other systems from the owner.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil

GRACE_SECONDS = 3.0
"""Between CRASH_SIGNAL and SIGKILL. Postgres needs about 0.1 s to end on SIGQUIT."""

OWNER_CHECK_SECONDS = 1.0
"""How often to check that the owner lives, as a forked child of it may keep the pipe open."""

LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main(crash_signal: int, lock_fd: int, command: list[str]) -> int:
    """Run `command` until it ends or the owner does; return the exit code to leave with."""
    owner = os.getppid()
    wakeup = _wake_on_child_exit()
    if LINUX:
        # Orphans of the command become children of the guard instead of pid 1.
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    child = _start(command, lock_fd)
    try:
        os.write(1, b"%d\n" % child.pid)
        while child.poll() is None and os.getppid() == owner:
            readable, _, _ = select.select([0, wakeup], [], [], OWNER_CHECK_SECONDS)
            if wakeup in readable:
                os.read(wakeup, 64)
            if 0 in readable:
                signals = os.read(0, 64)
                if not signals:
                    break
                for number in signals:
                    child.send_signal(number)
        _end_gracefully(child, crash_signal)
    finally:
        _kill_all(child)
    code = child.returncode
    return code if code >= 0 else 128 - code


def _start(command: list[str], lock_fd: int) -> "subprocess.Popen[bytes]":
    guard = os.getpid()

    def die_with_guard() -> None:
        if LINUX:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:  # it died before the line above took effect
            os._exit(1)

    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=2,
        stderr=2,
        pass_fds=[lock_fd],
        process_group=0,
        preexec_fn=die_with_guard,  # noqa: PLW1509 -- there are no threads here
    )


def _end_gracefully(child: "subprocess.Popen[bytes]", crash_signal: int) -> None:
    if child.poll() is None and crash_signal != signal.SIGKILL:
        child.send_signal(crash_signal)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_SECONDS)


def _kill_all(child: "subprocess.Popen[bytes]") -> None:
    """Kill the command and all its descendants, and return when they have ended."""
    if child.poll() is None:
        # A stopped process cannot start others while the guard lists its descendants.
        child.send_signal(signal.SIGSTOP)
    while descendants := psutil.Process().children(recursive=True):
        for process in descendants:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        child.poll()
        if not _reap_orphans(child):
            time.sleep(0.005)
    child.wait()
    if not LINUX:  # orphans are not descendants there, but mostly still in the same group
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)


def _reap_orphans(child: "subprocess.Popen[bytes]") -> bool:
    """Reap ended orphans, but not the command, whose exit code `subprocess` must collect."""
    if child.returncode is None:
        return False
    with suppress(ChildProcessError):
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    return False


def _wake_on_child_exit() -> int:
    """Return a descriptor which becomes readable when a child has ended."""
    wakeup, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return wakeup


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
