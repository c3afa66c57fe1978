"""The supervisor: the process that owns all others of a running stack.

`python -m dev.stack.supervisor HOME OPTIONS`, started by `dev.stack.launch`. It reports its
progress on stdout, one JSON object per line. Its stdin is a lifeline: if it
closes before a byte arrives, the process that started the stack is gone and everything stops.

Before everything is ready, stopping means to exit at once: the guards then end the processes, and
Kafka and Postgres recover as after any crash. Afterwards all stop gracefully, in order.
"""

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from operator import itemgetter
from pathlib import Path
from queue import Empty, SimpleQueue

from dev.stack import kafka_jars, ports, services, state
from dev.stack.errors import StackError
from dev.stack.home import Home, jar_cache
from dev.stack.kafka import Kafka
from dev.stack.postgres import Postgres
from dev.stack.process import run
from dev.stack.restarts import Restarter, Startable
from dev.stack.state import ProcessState, StackInfo, State

_FORMER_OWNER_SECONDS = 60.0
_COMMAND_SECONDS = 120.0
_CHECK_SECONDS = 0.25

_log = logging.getLogger("dev.stack.supervisor")


class Supervisor:
    """Starts, watches and stops the stack of one home.

    `cli` is the command line that runs `merganser`, `claimed` the ports by name (see `ports.py`).
    """

    def __init__(self, home: Home, cli: list[str], claimed: Mapping[str, int]) -> None:
        self._home = home
        self._cli = cli
        self._phase = state.STARTING
        # Not an Event: its `set` can deadlock in a signal handler that interrupts its `wait`.
        self._stop: SimpleQueue[None] = SimpleQueue()
        self._ports = claimed
        self._kafka: Kafka | None = None
        self._postgres: Postgres | None = None
        bootstrap = os.environ.get("MERGANSER_KAFKA_BOOTSTRAP")
        database_url = os.environ.get("MERGANSER_DATABASE_URL")
        if not bootstrap:
            self._kafka = Kafka(home, self._ports["kafka"], self._ports["kafka-controller"])
            bootstrap = self._kafka.bootstrap
        if not database_url:
            self._postgres = Postgres(home, self._ports["postgres"])
            database_url = self._postgres.url
        self._env = services.environment(os.environ, bootstrap, database_url, self._ports)
        self._services = [
            services.Service(home, name, self._ports[f"{name}-metrics"], cli, self._env)
            for name in services.NAMES
        ]
        # By name: its address, and the URL that shows whether it is ready.
        self._addresses = services.addresses(self._ports) | {
            "kafka": bootstrap,
            "postgres": database_url,
        }
        self._probes = services.ready_urls(self._ports) | {
            "kafka": f"kafka://{bootstrap}",
            "postgres": database_url,
        }

    def stop(self) -> None:
        """Stop the stack: gracefully if it is ready, else by exiting at once."""
        if self._phase == state.STARTING:
            self._home.state.unlink(missing_ok=True)
            os._exit(1)
        self._stop.put(None)

    def start(self) -> None:
        """Start everything. Raises StackError if something does not start."""
        self._write_state()
        _all_at_once([self._start_database, self._start_broker])
        _all_at_once([partial(_start, service) for service in self._services])
        self._phase = state.READY
        self._write_state()

    def watch(self) -> None:
        """Restart processes that end unexpectedly; after `stop`, stop everything in order."""
        restarters = [Restarter(target) for target in self._targets()]
        while not self._should_stop():
            restarted = [r for r in restarters if r.check(time.monotonic())]
            if restarted:
                self._write_state()
        self._phase = state.STOPPING
        self._write_state()
        ingest, *workers = self._services
        ingest.stop()
        _all_at_once([worker.stop for worker in workers])
        if self._kafka:
            self._kafka.stop()
        if self._postgres:
            self._postgres.stop()
        self._home.state.unlink(missing_ok=True)

    def _should_stop(self) -> bool:
        """Wait until `stop` is called, at most until the next check; return whether it was."""
        try:
            self._stop.get(timeout=_CHECK_SECONDS)
        except Empty:
            return False
        return True

    def _start_database(self) -> None:
        if self._postgres:
            _start(self._postgres)
        self._run("migrate", "migrate")
        for command, file in (
            (services.ENSURE_KEY, self._home.api_key),
            (services.ENSURE_PUBLISHABLE_KEY, self._home.publishable_key),
        ):
            self._run(file.name, *command, "--secret-file", str(file))

    def _start_broker(self) -> None:
        if self._kafka:
            if kafka_jars.fetched(jar_cache()) is None:
                with _step("download of Kafka, 45 MB, only this once"):
                    kafka_jars.fetch(jar_cache(), self._home)
            _start(self._kafka)
        self._run("topics", "topics")

    def _run(self, name: str, *arguments: str) -> None:
        with _step(name):
            command = [*self._cli, *arguments]
            run(self._home, name, command, env=self._env, timeout=_COMMAND_SECONDS)

    def _targets(self) -> list[Startable]:
        servers = [server for server in (self._postgres, self._kafka) if server]
        return [*servers, *self._services]

    def _write_state(self) -> None:
        processes = {target.name: target.process for target in self._targets()}
        info = None
        if self._phase != state.STARTING:
            info = StackInfo(
                ingest_url=self._addresses["ingest"],
                api_url=self._addresses["api"],
                console_url=self._addresses["console"],
                database_url=self._addresses["postgres"],
                kafka_bootstrap=self._addresses["kafka"],
                api_key=self._home.api_key.read_text().strip(),
                publishable_key=self._home.publishable_key.read_text().strip(),
                metrics=services.metrics_urls(self._ports),
            )
        rows = [
            ProcessState(
                name,
                address,
                self._probes[name],
                ours=name in processes,
                pid=process.pid if process else None,
                started_at=process.started_at if process else None,
            )
            for name, address in self._addresses.items()
            for process in [processes.get(name)]
        ]
        state.write(self._home, State(self._phase, os.getpid(), info, rows))


def _all_at_once(tasks: list[Callable[[], None]]) -> None:
    """Run all tasks in parallel; raise the first error without waiting for the others."""
    pool = ThreadPoolExecutor(max_workers=len(tasks))
    futures = [pool.submit(task) for task in tasks]
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    pool.shutdown(wait=False)
    for future in done:
        future.result()


def _start(target: Startable) -> None:
    with _step(target.name):
        target.start()


@contextmanager
def _step(name: str) -> Iterator[None]:
    begun = time.monotonic()
    _report(begin=name)
    yield
    seconds = time.monotonic() - begun
    _log.info("%s: done in %.1f s", name, seconds)
    _report(done=name, seconds=seconds)


def _report(**event: object) -> None:
    # The process that started the stack may be gone: the lifeline notices that, not this.
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(event).encode() + b"\n")


def _end_with_lifeline() -> None:
    if not os.read(0, 1):
        _log.info("the process that started this stack is gone")
        while True:  # the main thread may miss a signal just before it waits for a lock
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)


def _claimed(home: Home, *, usual: bool) -> AbstractContextManager[dict[str, int]]:
    """Claim all ports; with `usual`, the well-known ones if they are free."""
    fixed = services.fixed_ports(os.environ)
    return ports.claimed(
        list(ports.USUAL), home.ports, usual=ports.USUAL if usual else {}, fixed=fixed
    )


def main(root: str, options: str) -> int:
    """Run the stack of the home `root` until stopped; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    threading.Thread(target=_end_with_lifeline, daemon=True).start()
    home = Home(Path(root))
    cli, usual_ports = itemgetter("cli", "usual_ports")(json.loads(options))
    try:
        with home.owned(_FORMER_OWNER_SECONDS), _claimed(home, usual=usual_ports) as claimed:
            supervisor = Supervisor(home, cli, claimed)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, lambda *_: supervisor.stop())
            try:
                supervisor.start()
            except StackError as error:
                _log.error("%s", error)
                _report(failed=str(error))
                supervisor.stop()
            _report(ready=True)
            supervisor.watch()
    except StackError as error:
        _report(failed=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
