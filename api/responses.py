"""The shapes of all answers, for the OpenAPI document, and how they are written as JSON.

Numbers among the properties stay as they are stored: 0.10 is not 0.1, and 9007199254740993 is no
float. So answers are written by `schemas.exact_json`, from plain values.

No answer has more than 16 MiB: a page ends with the entry with which it comes to `MOST_BYTES`, and
an entry has no more than `MOST_OF_ONE` of what may be of any length or number, to which JSON's
escapes can add five times as much.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.responses import Response

from schemas import exact_json

MOST_BYTES = 8 << 20
"""Of a page, after which it ends with the entry that exceeds them."""

MOST_OF_ONE = 1 << 20
"""Of an event's data, or of a profile's properties; also of a single value."""

_DEEPEST = 32
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")

Scalar = str | int | float | bool


class Answer(BaseModel):
    """Part of an answer."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class Fault(Answer):
    """What went wrong, and with which parameters."""

    code: str
    message: str
    fields: dict[str, str]


class Error(Answer):
    """Code and message twice: some clients read the top, some the inner object."""

    code: str
    message: str
    error: Fault


class Event(Answer):
    """An event with its data."""

    guid: str
    type: str
    producer_guid: str | None
    profile_guid: str | None
    ip_address: str | None
    user_id: str | None
    anonymous_id: str | None
    created_at: AwareDatetime
    occurred_at: AwareDatetime | None
    updated_at: AwareDatetime
    data: dict[str, str]
    more_data: bool = Field(
        description="Whether something was left out: data beyond 1,000 rows or 1 MiB, or an "
        "ipAddress, a producerGuid or a profileGuid of more than 512 bytes."
    )


class EventPage(Answer):
    """Events, newest first. A page may be short or empty and still have a nextCursor."""

    events: list[Event]
    next_cursor: str | None


class OneEvent(Answer):
    """An event."""

    event: Event


class EventGuid(Answer):
    """Which event."""

    guid: str


class Deleted(Answer):
    """An event is gone."""

    success: Literal[True]
    event: EventGuid


class TypeSummary(Answer):
    """A type of events."""

    type: str
    first_occurred_at: AwareDatetime | None
    last_occurred_at: AwareDatetime | None
    count: int
    more_than_count: bool
    example: Event


class TypePage(Answer):
    """Types in the order of their names. A page may be short and still have a nextCursor."""

    types: list[TypeSummary]
    next_cursor: str | None


class TypeNames(Answer):
    """Types that contain a text; `more` says whether there may be others."""

    types: list[str]
    more: bool


class BucketCount(Answer):
    """Events of one type in one bucket, named by its start."""

    at: AwareDatetime
    count: int


class TypeCounts(Answer):
    """A type's buckets; those without events are left out."""

    type: str
    count: int
    buckets: list[BucketCount]


class EventCounts(Answer):
    """Events by type and time; `moreTypes` says whether there are types beside these."""

    model_config = ConfigDict(
        alias_generator=lambda name: {"since": "from", "until": "to"}.get(name, to_camel(name))
    )

    since: AwareDatetime
    until: AwareDatetime
    bucket: str
    types: list[TypeCounts]
    more_types: bool


class Profile(Answer):
    """A profile with its properties, each typed as its rule says."""

    guid: str
    user_id: str | None
    anonymous_ids: list[str]
    more_anonymous_ids: bool
    created_at: AwareDatetime
    updated_at: AwareDatetime
    properties: dict[str, Scalar | list[Scalar]]
    more_properties: bool = Field(
        description="Whether some were left out: values beyond 5,000 or 1 MiB."
    )


class ProfilePage(Answer):
    """Profiles in the order of their guids. A page may be short and still have a nextCursor."""

    profiles: list[Profile]
    next_cursor: str | None


class OneProfile(Answer):
    """A profile; mergedFrom is the guid that was asked for, where it merged into this one."""

    profile: Profile
    merged_from: str | None


class Merge(Answer):
    """An anonymousId that came to a user."""

    created_at: AwareDatetime
    anonymous_id: str
    event_guid: str
    reason: Literal["claimed", "merged", "moved"]
    user_id: str
    loser_guid: str | None
    survivor_guid: str


class MergePage(Answer):
    """Merges of a profile, newest first."""

    merges: list[Merge]
    next_cursor: str | None


class Explanations(Answer):
    """Why a profile is what it is, as `merganser explain` says it."""

    explanations: list[dict[str, Any]]


class Written(exact_json.Number):
    """A part of an answer that is JSON already: like a number, it is taken as it is."""


class First(NamedTuple):
    """As many of some entries as an answer holds, in their order; at least one, if there is one."""

    entries: list[Written]
    all: bool


class Answered(Response):
    """An answer, and whether something was left out of it because there is too much."""

    media_type = "application/json"
    cut = False


def first(entries: Iterable[Mapping[str, Any]]) -> First:
    """The entries up to the one with which they come to `MOST_BYTES` as JSON."""
    written: list[Written] = []
    total = 0
    for entry in entries:
        if total >= MOST_BYTES:
            return First(written, all=False)
        text = exact_json.as_text(plain(entry), _DEEPEST)
        total += len(text.encode())
        written.append(Written(text))
    return First(written, all=True)


def json(content: Mapping[str, Any], status: int = 200, *, cut: bool = False) -> Response:
    """An answer.

    Args:
        content: as JSON has it.
        status: of HTTP.
        cut: whether something was left out because there is too much.
    """
    text = exact_json.as_text(plain(content), _DEEPEST)
    answered = Answered(text.encode(), status)
    answered.cut = cut
    return answered


def plain(value: Any) -> Any:
    """Values as JSON has them: times in UTC as text, dataclasses as objects with camelCase."""
    match value:
        case datetime():
            return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
        case str():
            return value
        case Mapping():
            return {name: plain(part) for name, part in value.items()}
        case Sequence():
            return [plain(part) for part in value]
        case _ if dataclasses.is_dataclass(value):
            fields = dataclasses.fields(value)
            return {to_camel(field.name): plain(getattr(value, field.name)) for field in fields}
        case _:
            return value


def typed(text: str, kind: str | None) -> str | bool | exact_json.Number:
    """A property's value as its rule's type has it; what does not fit stays text."""
    match kind:
        case "integer" | "float" if _NUMBER.fullmatch(text):
            return exact_json.Number(text)
        case "boolean" if text in {"true", "false"}:
            return text == "true"
        case _:
            return text
