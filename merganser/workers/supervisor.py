"""The supervisor of workers: starts them, restarts those that end, and stops them all.

`merganser ingest --workers 2` and `merganser serve` run it. It handles no event itself.

- It listens on the workers' ports before it starts them, and they inherit the sockets. So a port
  that is taken is one clear error, connections that wait to be accepted survive a worker that is
  killed, and an idle worker takes the next connection. With SO_REUSEPORT each worker would have
  its own queue, which ends with it.
- It restarts a worker that ends, after a pause that doubles from 1 to 30 seconds. It gives up only
  if nothing works: every worker has exited with an error, and none was ever ready. Then the
  supervisor exits with the same status.
- On SIGTERM or SIGINT it closes its copies of the sockets, tells all workers to stop, and waits
  for them. They end when it dies (`worker.py`).
"""

import asyncio
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import structlog

from merganser.http.server import create_server
from merganser.runtime import lifecycle, logs
from merganser.runtime.lifecycle import Stop
from merganser.runtime.settings import Settings
from merganser.workers import pages
from merganser.workers.worker import STOP, Worker

log = structlog.get_logger(__name__)

FINISH_SECONDS = lifecycle.FINISH_SECONDS + 0.5
"""How long the supervisor waits for its workers, which exit within `lifecycle.FINISH_SECONDS`."""

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
STEADY_SECONDS = 60.0
"""After this time a worker's end counts as the first one again."""

POLL_SECONDS = 0.25
"""Between two questions whether a worker that starts is ready."""

BACKLOG = 2048
"""Connections that may wait to be accepted, as uvicorn has it."""


@dataclass(frozen=True, slots=True)
class Group:
    """Workers of one kind.

    Attributes:
        kind: the package whose `main` each of them runs, "ingest" for example.
        count: how many.
        address: host and port that they listen on together, if they do.
    """

    kind: str
    count: int = 1
    address: tuple[str, int] | None = None


def run_workers(name: str, settings: Settings, ops_port: int, groups: Sequence[Group]) -> None:
    """Run workers until SIGTERM or SIGINT; a second signal quits at once.

    Args:
        name: of the command, in each line of the supervisor's log.
        settings: those of every process.
        ops_port: port of /metrics, /healthz and /readyz of all workers.
        groups: the workers.

    Raises:
        SystemExit: a port is taken, no worker can start, or one failed while it stopped.
    """
    logs.configure(settings, name)
    ops_sockets = _listen(settings.ops_host, ops_port)
    listeners: list[socket.socket] = []
    workers: list[_Supervised] = []
    for group in groups:
        shared = _listen(*group.address) if group.address else []
        listeners += shared
        workers += [_Supervised(group.kind, n, shared) for n in range(1, group.count + 1)]

    async def supervise(stop: Stop) -> None:
        ops = create_server(pages.Pages(workers).app, settings.ops_host, ops_port)
        serving = asyncio.create_task(ops.serve(ops_sockets))
        log.info("starting", workers=[worker.name for worker in workers])
        async with asyncio.TaskGroup() as tasks:
            for worker in workers:
                tasks.create_task(worker.keep_running(stop, workers))
            await stop.wait()
            for listener in listeners:  # so that the last worker to close its copy refuses the rest
                listener.close()
            for worker in workers:
                worker.tell_to_stop()
        ops.should_exit = True
        await serving
        log.info("stopped")

    lifecycle.run(supervise, FINISH_SECONDS)
    if failures := [worker.exit_code for worker in workers if worker.exit_code]:
        raise SystemExit(failures[0])


def _listen(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets for all addresses of the host.

    Raises:
        SystemExit: with a message, if that does not work.
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return [
            socket.create_server(address[:2], family=family, backlog=BACKLOG)
            for family, address in {(info[0], info[4]) for info in found}
        ]
    except OSError as error:
        raise SystemExit(
            f"merganser: cannot listen on {host}:{port}: {error.strerror}; "
            "stop what listens there, or set another port"
        ) from None


class _Supervised:
    """One worker, as its supervisor has it."""

    def __init__(self, kind: str, number: int, shared: Sequence[socket.socket]) -> None:
        self.kind = kind
        self.name = f"{kind}-{number}"
        self.exit_code = 0
        """Of its last process, 128 + n after signal n."""
        self.ops = socket.create_server(("127.0.0.1", 0))
        """It outlives the worker's process, so the port stays the same."""
        self._number = number
        self._shared = shared
        self._lifeline: int | None = None
        self._was_ready = False
        self.cannot_start = False
        """Whether its last process exited with an error, and it was never ready."""
        self.failure: str | None = None

    @property
    def ops_port(self) -> int:
        """Port on 127.0.0.1 of the worker's own ops server."""
        port: int = self.ops.getsockname()[1]
        return port

    @property
    def running(self) -> bool:
        """Whether its process was started and has not ended."""
        return self._lifeline is not None

    def note_ready(self) -> None:
        """Note that the worker is ready."""
        self._was_ready = True
        self.cannot_start = False
        self.failure = None

    async def keep_running(self, stop: Stop, workers: "Sequence[_Supervised]") -> None:
        """Run the worker, again and again, until all have to stop.

        Args:
            stop: for all workers. This sets it if none of them can start.
            workers: all of them.
        """
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while not stop.is_set():
            start = loop.time()
            try:
                await self._run(stop)
                self.failure = f"ended with exit code {self.exit_code}"
            except OSError as error:  # no memory or too many processes, for example
                self.failure = f"no new process: {error.strerror}"
            if stop.is_set():
                return
            self.cannot_start = self.exit_code in range(1, 128) and not self._was_ready
            if all(worker.cannot_start for worker in workers):
                log.error("no worker can start; the last line of each says why")
                stop.set()
                return
            if loop.time() - start > STEADY_SECONDS:
                pause = FIRST_PAUSE
            log.error(
                "a worker ended; it starts again",
                worker=self.name,
                reason=self.failure,
                seconds=pause,
            )
            self.exit_code = 0
            await stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def tell_to_stop(self) -> None:
        """Tell its process, if there is one, to finish the work at hand and exit."""
        if self._lifeline is not None:
            with suppress(BrokenPipeError):
                os.write(self._lifeline, STOP)

    async def _run(self, stop: Stop) -> None:
        """Start its process and wait for the end."""
        with self._opened_lifeline() as lifeline:
            worker = Worker(
                self.kind,
                self._number,
                self.ops.fileno(),
                tuple(listener.fileno() for listener in self._shared),
                lifeline,
            )
            # The name is an argument for those who list processes only.
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-c", f"from {self.kind}.main import main; main()"),
                self.name,
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, **worker.to_environment()},
                pass_fds=(worker.ops, *worker.listeners, worker.lifeline),
                start_new_session=True,  # Ctrl-C on a terminal is for the supervisor
            )
            log.info("worker started", worker=self.name, pid=process.pid)
            if stop.is_set():
                self.tell_to_stop()
            watching = asyncio.create_task(self._watch())
            code = await process.wait()
            watching.cancel()
        self.exit_code = code if code >= 0 else 128 - code

    @contextmanager
    def _opened_lifeline(self) -> Iterator[int]:
        """Open the pipe to a new process; yield the end that the process reads."""
        reader, self._lifeline = os.pipe()
        try:
            yield reader
        finally:
            os.close(reader)
            os.close(self._lifeline)
            self._lifeline = None

    async def _watch(self) -> None:
        """Note when the process has become ready."""
        readiness = None
        while not (readiness and readiness.ready):
            await asyncio.sleep(POLL_SECONDS)
            readiness = await pages.get_readiness(self.ops_port)
        self.note_ready()
