"""The processes below a supervisor."""

from contextlib import suppress

import psutil

from tests.support.service import Service


def processes(service: Service) -> dict[str, psutil.Process]:
    """Return the running workers of a service, by name."""
    found: dict[str, psutil.Process] = {}
    for process in psutil.Process(service.pid).children():
        with suppress(psutil.NoSuchProcess):  # a zombie has no command line
            command = process.cmdline()
            if "-P" in command:  # before that, the new process is a copy of the supervisor
                found[command[-1]] = process
    return found
