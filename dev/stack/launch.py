"""Start a supervisor; it stops with this process unless it is handed over."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dev.stack import state
from dev.stack.errors import StackError
from dev.stack.home import Home
from dev.stack.state import StackInfo

MERGANSER: tuple[str, ...] = (sys.executable, "-P", "-m", "merganser.cli")
"""The command line that runs `merganser` itself."""

_STOP_SECONDS = 90.0

Event = dict[str, object]
"""Progress: {"begin": step} or {"done": step, "seconds": n}."""


class Launch:
    """A ready stack, which stops when this process ends unless it was handed over."""

    info: StackInfo

    def __init__(self, supervisor: "subprocess.Popen[bytes]") -> None:
        self.handed_over = False
        self._supervisor = supervisor

    def hand_over(self) -> None:
        """Let the stack run after this process ends, until `merganser down`."""
        if self._supervisor.stdin:
            self._supervisor.stdin.write(b"h")
            self.handed_over = True

    def wait(self) -> None:
        """Wait until another process stops the stack."""
        self._supervisor.wait()


@contextmanager
def launched(
    home: Home,
    *,
    cli: Sequence[str] = MERGANSER,
    usual_ports: bool = True,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Iterator[Launch]:
    """Start the whole stack; stop it at the end of the `with` block unless it was handed over.

    `cli` is the command line that runs `merganser`, `on_event` gets the progress.
    Raises StackError if the stack does not start.
    """
    home.logs.mkdir(parents=True, exist_ok=True)
    log = home.log("supervisor")
    options = json.dumps({"cli": list(cli), "usual_ports": usual_ports})
    with log.open("ab") as stderr:
        supervisor = subprocess.Popen(
            [sys.executable, "-P", "-m", "dev.stack.supervisor", str(home.root), options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            bufsize=0,
            env=_importable(os.environ),
            start_new_session=True,  # survives the terminal and does not get its Ctrl-C
        )
    launch = Launch(supervisor)
    try:
        launch.info = _follow(supervisor, home, on_event)
        yield launch
    finally:
        if not launch.handed_over:
            _end(supervisor, home)


@contextmanager
def run_stack(
    home: Path, *, usual_ports: bool = False, cli: Sequence[str] = MERGANSER
) -> Iterator[StackInfo]:
    """Run the whole stack for the length of a `with` block, or of this process's life.

    All data, logs and state stay in `home`. Raises StackError if the stack does not start.
    """
    with launched(Home(home.absolute()), cli=cli, usual_ports=usual_ports) as launch:
        yield launch.info


def _follow(
    supervisor: "subprocess.Popen[bytes]", home: Home, on_event: Callable[[Event], None]
) -> StackInfo:
    """Report the supervisor's progress until it is ready."""
    for line in supervisor.stdout or ():
        event = json.loads(line)
        if "failed" in event:
            raise StackError(event["failed"])
        if "ready" in event and (current := state.read(home)) and current.info:
            return current.info
        on_event(event)
    raise StackError(f"The supervisor has ended; {home.log('supervisor')} may say why.")


def _end(supervisor: "subprocess.Popen[bytes]", home: Home) -> None:
    """Stop the supervisor and return when all processes of the home have ended."""
    supervisor.terminate()
    try:
        supervisor.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()
    with home.owned():  # succeeds only when all have ended
        pass


def _importable(env: "os._Environ[str]") -> dict[str, str]:
    """Return `env` with this package importable from any directory."""
    here = str(Path(__file__).parents[2])
    return {**env, "PYTHONPATH": os.pathsep.join(filter(None, [here, env.get("PYTHONPATH")]))}
