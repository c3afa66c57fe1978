"""Take the pictures of docs/console.md from a real run: `python -m dev.console_pictures FOLDER`.

It starts a local stack, plays the demo story, sends events for some time and opens the console in
Chromium. `make console-pictures` installs what that needs.
"""

import asyncio
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import psycopg
from aiokafka import AIOKafkaProducer

from dev import story
from dev.stack import StackInfo, run_stack
from dev.stack.console_login import create_link
from dev.stack.launch import MERGANSER
from merganser.cli.terminal import fail
from merganser.runtime.settings import Settings
from schemas.event import VERSION_HEADER

SECONDS = 150
"""Of traffic before the pictures: the overview shows the last minutes."""

TICK = 0.25
"""Seconds between batches."""

SIGN_INS = 0.05
"""Of all events."""

REFUSED = 0.5
"""Invalid events, per batch."""

BAD_RECORDS = (
    b"not json",
    b'{"guid": "evt_01a220e2-193b-79c4-bc2d-0327898f41fb", "type": 1}',
    b'{"guid": "evt_01a220e2-193b-79c4-bc2d-0327898f41fc", "type": 2}',
    b'{"guid": "evt_01a220e2-193b-79c4-bc2d-0327898f41fd", "type": "pageview", "data": 3}',
)
"""They become dead letters."""

_DRIVER = Path(__file__).parents[1] / "tests" / "console" / "browser" / "pictures.mjs"
_TYPES = ("pageview", "pageview", "pageview", "item-added-to-cart", "purchase")
_PROFILE = "SELECT guid FROM profiles WHERE \"userId\" = '123'"
_EVENT = "SELECT guid FROM events WHERE \"userId\" = '123' AND type = 'sign-in'"


def main(folder: Path) -> None:
    """Take the pictures into a folder."""
    chromium = shutil.which("chromium") or fail("there is no Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as home, run_stack(Path(home)) as info:
        story.play_story(info)
        with psycopg.connect(info.database_url) as database:
            profile, event = (
                (database.execute(query).fetchone() or ("",))[0] for query in (_PROFILE, _EVENT)
            )
        pages = {
            "overview": "/",
            "live": "/live",
            "profile": f"/profiles/{profile}",
            "event": f"/events/{event}",
            "rules": "/rules",
            "dead-letters": "/dead-letters",
        }
        asyncio.run(_publish_bad_records(info))
        Thread(target=_send_events, args=[info], daemon=True).start()
        time.sleep(SECONDS)
        subprocess.run(
            [
                *("node", _DRIVER, chromium, info.console_url, create_link(info, MERGANSER)),
                *(f"{folder / f'console-{name}'}={path}" for name, path in pages.items()),
            ],
            check=True,
        )


async def _publish_bad_records(info: StackInfo) -> None:
    """Publish records that cannot be processed."""
    topic = Settings.model_fields["topic"].default
    async with AIOKafkaProducer(bootstrap_servers=info.kafka_bootstrap) as producer:
        for value in BAD_RECORDS:
            await producer.send_and_wait(topic, value, headers=[VERSION_HEADER])


def _send_events(info: StackInfo) -> None:
    """Send events of visitors, some of whom sign in, until the stack stops."""
    chance, start = random.Random(1), time.monotonic()  # noqa: S311 - made-up people
    with (
        suppress(httpx.HTTPError),
        httpx.Client(headers={"Authorization": f"Bearer {info.api_key}"}) as http,
    ):
        while True:
            count = 12 + round(8 * math.sin((time.monotonic() - start) / 12))
            body = {"events": [_event(chance) for _ in range(count)]}
            http.post(f"{info.ingest_url}/api/v1/batch", json=body).raise_for_status()
            if chance.random() < REFUSED:
                http.post(f"{info.ingest_url}/api/v1/track", json={"type": "", "userId": "user-1"})
            time.sleep(TICK)


def _event(chance: random.Random) -> dict[str, Any]:
    visitor = chance.randrange(200)
    if chance.random() < SIGN_INS:
        return {
            "type": "sign-in",
            "anonymousId": f"visitor-{visitor}",
            "userId": f"user-{visitor % 80}",
        }
    kind = chance.choice(_TYPES)
    data = (
        {"path": f"/mugs/{visitor % 9}"} if kind == "pageview" else {"sku": "mug-7", "price": 12.5}
    )
    return {"type": kind, "anonymousId": f"visitor-{visitor}", "data": data}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
