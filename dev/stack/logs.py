"""Read the logs of the processes."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from dev.stack import output
from dev.stack.errors import StackError
from dev.stack.home import Home

_TAIL_LINES = 50
_TAIL_BYTES = 65_536
_POLL_SECONDS = 0.2


@dataclass
class Tail:
    """An offset in a growing log."""

    path: Path
    _offset: int = 0
    _rest: bytes = field(default=b"")

    def last(self) -> list[str]:
        """Return the last lines, and go to the end."""
        self._offset = max(0, self.path.stat().st_size - _TAIL_BYTES)
        return self.more()[-_TAIL_LINES:]

    def more(self) -> list[str]:
        """Return the complete lines that were added since the last call."""
        with self.path.open("rb") as log:
            if log.seek(0, os.SEEK_END) < self._offset:  # the file was replaced
                self._offset = 0
            log.seek(self._offset)
            new = log.read()
        self._offset += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


def show(home: Home, name: str | None, *, follow: bool) -> None:
    """Print the end of one log, or of all with their names; with `follow`, also new lines.

    Raises StackError if the log does not exist.
    """
    logs = sorted(home.logs.glob("*.log"))
    if name is not None:
        names = [log.stem for log in logs]
        if name not in names:
            raise StackError(f"There is no log {name!r}; there are: {', '.join(names) or 'none'}.")
        logs = [home.log(name)]
    tails = [Tail(log) for log in logs]
    for tail in tails:
        _print(tail, tail.last(), named=name is None)
    while follow:
        time.sleep(_POLL_SECONDS)
        for tail in tails:
            _print(tail, tail.more(), named=name is None)


def _print(tail: Tail, lines: list[str], *, named: bool) -> None:
    for line in lines:
        output.log_line(tail.path.stem if named else None, line)
