"""Replaces `merganser` in tests of the local stack: the same commands, which do almost nothing.

It imports little because the tests run it hundreds of times.
"""

import os
import signal
import socket
import sys
from contextlib import suppress

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def serve(name: str, port: int) -> None:
    """Answer each HTTP request on the port with 200, until SIGTERM."""
    signal.signal(signal.SIGTERM, stop)
    try:
        with socket.create_server(("127.0.0.1", port)) as server:
            print(f"{name} is listening", flush=True)  # noqa: T201 -- its log
            while True:
                connection, _ = server.accept()
                with suppress(OSError), connection:  # the client may have disconnected
                    connection.recv(65_536)
                    connection.sendall(OK)
    except Stopped:
        print(f"{name} has ended in order", flush=True)  # noqa: T201


class Stopped(BaseException):
    """SIGTERM has arrived."""


def stop(*_: object) -> None:
    raise Stopped


def main(command: str, *arguments: str) -> None:
    if command == os.environ.get("STANDIN_FAILS"):
        sys.exit(f"{command} fails on purpose")
    if port := os.environ.get(f"MERGANSER_{command.upper()}_METRICS_PORT"):
        serve(command, int(port))
    elif arguments[:1] == ("login",):
        print("http://standin/login/once")  # noqa: T201
    elif command == "keys":
        secret = arguments[-1]
        if not os.path.exists(secret):  # noqa: PTH110 -- importing pathlib takes longer
            with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:  # noqa: PTH123
                file.write("secret-of-the-standin\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
