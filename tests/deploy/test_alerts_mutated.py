"""Make each alert more sensitive, one change at a time: its run_promtool tests have to fail."""

import re
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ROOT

pytestmark = pytest.mark.deploy

PROMETHEUS = ROOT / "deploy/prometheus"
RULES = [
    yaml.safe_load((PROMETHEUS / f"rules/{name}.yaml").read_text())
    for name in ("recording", "alerts")
]
TESTS = [yaml.safe_load(file.read_text()) for file in (PROMETHEUS / "tests").iterdir()]
ALERTS = [
    (group["name"], number, rule)
    for group in RULES[1]["groups"]
    for number, rule in enumerate(group["rules"])
]

THRESHOLD = re.compile(r"(?<=> )[\d.]*[1-9][\d.]*")
OPERATOR = re.compile(r"\s+(and|unless)( on \([^)]*\))?\s+")


def mutate(rule: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the rule without `for`, with each threshold 10% lower, and without each condition."""
    expr = rule["expr"]
    exprs = {
        number: re.sub(rf"(?<=> ){re.escape(number)}(?![\d.])", f"{float(number) * 0.9:g}", expr)
        for number in THRESHOLD.findall(expr)
    }
    for operator in OPERATOR.finditer(expr):
        start, end = (
            find_operand_start(expr, operator.start()),
            find_operand_end(expr, operator.end()),
        )
        exprs[expr[operator.end() : end]] = expr[: operator.start()] + expr[end:]
        if operator[1] == "and":
            exprs[expr[start : operator.start()]] = expr[:start] + expr[operator.end() :]
    found = {changed: {**rule, "expr": expr} for changed, expr in exprs.items()}
    if "for" in rule:
        found["for"] = {key: value for key, value in rule.items() if key != "for"}
    return found


def find_operand_end(expr: str, start: int) -> int:
    """Return the end of the operand that starts here."""
    depth = 0
    for position in range(start, len(expr)):
        depth += {"(": 1, ")": -1}.get(expr[position], 0)
        if depth < 0 or (depth == 0 and re.match(r"\s+(and|or|unless)\b", expr[position:])):
            return position
    return len(expr)


def find_operand_start(expr: str, end: int) -> int:
    """Return the start of the operand that ends here."""
    return next(
        position
        for position in range(end)
        if starts_operand(expr, position) and find_operand_end(expr, position) == end
    )


def starts_operand(expr: str, position: int) -> bool:
    return bool(re.search(r"(^|\(|\b(and|or|unless)( on \([^)]*\))?\s+)$", expr[:position]))


MUTANTS = [
    pytest.param(
        group,
        number,
        mutant,
        id=f"{rule['alert']}-{rule['labels']['severity']}-{' '.join(changed.split())}",
    )
    for group, number, rule in ALERTS
    for changed, mutant in mutate(rule).items()
]


def run_promtool(folder: Path, group: str, number: int, rule: dict[str, Any]) -> str:
    """Run the tests of an alert with this rule in its place; return the failures, or nothing."""
    name = rule["alert"]
    recording, alerts = deepcopy(RULES)
    (changed,) = (g for g in alerts["groups"] if g["name"] == group)
    changed["rules"][number] = rule
    # Recording rules of other alerts take time and would find no series.
    exprs = "\n".join(r["expr"] for r in changed["rules"] if r["alert"] == name)
    for recorded in recording["groups"]:
        recorded["rules"] = [r for r in recorded["rules"] if r["record"] in exprs]
    (folder / "recording.yaml").write_text(yaml.safe_dump(recording))
    (folder / "alerts.yaml").write_text(yaml.safe_dump(alerts))
    for file in TESTS:
        tests = [test for test in file["tests"] if test["name"].startswith(f"{name}:")]
        if tests:
            rules = {"rule_files": ["recording.yaml", "alerts.yaml"], "tests": tests}
            (folder / "tests.yaml").write_text(yaml.safe_dump({**file, **rules}))
    result = subprocess.run(
        ["promtool", "test", "rules", "tests.yaml"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "" if result.returncode == 0 else result.stdout + result.stderr


@pytest.mark.parametrize(("group", "number", "rule"), MUTANTS)
def test_a_mutated_alert_fails_its_tests(
    group: str, number: int, rule: dict[str, Any], tmp_path: Path
) -> None:
    assert "got:" in run_promtool(tmp_path, group, number, rule)


@pytest.mark.parametrize(
    ("group", "number", "rule"),
    [pytest.param(*alert, id=alert[2]["alert"]) for alert in ALERTS],
)
def test_an_unchanged_alert_passes_its_tests(
    group: str, number: int, rule: dict[str, Any], tmp_path: Path
) -> None:
    assert not run_promtool(tmp_path, group, number, rule)
