"""Alerts made noisier, one change at a time: promtool's tests of the alert have to fail."""

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
JOINT = re.compile(r"\s+(and|unless)( on \([^)]*\))?\s+")


def noisier(rule: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rule without its `for`, with each threshold a tenth lower, and without each condition."""
    expr = rule["expr"]
    exprs = {
        number: re.sub(rf"(?<=> ){re.escape(number)}(?![\d.])", f"{float(number) * 0.9:g}", expr)
        for number in THRESHOLD.findall(expr)
    }
    for joint in JOINT.finditer(expr):
        start, end = before(expr, joint.start()), after(expr, joint.end())
        exprs[expr[joint.end() : end]] = expr[: joint.start()] + expr[end:]
        if joint[1] == "and":
            exprs[expr[start : joint.start()]] = expr[:start] + expr[joint.end() :]
    found = {changed: {**rule, "expr": expr} for changed, expr in exprs.items()}
    if "for" in rule:
        found["for"] = {key: value for key, value in rule.items() if key != "for"}
    return found


def after(expr: str, start: int) -> int:
    """Where the operand ends that begins here."""
    depth = 0
    for place in range(start, len(expr)):
        depth += {"(": 1, ")": -1}.get(expr[place], 0)
        if depth < 0 or (depth == 0 and re.match(r"\s+(and|or|unless)\b", expr[place:])):
            return place
    return len(expr)


def before(expr: str, end: int) -> int:
    """Where the operand begins that ends here."""
    return next(place for place in range(end) if begins(expr, place) and after(expr, place) == end)


def begins(expr: str, place: int) -> bool:
    return bool(re.search(r"(^|\(|\b(and|or|unless)( on \([^)]*\))?\s+)$", expr[:place]))


MUTANTS = [
    pytest.param(
        group,
        number,
        mutant,
        id=f"{rule['alert']}-{rule['labels']['severity']}-{' '.join(changed.split())}",
    )
    for group, number, rule in ALERTS
    for changed, mutant in noisier(rule).items()
]


def promtool(place: Path, group: str, number: int, rule: dict[str, Any]) -> str:
    """What fails of the tests of an alert, with this rule in its place; empty if nothing does."""
    name = rule["alert"]
    recording, alerts = deepcopy(RULES)
    (changed,) = (g for g in alerts["groups"] if g["name"] == group)
    changed["rules"][number] = rule
    # Records of others take their time, and would find nothing.
    exprs = "\n".join(r["expr"] for r in changed["rules"] if r["alert"] == name)
    for recorded in recording["groups"]:
        recorded["rules"] = [r for r in recorded["rules"] if r["record"] in exprs]
    (place / "recording.yaml").write_text(yaml.safe_dump(recording))
    (place / "alerts.yaml").write_text(yaml.safe_dump(alerts))
    for file in TESTS:
        tests = [test for test in file["tests"] if test["name"].startswith(f"{name}:")]
        if tests:
            rules = {"rule_files": ["recording.yaml", "alerts.yaml"], "tests": tests}
            (place / "tests.yaml").write_text(yaml.safe_dump({**file, **rules}))
    done = subprocess.run(
        ["promtool", "test", "rules", "tests.yaml"],
        cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize(("group", "number", "rule"), MUTANTS)
def test_a_noisier_alert_is_noticed(
    group: str, number: int, rule: dict[str, Any], tmp_path: Path
) -> None:
    assert "got:" in promtool(tmp_path, group, number, rule)


@pytest.mark.parametrize(
    ("group", "number", "rule"),
    [pytest.param(*alert, id=alert[2]["alert"]) for alert in ALERTS],
)
def test_an_alert_as_it_is_passes(
    group: str, number: int, rule: dict[str, Any], tmp_path: Path
) -> None:
    assert not promtool(tmp_path, group, number, rule)
