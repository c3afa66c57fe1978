"""Random events: shared devices, late links, equal times, keys of both kinds, placeholder ids."""

import uuid
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import strategies as st

from tests.identity.reference import SentEvent

START = datetime(2026, 1, 1, tzinfo=UTC)

# Few ids and few times, so that they often repeat. "a" and "b" are both userIds and anonymousIds.
PUBLISHABLE = 0.5
"""Share of the events of `hostile` that come over a publishable key."""
USERS = ["a", "b", "u1", "u2", None, None, "null", "0"]
DEVICES = ["a", "b", "d1", "d2", "d3", None, "undefined", "ANONYMOUS"]


def guid_of(number: int) -> str:
    """Return the guid of an event; guids are not in the order of their numbers."""
    return f"evt_{uuid.UUID(int=Random(number).getrandbits(128), version=4)}"


_SECONDS = st.integers(0, 6)


@st.composite
def histories(draw: st.DrawFn, most: int = 24) -> list[SentEvent]:
    """Draw up to `most` events of a few people at a few times."""
    ids = draw(
        st.lists(
            st.tuples(
                _SECONDS, st.sampled_from(USERS), st.sampled_from(DEVICES), st.none() | _SECONDS
            ),
            max_size=most,
        )
    )
    return [
        SentEvent(
            guid_of(number),
            at(second),
            user_id,
            anonymous_id,
            None if received is None else at(received),
        )
        for number, (second, user_id, anonymous_id, received) in enumerate(ids)
    ]


def at(second: int) -> datetime:
    """Return a time of a history."""
    return START + timedelta(seconds=second)


@st.composite
def deliveries(draw: st.DrawFn, most: int = 24) -> tuple[list[SentEvent], list[list[SentEvent]]]:
    """Draw events and batches of them: in any order, of any size.

    Some events are repeated, those over publishable keys with other times of receipt.
    """
    history = draw(histories(most))
    repeated = (
        draw(st.lists(st.tuples(st.sampled_from(history), _SECONDS), max_size=8)) if history else []
    )
    history += [
        event._replace(received_at=event.received_at and at(second)) for event, second in repeated
    ]
    order = draw(st.permutations(history))
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=8)))
    batches = [order[start:end] for start, end in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    return history, batches


def hostile(random: Random, events: int, people: int) -> list[SentEvent]:
    """Return many events: chains of devices, shared devices, earlier links that arrive late.

    Each person has some own devices and shares some with strangers; most events carry
    only the device, as before a sign-in.
    """
    history = []
    for _ in range(events):
        person = random.randrange(people)
        device = random.choice(
            [f"own-{person}-{random.randrange(3)}", f"shared-{person // 3}", f"{person}"]
        )
        user_id = f"{person}" if random.random() < 0.15 else None
        anonymous_id: str | None = device
        if random.random() < 0.05:
            anonymous_id = random.choice(["null", "", "undefined", None])
            user_id = user_id or f"{person}"
        moment = at(random.randrange(1, 2000))
        received = at(random.randrange(1, 2000)) if random.random() < PUBLISHABLE else None
        history.append(
            SentEvent(guid_of(random.getrandbits(64)), moment, user_id, anonymous_id, received)
        )
    return history
