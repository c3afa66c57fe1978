"""A mistake in a rule file is reported with the file, the line and what to write instead."""

import json
from pathlib import Path

import pytest

from merganser.rulebook.language import RuleFile
from merganser.rulebook.rule_file import RuleFileError, dump, parse, read

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


def file_with(text: str) -> str:
    """Return a file that has a rule with these fields on line 3."""
    return (
        "rules:\n  - {key: userId, type: string, unique: true, identifying: true}\n"
        f"  - {{key: tested, {text}}}\n"
    )


EVENTS = "events: {type: view, aggregation: count}"

# Mistake -> the file, the line that the message names, words of the message.
MISTAKES: dict[str, tuple[str, int, str]] = {
    "invalid YAML": ("rules:\n  [", 2, "not valid YAML"),
    "not a mapping": ("- a\n- b\n", 1, "write `rules:` and under it a list"),
    "empty file": ("", 1, "write `rules:` and under it a list"),
    "no rules": ("sources: {}\n", 1, "rules: missing field: add it"),
    "unknown field": (
        file_with(f"type: integer, {EVENTS}, uniqe: true"),
        3,
        "uniqe: unknown field: remove",
    ),
    "no such type": (
        file_with(f"type: number, {EVENTS}"),
        3,
        "type: input should be 'string', 'integer'",
    ),
    "no such aggregation": (
        file_with("type: integer, events: {type: view, aggregation: median}"),
        3,
        "events.aggregation: input should be 'all values'",
    ),
    "bad column": (
        file_with("type: float, events: {type: view, aggregation: sum, column: price}"),
        3,
        "'price' does not match ^(type|userId|ipAddress|occurredAt|data\\..+)$",
    ),
    "no column": (
        file_with("type: float, events: {type: view, aggregation: sum}"),
        3,
        "`sum` needs a column, such as column: data.price",
    ),
    "no type": (
        file_with("type: integer, events: {aggregation: count}"),
        3,
        "an event type is missing: write type",
    ),
    "wrong property type": (
        file_with("type: string, events: {type: view, aggregation: count}"),
        3,
        "`count` gives numbers: write type: integer or float",
    ),
    "array without need": (
        file_with(f"type: integer, array: true, {EVENTS}"),
        3,
        "`count` gives one value: remove array: true",
    ),
    "all values without array": (
        file_with("type: string, events: {type: v, aggregation: all values, column: data.a}"),
        3,
        "`all values` needs array: true",
    ),
    "two sources": (
        file_with(
            f"type: integer, {EVENTS}, query: {{source: a, sql: 'ANY(:userIds)', column: b}}"
        ),
        3,
        "a rule has one source: either events or query",
    ),
    "no source": (file_with("type: string"), 3, "a rule has one source: either events or query"),
    "unique array": (
        file_with(
            "type: string, unique: true, array: true, "
            "events: {type: v, aggregation: all values, column: data.a}"
        ),
        3,
        "a unique property has one value: remove array or unique",
    ),
    "two identifying": (
        file_with("type: string, unique: true, identifying: true"),
        3,
        "identifying: userId is already the identifying rule: remove one of them",
    ),
    "none identifying": (
        f"rules:\n  - {{key: tested, type: integer, {EVENTS}}}\n",
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
        file_with(f"type: integer, {EVENTS}") + f"  - {{key: tested, type: integer, {EVENTS}}}\n",
        4,
        "rules.key: two rules have the key tested",
    ),
    "bad key": (f"rules:\n  - {{key: a b, type: integer, {EVENTS}}}\n", 2, "'a b' does not match"),
    "no such source": (
        file_with("type: email, query: {source: crm, sql: 'x = ANY(:userIds)', column: email}"),
        3,
        "rules.query.source: `sources` has no crm",
    ),
    "not for a batch": (
        file_with("type: email, query: {source: crm, sql: 'WHERE id = :userId', column: email}"),
        3,
        "query a batch of users: WHERE id = ANY(:userIds)",
    ),
    "secret in the file": (
        "sources:\n  crm:\n    url: postgresql://u:p@host/db\nrules: []\n",
        3,
        "does not match ^[A-Za-z_]",
    ),
    "exists with a value": (
        file_with(
            "type: integer, events: {type: v, aggregation: count, "
            "filters: [{column: data.a, op: exists, value: 1}]}"
        ),
        3,
        "`exists` takes no value; remove it",
    ),
    "one of without a list": (
        file_with(
            "type: integer, events: {type: v, aggregation: count, "
            "filters: [{column: data.a, op: one of, value: b}]}"
        ),
        3,
        "`one of` takes a list: value: [a, b]",
    ),
    "greater than a word": (
        file_with(
            "type: integer, events: {type: v, aggregation: count, "
            "filters: [{column: data.a, op: greater than, value: much}]}"
        ),
        3,
        "`greater than` takes a number, or a time such as 2026-01-31",
    ),
    "from without to": (
        file_with(
            "type: float, events: {aggregation: diff, column: occurredAt, from: {type: sign-up}}"
        ),
        3,
        "`from` and `to` need each other and aggregation: diff",
    ),
    "from with type": (
        file_with(
            "type: float, events: {type: a, aggregation: diff, column: occurredAt, "
            "from: {type: b}, to: {type: c}}"
        ),
        3,
        "`from` and `to` name the event types: remove type",
    ),
    "per without rate": (
        file_with("type: integer, events: {type: v, aggregation: count, per: day}"),
        3,
        "`per` belongs to aggregation: rate; remove it",
    ),
    "between without diff": (
        file_with(
            "type: integer, events: {type: v, aggregation: count, between: previous and last}"
        ),
        3,
        "`between` belongs to aggregation: diff; remove it",
    ),
    "window of nothing": (
        file_with("type: integer, events: {type: v, aggregation: count, window: 0}"),
        3,
        "events.window: input should be greater than or equal to 1, not 0",
    ),
}


def test_a_valid_file_is_read(tmp_path: Path) -> None:
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
def test_a_mistake_is_reported_with_its_line(tmp_path: Path, mistake: str) -> None:
    text, line, words = MISTAKES[mistake]
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(RuleFileError) as raised:
        read(path)
    assert raised.value.args[0].startswith(f"{path}:{line}: ")
    assert words in raised.value.args[0]


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD.replace("float", "number").replace("timeout: 2", "timeout: never"))
    with pytest.raises(RuleFileError) as raised:
        read(path)
    lines = [line.removeprefix(f"{path}:").split(":")[0] for line in raised.value.args]
    assert lines == ["2", "6"]


def test_the_published_schema_matches_the_rule_language() -> None:
    published = Path(__file__).parents[2] / "docs" / "rules.schema.json"
    assert json.loads(published.read_text()) == RuleFile.model_json_schema(), (
        "update it: merganser rules schema > docs/rules.schema.json"
    )


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 10)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 1000))

# Hostile text -> a part of the only mistake. Each would take minutes or gigabytes without a bound,
# or raise something else.
HOSTILE = {
    "10 MB": ("x" * 10_000_000, "1: a file has at most 262,144 bytes"),
    "deep": ("[" * 200_000, "1: not valid YAML: more than 20 levels of nesting"),
    "deep by indent": ("".join(" " * n + "a:\n" for n in range(600)), "20: not valid YAML: more"),
    "aliases": (BOMB, "6: not valid YAML: aliases make the file too large"),
    "merges": (MERGES, "aliases make the file too large"),
    "chain of aliases": (CHAIN, "aliases make the file too large"),
    "alias of itself": ("a: &a [*a]", "1: not valid YAML: an alias is inside of its own value"),
    "integer": ("rules: " + "9" * 5_000, "a number has at most 100 characters"),
    "sexagesimal": ("rules: 1" + ":20" * 60_000, "a number has at most 100 characters"),
    "date": ("\nrules: 2026-13-45", "2: not valid YAML: '2026-13-45' is not a valid timestamp"),
    "tag": ("rules: !!bool maybe", "'maybe' is not a valid bool: quote it"),
    "object": ("rules: !!python/object:os.system x", "could not determine a constructor"),
    "NUL": ('rules: "a\\0b"', "Postgres cannot store NUL or half a character"),
    "half a character": ('rules: "\\ud800"', "Postgres cannot store NUL or half a character"),
    "control character": (
        "\nrules: \x01",
        "2: not valid YAML: the character U+0001 is not allowed",
    ),
    "long value": ("rules: [" + "x" * 200_000 + "]", "not 'xxx"),
    "spaces": (
        "rules: [{key: a, type: string, query: {source: c, column: a, sql: 'in%sx'}}]"
        % (" " * 200_000),
        "query a batch of users",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_text_is_refused_before_it_costs(case: str) -> None:
    text, message = HOSTILE[case]
    with pytest.raises(RuleFileError) as raised:
        parse(text)
    (mistake,) = raised.value.args
    assert message in mistake
    assert len(mistake) < 500


def test_only_the_first_mistakes_are_reported() -> None:
    with pytest.raises(RuleFileError) as raised:
        parse("rules: [" + "x, " * 10_000 + "]")
    assert len(raised.value.args) == 51
    assert raised.value.args[-1] == "rules:1: there are more mistakes"


def test_aliases_that_stay_small_are_allowed() -> None:
    text = GOOD.replace("[buy, refund]", "&types [buy, refund]")
    text += "  - {key: n, type: integer, events: {type: *types, aggregation: count}}\n"
    assert (
        parse(text).rules[-1].events
        == parse(text.replace("*types", "[buy, refund]")).rules[-1].events
    )


def test_a_dumped_file_is_read_as_the_same_rules() -> None:
    query = "SELECT id, email\n  FROM users -- ümläut\n  WHERE id = ANY(:userIds)"
    text = GOOD.replace(
        "sql: SELECT id, email FROM users WHERE id = ANY(:userIds)", f"sql: {json.dumps(query)}"
    )
    file = parse(text)
    dumped = dump(file.rules, file.sources)
    assert parse(dumped) == file
    assert "        SELECT id, email\n          FROM users -- ümläut\n" in dumped
