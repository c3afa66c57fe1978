"""Realistic events: four data values, Zipf-distributed people, some signed in, some signing in."""

import hashlib
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

SIGN_IN_AFTER = 10_000
"""Events between the first one of a device and its sign-in: by then the device has a profile, and
signing in is a merge."""

PATHS = [
    f"/products/{kind}/{number}" for kind in ("mugs", "plates", "bowls") for number in range(9)
]
CAMPAIGNS = ["newsletter", "spring-sale", "brand", "retargeting"]


def device(number: int) -> str:
    """The anonymousId of a device; `md5(number::text)::uuid` makes the same one in SQL."""
    return str(uuid.UUID(hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()))


def events(
    count: int, merges: float = 0.02, seed: int = 1, people: int | None = None
) -> Iterator[Event]:
    """So many events, the same ones for the same seed, but for guids and times.

    Args:
        count: how many.
        merges: share of events in which somebody signs in for the first time on a device that was
            seen before; as many events are the first of a device.
        seed: of the random generator.
        people: how many there are; a quarter of the events if not given. Person n has device n;
            devices past them are second ones.
    """
    random = Random(seed)
    now = datetime.now(UTC)
    guids = guid.series(7, guid.EVENT, time.time_ns() // 1_000_000)
    producer = guid.API_KEY + guid.uuid7(time.time_ns() // 1_000_000)
    people = people or count // 4
    second = people
    known: set[int] = set()
    strangers: deque[tuple[int, int, int]] = deque()  # since when, whose, which device
    linked: list[tuple[int, int]] = []
    for number in range(count):
        user_id = None
        person = own = min(int(random.paretovariate(0.6)), people)
        kind = random.random()
        if kind < merges:
            if strangers and strangers[0][0] <= number - SIGN_IN_AFTER:
                _, person, own = strangers.popleft()
                linked.append((person, own))
                user_id = f"user-{person}"
        elif kind < 2 * merges:
            second = own = second + 1
        elif kind < merges + SIGNED_IN and linked:
            person, own = random.choice(linked)
            user_id = f"user-{person}"
        if own not in known and user_id is None:
            known.add(own)
            strangers.append((number, person, own))
        yield {
            "guid": next(guids),
            "producerGuid": producer,
            "ipAddress": f"203.0.113.{random.randrange(256)}",
            "createdAt": now,
            "occurredAt": now + timedelta(milliseconds=number),
            "type": "pageview",
            "userId": user_id,
            "anonymousId": device(own),
            "data": {
                "path": random.choice(PATHS),
                "referrer": "https://news.example.test/",
                "utm_campaign": random.choice(CAMPAIGNS),
                "price": f"{random.randrange(10_000) / 100:.2f}",
            },
        }
