"""A fake source whose driver returns any Python value, or raises for chosen users."""

from collections.abc import Mapping, Sequence
from typing import Any

from decoration.dialects import Chunks
from merganser.rulebook.language import Query


class FakeSource:
    """Replaces `dialects.execute_query`, which queries a database."""

    def __init__(self, plans: Mapping[str, Any]) -> None:
        self.plans = plans
        """The plan of each user. The driver raises a value that is an exception."""
        self.ids: dict[str, Any] = {}
        """The values of the id column that are not the userId itself, by userId."""
        self.calls = 0

    def execute_query(
        self, _: object, __: Query, user_ids: Sequence[str]
    ) -> tuple[tuple[str, ...], Chunks]:
        """Return the column names and chunks of three rows, as `dialects.execute_query` does."""
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


class Unreadable:
    """A value whose conversion to text fails."""

    def __str__(self) -> str:
        raise MemoryError


class WithoutText:
    """A value whose only text is its memory address."""


def build_cyclic_list() -> list[Any]:
    """Return a list that contains itself."""
    items: list[Any] = []
    items.append(items)
    return items


def build_nested_lists(levels: int) -> list[Any]:
    """Return lists nested this deep."""
    items: list[Any] = []
    for _ in range(levels):
        items = [items]
    return items
