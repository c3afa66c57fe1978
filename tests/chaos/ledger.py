"""What clients sent and how the system answered: the comparison checks the tables against it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tests.chaos.corrections import Corrections
from tests.chaos.history import ClientEvent, generate_event


@dataclass
class Ledger:
    """The acknowledged events of all clients of one run, by their number in its history."""

    event_of: Callable[[int], ClientEvent] = field(default=partial(generate_event, 1))
    """Returns the event with a number."""
    guids: dict[int, str] = field(default_factory=dict)
    """The guid of each acknowledged event: answered with 200, written by Kafka, or committed."""
    unanswered: set[int] = field(default_factory=set)
    """Events without a messageId that got no answer: each is stored once or not at all."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Requests by outcome: a status, the name of an error, or `hung up`."""
    slowest_refusal: float = 0.0
    """Seconds until the slowest answer other than 200."""
    rows: int = 0
    """Acknowledged events that were inserted as rows."""
    sent_again: int = 0
    """Events that were sent again, on purpose or because an answer was missing."""
    unexpected: list[str] = field(default_factory=list)
    """Answers that no client must ever get."""
    corrections: Corrections = field(default_factory=Corrections)
    """What the operator corrects meanwhile."""

    def __len__(self) -> int:
        return len(self.guids)

    def acknowledge(self, number: int, guid: str) -> None:
        """Record an acknowledged event. One event has one guid, however often it is sent."""
        earlier = self.guids.setdefault(number, guid)
        if earlier != guid:
            self.unexpected.append(f"event {number} first had the guid {earlier}, then {guid}")

    @property
    def failures(self) -> set[str]:
        """Outcomes other than 200."""
        return {outcome for outcome in self.outcomes if outcome != "200"}

    @property
    def refused(self) -> int:
        """Number of requests that were not answered with 200."""
        return sum(self.outcomes[outcome] for outcome in self.failures)
