"""Each alert leads to its section of the runbook."""

import re

import pytest
import yaml

from tests.support import ROOT

RULES = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yaml"))
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
ALERTS = {
    rule["alert"]: rule["annotations"]["runbook_url"]
    for file in RULES
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


def anchors() -> list[str]:
    """The headings as links name them."""
    headings = re.findall(r"^#+ (.+)$", RUNBOOK, re.MULTILINE)
    return [
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    ]


def test_there_are_alerts() -> None:
    assert ALERTS


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_leads_to_its_section(alert: str) -> None:
    page, anchor = ALERTS[alert].split("#")
    assert page.endswith("docs/runbook.md")
    assert anchor in anchors()
    section = RUNBOOK.split(f"## {alert}\n")[1].split("\n## ")[0]
    assert "**See**" in section
    assert "**Do**" in section


def test_links_within_the_runbook_lead_somewhere() -> None:
    assert set(re.findall(r"\]\(#([^)]+)\)", RUNBOOK)) <= set(anchors())


def test_no_section_is_there_twice() -> None:
    assert len(set(anchors())) == len(anchors())
