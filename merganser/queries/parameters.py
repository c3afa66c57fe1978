"""The parameters of requests for events and profiles. An unknown parameter is an error."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from merganser.identity.unlink import MAX_REASON_CHARACTERS
from merganser.queries import cursors

Bucket = Literal["minute", "hour", "day", "week", "month"]

MAX_GUID_LENGTH = 64
MAX_ID_LENGTH = 512
MAX_VALUE_LENGTH = 16_384
"""In characters: percent-encoded, that many fit into the 64 KiB of a URL that uvicorn reads."""


def _parse_time(value: object) -> object:
    """Parse ISO 8601, without a zone as UTC; a time out of range becomes the closest possible."""
    if not isinstance(value, str):
        return value
    try:
        time = datetime.fromisoformat(value.upper())
    except ValueError:
        raise ValueError("write it as 2026-01-31 or 2026-01-31T12:00:00Z") from None
    try:
        return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except OverflowError:
        return cursors.EARLIEST if time.year == 1 else cursors.LATEST


_TIME_SCHEMA = {
    "anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}]
}
Time = Annotated[datetime, BeforeValidator(_parse_time), WithJsonSchema(_TIME_SCHEMA)]
Text = Annotated[str, StringConstraints(max_length=MAX_ID_LENGTH, pattern=r"^[^\x00]*$")]
Guid = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_GUID_LENGTH, pattern=r"^[^\x00/]+$")
]
Value = Annotated[str, StringConstraints(max_length=MAX_VALUE_LENGTH, pattern=r"^[^\x00]*$")]


Reason = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=MAX_REASON_CHARACTERS,
        pattern=r"^[^\x00]*$",
    ),
]


class Parameters(BaseModel):
    """The parameters of any route."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)

    @model_validator(mode="before")
    @classmethod
    def _without_key(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The key may be in the URL; another module reads it."""
        return {name: value for name, value in values.items() if name != "apiKey"}


class PageQuery(Parameters):
    """The parameters of any route that responds with pages."""

    limit: Annotated[int, Field(ge=1, le=1000, description="The most entries of a page.")] = 100
    cursor: Annotated[
        str | None, Field(max_length=8192, description="The nextCursor of the page before.")
    ] = None


class TimeRange(Parameters):
    """A range of time, without its end."""

    since: Annotated[
        Time | None, Field(alias="from", description="occurredAt is this or later.")
    ] = None
    until: Annotated[Time | None, Field(alias="to", description="occurredAt is earlier.")] = None


class TimelineQuery(PageQuery, TimeRange):
    """Filters for the events of one profile."""

    type: Annotated[Text | None, Field(description="Events of this type.")] = None
    data_key: Annotated[Text | None, Field(description="Events with this key in their data.")] = (
        None
    )
    data_value: Annotated[
        Value | None, Field(description="Events whose data has this value, as text, for dataKey.")
    ] = None

    @model_validator(mode="after")
    def _check_data_filter(self) -> Self:
        if self.data_value is not None and self.data_key is None:
            raise ValueError("dataValue needs dataKey: send the key whose value it is")
        return self

    def for_profile(self, guid: str) -> "EventQuery":
        """Return the same filters for any events, plus one for this profile."""
        return EventQuery.model_construct(profile_guid=guid, **dict(self))


class EventQuery(TimelineQuery):
    """Filters for all events."""

    profile_guid: Annotated[
        Text | None, Field(description="Events of this profile, or of the one that it merged into.")
    ] = None
    user_id: Annotated[Text | None, Field(description="Events with this userId.")] = None
    anonymous_id: Annotated[Text | None, Field(description="Events with this anonymousId.")] = None
    associated: Annotated[
        bool | None,
        Field(description="Whether events have a profile. false: by createdAt, newest first."),
    ] = None


class CountQuery(TimeRange):
    """Which events to count, and how to group them."""

    type: Annotated[Text | None, Field(description="Count only events of this type.")] = None
    bucket: Annotated[Bucket, Field(description="The length of the buckets.")] = "day"


class TypeSearch(Parameters):
    """A search for types."""

    match: Annotated[Text, Field(description="A part of the type, in any case.")] = ""


class ProfileQuery(PageQuery):
    """Profiles by one of their ids or by a property, or all profiles."""

    user_id: Annotated[Text | None, Field(description="The profile of this user.")] = None
    anonymous_id: Annotated[Text | None, Field(description="The profile of this anonymousId.")] = (
        None
    )
    property: Annotated[
        Text | None, Field(description="Profiles whose property `property` ...")
    ] = None
    value: Annotated[Value | None, Field(description="... has this value, or contains it.")] = None

    @model_validator(mode="after")
    def _check_filters(self) -> Self:
        if (self.property is None) != (self.value is None):
            raise ValueError("property and value belong together: send both or neither")
        if (
            sum(filter_ is not None for filter_ in (self.user_id, self.anonymous_id, self.property))
            > 1
        ):
            raise ValueError("send only one of userId, anonymousId and property")
        return self


class LinkChangeQuery(Parameters):
    """The parameters of `unlink` and `relink`."""

    reason: Reason = Field(description="Why; it is stored with the key's guid.")
    every: bool = Field(
        default=False, alias="all", description="Change all stored links with the same two ids."
    )
    preview: bool = Field(default=False, description="Only return what would change.")
