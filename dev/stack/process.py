"""A process of the stack, with a guard that ends it when its owner dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dev.stack import guard
from dev.stack.errors import StackError
from dev.stack.home import Home
from dev.stack.locks import take_over

_TAIL_LINES = 20
_TAIL_BYTES = 16_384
_POLL_SECONDS = 0.05
_GUARD_SECONDS = 10.0


class Process:
    """One child process with its guard, log and lock; it can be started again after it ended.

    `home` has its log and lock, `name` is the stem of both files. `command` is the command line,
    `env` its complete environment (default: that of this process). `crash_signal` is the first
    signal that the guard sends when this process, the owner, dies.
    """

    def __init__(
        self,
        home: Home,
        name: str,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        crash_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.log = home.log(name)
        self.pid: int | None = None
        self.started_at: float | None = None
        self._lock = home.process_lock(name)
        self._env = env
        self._crash_signal = crash_signal
        self._log_start = 0
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._guard is not None and self._guard.poll() is None

    @property
    def guard_pid(self) -> int | None:
        """The pid of the guard, None before the first start."""
        return self._guard.pid if self._guard else None

    @property
    def exit_code(self) -> int | None:
        """The exit code as a shell reports it (128 + n after signal n); None while running."""
        return self._guard.poll() if self._guard else None

    def start(self) -> None:
        """Start the process, ending first what may be left of its earlier life.

        Raises StackError if the command cannot be run.
        """
        if self.running:
            raise StackError(f"{self.name} already runs (pid {self.pid}).")
        self._close_pipes()
        lock_fd = take_over(self._lock)
        try:
            with self.log.open("ab") as log:
                self._log_start = log.tell()
                self._guard = subprocess.Popen(
                    # Isolated from PYTHON* variables and this directory.
                    [
                        *(sys.executable, "-I", guard.__file__),
                        *(str(int(self._crash_signal)), str(lock_fd)),
                        *self.command,
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    bufsize=0,
                    env=self._env,
                    pass_fds=[lock_fd],
                    # The owner handles Ctrl-C and a closed terminal, in its own order.
                    start_new_session=True,
                )
        finally:
            os.close(lock_fd)
        pid = self._guard.stdout.readline() if self._guard.stdout else b""
        if not pid:
            self._guard.wait()
            raise StackError(f"{self.name} could not be started.\n{self.log_tail()}")
        self.pid = int(pid)
        self.started_at = time.time()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process if it is running."""
        if self._guard and self._guard.stdin:
            with suppress(BrokenPipeError, ValueError):
                self._guard.stdin.write(bytes([number]))

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the process to end; return whether it has."""
        if self._guard:
            try:
                self._guard.wait(timeout)
            except subprocess.TimeoutExpired:
                return False
        return True

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 10.0) -> None:
        """Send a signal, kill the process after `timeout` seconds; return when all have ended."""
        self.send(number)
        self.send(signal.SIGCONT)  # a suspended process would not handle the first
        self.wait(timeout)
        self.kill()

    def kill(self) -> None:
        """End the process and its descendants at once, with the guard's crash signal."""
        self._close_pipes()
        if self._guard:
            if not self.wait(_GUARD_SECONDS):
                self._guard.kill()
                self._guard.wait()
            # Only needed if the guard itself was killed or suspended.
            self.end_leftovers()

    def end_leftovers(self) -> None:
        """End what an earlier run of this process left. Do not call it while the process runs."""
        os.close(take_over(self._lock))

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Poll until `ready()` is true.

        Raises StackError, with the end of the log, if the process ends before or if it takes
        longer than `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.running:
                what = f"ended with code {self.exit_code}"
                raise StackError(f"{self.name} {what}.\n{self.log_tail()}")
            if time.monotonic() > deadline:
                what = f"is not ready after {timeout:.0f} s"
                raise StackError(f"{self.name} {what}.\n{self.log_tail()}")
            time.sleep(_POLL_SECONDS)

    def log_tail(self) -> str:
        """Return the last lines of the log since the last start, under a heading."""
        if not self.log.exists():
            return f"{self.name} was never started."
        with self.log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, end - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
        text = "\n".join(f"  {line}" for line in lines) or "  (nothing)"
        return f"The end of its log, {self.log}:\n{text}"

    def _close_pipes(self) -> None:
        if self._guard:
            for pipe in (self._guard.stdin, self._guard.stdout):
                if pipe:
                    pipe.close()


def run(
    home: Home,
    name: str,
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    timeout: float,
) -> None:
    """Run a command with a guard and wait for its end.

    Raises StackError, with the end of its log, if it fails or takes longer than `timeout` seconds.
    """
    process = Process(home, name, command, env=env)
    process.start()
    ended = process.wait(timeout)
    process.kill()
    if not ended:
        raise StackError(f"{name} took longer than {timeout:.0f} s.\n{process.log_tail()}")
    if process.exit_code != 0:
        raise StackError(f"{name} failed with code {process.exit_code}.\n{process.log_tail()}")
