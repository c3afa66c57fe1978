"""What a source is asked: rules with the same query share one question."""

from collections.abc import Iterable
from dataclasses import dataclass

from merganser.rulebook.language import Query
from merganser.rulebook.rule_store import StoredRule


@dataclass(frozen=True, slots=True)
class Question:
    """A query, and the rules whose values are in its answer."""

    query: Query
    """That of the first rule: what differs among them is the column."""
    rules: tuple[StoredRule, ...]

    @property
    def keys(self) -> list[str]:
        """The properties that it gives."""
        return [stored.rule.key for stored in self.rules]

    @property
    def revisions(self) -> list[int]:
        """The revisions of its rules."""
        return [stored.revision for stored in self.rules]


def questions(rules: Iterable[StoredRule]) -> dict[str, list[Question]]:
    """The questions of all rules that ask a source, by source."""
    groups: dict[tuple[str, str], list[tuple[Query, StoredRule]]] = {}
    for stored in rules:
        if query := stored.rule.query:
            groups.setdefault((query.source, query.sql), []).append((query, stored))
    found: dict[str, list[Question]] = {}
    for (source, _), group in groups.items():
        question = Question(group[0][0], tuple(stored for _, stored in group))
        found.setdefault(source, []).append(question)
    return found
