"""What a client may ask for: the parameters of each route. An unknown one is a mistake."""

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

from api import cursors

Bucket = Literal["minute", "hour", "day", "week", "month"]

LONGEST_ID = 512
LONGEST_VALUE = 16_384
"""Characters: as many, percent-encoded, fit into the 64 KiB of URL that uvicorn reads."""


def _moment(value: object) -> object:
    """ISO 8601, UTC where it says no zone. What lies out of all time is the end of it."""
    if not isinstance(value, str):
        return value
    try:
        read = datetime.fromisoformat(value.upper())
    except ValueError:
        raise ValueError("write it as 2026-01-31 or 2026-01-31T12:00:00Z") from None
    try:
        return read.replace(tzinfo=read.tzinfo or UTC).astimezone(UTC)
    except OverflowError:
        return cursors.FIRST if read.year == 1 else cursors.LAST


_MOMENT = {
    "anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}]
}
Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema(_MOMENT)]
Text = Annotated[str, StringConstraints(max_length=LONGEST_ID, pattern=r"^[^\x00]*$")]
Guid = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00/]+$")]
Value = Annotated[str, StringConstraints(max_length=LONGEST_VALUE, pattern=r"^[^\x00]*$")]


class Parameters(BaseModel):
    """Of any route."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)

    @model_validator(mode="before")
    @classmethod
    def _without_key(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The key may be in the URL; `api.access` reads it."""
        return {name: value for name, value in values.items() if name != "apiKey"}


class Page(Parameters):
    """Of any route that answers with pages."""

    limit: Annotated[int, Field(ge=1, le=1000, description="Most that a page has.")] = 100
    cursor: Annotated[
        str | None, Field(max_length=8192, description="The nextCursor of the page before.")
    ] = None


class Span(Parameters):
    """A time, from its start up to but without its end."""

    since: Annotated[
        Moment | None, Field(alias="from", description="occurredAt is this or later.")
    ] = None
    until: Annotated[Moment | None, Field(alias="to", description="occurredAt is earlier.")] = None


class Timeline(Page, Span):
    """Events of one profile."""

    type: Annotated[Text | None, Field(description="Of this type.")] = None
    data_key: Annotated[Text | None, Field(description="With this key in their data.")] = None
    data_value: Annotated[
        Value | None, Field(description="With this value, as text, under dataKey.")
    ] = None

    @model_validator(mode="after")
    def _value_of_key(self) -> Self:
        if self.data_value is not None and self.data_key is None:
            raise ValueError("dataValue needs dataKey: say of which key it is the value")
        return self

    def of_profile(self, guid: str) -> "Events":
        """The same of any events, those of a profile."""
        return Events.model_construct(profile_guid=guid, **dict(self))


class Events(Timeline):
    """Any events."""

    profile_guid: Annotated[
        Text | None, Field(description="On this profile, or on the one it merged into.")
    ] = None
    user_id: Annotated[Text | None, Field(description="With this userId of their own.")] = None
    anonymous_id: Annotated[Text | None, Field(description="With this anonymousId.")] = None
    associated: Annotated[
        bool | None,
        Field(description="Whether they have a profile. false: by createdAt, newest first."),
    ] = None


class Counts(Span):
    """How many events."""

    type: Annotated[Text | None, Field(description="Only this type.")] = None
    bucket: Annotated[Bucket, Field(description="What is counted together.")] = "day"


class Match(Parameters):
    """Part of a type."""

    match: Annotated[Text, Field(description="What the type contains, in any case.")] = ""


class Profiles(Page):
    """Profiles by one of their ids or a property, or all."""

    user_id: Annotated[Text | None, Field(description="Of this user.")] = None
    anonymous_id: Annotated[Text | None, Field(description="Of this visitor.")] = None
    property: Annotated[Text | None, Field(description="Whose property `property` ...")] = None
    value: Annotated[Value | None, Field(description="... has this value, or contains it.")] = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.property is None) != (self.value is None):
            raise ValueError("property and value belong together: send both or none")
        if sum(way is not None for way in (self.user_id, self.anonymous_id, self.property)) > 1:
            raise ValueError("send only one of userId, anonymousId and property")
        return self
