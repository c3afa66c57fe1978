"""Realistic events: four data values, Zipf-distributed people, some signed in, some signing in."""

import time
import uuid
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

from schemas import guid
from schemas.event import Event

SIGNED_IN = 0.10
"""Share of events that carry a userId."""

PATHS = [
    f"/products/{kind}/{number}" for kind in ("mugs", "plates", "bowls") for number in range(9)
]
CAMPAIGNS = ["newsletter", "spring-sale", "brand", "retargeting"]


def events(count: int, merges: float = 0.02, seed: int = 1) -> Iterator[Event]:
    """So many events, the same ones for the same seed.

    Args:
        count: how many.
        merges: share of events in which somebody signs in for the first time on a device that was
            seen before.
        seed: of the random generator.
    """
    random = Random(seed)
    now = datetime.now(UTC)
    guids = guid.series(7, guid.EVENT, time.time_ns() // 1_000_000)
    producer = guid.API_KEY + guid.uuid7(time.time_ns() // 1_000_000)
    people = count // 4
    devices: dict[int, str] = {}
    strangers: deque[int] = deque()
    linked: list[int] = []
    for number in range(count):
        user_id = None
        person = min(int(random.paretovariate(0.6)), people)
        kind = random.random()
        if kind < merges and strangers:
            person = strangers.popleft()
            linked.append(person)
            user_id = f"user-{person}"
        elif kind < SIGNED_IN and linked:
            person = random.choice(linked)
            user_id = f"user-{person}"
        if person not in devices:
            devices[person] = str(uuid.UUID(int=random.getrandbits(128), version=4))
            strangers.append(person)
        yield {
            "guid": next(guids),
            "producerGuid": producer,
            "ipAddress": f"203.0.113.{random.randrange(256)}",
            "createdAt": now,
            "occurredAt": now + timedelta(milliseconds=number),
            "type": "pageview",
            "userId": user_id,
            "anonymousId": devices[person],
            "data": {
                "path": random.choice(PATHS),
                "referrer": "https://news.example.test/",
                "utm_campaign": random.choice(CAMPAIGNS),
                "price": f"{random.randrange(10_000) / 100:.2f}",
            },
        }
