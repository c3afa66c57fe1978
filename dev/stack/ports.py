"""Choose TCP ports: those of the last run, else the usual ones, else free ones.

A server listens on its port only seconds after the choice, and another stack may choose meanwhile.
Therefore a stack claims its ports: it locks a file for each.
"""

import json
import os
import random
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import chain, cycle
from pathlib import Path
from types import MappingProxyType

from dev.stack import locks
from dev.stack.errors import StackError

USUAL = {
    "ingest": 8080,
    "api": 8081,
    "console": 8082,
    "kafka": 9092,
    "kafka-controller": 9093,
    "postgres": 5432,
    "ingest-metrics": 9101,
    "resolver-metrics": 9102,
    "scanner-metrics": 9103,
    "properties-metrics": 9104,
    "api-metrics": 9105,
    "decoration-metrics": 9106,
    "console-metrics": 9107,
}

# Below the range of ports for outgoing connections: such a connection to the port of a server that
# is down could connect to itself and block the port.
_FREE_RANGE = range(15_000, 24_000)
_BLOCKS = range(24_000, 32_000, 100)
_TRIES = 200
_NONE_LEFT = "No free TCP port found between {0.start} and {0.stop}."


def is_free(port: int) -> bool:
    """Return whether a server could listen on `port` of 127.0.0.1 now."""
    with socket.socket() as probe:
        # On some systems, binding succeeds although a server listens on all addresses.
        probe.settimeout(0.5)
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a free port, which no other process gets from here until this process ends.

    It returns a port again only after all others of this process' block.
    """
    block = _claimed_block()
    for _ in range(_BLOCKS.step):
        if is_free(port := next(block)):
            return port
    raise StackError(_NONE_LEFT.format(_BLOCKS))


@cache
def _claimed_block() -> Iterator[int]:
    """Claim a block of ports for the life of this process; return them again and again."""
    for start in random.sample(_BLOCKS, len(_BLOCKS)):
        if locks.acquire(_claim(f"block-{start}"), timeout=0) is not None:
            return cycle(range(start, start + _BLOCKS.step))
    raise StackError(_NONE_LEFT.format(_BLOCKS))


@contextmanager
def claimed(
    names: list[str],
    remembered: Path,
    *,
    usual: Mapping[str, int] = USUAL,
    fixed: Mapping[str, int] = MappingProxyType({}),
) -> Iterator[dict[str, int]]:
    """Claim a port per name, all different, for the length of a `with` block or of this process.

    No other stack of this user can claim the same port meanwhile, with or without a server on it.
    The choice is written to the file `remembered`.

    Ports in `fixed` are used unchanged. For the others, the first free one counts: the remembered,
    the `usual`, a random one. Tests pass no usual ports, to avoid conflicts. Raises StackError if
    another stack has a port in `fixed`.
    """
    earlier: dict[str, int] = json.loads(remembered.read_text()) if remembered.exists() else {}
    with ExitStack() as held:

        def claim(port: int, *, taken: bool) -> bool:
            fd = locks.acquire(_claim(f"port-{port}"), timeout=0)
            if fd is None:
                return False
            # Claim it before the check: a second stack then sees either the claim or the server.
            if taken or is_free(port):
                held.callback(os.close, fd)
                return True
            os.close(fd)
            return False

        chosen = {name: fixed[name] for name in names if name in fixed}
        for name, port in chosen.items():
            if not claim(port, taken=True):
                raise StackError(
                    f"Port {port}, set as the port of {name}, belongs to another stack or is set "
                    "twice; set another port, or stop that stack."
                )
        for name in names:
            if name not in chosen:
                wanted = (port for port in (earlier.get(name), usual.get(name)) if port)
                candidates = chain(wanted, random.sample(_FREE_RANGE, _TRIES))
                chosen[name] = next((p for p in candidates if claim(p, taken=False)), 0)
                if not chosen[name]:
                    raise StackError(_NONE_LEFT.format(_FREE_RANGE))
        remembered.write_text(json.dumps(earlier | chosen, indent=2) + "\n")
        yield chosen


def _claim(name: str) -> Path:
    """Return the file whose lock claims a port or a block, in a folder that this user owns."""
    folder = Path(tempfile.gettempdir(), f"merganser-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise StackError(
            f"{folder} belongs to another user; set TMPDIR to a directory of your own."
        )
    return folder / name
