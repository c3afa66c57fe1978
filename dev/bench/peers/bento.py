"""Install Bento with Go, and run it with a configuration of this folder."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.bench.gateway import Gateway
from dev.bench.processes import child, wait_until_ready
from dev.stack import Servers
from dev.stack.errors import StackError
from dev.stack.home import default_home
from dev.stack.ports import free_port
from merganser.runtime.settings import Settings

FOLDER = Path(__file__).parent


def install() -> Path:
    """Compile Bento if it is not compiled yet, which takes minutes, and return the program.

    `go.mod` has its version, and `go.sum` the hashes of all modules.

    Raises:
        StackError: Go is missing or fails.
    """
    go = shutil.which("go")
    if go is None:
        raise StackError(
            "`go` was not found; it compiles Bento. Install Go 1.22 or newer: https://go.dev/dl"
        )
    folder = default_home() / "peers"
    try:
        subprocess.run(
            [go, "install", "."], check=True, cwd=FOLDER, env=os.environ | {"GOBIN": str(folder)}
        )
    except subprocess.CalledProcessError as error:
        raise StackError(f"`go install` failed in {FOLDER}; its output is above.") from error
    return folder / "bento"


@contextmanager
def run(program: Path, name: str, servers: Servers, settings: Settings) -> Iterator[Gateway]:
    """Run Bento for the length of a `with` block.

    Args:
        program: of `install`.
        name: of the configuration, without `.yaml`.
        servers: with the broker.
        settings: with the topic.
    """
    port = free_port()
    env = os.environ | {
        "PORT": str(port),
        "KAFKA": servers.kafka_bootstrap,
        "TOPIC": settings.topic,
    }
    with child([str(program), "--config", str(FOLDER / f"{name}.yaml")], env) as started:
        wait_until_ready(f"http://127.0.0.1:{port}/ready")
        yield Gateway(port, started)
