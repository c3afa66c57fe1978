"""Stands in for `merganser`: the same commands as the local stack runs, doing next to nothing."""

import http.server
import os
import signal
import sys
import threading
from pathlib import Path

from dev.stack.services import NAMES


def serve(name: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    port = int(os.environ[f"MERGANSER_{name.upper()}_METRICS_PORT"])
    server = http.server.HTTPServer(("127.0.0.1", port), Handler)
    print(f"{name} is listening", flush=True)  # noqa: T201 -- its log
    server.serve_forever()
    print(f"{name} has ended in order", flush=True)  # noqa: T201


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


def main(command: str, *arguments: str) -> None:
    if command == os.environ.get("STANDIN_FAILS"):
        sys.exit(f"{command} fails on purpose")
    if command in NAMES:
        serve(command)
    elif command == "keys":
        secret = Path(arguments[-1])
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_text("secret-of-the-standin\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
