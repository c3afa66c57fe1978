"""Documents describe every setting, limit and error, and no other."""

import re

import pytest

from ingest import openapi
from merganser.http.errors import ErrorKind
from merganser.runtime.settings import Settings
from tests.support import ROOT, variables

DOCS = ROOT / "docs"
CONFIGURATION = (DOCS / "configuration.md").read_text()
INGEST = (DOCS / "ingest.md").read_text()
PAGES = [
    str(page.relative_to(ROOT))
    for place in (".", "docs", "deploy", "clients/javascript", "clients/python")
    for page in (ROOT / place).glob("*.md")
]
OTHERS = {"MERGANSER_HOME", "MERGANSER_DEDUP_WINDOW", "MERGANSER_TEST_LOCALE"}
"""The local stack's, one that the documentation says does not exist, and the tests'."""


@pytest.mark.parametrize("settings", Settings.__subclasses__())
def test_every_setting_is_documented_with_its_meaning(settings: type[Settings]) -> None:
    rows = {
        row.split("`")[1]: row for row in CONFIGURATION.splitlines() if row.startswith("| `MERG")
    }
    for name, field in settings.model_fields.items():
        assert field.description, f"{name} has no description"
        assert field.description in rows[f"MERGANSER_{name.upper()}"]


@pytest.mark.parametrize("page", PAGES)
def test_no_other_setting_is_documented(page: str) -> None:
    named = set(re.findall(r"MERGANSER_[A-Z_]*[A-Z]", (ROOT / page).read_text()))
    assert named <= variables.OURS | OTHERS


def test_every_limit_and_refusal_of_ingest_is_documented() -> None:
    for name in openapi.LIMITS:
        assert f"`MERGANSER_{name.upper()}`" in INGEST
    for problem in ErrorKind:
        if problem.status in openapi.statuses():
            assert f"`{problem.code}`" in INGEST
            assert str(problem.status) in INGEST
