"""Start our processes and commands without importing Python's libraries each time.

`python -m tests.support.fork_server FD` imports them once and forks a child for each request on
the socket FD. A child behaves like a fresh `python` process: it has its own environment, output,
signals and exit code. It gets SIGKILL when the process that started the server ends.

A request is one byte with three descriptors: the child's channel, its stdout and its stderr. On
the channel the server reads the request as a line of JSON. It writes the child's pid as a line,
then the exit code as a line, when the child has ended. Each byte that it reads later is the number
of a signal for the child; end of file kills the child.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from typing import IO

from tests.support import ROOT

PRELOADED = (
    *("ingest.main", "resolver.main", "scanner.main", "properties.main", "decoration.main"),
    *("api.main", "merganser.cli.main", "uvloop", "aiokafka.admin", "dev.commands"),
)
"""Importing all of these has no side effects: each process has its own registry of metrics."""

READ_AT_START = ("LD_PRELOAD", "PYTHONPATH")
"""A child with another value of one of these runs in a fresh Python."""

_PR_SET_PDEATHSIG = 1
_EXIT_SECONDS = 10.0


@dataclass(frozen=True)
class Request:
    """What the child runs: the function `main` of a module, with these arguments."""

    module: str
    arguments: list[str]
    env: dict[str, str]


class Forked:
    """A child of the fork server."""

    def __init__(self, request: Request, stdout: IO[bytes], stderr: IO[bytes]) -> None:
        self._channel, theirs = socket.socketpair()
        descriptors = [theirs.fileno(), stdout.fileno(), stderr.fileno()]
        with theirs:
            socket.send_fds(_server(), [b"f"], descriptors)
        self._channel.sendall(json.dumps(asdict(request)).encode() + b"\n")
        self._answers = self._channel.makefile("rb")
        self._exit_code: int | None = None
        self.pid = int(self._answers.readline())

    @property
    def exit_code(self) -> int | None:
        """The exit code as a shell reports it (128 + n after signal n); None while running."""
        self.wait(0)
        return self._exit_code

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the child to end; return whether it has."""
        if self._exit_code is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._channel, selectors.EVENT_READ)
                if not selector.select(timeout):
                    return False
            self._exit_code = int(self._answers.readline())
            self._answers.close()
            self._channel.close()
        return True

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the child if it is running."""
        if self.exit_code is None:
            with suppress(BrokenPipeError):
                self._channel.sendall(bytes([number]))

    def kill(self) -> None:
        """Send SIGKILL and return when the child has ended."""
        self.send(signal.SIGKILL)
        if not self.wait(_EXIT_SECONDS):
            raise TimeoutError(f"pid {self.pid} survives SIGKILL")


@cache
def _server() -> socket.socket:
    """Start the server of this process; return the socket for requests."""
    ours, theirs = socket.socketpair()
    with theirs:
        subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is for the test run, which then ends all children
        )
    atexit.register(ours.close)
    return ours


class _Server:
    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._channels: dict[int, socket.socket] = {}
        """By the child's pid."""
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._on_signal = socket.socketpair()
        self._on_signal.setblocking(False)
        signal.set_wakeup_fd(self._on_signal.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(requests, selectors.EVENT_READ)
        self._selector.register(self._wakeup, selectors.EVENT_READ)

    def serve(self) -> Request | None:
        """Fork for each request. Return the request in a child, None in the server at its end."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._wakeup:
                    self._wakeup.recv(64)
                    self._report_ended()
                elif key.fileobj is self._requests:
                    _, descriptors, _, _ = socket.recv_fds(self._requests, 1, 3)
                    if not descriptors:
                        for pid in self._channels:
                            os.kill(pid, signal.SIGKILL)
                        return None
                    if child := self._fork(*descriptors):
                        return child
                elif key.data in self._channels:
                    self._pass_signals(key.data, self._channels[key.data])

    def _fork(self, channel_fd: int, stdout: int, stderr: int) -> Request | None:
        channel = socket.socket(fileno=channel_fd)
        with channel.makefile("rb") as lines:
            request = Request(**json.loads(lines.readline()))
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != server:  # it ended before the line above took effect
                os._exit(1)
            os.dup2(stdout, 1)
            os.dup2(stderr, 2)
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            return request
        os.close(stdout)
        os.close(stderr)
        self._channels[pid] = channel
        self._selector.register(channel, selectors.EVENT_READ, pid)
        channel.sendall(b"%d\n" % pid)
        return None

    def _pass_signals(self, pid: int, channel: socket.socket) -> None:
        # Only the parent of a process can be sure that the pid is still that of its child.
        numbers = channel.recv(64)
        if not numbers:
            self._selector.unregister(channel)
        for number in numbers or [signal.SIGKILL]:
            os.kill(pid, number)

    def _report_ended(self) -> None:
        while self._channels:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            with self._channels.pop(pid) as channel:
                with suppress(KeyError):  # unregistered at its end of file
                    self._selector.unregister(channel)
                with suppress(BrokenPipeError):
                    channel.sendall(b"%d\n" % (code if code >= 0 else 128 - code))


def _main(requests_fd: int) -> None:
    for module in PRELOADED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a child that collects garbage does not copy the pages of what all share
    request = _Server(socket.socket(fileno=requests_fd)).serve()
    if request is None:
        return
    if any(os.environ.get(name) != request.env.get(name) for name in READ_AT_START):
        code = f"from {request.module} import main; main()"
        os.execve(sys.executable, [sys.executable, "-c", code, *request.arguments], request.env)  # noqa: S606
    os.environ.clear()
    os.environ.update(request.env)
    program = sys.modules[request.module]
    sys.argv = [str(program.__file__), *request.arguments]
    program.main()


if __name__ == "__main__":
    _main(int(sys.argv[1]))
