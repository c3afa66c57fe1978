"""Which ids a dead letter names.

A JSON object with the field `userId` or `anonymousId` names its ids there. Anything else may be any
bytes: each text between two quotes in its value, its key, and each header count as a userId and as
an anonymousId. Ids in other forms are not found, such as in a URL or in compressed bytes, and a
letter that is too large for its record has none.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from merganser.identity.person_ids import PersonIds
from schemas.dead_letter import DeadLetter
from schemas.event import LONGEST_ID
from schemas.ids import somebody

_BETWEEN_QUOTES = re.compile(rb'(?:[^"\\]|\\.)+', re.DOTALL)
"""The texts between quotes that are not escaped. It does not matter which quote opens a string."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""NUL, and halves of a character, which Postgres does not store."""

_LONGEST_ESCAPED = 12 * LONGEST_ID
"""Bytes of the longest id in JSON: a character has up to two escapes of six bytes."""


class LetterIds(NamedTuple):
    """The ids that a letter names."""

    user_ids: frozenset[str]
    anonymous_ids: frozenset[str]
    certain: bool
    """Whether they come from the fields of the ids. Otherwise a text may look like an id."""

    def names(self, person: PersonIds) -> bool:
        """Return whether the letter names an id of a person."""
        return not (
            self.user_ids.isdisjoint(person.user_ids)
            and self.anonymous_ids.isdisjoint(person.anonymous_ids)
        )

    def of_owner(self) -> "LetterIds":
        """Return the ids without the anonymousId of a user's event: it may be a shared device's."""
        if self.certain and self.user_ids:
            return self._replace(anonymous_ids=frozenset())
        return self


def read_ids(letter: DeadLetter, nobody_ids: frozenset[str]) -> LetterIds:
    """Return the ids that a letter names.

    Args:
        letter: with its key, value and headers.
        nobody_ids: ids that mean nobody, as `schemas.ids.folded` returns them.
    """
    fields = _read_fields(letter.value or b"")
    if fields is not None:
        user_ids, anonymous_ids = (_ids_among(field, nobody_ids) for field in fields)
        return LetterIds(user_ids, anonymous_ids, certain=True)
    texts = _read_texts(letter.value or b"")
    for raw in (letter.key, *(value for _, value in letter.headers)):
        if raw is not None and len(raw) <= 4 * LONGEST_ID:
            texts.add(raw.decode(errors="replace"))
    found = _ids_among(texts, nobody_ids)
    return LetterIds(found, found, certain=False)


def _read_fields(value: bytes) -> tuple[list[str], list[str]] | None:
    """Return userId and anonymousId of a JSON object; None if it is not an object with them."""
    try:
        parsed: Any = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(parsed, dict) or parsed.keys().isdisjoint({"userId", "anonymousId"}):
        return None
    return _to_text(parsed.get("userId")), _to_text(parsed.get("anonymousId"))


def _to_text(field: object) -> list[str]:
    return [] if field is None else [field if isinstance(field, str) else json.dumps(field)]


def _read_texts(value: bytes) -> set[str]:
    """Return the texts between quotes that may be an id."""
    texts = set()
    for part in set(_BETWEEN_QUOTES.findall(value)):
        if len(part) <= _LONGEST_ESCAPED:
            try:
                texts.add(json.loads(b'"' + part + b'"', strict=False))
            except ValueError:  # not UTF-8, or not JSON
                continue
    return texts


def _ids_among(texts: Iterable[str], nobody_ids: frozenset[str]) -> frozenset[str]:
    """Return the texts that a column of ids can have and that do not mean nobody."""
    return frozenset(
        text
        for text in texts
        if len(text) <= LONGEST_ID and somebody(text, nobody_ids) and not _UNSTORABLE.search(text)
    )
