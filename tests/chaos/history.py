"""The events that clients send: a seed and a number always give the same event.

So a long run does not have to keep its events in memory: clients generate them to send them, and
the comparison generates them again.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

START = datetime(2026, 1, 1, tzinfo=UTC)

TEXTS = ["", "plain", "a\tb\nc\\d", "Grüße, 世界 🦆", '"quoted"', "\\N", "NULL", "{}", "'; --"]
"""Values that break a COPY, a CSV or an SQL statement without correct quoting."""


class ClientEvent(NamedTuple):
    """One event as its client knows it."""

    type: str
    user_id: str | None
    anonymous_id: str | None
    occurred_at: datetime
    data: Mapping[str, Any]
    received_at: datetime | None = None
    """The earliest time of receipt over a publishable key, where the run decides it."""

    def body(self, message_id: str | None) -> dict[str, Any]:
        """Return the JSON object that a client sends."""
        fields = {
            "type": self.type,
            "userId": self.user_id,
            "anonymousId": self.anonymous_id,
            "occurredAt": self.occurred_at.isoformat(),
            "messageId": message_id,
            "data": self.data,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def stored_data(self) -> dict[str, str]:
        """Return the value of each row of `eventData`, by key."""
        return {
            key: value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
            for key, value in self.data.items()
            if value is not None
        }


def generate_event(seed: int, number: int) -> ClientEvent:
    """Return the event with this number: of a visitor on an own or a shared device.

    Most events are of recent people, so that merges happen all the time; some are of any earlier
    person. Times are in no order, and many are equal.
    """
    random = Random(f"{seed} {number}")
    newest = number // 10 + 1  # not 0, which means nobody
    person = max(newest - int(random.expovariate(0.02)), 1)
    if random.random() < 0.05:
        person = random.randint(1, newest)
    device: str | None = random.choice(
        # A userId is also an anonymousId: the system must not confuse the two kinds.
        [f"own-{person}-{random.randrange(3)}", f"shared-{person // 3}", f"{person}"]
    )
    user_id = f"{person}" if random.random() < 0.2 else None
    if user_id and random.random() < 0.3:
        device = None
    data = {
        "number": number,
        "text": random.choice(TEXTS),
        "price": random.randrange(10_000) / 100,
        "vip": random.random() < 0.5,
        "nothing": None,
        "cart": {"skus": [f"mug-{random.randrange(9)}"], "size": random.randrange(5)},
    }
    return ClientEvent(
        type=random.choice(["record", "row", "pageview"]),
        user_id=user_id,
        anonymous_id=device,
        occurred_at=START + timedelta(seconds=random.randrange(3600)),
        data=data,
    )
