"""Measure the client and a plain loop of json.dumps and http.client, alternately, in one run.

`python bench.py [--events N] [--rounds N]`. Both send the same events, in batches of the same size,
to a server in another process. The server decompresses a body and responds as ingest does, without
parsing the events, so that the results are those of the client.
"""

import argparse
import gzip
import json
import subprocess
import sys
import time
import uuid
from datetime import datetime, timezone
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from statistics import median
from typing import Any

from merganser_client import Client

BATCH = 500
DATA: dict[str, Any] = {
    "path": "/mugs",
    "utm_source": "news",
    "price": 12.5,
    "title": "Mugs",
}


class Handler(BaseHTTPRequestHandler):
    """Responds with 200 and a result for each event, counted by its key messageId."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Accept a batch."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body.startswith(b"\x1f\x8b"):
            body = gzip.decompress(body)
        result = '{"success":true,"event":{"guid":"evt_00000000-0000-7000-8000-000000000000"}}'
        results = ",".join([result] * body.count(b'"messageId"'))
        content = f'{{"success":true,"events":[{results}]}}'.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Print nothing."""


def serve() -> None:
    """Print the port, and serve until the process is killed."""
    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def run_loop(port: int, events: int) -> float:
    """Return the seconds of a loop that creates and sends batches, and waits for each response."""
    connection = HTTPConnection("127.0.0.1", port)
    start = time.perf_counter()
    for first in range(0, events, BATCH):
        batch = [
            {
                "type": "pageview",
                "userId": str(number),
                "messageId": str(uuid.uuid4()),
                "occurredAt": datetime.now(timezone.utc).isoformat(),
                "data": DATA,
            }
            for number in range(first, min(first + BATCH, events))
        ]
        body = json.dumps({"apiKey": "key", "events": batch}).encode()
        connection.request("POST", "/api/v1/batch", body)
        json.loads(connection.getresponse().read())
    seconds = time.perf_counter() - start
    connection.close()
    return seconds


def run_client(port: int, events: int) -> tuple[float, float]:
    """Return the seconds until `track` returned for all events, and until all were delivered."""
    with Client("key", f"http://127.0.0.1:{port}", batch_size=BATCH, queue_bytes=1 << 30) as client:
        start = time.perf_counter()
        for number in range(events):
            client.track("pageview", user_id=number, data=DATA)
        returned = time.perf_counter() - start
        client.flush()
        delivered = time.perf_counter() - start
        if client.counts().delivered != events:
            sys.exit(f"events were not delivered: {client.counts()}")
    return returned, delivered


def main(events: int, rounds: int) -> None:
    """Run both alternately, and print rates and ratios."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        port = int(server.stdout.readline())
        try:
            measured = [(run_loop(port, events), *run_client(port, events)) for _ in range(rounds)]
        finally:
            server.kill()
    for name, column in (("track() returned", 1), ("delivered", 2)):
        ratios = sorted(seconds[0] / seconds[column] for seconds in measured)
        rate = events / median(seconds[column] for seconds in measured)
        print(
            f"{name}: {rate:,.0f} events/s, {median(ratios):.2f} of the loop's rate "
            f"({ratios[0]:.2f} - {ratios[-1]:.2f} in {rounds} rounds)"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help="run the server")
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
    else:
        main(arguments.events, arguments.rounds)
