"""What dialects share: flattening nested objects, parsing events one by one, batch responses."""

from collections.abc import Callable, Sequence
from typing import Any

from ingest.dialects import Results
from merganser.http.errors import ErrorKind, HttpError

MAX_DATA_KEYS = 256
"""Keys of an event's data: the gateway's default limit."""

MAX_FLATTENED_KEY = 128
"""Characters of the longest key under which members get their own keys. Without a limit, a small
body with one long key would become a very large event."""


def flatten(prefix: str, value: Any, room: int = MAX_DATA_KEYS) -> dict[str, Any]:
    """Return event data for a nested value: objects become dotted keys, other values stay.

    `flatten("context", {"page": {"url": "/"}, "tags": [1], "ip": null})` is
    `{"context.page.url": "/", "context.tags": [1]}`. Null and empty objects are left out. An object
    whose members do not all fit stays one value, which is stored as compact JSON; outer objects are
    flattened before inner ones. So no event is refused for the number of keys in its context.

    Args:
        prefix: the key of the whole.
        value: a value from `schemas.exact_json.loads`.
        room: the most keys to return; 0 returns nothing.
    """
    flat: dict[str, Any] = {}
    if value is None or room < 1:
        return flat
    if not isinstance(value, dict):
        return {prefix: value}
    keys = 1  # of `flat`, and one for each object that waits
    waiting = [(prefix, value)]
    for key, members in waiting:
        more = len(members) - 1
        if keys + more > room or len(key) > MAX_FLATTENED_KEY:
            flat[key] = members
            continue
        keys += more
        for name, member in members.items():
            if isinstance(member, dict):
                waiting.append((f"{key}.{name}", member))
            elif member is None:
                keys -= 1
            else:
                flat[f"{key}.{name}"] = member
    return flat


def add_flattened(data: dict[str, Any], prefix: str, value: Any) -> dict[str, Any]:
    """Return `data` with a flattened value added, as far as keys are left. Keys of `data` win."""
    return {**flatten(prefix, value, MAX_DATA_KEYS - len(data)), **data}


def object_field(event: dict[str, Any], field: str) -> dict[str, Any]:
    """Return the object in a field of an event; empty if the field is missing or null.

    Raises:
        HttpError: INVALID, if it is not an object.
    """
    value = event.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid_field(field, "must be an object")
    return value


def invalid_field(field: str, problem: str) -> HttpError:
    """Return the error for an event with one invalid field."""
    return HttpError(ErrorKind.INVALID, f"{field}: {problem}", {field: problem})


def parse_each(
    events: Sequence[Any], read: Callable[[dict[str, Any]], dict[str, Any]]
) -> list[dict[str, Any] | HttpError]:
    """Return each event as `read` returns it, or the error that `read` raised for it."""
    parsed: list[dict[str, Any] | HttpError] = []
    for event in events:
        try:
            if not isinstance(event, dict):
                raise invalid_field("event", "must be a JSON object")
            parsed.append(read(event))
        except HttpError as error:
            error.event = event
            parsed.append(error)
    return parsed


def batch_response(results: Results, response: dict[str, Any]) -> dict[str, Any]:
    """Return `response` for a batch, with the refused events and reasons in `rejected`.

    Raises:
        HttpError: the first one if all events were refused, so that the client drops and logs them.
            An internal error, so that the client retries all of them; accepted events are not
            stored twice because of their message ids.
    """
    refused = [
        (index, result) for index, result in enumerate(results) if isinstance(result, HttpError)
    ]
    for _, result in refused:
        if result.kind.status >= 500 or len(refused) == len(results):  # noqa: PLR2004 - server errors
            raise result
    if not refused:
        return response
    rejected = [{"index": index, **result.body()} for index, result in refused]
    return {**response, "rejected": rejected}
