"""Which TCP ports to use: those of the last run, else the usual ones, else free ones."""

import json
import random
import socket
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from stack.errors import StackError

USUAL = {
    "ingest": 8080,
    "api": 8081,
    "kafka": 9092,
    "kafka-controller": 9093,
    "postgres": 5432,
    "ingest-metrics": 9101,
    "resolver-metrics": 9102,
    "scanner-metrics": 9103,
    "properties-metrics": 9104,
    "api-metrics": 9105,
    "decoration-metrics": 9106,
}

# Below the range from which systems take the ports of outgoing connections: one of those, to the
# very port of a server that is just down, would connect to itself and keep the server from it.
_FREE_RANGE = range(15_000, 32_000)
_TRIES = 200


def is_free(port: int) -> bool:
    """Say whether a server could listen on `port` of 127.0.0.1 now."""
    with socket.socket() as probe:
        # A server on all addresses would not keep us from binding to this one on every system.
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


def free_port(taken: set[int]) -> int:
    """Return a random free port that is not in `taken`."""
    for _ in range(_TRIES):
        port = random.choice(_FREE_RANGE)  # noqa: S311 -- not a secret
        if port not in taken and is_free(port):
            return port
    raise StackError(f"No free TCP port found between {_FREE_RANGE.start} and {_FREE_RANGE.stop}.")


def choose(
    names: list[str],
    remembered: Path,
    *,
    usual: Mapping[str, int] = USUAL,
    fixed: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, int]:
    """Return a port per name, all different, and write the choice to the file `remembered`.

    A port in `fixed` is taken as it is. For the others the first free one counts: the remembered,
    the `usual`, a random one. Without usual ports nobody else is likely to want the same: that is
    for tests.
    """
    earlier: dict[str, int] = json.loads(remembered.read_text()) if remembered.exists() else {}
    chosen = {name: fixed[name] for name in names if name in fixed}
    for name in names:
        if name not in chosen:
            taken = set(chosen.values())
            wanted = [earlier.get(name), usual.get(name)]
            fitting = (port for port in wanted if port and port not in taken and is_free(port))
            chosen[name] = next(fitting, None) or free_port(taken)
    remembered.write_text(json.dumps(earlier | chosen, indent=2) + "\n")
    return chosen
