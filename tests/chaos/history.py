"""What people do: event number `n` of a seed is the same event whenever it is asked for.

So nobody has to remember the events: clients send them, and the verdict asks for them again.
"""

import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

START = datetime(2026, 1, 1, tzinfo=UTC)

TEXTS = ["", "plain", "a\tb\nc\\d", "Grüße, 世界 🦆", '"quoted"', "\\N", "NULL", "{}", "'; --"]
"""What has broken a COPY, a CSV or an SQL statement somewhere."""


class Happening(NamedTuple):
    """One event as its client knows it."""

    number: int
    type: str
    user_id: str | None
    anonymous_id: str | None
    occurred_at: datetime
    data: dict[str, Any]

    def body(self, message_id: str | None) -> dict[str, Any]:
        """What a client sends."""
        said = {
            "type": self.type,
            "userId": self.user_id,
            "anonymousId": self.anonymous_id,
            "occurredAt": self.occurred_at.isoformat(),
            "messageId": message_id,
            "data": self.data,
        }
        return {name: value for name, value in said.items() if value is not None}

    def stored(self) -> dict[str, str]:
        """The rows of eventData, by key."""
        return {
            key: value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
            for key, value in self.data.items()
            if value is not None
        }


def happening(seed: int, number: int) -> Happening:
    """The event of this number: visitors on own and shared devices, who sign in now and then.

    Most events are of people who came lately, so that merges happen all the time; some are of
    anybody before. Times are in no order, and many are equal.
    """
    random = Random(f"{seed} {number}")
    newest = number // 10 + 1  # not 0, which means nobody
    person = max(newest - int(random.expovariate(0.02)), 1)
    if random.random() < 0.05:
        person = random.randint(1, newest)
    device: str | None = random.choice(
        # A user's id is also an anonymousId: the two kinds must not be mixed up.
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
    return Happening(
        number=number,
        type=random.choice(["record", "row", "pageview"]),
        user_id=user_id,
        anonymous_id=device,
        occurred_at=START + timedelta(seconds=random.randrange(3600)),
        data=data,
    )
