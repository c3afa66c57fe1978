"""The models of all responses, for the OpenAPI document, and how responses become JSON.

Numbers keep the form in which they are stored: 0.10 does not become 0.1, and 9007199254740993 does
not become a float. Therefore `schemas.exact_json` writes the responses.

No response exceeds 16 MiB. A page ends with the entry that reaches `MAX_PAGE_BYTES`. An entry has
at most `MAX_ENTRY_BYTES` of data that has no other limit; escaping it for JSON may add five times
that.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.responses import Response

from merganser.queries.cursors import Page
from merganser.queries.limits import MAX_PAGE_BYTES
from schemas import exact_json

_MAX_DEPTH = 32

Scalar = str | int | float | bool


class Body(BaseModel):
    """A response's body, or an object in it."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class Fault(Body):
    """What failed, and because of which parameters."""

    code: str
    message: str
    fields: dict[str, str]


class Error(Body):
    """An error. Some clients read the outer code and message, others the inner ones."""

    code: str
    message: str
    error: Fault


class Event(Body):
    """An event with its data."""

    guid: str
    type: str
    producer_guid: str | None
    producer_kind: str | None = Field(
        description="The kind of the API key that the event came with: publishable if anyone may "
        "have sent it, secret, or null for a row of another system."
    )
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


class EventPage(Body):
    """Events, newest first. A page may be short or empty and still have a nextCursor."""

    events: list[Event]
    next_cursor: str | None


class OneEvent(Body):
    """An event."""

    event: Event


class EventGuid(Body):
    """A reference to an event."""

    guid: str


class Deleted(Body):
    """An event was deleted."""

    success: Literal[True]
    event: EventGuid


class LinkChanged(Body):
    """What `unlink` or `relink` changed. Ids are null for a key without `events:read`."""

    event_guid: str
    changed: bool
    """False if the event was not a link already, or is one already."""
    links: int
    """Number of events that were links and are not now, or the reverse; several only with `all`."""
    is_pruned: bool
    """Whether the event was pruned: once unlinked, it cannot be a link again."""
    events: int
    """Number of the anonymousId's own events that go to another profile, some a little later."""
    loser_guid: str
    """The profile that these events leave."""
    survivor_guid: str | None
    """The profile that they go to, `loserGuid` if they stay; null: a new anonymous profile."""
    user_id: str | None
    anonymous_id: str | None
    owner_user_id: str | None
    """The anonymousId's owner afterwards; null also if it has none."""


class TypeSummary(Body):
    """A type of events."""

    type: str
    first_occurred_at: AwareDatetime | None
    last_occurred_at: AwareDatetime | None
    count: int
    more_than_count: bool
    example: Event


class TypePage(Body):
    """Types in the order of their names. A page may be short and still have a nextCursor."""

    types: list[TypeSummary]
    next_cursor: str | None


class TypeNames(Body):
    """Types that contain a text; `more` says whether there may be more of them."""

    types: list[str]
    more: bool


class BucketCount(Body):
    """The number of events of one type in one bucket; `at` is the bucket's start."""

    at: AwareDatetime
    count: int


class TypeCounts(Body):
    """A type's buckets, without empty ones."""

    type: str
    count: int
    buckets: list[BucketCount]


class EventCounts(Body):
    """Events by type and time; `moreTypes` says whether there are more types than these."""

    model_config = ConfigDict(
        alias_generator=lambda name: {"since": "from", "until": "to"}.get(name, to_camel(name))
    )

    since: AwareDatetime
    until: AwareDatetime
    bucket: str
    types: list[TypeCounts]
    more_types: bool


class Profile(Body):
    """A profile with its properties; each value has the type that its rule sets."""

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


class ProfilePage(Body):
    """Profiles in the order of their guids. A page may be short and still have a nextCursor."""

    profiles: list[Profile]
    next_cursor: str | None


class OneProfile(Body):
    """A profile; mergedFrom is the requested guid if that profile merged into this one."""

    profile: Profile
    merged_from: str | None


class Merge(Body):
    """A merge: an anonymousId now belongs to a user, or after `unlinked` maybe to nobody."""

    created_at: AwareDatetime
    anonymous_id: str
    event_guid: str
    reason: Literal["claimed", "merged", "moved", "unlinked"]
    user_id: str | None
    loser_guid: str | None
    survivor_guid: str


class MergePage(Body):
    """Merges of a profile, newest first."""

    merges: list[Merge]
    next_cursor: str | None


class Explanations(Body):
    """Why a profile has its ids, as `merganser explain` shows it."""

    explanations: list[dict[str, Any]]


class RawJson(exact_json.Number):
    """Text that is JSON already: `exact_json` writes it unchanged, as it does with numbers."""


class Fitting(NamedTuple):
    """The first entries that fit into a response; at least one, if there are any."""

    entries: list[RawJson]
    all: bool


class JsonResponse(Response):
    """A JSON response; `truncated` says that it omits something because of a size limit."""

    media_type = "application/json"
    truncated = False


def take_fitting(entries: Iterable[Mapping[str, Any]]) -> Fitting:
    """Return the entries up to the one that reaches `MAX_PAGE_BYTES` as JSON."""
    fitting: list[RawJson] = []
    total = 0
    for entry in entries:
        if total >= MAX_PAGE_BYTES:
            return Fitting(fitting, all=False)
        text = exact_json.as_text(to_json_value(entry), _MAX_DEPTH)
        total += len(text.encode())
        fitting.append(RawJson(text))
    return Fitting(fitting, all=True)


def page_response(name: str, page: Page) -> Response:
    """Return a page as a JSON response: its entries, those that fit, under their name."""
    fitting = take_fitting(page.entries)
    next_cursor = page.next_cursor if fitting.all else page.cursor_after(len(fitting.entries))
    return json_response(
        {name: fitting.entries, "nextCursor": next_cursor},
        truncated=page.truncated or not fitting.all,
    )


def json_response(
    content: Mapping[str, Any], status: int = 200, *, truncated: bool = False
) -> Response:
    """Return a JSON response.

    Args:
        content: the body, before `to_json_value`.
        status: HTTP status.
        truncated: whether the body omits something because of a size limit.
    """
    text = exact_json.as_text(to_json_value(content), _MAX_DEPTH)
    response = JsonResponse(text.encode(), status)
    response.truncated = truncated
    return response


def to_json_value(value: Any) -> Any:
    """Convert to types of JSON: times become text in UTC."""
    match value:
        case datetime():
            return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
        case str():
            return value
        case Mapping():
            return {name: to_json_value(part) for name, part in value.items()}
        case Sequence():
            return [to_json_value(part) for part in value]
        case _:
            return value
