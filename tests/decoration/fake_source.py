"""A source whose driver gives any value of Python, and fails where it is told to."""

from collections.abc import Mapping, Sequence
from typing import Any

from decoration.dialects import Chunks
from merganser.rulebook.language import Query


class FakeSource:
    """To stand for `statements.ask`, which asks a database."""

    def __init__(self, plans: Mapping[str, Any]) -> None:
        self.plans = plans
        """Of each user; an exception is what the driver raises for it."""
        self.ids: dict[str, Any] = {}
        """What stands where a user's id should."""
        self.calls = 0

    def ask(self, _: object, __: Query, user_ids: Sequence[str]) -> tuple[tuple[str, ...], Chunks]:
        """As `statements.ask`; the rows come in chunks of three."""
        self.calls += 1
        rows = [
            (self.ids.get(user_id, user_id), f"{user_id}@x.io", self.plans[user_id])
            for user_id in user_ids
            if user_id in self.plans
        ]
        return ("id", "email", "plan"), self._chunks(rows)

    def _chunks(self, rows: list[Any]) -> Chunks:
        for at in range(0, len(rows), 3):
            for row in rows[at : at + 3]:
                if isinstance(row[2], BaseException):
                    raise row[2]
            yield rows[at : at + 3]


class Unspeakable:
    """Reading its text fails."""

    def __str__(self) -> str:
        raise MemoryError


class Addressed:
    """Its text would be where it is in memory."""


def knot() -> list[Any]:
    """A list that has itself in it."""
    made: list[Any] = []
    made.append(made)
    return made


def nested(levels: int) -> list[Any]:
    """A list in a list in a list."""
    made: list[Any] = []
    for _ in range(levels):
        made = [made]
    return made
