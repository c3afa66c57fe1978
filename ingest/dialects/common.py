"""What dialects share: nested objects as dotted keys, events one by one, answers for batches."""

from collections.abc import Callable, Sequence
from typing import Any

from ingest.dialects import Results
from merganser.http.errors import ErrorKind, HttpError

MOST_KEYS = 256
"""Keys of an event's data: what the gateway allows unless configured otherwise."""

LONGEST_OPENED = 128
"""Characters of a key below which members get keys of their own: without a bound, a small body
with one long key would become a very large event."""


def flatten(prefix: str, value: Any, room: int = MOST_KEYS) -> dict[str, Any]:
    """Event data of a nested value: objects become dotted keys, all else stays a value.

    `flatten("context", {"page": {"url": "/"}, "tags": [1], "ip": null})` is
    `{"context.page.url": "/", "context.tags": [1]}`. Null and empty objects vanish. Where the
    members of an object do not all fit, it stays one value, which is stored as compact JSON; outer
    objects are opened before inner ones. So no event has too many keys for its context.

    Args:
        prefix: the key of the whole.
        value: what `schemas.exact_json.loads` gave.
        room: keys that may come of it; if there is none, nothing does.
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
        if keys + more > room or len(key) > LONGEST_OPENED:
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


def beside(data: dict[str, Any], prefix: str, value: Any) -> dict[str, Any]:
    """Event data with a flattened value beside it, as far as there is room. Keys of `data` win."""
    return {**flatten(prefix, value, MOST_KEYS - len(data)), **data}


def members(event: dict[str, Any], field: str) -> dict[str, Any]:
    """The object in a field of an event; empty where there is none, or null.

    Raises:
        HttpError: INVALID, when it is something else.
    """
    value = event.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(field, "must be an object")
    return value


def invalid(field: str, why: str) -> HttpError:
    """The refusal of an event for one of its fields."""
    return HttpError(ErrorKind.INVALID, f"{field}: {why}", {field: why})


def each(
    events: Sequence[Any], read: Callable[[dict[str, Any]], dict[str, Any]]
) -> list[dict[str, Any] | HttpError]:
    """Each event as `read` returns it, or why it is refused; the other events are not affected."""
    said: list[dict[str, Any] | HttpError] = []
    for event in events:
        try:
            if not isinstance(event, dict):
                raise invalid("event", "must be a JSON object")
            said.append(read(event))
        except HttpError as refused:
            said.append(refused)
    return said


def partly(results: Results, answer: dict[str, Any]) -> dict[str, Any]:
    """`answer` for a batch, and beside it which events were refused and why, in `rejected`.

    Raises:
        HttpError: the first, when all were: the client drops them and says why in its log. Also one
            that is our fault: the client sends all of them again, and those that were taken stay
            one event each by their message ids.
    """
    refused = [
        (position, result)
        for position, result in enumerate(results)
        if isinstance(result, HttpError)
    ]
    for _, result in refused:
        if result.kind.status >= 500 or len(refused) == len(results):  # noqa: PLR2004 - HTTP's
            raise result
    if not refused:
        return answer
    return {**answer, "rejected": [{"index": at, **result.body()} for at, result in refused]}
