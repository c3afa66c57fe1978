"""What clients sent and what they were told: the truth that the tables are held against."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Ledger:
    """All clients of one run. Events are known by their number in the history."""

    seed: int
    begun: int = 0
    """Numbers given out: all events below this were sent, or are about to be."""
    guids: dict[int, str] = field(default_factory=dict)
    """The guid of each acknowledged event: a 200, or a commit."""
    perhaps: set[int] = field(default_factory=set)
    """Events without messageId whose answer did not come: they may be there once, or not."""
    answers: Counter[str] = field(default_factory=Counter)
    """How requests ended: a status, `no answer`, `hung up`."""
    rows: int = 0
    """Acknowledged events that other systems inserted."""
    repeats: int = 0
    """Events that were sent again, for want of an answer or on purpose."""
    surprises: list[str] = field(default_factory=list)
    """What no client should ever be told."""

    def take(self, count: int) -> range:
        """Numbers for so many new events."""
        numbers = range(self.begun, self.begun + count)
        self.begun = numbers.stop
        return numbers

    def acknowledge(self, number: int, guid: str) -> None:
        """An event was answered with 200. One event has one guid, however often it is sent."""
        earlier = self.guids.setdefault(number, guid)
        if earlier != guid:
            self.surprises.append(f"event {number} was first {earlier}, then {guid}")

    @property
    def refused(self) -> int:
        """Requests that were not taken."""
        return sum(count for status, count in self.answers.items() if status != "200")
