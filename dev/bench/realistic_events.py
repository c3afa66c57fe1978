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
"""Events between the first event of a device and its sign-in. By then the device has a profile, so
the sign-in is a merge."""

PATHS = [
    f"/products/{kind}/{number}" for kind in ("mugs", "plates", "bowls") for number in range(9)
]
CAMPAIGNS = ["newsletter", "spring-sale", "brand", "retargeting"]


def device(number: int) -> str:
    """Return the anonymousId of a device; `md5(number::text)::uuid` is the same in SQL."""
    return str(uuid.UUID(hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()))


def events(
    count: int, merges: float = 0.02, seed: int = 1, people: int | None = None
) -> Iterator[Event]:
    """Yield this many events; equal seeds give equal events, except for guids and times.

    Args:
        count: number of events.
        merges: share of events that are a first sign-in on a device with earlier events; as many
            events are the first of a device.
        seed: of the random generator.
        people: number of people; by default a quarter of the events. Person n has device n;
            higher numbers are second devices.
    """
    random = Random(seed)
    now = datetime.now(UTC)
    guids = guid.series(7, guid.EVENT, time.time_ns() // 1_000_000)
    producer = guid.API_KEY + guid.uuid7(time.time_ns() // 1_000_000)
    people = people or count // 4
    second = people
    known: set[int] = set()
    anonymous: deque[tuple[int, int, int]] = deque()  # (number of the first event, person, device)
    linked: list[tuple[int, int]] = []
    for number in range(count):
        user_id = None
        person = device_number = min(int(random.paretovariate(0.6)), people)
        kind = random.random()
        if kind < merges:
            if anonymous and anonymous[0][0] <= number - SIGN_IN_AFTER:
                _, person, device_number = anonymous.popleft()
                linked.append((person, device_number))
                user_id = f"user-{person}"
        elif kind < 2 * merges:
            second = device_number = second + 1
        elif kind < merges + SIGNED_IN and linked:
            person, device_number = random.choice(linked)
            user_id = f"user-{person}"
        if device_number not in known and user_id is None:
            known.add(device_number)
            anonymous.append((number, person, device_number))
        yield {
            "guid": next(guids),
            "producerGuid": producer,
            "ipAddress": f"203.0.113.{random.randrange(256)}",
            "createdAt": now,
            "occurredAt": now + timedelta(milliseconds=number),
            "type": "pageview",
            "userId": user_id,
            "anonymousId": device(device_number),
            "data": {
                "path": random.choice(PATHS),
                "referrer": "https://news.example.test/",
                "utm_campaign": random.choice(CAMPAIGNS),
                "price": f"{random.randrange(10_000) / 100:.2f}",
            },
        }
