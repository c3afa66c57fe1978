"""The documentation is complete."""

from pathlib import Path

import pytest

from runtime.settings import Settings

CONFIGURATION = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text()


@pytest.mark.parametrize("settings", Settings.__subclasses__())
def test_every_setting_is_documented_with_its_meaning(settings: type[Settings]) -> None:
    rows = {
        row.split("`")[1]: row for row in CONFIGURATION.splitlines() if row.startswith("| `MERG")
    }
    for name, field in settings.model_fields.items():
        assert field.description, f"{name} has no description"
        assert field.description in rows[f"MERGANSER_{name.upper()}"]
