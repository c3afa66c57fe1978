"""The definition of each aggregation, in its plainest form: over all events, in their order.

This reference and `properties.rules.aggregations` share only the parsing of values, which
tests/rulebook/test_values.py tests.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any

from merganser.rulebook.language import Events, Filter, Rule
from merganser.rulebook.values import coerce, format_number, is_storable
from schemas import exact_json

MAX_BYTES = 16_384
"""Of a value."""
MAX_BYTES_OF_ALL_DAYS, MIN_LIMIT = 65_536, 256
"""A rule that keeps one value for each day of a window shares the first among its days."""
MAX_VALUES = 1_000
ENOUGH_BYTES = 49_152
"""`all values` takes no older value once its values have this many bytes."""
MAX_DISTINCT = 10_000

PER = {"hour": 3600, "day": 86400, "week": 604800}


@dataclass(frozen=True)
class ReferenceEvent:
    """An event of a profile."""

    guid: str
    occurred_at: datetime
    type: str
    user_id: str | None = None
    ip_address: str | None = None
    data: dict[str, str] = field(default_factory=dict)


def compute_values(rule: Rule, events: Iterable[ReferenceEvent], now: datetime) -> list[str]:
    """Return the values of the rule's property by definition."""
    assert rule.events
    with localcontext() as context:
        context.prec = 300
        ordered = sorted(events, key=lambda event: (event.occurred_at, event.guid))
        return _aggregate(
            rule, rule.events, [event for event in ordered if _counts(rule.events, event, now)]
        )


def _counts(source: Events, event: ReferenceEvent, now: datetime) -> bool:
    if source.window:
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if event.occurred_at < midnight - timedelta(days=source.window - 1):
            return False
    return event.type in source.types and all(
        _meets(condition, event) for condition in source.filters
    )


def _read(column: str, event: ReferenceEvent) -> str | None:
    if column.startswith("data."):
        return event.data.get(column[5:])
    if column == "occurredAt":
        utc = event.occurred_at.astimezone(UTC).replace(tzinfo=None)
        return f"{utc.isoformat(timespec='microseconds')}Z"
    return {"type": event.type, "userId": event.user_id, "ipAddress": event.ip_address}[column]


def _value(column: str, event: ReferenceEvent, max_bytes: int = MAX_BYTES) -> str | None:
    found = _read(column, event)
    return None if found is None or len(found.encode()) > max_bytes else found


def _meets(condition: Filter, event: ReferenceEvent) -> bool:  # noqa: PLR0911 - a line for each operator
    found, wanted = _value(condition.column, event), condition.value
    if condition.op == "exists":
        return _read(condition.column, event) is not None
    if found is None:
        return False
    match condition.op:
        case "equals":
            return found == wanted
        case "does not equal":
            return found != wanted
        case "contains":
            return str(wanted).casefold() in found.casefold()
        case "does not contain":
            return str(wanted).casefold() not in found.casefold()
        case "one of":
            return found in (wanted or ())
    numeric = coerce("float", str(wanted)) is not None
    kind: Any = "float" if numeric else "date"
    left, right = coerce(kind, found), coerce(kind, str(wanted))
    if left is None or right is None:
        return False
    value, limit = (Decimal(left), Decimal(right)) if numeric else (left, right)
    return value > limit if condition.op == "greater than" else value < limit  # type: ignore[operator] # both have the same type


def _aggregate(  # noqa: C901, PLR0911, PLR0912 - a line for each aggregation
    rule: Rule, source: Events, events: list[ReferenceEvent]
) -> list[str]:
    raw = [
        (event, text)
        for event in events
        if (text := _read(source.column, event) if source.column else "") is not None
    ]
    match source.aggregation:
        case "count":
            return [str(len(raw))]
        case "distinct count":
            texts = {text for _, text in raw if len(text.encode()) <= MAX_BYTES}
            return [str(min(len(texts), MAX_DISTINCT))]
        case "rate":
            times = [event.occurred_at for event, _ in raw]
            if not times:
                return []
            span = Decimal(source.window * 86400) if source.window else _span(times[0], times[-1])
            return [_round(Decimal(len(times)) * PER[source.per or "day"] / span)] if span else []
        case "diff":
            return _diff(rule, source, events)
        case "all values":
            return _newest([value for _, many in _fitting(rule, raw) for value in many])
        case "most recent":
            return next((many for _, many in reversed(_fitting(rule, raw))), [])[:MAX_VALUES]
        case "least recent":
            return next((many for _, many in _fitting(rule, raw)), [])[:MAX_VALUES]
    fitting = [many[0] for _, many in _fitting(rule, raw)]
    if not fitting:
        return []
    numeric = rule.type in ("integer", "float")
    ordered = sorted(fitting, key=Decimal if numeric else str)
    match source.aggregation:
        case "min":
            return [ordered[0]]
        case "max":
            return [ordered[-1]]
        case "sum":
            return [format_number(sum(map(Decimal, fitting), Decimal(0)))]
        case "average":
            return [_round(sum(map(Decimal, fitting), Decimal(0)) / len(fitting))]
    raise AssertionError(source.aggregation)


def _newest(values: list[str]) -> list[str]:
    found: list[str] = []
    for value in reversed(values):
        if len(found) == MAX_VALUES or sum(len(text.encode()) for text in found) >= ENOUGH_BYTES:
            break
        found.append(value)
    return found[::-1]


def _fitting(
    rule: Rule, raw: list[tuple[ReferenceEvent, str]]
) -> list[tuple[ReferenceEvent, list[str]]]:
    assert rule.events
    max_bytes = MAX_BYTES
    if rule.events.window and rule.events.aggregation in ("min", "max", "least recent"):
        max_bytes = min(MAX_BYTES, max(MIN_LIMIT, MAX_BYTES_OF_ALL_DAYS // rule.events.window))
    found = []
    for event, text in raw:
        if len(text.encode()) > max_bytes:
            continue
        parts = _elements(text) if rule.array else [text]
        fits = [coerce(rule.type, part) for part in parts if is_storable(part)]
        many = [value for value in fits if value is not None]
        if many:
            found.append((event, many))
    return found


def _elements(text: str) -> list[str]:
    if not text.startswith("["):
        return [text]
    try:
        elements = exact_json.loads(text)
        return [exact_json.as_text(element, 32) for element in elements if element is not None]
    except ValueError:
        return [text]


def _diff(rule: Rule, source: Events, events: list[ReferenceEvent]) -> list[str]:
    measured = [
        (event, amount) for event in events if (amount := _amount(source, event)) is not None
    ]
    if source.from_ and source.to:
        starts = [item for item in measured if item[0].type in source.from_.type]
        ends = [item for item in measured if item[0].type in source.to.type]
        if not starts or not ends:
            return []
        start = starts[0 if source.from_.take == "first" else -1][1]
        end = ends[0 if source.to.take == "first" else -1][1]
    elif len(measured) < 2:
        return []
    else:
        start = measured[-2 if source.between == "previous and last" else 0][1]
        end = measured[-1][1]
    return [format_number(Decimal(int(end - start)) if rule.type == "integer" else end - start)]


def _amount(source: Events, event: ReferenceEvent) -> Decimal | None:
    text = _value(source.column or "occurredAt", event)
    if text is None:
        return None
    if source.of == "times" or source.column == "occurredAt":
        moment = coerce("date", text)
        if moment is None:
            return None
        return _span(datetime(1970, 1, 1, tzinfo=UTC), datetime.fromisoformat(moment))
    number = coerce("float", text)
    return None if number is None else Decimal(number)


def _span(start: datetime, end: datetime) -> Decimal:
    return Decimal((end - start) // timedelta(microseconds=1)) / 1_000_000


def _round(value: Decimal) -> str:
    return format_number(value.quantize(Decimal("1e-12"), rounding=ROUND_HALF_EVEN))
