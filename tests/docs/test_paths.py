"""What documents name in the repository exists."""

import re
from pathlib import Path

import pytest

from tests.support import ROOT

PAGES = sorted(
    page.relative_to(ROOT)
    for place in (".", "docs", "deploy", "clients/javascript", "clients/python", ".github")
    for page in (ROOT / place).glob("*.md")
)
FOLDERS = (
    "api|clients|decoration|deploy|dev|docs|ingest|merganser|properties|resolver|scanner|"
    "schemas|tests"
)
PLACEHOLDERS = {"ingest/dialects/NAME.py", "schemas/migrations/0099_name.sql"}


def anchors(page: Path) -> set[str]:
    """Return the headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_file_that_a_document_names_exists(page: Path) -> None:
    text = (ROOT / page).read_text()
    named = set(re.findall(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./-]*\w/?", text)) - PLACEHOLDERS
    own = ROOT / page.parent
    missing = {name for name in named if not ((ROOT / name).exists() or (own / name).exists())}
    assert not {name for name in missing if "." in name or name.endswith("/")}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page.parent / path).resolve() if path else ROOT / page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), target
