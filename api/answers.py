"""The shapes of all answers, for the OpenAPI document, and how they are written as JSON.

Numbers among the properties stay as they are stored: 0.10 is not 0.1, and 9007199254740993 is no
float. So answers are written by `schemas.exact_json`, from plain values.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.responses import Response

from schemas import exact_json

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


def json(content: Mapping[str, Any], status: int = 200) -> Response:
    """An answer."""
    text = exact_json.as_text(plain(content), _DEEPEST)
    return Response(text.encode(), status, media_type="application/json")


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
