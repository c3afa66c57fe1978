"""The rules of properties that run while faults are injected."""

from merganser.rulebook.language import Rule, RuleFile, Source


def _rule(key: str, kind: str, *, array: bool = False, **events: object) -> dict[str, object]:
    source = {"type": ["record", "row"], **events}
    return {"key": key, "type": kind, "array": array, "events": source}


RULES = RuleFile.model_validate(
    {
        "rules": [
            {"key": "userId", "type": "string", "unique": True, "identifying": True},
            _rule("events", "integer", aggregation="count"),
            _rule("numbers", "integer", aggregation="distinct count", column="data.number"),
            _rule("last", "string", aggregation="most recent", column="data.number"),
            _rule("first", "date", aggregation="min", column="occurredAt"),
            _rule("age", "float", aggregation="diff", column="occurredAt"),
            _rule("spent", "float", aggregation="sum", column="data.price"),
            _rule("lately", "integer", aggregation="count", window=3650),
            _rule("texts", "string", aggregation="all values", column="data.text", array=True),
        ]
    }
)
"""Each kind of aggregation, computed from events."""

_PLAN = """
SELECT "userId" AS id, CASE
    WHEN NOT starts_with("userId", 'hostile ') THEN 'free'
    WHEN mod(hashtext("userId"), 2) = 0 THEN repeat('x', 100000)
    ELSE CAST(length("userId") / 0 AS text)
END AS plan
FROM profiles WHERE "userId" IN (:userIds)
"""
"""What the company's database answers: for a hostile user too much, or an error for the query."""

CHAOS_RULES = RuleFile(
    sources={"crm": Source(url="CRM_URL", batch=50)},
    rules=[
        *RULES.rules,
        Rule.model_validate(
            {"key": "bait", "type": "integer", "events": {"type": "record", "aggregation": "count"}}
        ),
        Rule.model_validate(
            {
                "key": "plan",
                "type": "string",
                "query": {"source": "crm", "sql": _PLAN, "column": "plan"},
            }
        ),
    ],
)
"""A hostile operator breaks the rule `bait`."""
