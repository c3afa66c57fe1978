"""The models of a rule file, which `merganser rules apply FILE` reads (docs/properties.md).

A rule names a property and its one source: events, or a query against the company's own database.
The one `identifying` rule has no source, as its values are the userIds of events.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    field_validator,
    model_validator,
)

from merganser.rulebook.values import PropertyType, parse_number, parse_time

AggregationName = Literal[
    "all values",
    "most recent",
    "least recent",
    "count",
    "distinct count",
    "sum",
    "average",
    "min",
    "max",
    "diff",
    "rate",
]
Operator = Literal[
    "equals",
    "does not equal",
    "contains",
    "does not contain",
    "greater than",
    "less than",
    "exists",
    "one of",
]

_COLUMN = r"^(type|userId|ipAddress|occurredAt|data\..+)$"
_ANY = re.compile(r"\bany\s*+\(\s*+:userIds\s*+\)", re.IGNORECASE)
_IN = re.compile(r"\bin\s*+(\(\s*+)?:userIds", re.IGNORECASE)
"""The quantifiers are possessive: backtracking would take time quadratic in the length."""


def _as_text(value: Any) -> Any:
    """Return YAML's `5`, `true` and `2026-01-01` as text, as event data has them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str | list) or value is None else str(value)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


ComparedText = Annotated[str, BeforeValidator(_as_text)]
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]
Column = Annotated[str, StringConstraints(pattern=_COLUMN)]
EventTypes = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1)], ...],
    BeforeValidator(_as_list),
    Field(min_length=1),
]


class Model(BaseModel):
    """A part of a rule file: immutable, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Filter(Model):
    """A condition on an event. An event without the column does not meet it."""

    column: Column = Field(description="type, userId, ipAddress, occurredAt, or data.KEY.")
    op: Operator
    value: ComparedText | tuple[ComparedText, ...] | None = Field(
        None, description="What to compare with: a list for `one of`, nothing for `exists`."
    )

    @model_validator(mode="after")
    def _check_value(self) -> Self:
        match self.op:
            case "exists":
                if self.value is not None:
                    raise ValueError("`exists` takes no value; remove it")
            case "one of":
                if not isinstance(self.value, tuple) or not self.value:
                    raise ValueError("`one of` takes a list: value: [a, b]")
            case _ if not isinstance(self.value, str):
                raise ValueError(f"`{self.op}` takes one value: value: ...")
            case "greater than" | "less than":
                if parse_number(self.value) is None and parse_time(self.value) is None:
                    raise ValueError(f"`{self.op}` takes a number, or a time such as 2026-01-31")
        return self


class Side(Model):
    """One end of a difference between two event types."""

    type: EventTypes = Field(description="An event type, or a list of them.")
    take: Literal["first", "last"] = Field("first", description="Which of these events.")


class Events(Model):
    """A property computed from a profile's events."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    type: EventTypes | None = Field(None, description="An event type, or a list of them.")
    aggregation: AggregationName
    column: Column | None = Field(
        None,
        description="Which value of an event: type, userId, ipAddress, occurredAt, or data.KEY.",
    )
    filters: tuple[Filter, ...] = Field((), description="An event must meet all of them.")
    window: Annotated[int, Field(ge=1, le=3650)] | None = Field(
        None, description="Count only events of this many last days in UTC, today included."
    )
    between: Literal["first and last", "previous and last"] | None = Field(
        None, description="For diff: which two events. By default the first and the last."
    )
    from_: Side | None = Field(None, alias="from", description="For diff: between two event types.")
    to: Side | None = Field(None, description="For diff: between two event types.")
    of: Literal["numbers", "times"] | None = Field(
        None,
        description="For diff: what the column holds. Times give seconds; occurredAt is a time.",
    )
    per: Literal["hour", "day", "week"] | None = Field(
        None, description="For rate: events per hour, day or week. By default per day."
    )

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        sides = (self.from_, self.to)
        if any(sides):
            if self.aggregation != "diff" or not all(sides):
                raise ValueError("`from` and `to` need each other and aggregation: diff")
            if self.type or self.between:
                raise ValueError("`from` and `to` name the event types: remove type and between")
        elif not self.type:
            raise ValueError("an event type is missing: write type: view, or type: [view, screen]")
        if self.column is None and self.aggregation not in ("count", "rate"):
            raise ValueError(f"`{self.aggregation}` needs a column, such as column: data.price")
        for name in ("between", "of"):
            if getattr(self, name) and self.aggregation != "diff":
                raise ValueError(f"`{name}` belongs to aggregation: diff; remove it")
        if self.per and self.aggregation != "rate":
            raise ValueError("`per` belongs to aggregation: rate; remove it")
        return self

    @property
    def types(self) -> frozenset[str]:
        """All event types that the rule counts."""
        if self.from_ and self.to:
            return frozenset(self.from_.type + self.to.type)
        return frozenset(self.type or ())


class Query(Model):
    """A property from the company's own database."""

    source: Key = Field(description="A name under `sources`.")
    sql: Annotated[str, StringConstraints(strip_whitespace=True)] = Field(
        description="A SELECT whose first column is the userId, with :userIds for the users: "
        "`WHERE id = ANY(:userIds)`, or `WHERE id IN (:userIds)` for databases without ANY.",
    )
    column: str = Field(description="The column of its answer that holds the value.")

    @field_validator("sql")
    @classmethod
    def _check_batch(cls, sql: str) -> str:
        if not (_ANY.search(sql) or _IN.search(sql)):
            raise ValueError(
                "query a batch of users: WHERE id = ANY(:userIds), or WHERE id IN (:userIds)"
            )
        return sql

    @property
    def uses_in_list(self) -> bool:
        """Whether the query takes the ids as an IN list instead of an array."""
        return not _ANY.search(self.sql)


class Rule(Model):
    """A profile property rule."""

    key: Key = Field(description="The name of the property.")
    type: PropertyType
    unique: bool = Field(False, description="Each profile has a different value, as with an email.")
    array: bool = Field(False, description="A list of values instead of one.")
    identifying: bool = Field(False, description="The values are the userIds of events.")
    events: Events | None = None
    query: Query | None = None

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        sources = [source for source in (self.events, self.query) if source]
        if self.identifying:
            if sources:
                raise ValueError(
                    "the identifying rule has no source: the userIds of events are its values"
                )
            if not self.unique:
                raise ValueError("the identifying rule is unique: write unique: true")
        elif len(sources) != 1:
            raise ValueError("a rule has one source: either events or query")
        if self.unique and self.array:
            raise ValueError("a unique property has one value: remove array or unique")
        if self.events:
            self._check_type(self.events.aggregation)
        return self

    def _check_type(self, aggregation: AggregationName) -> None:
        allowed: tuple[str, ...] | None = None
        match aggregation:
            case "count" | "distinct count":
                allowed = ("integer", "float")
            case "sum" | "diff":
                allowed = ("integer", "float")
            case "average" | "rate":
                allowed = ("float",)
        if allowed and self.type not in allowed:
            raise ValueError(f"`{aggregation}` gives numbers: write type: {' or '.join(allowed)}")
        if (aggregation == "all values") != self.array and aggregation not in (
            "most recent",
            "least recent",
        ):
            what = "needs" if aggregation == "all values" else "gives one value: remove"
            raise ValueError(f"`{aggregation}` {what} array: true")


class Source(Model):
    """A database of the company. Its URL is a secret and stays in the environment."""

    url: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = Field(
        description="The environment variable with the SQLAlchemy URL of the database.",
    )
    timeout: PositiveFloat = Field(5, description="Seconds that a query may take.")
    batch: PositiveInt = Field(500, description="Users in one query.")
    pool: PositiveInt = Field(2, description="Maximum number of connections.")
    refresh: PositiveFloat = Field(3600, description="Seconds until a profile is queried again.")


Location = tuple[int | str, ...]
"""The path to a value in a rule file: ("rules", 2, "key")."""


class RuleFile(Model):
    """A file of rules."""

    sources: dict[Key, Source] = Field(default_factory=dict)
    rules: tuple[Rule, ...]

    def find_contradictions(self) -> Iterator[tuple[Location, str]]:
        """Yield what does not fit together: its location, and a message with the correction."""
        keys: set[str] = set()
        identifying: list[str] = []
        for index, rule in enumerate(self.rules):
            if rule.key in keys:
                yield (
                    ("rules", index, "key"),
                    f"two rules have the key {rule.key}: keys are unique",
                )
            keys.add(rule.key)
            if rule.query and rule.query.source not in self.sources:
                yield (
                    ("rules", index, "query", "source"),
                    f"`sources` has no {rule.query.source}",
                )
            if rule.identifying:
                identifying.append(rule.key)
                if len(identifying) > 1:
                    yield (
                        ("rules", index, "identifying"),
                        f"{identifying[0]} is already the identifying rule: remove one of them",
                    )
        if self.rules and not identifying:
            example = "{key: userId, type: string, unique: true, identifying: true}"
            yield ("rules",), f"no rule is identifying: add {example}"
