"""What `merganser up`, `status`, `logs` and `down` do. Each function returns an exit code."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import wraps
from typing import ParamSpec

import psutil

from dev.stack import console_login, locks, output, state
from dev.stack import logs as log_files
from dev.stack.errors import StackError
from dev.stack.home import Home, default_home
from dev.stack.launch import MERGANSER, Launch, launched

_OTHER_COMMAND_SECONDS = 600.0
_OTHER_COMMAND = (
    "Another `merganser up` or `down` has been running for 10 minutes; stop it and try again."
)
_STOP_SECONDS = 90.0

OK = 0
FAILED = 1
NOT_RUNNING = 3
INTERRUPTED = 130

_P = ParamSpec("_P")


def _report_errors(command: Callable[_P, int]) -> Callable[_P, int]:
    """Turn StackError into a message and an exit code."""

    @wraps(command)
    def reported(*args: _P.args, **kwargs: _P.kwargs) -> int:
        try:
            return command(*args, **kwargs)
        except StackError as error:
            output.error(str(error))
            return FAILED
        except KeyboardInterrupt:
            output.say("Interrupted.")
            return INTERRUPTED

    return reported


@_report_errors
def up(*, json: bool = False, cli: Sequence[str] = MERGANSER, usual_ports: bool = True) -> int:
    """Start the stack and leave it running; print its addresses, with `json` as one JSON object.

    If it is already running, only print them. `cli` is the command line that
    runs `merganser`; without `usual_ports` all ports are random.
    """
    home = Home(default_home())
    with locks.holding(home.command_lock, _OTHER_COMMAND_SECONDS, _OTHER_COMMAND):
        current = state.read(home)
        if current and current.phase == state.READY and current.info:
            info = current.info
        else:
            with (
                output.progress() as on_event,
                launched(home, cli=cli, usual_ports=usual_ports, on_event=on_event) as launch,
            ):
                launch.hand_over()
            info = launch.info
    output.show_info(info, console_login.create_link(info, cli), json=json)
    return OK


@_report_errors
def run(
    then: Callable[[Launch], object] = Launch.wait,
    *,
    cli: Sequence[str] = MERGANSER,
    usual_ports: bool = True,
) -> int:
    """Start the stack, print its addresses, call `then`, and stop the stack.

    It also stops on Ctrl-C and whenever this process ends.
    """
    home = Home(default_home())
    with ExitStack() as until_end:
        with output.progress() as on_event:
            launch = until_end.enter_context(
                launched(home, cli=cli, usual_ports=usual_ports, on_event=on_event)
            )
        output.show_info(launch.info, console_login.create_link(launch.info, cli), json=False)
        output.say("Ctrl-C stops everything.")
        then(launch)
    return OK


@_report_errors
def status() -> int:
    """Print the processes' states; return 0 if all are running and ready, else 3."""
    current = state.read(Home(default_home()))
    if current is None:
        output.say("Nothing is running. `merganser up` starts it.")
        return NOT_RUNNING
    return OK if output.show_status(current) else NOT_RUNNING


@_report_errors
def logs(name: str | None = None, *, follow: bool = False) -> int:
    """Print the end of the log `name`, or of all; with `follow`, continue until Ctrl-C."""
    log_files.show(Home(default_home()), name, follow=follow)
    return OK


@_report_errors
def down(*, wipe: bool = False) -> int:
    """Stop the stack if it is running. With `wipe`, delete its data and logs.

    This keeps Kafka's jars, the ports and the API keys, which the next `up` stores again.
    """
    home = Home(default_home())
    if not home.root.exists():
        output.say("Nothing is running.")
        return OK
    with locks.holding(home.command_lock, _OTHER_COMMAND_SECONDS, _OTHER_COMMAND):
        current = state.read(home)
        if current:
            output.say("Stopping…")
            _stop(home, current.supervisor)
        with home.owned():
            home.state.unlink(missing_ok=True)
            if wipe:
                for folder in (home.kafka, home.postgres, home.logs):
                    shutil.rmtree(folder, ignore_errors=True)
    output.say("Stopped." if current else "Nothing is running.")
    if wipe:
        output.say("Data and logs are deleted.")
    return OK


def _stop(home: Home, supervisor: int) -> None:
    """Stop the supervisor, gracefully if possible; return when it has ended."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(supervisor)
        for stop, seconds in ((process.terminate, _STOP_SECONDS), (process.kill, 5.0)):
            stop()
            fd = locks.acquire(home.owner_lock, seconds)
            if fd is not None:
                os.close(fd)
                _wait_until_ended(process)
                return
        raise StackError(f"The supervisor, process {supervisor}, cannot be killed.")


def _wait_until_ended(process: psutil.Process) -> None:
    """Wait until a process that owns nothing any more has ended."""
    # A zombie has ended, although its parent may never collect it.
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.02)
