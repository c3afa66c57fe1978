"""The documentation is complete."""

from pathlib import Path

import pytest

from ingest import document
from runtime.refusals import Problem
from runtime.settings import Settings

DOCS = Path(__file__).parent.parent / "docs"
CONFIGURATION = (DOCS / "configuration.md").read_text()
INGEST = (DOCS / "ingest.md").read_text()


@pytest.mark.parametrize("settings", Settings.__subclasses__())
def test_every_setting_is_documented_with_its_meaning(settings: type[Settings]) -> None:
    rows = {
        row.split("`")[1]: row for row in CONFIGURATION.splitlines() if row.startswith("| `MERG")
    }
    for name, field in settings.model_fields.items():
        assert field.description, f"{name} has no description"
        assert field.description in rows[f"MERGANSER_{name.upper()}"]


def test_every_limit_and_refusal_of_ingest_is_documented() -> None:
    for name in document.LIMITS:
        assert f"`MERGANSER_{name.upper()}`" in INGEST
    for problem in Problem:
        if problem.status in document.statuses():
            assert f"`{problem.code}`" in INGEST
            assert str(problem.status) in INGEST
