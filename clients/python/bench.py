"""Measures the client beside a bare loop of json.dumps and http.client, in turn, in one run.

`python bench.py [--events N] [--rounds N]`. Both send the same events, in requests of as many, to
the same server in another process, which reads them, unpacks them and answers as a gateway does
without looking at an event: so the figures are the client's, and are a ratio to what Python does
with the least that could be written.
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
    """Answers 200 with a result for each event; counts them by a word that each has once."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Take a batch."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body.startswith(b"\x1f\x8b"):
            body = gzip.decompress(body)
        result = '{"success":true,"event":{"guid":"evt_00000000-0000-7000-8000-000000000000"}}'
        results = ",".join([result] * body.count(b'"messageId"'))
        answer = f'{{"success":true,"events":[{results}]}}'.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Be silent."""


def serve() -> None:
    """Say the port and serve until killed."""
    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def bare(port: int, events: int) -> float:
    """Seconds for a loop that makes each event, writes it and waits for each answer."""
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


def tracked(port: int, events: int) -> tuple[float, float]:
    """Seconds until `track` had returned for all events, and until all were delivered."""
    with Client("key", f"http://127.0.0.1:{port}", batch_size=BATCH, queue_bytes=1 << 30) as client:
        start = time.perf_counter()
        for number in range(events):
            client.track("pageview", user_id=number, data=DATA)
        returned = time.perf_counter() - start
        client.flush()
        delivered = time.perf_counter() - start
        if client.counts().delivered != events:
            sys.exit(f"not all were delivered: {client.counts()}")
    return returned, delivered


def main(events: int, rounds: int) -> None:
    """Measure and print."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        port = int(server.stdout.readline())
        try:
            measured = [(bare(port, events), *tracked(port, events)) for _ in range(rounds)]
        finally:
            server.kill()
    for name, column in (("track() returned", 1), ("delivered", 2)):
        ratios = sorted(seconds[0] / seconds[column] for seconds in measured)
        rate = events / median(seconds[column] for seconds in measured)
        print(
            f"{name}: {rate:,.0f} events/s, {median(ratios):.2f} of the bare loop's "
            f"({ratios[0]:.2f} - {ratios[-1]:.2f} in {rounds} rounds)"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help="be the server")
    chosen = parser.parse_args()
    if chosen.serve:
        serve()
    else:
        main(chosen.events, chosen.rounds)
