"""A mistake in a file of rules is told with file, line and what to write instead."""

import json
from pathlib import Path

import pytest

from merganser.rulebook.language import RuleFile
from merganser.rulebook.rule_file import RuleFileError, read

GOOD = """\
sources:
  crm: {url: CRM_URL, timeout: 2}
rules:
  - {key: userId, type: string, unique: true, identifying: true}
  - key: total
    type: float
    events:
      type: [buy, refund]
      aggregation: sum
      column: data.price
      filters:
        - {column: data.paid, op: equals, value: true}
  - key: email
    type: email
    unique: true
    query:
      source: crm
      sql: SELECT id, email FROM users WHERE id = ANY(:userIds)
      column: email
"""


def rule(text: str) -> str:
    """A file whose rule on line 3 says this."""
    return (
        "rules:\n  - {key: userId, type: string, unique: true, identifying: true}\n"
        f"  - {{key: made, {text}}}\n"
    )


EVENTS = "events: {type: view, aggregation: count}"

# What is wrong -> the file, the line that is named, words of the message.
MISTAKES: dict[str, tuple[str, int, str]] = {
    "no YAML": ("rules:\n  [", 2, "not valid YAML"),
    "no mapping": ("- a\n- b\n", 1, "write `rules:` and under it a list"),
    "nothing": ("", 1, "write `rules:` and under it a list"),
    "no rules": ("sources: {}\n", 1, "rules: missing field: add it"),
    "unknown field": (
        rule(f"type: integer, {EVENTS}, uniqe: true"),
        3,
        "uniqe: unknown field: remove",
    ),
    "no such type": (
        rule(f"type: number, {EVENTS}"),
        3,
        "type: input should be 'string', 'integer'",
    ),
    "no such aggregation": (
        rule("type: integer, events: {type: view, aggregation: median}"),
        3,
        "events.aggregation: input should be 'all values'",
    ),
    "bad column": (
        rule("type: float, events: {type: view, aggregation: sum, column: price}"),
        3,
        "'price' does not match ^(type|userId|ipAddress|occurredAt|data\\..+)$",
    ),
    "no column": (
        rule("type: float, events: {type: view, aggregation: sum}"),
        3,
        "`sum` needs a column, such as column: data.price",
    ),
    "no type": (
        rule("type: integer, events: {aggregation: count}"),
        3,
        "an event type is missing: write type",
    ),
    "wrong property type": (
        rule("type: string, events: {type: view, aggregation: count}"),
        3,
        "`count` gives numbers: write type: integer or float",
    ),
    "array without need": (
        rule(f"type: integer, array: true, {EVENTS}"),
        3,
        "`count` gives one value: remove array: true",
    ),
    "all values without array": (
        rule("type: string, events: {type: v, aggregation: all values, column: data.a}"),
        3,
        "`all values` needs array: true",
    ),
    "two sources": (
        rule(f"type: integer, {EVENTS}, query: {{source: a, sql: 'ANY(:userIds)', column: b}}"),
        3,
        "a rule has one source: either events or query",
    ),
    "no source": (rule("type: string"), 3, "a rule has one source: either events or query"),
    "unique array": (
        rule(
            "type: string, unique: true, array: true, "
            "events: {type: v, aggregation: all values, column: data.a}"
        ),
        3,
        "a unique property has one value: remove array or unique",
    ),
    "two identifying": (
        rule("type: string, unique: true, identifying: true"),
        3,
        "identifying: userId is already the identifying rule: remove one of them",
    ),
    "none identifying": (
        f"rules:\n  - {{key: made, type: integer, {EVENTS}}}\n",
        1,
        "no rule is identifying: add {key: userId",
    ),
    "identifying, not unique": (
        "rules:\n  - {key: id, type: string, identifying: true}\n",
        2,
        "write unique: true",
    ),
    "identifying with a source": (
        f"rules:\n  - {{key: id, type: integer, unique: true, identifying: true, {EVENTS}}}\n",
        2,
        "the identifying rule has no source",
    ),
    "key twice": (
        rule(f"type: integer, {EVENTS}") + f"  - {{key: made, type: integer, {EVENTS}}}\n",
        4,
        "rules.key: two rules have the key made",
    ),
    "bad key": (f"rules:\n  - {{key: a b, type: integer, {EVENTS}}}\n", 2, "'a b' does not match"),
    "no such source": (
        rule("type: email, query: {source: crm, sql: 'x = ANY(:userIds)', column: email}"),
        3,
        "rules.query.source: `sources` has no crm",
    ),
    "not for a batch": (
        rule("type: email, query: {source: crm, sql: 'WHERE id = :userId', column: email}"),
        3,
        "query a batch of users: WHERE id = ANY(:userIds)",
    ),
    "secret in the file": (
        "sources:\n  crm:\n    url: postgresql://u:p@host/db\nrules: []\n",
        3,
        "does not match ^[A-Za-z_]",
    ),
    "exists with a value": (
        rule(
            "type: integer, events: {type: v, aggregation: count, "
            "filters: [{column: data.a, op: exists, value: 1}]}"
        ),
        3,
        "`exists` takes no value; remove it",
    ),
    "one of what": (
        rule(
            "type: integer, events: {type: v, aggregation: count, "
            "filters: [{column: data.a, op: one of, value: b}]}"
        ),
        3,
        "`one of` takes a list: value: [a, b]",
    ),
    "greater than a word": (
        rule(
            "type: integer, events: {type: v, aggregation: count, "
            "filters: [{column: data.a, op: greater than, value: much}]}"
        ),
        3,
        "`greater than` takes a number, or a time such as 2026-01-31",
    ),
    "from without to": (
        rule("type: float, events: {aggregation: diff, column: occurredAt, from: {type: sign-up}}"),
        3,
        "`from` and `to` need each other and aggregation: diff",
    ),
    "from with type": (
        rule(
            "type: float, events: {type: a, aggregation: diff, column: occurredAt, "
            "from: {type: b}, to: {type: c}}"
        ),
        3,
        "`from` and `to` name the event types: remove type",
    ),
    "per without rate": (
        rule("type: integer, events: {type: v, aggregation: count, per: day}"),
        3,
        "`per` belongs to aggregation: rate; remove it",
    ),
    "between without diff": (
        rule("type: integer, events: {type: v, aggregation: count, between: previous and last}"),
        3,
        "`between` belongs to aggregation: diff; remove it",
    ),
    "window of nothing": (
        rule("type: integer, events: {type: v, aggregation: count, window: 0}"),
        3,
        "events.window: input should be greater than or equal to 1, not 0",
    ),
}


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD)
    file = read(path)
    assert [rule.key for rule in file.rules] == ["userId", "total", "email"]
    total = file.rules[1].events
    assert total
    assert total.types == {"buy", "refund"}
    assert total.filters[0].value == "true"
    assert file.sources["crm"].timeout == 2


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake(tmp_path: Path, mistake: str) -> None:
    text, line, words = MISTAKES[mistake]
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(RuleFileError) as mistaken:
        read(path)
    assert mistaken.value.args[0].startswith(f"{path}:{line}: ")
    assert words in mistaken.value.args[0]


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD.replace("float", "number").replace("timeout: 2", "timeout: never"))
    with pytest.raises(RuleFileError) as mistaken:
        read(path)
    lines = [line.removeprefix(f"{path}:").split(":")[0] for line in mistaken.value.args]
    assert lines == ["2", "6"]


def test_the_published_schema_is_that_of_the_rules() -> None:
    published = Path(__file__).parents[2] / "docs" / "rules.schema.json"
    assert json.loads(published.read_text()) == RuleFile.model_json_schema(), (
        "write it again: merganser rules schema > docs/rules.schema.json"
    )
