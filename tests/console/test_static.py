"""What the pages load, and what they must not have."""

import hashlib
import re
from pathlib import Path

import pytest

import console
from tests.console.viewer import Viewer

FOLDER = Path(console.__file__).parent
TEMPLATES = sorted((FOLDER / "templates").glob("*.html"))
README = (FOLDER / "static" / "README.md").read_text()


def test_htmx_is_unchanged() -> None:
    digest = hashlib.sha256((FOLDER / "static" / "htmx.min.js").read_bytes()).hexdigest()
    assert digest in README
    assert "Zero-Clause BSD" in (FOLDER / "static" / "htmx.LICENSE").read_text()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_templates_have_no_inline_script_or_style(template: Path) -> None:
    text = template.read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", text)
    assert "|safe" not in text.replace(" ", "")
    assert "autoescape" not in text


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_templates_have_no_attribute_of_htmx_that_needs_eval(template: Path) -> None:
    text = template.read_text()
    assert not re.search(r"\shx-(on\b|vars=|validate)", text)
    for name, value in re.findall(r'\s(hx-[\w:-]+)="([^"]*)"', text):
        assert not value.strip().startswith(("js:", "javascript:")), name
        assert name != "hx-trigger" or "[" not in value, name


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_templates_name_no_other_host(template: Path) -> None:
    hosts = re.findall(
        r'(?:src|href|action|hx-get|hx-post)="((?:https?:)?//[^"]*)"', template.read_text()
    )
    assert hosts == []


def test_the_layout_turns_eval_off() -> None:
    layout = (FOLDER / "templates" / "layout.html").read_text()
    assert '"allowEval": false' in layout
    assert '"includeIndicatorStyles": false' in layout


async def test_every_response_has_the_headers_that_protect_it(stranger: Viewer) -> None:
    for path in ("/login", "/profiles", "/static/console.css", "/static/nothing"):
        headers = (await stranger.get(path)).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'; ")
        assert "unsafe" not in policy
        assert policy.endswith("form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-request-id"]
        cached = path == "/static/console.css"
        assert headers["cache-control"] == ("public, max-age=3600" if cached else "no-store")


async def test_the_pages_load_the_files_that_exist(stranger: Viewer) -> None:
    page = await stranger.page("/login")
    urls = re.findall(r'(?:src|href)="(/static/[^"]*)"', page)
    assert len(urls) == 5
    for url in urls:
        response = await stranger.get(url)
        assert response.status_code == 200
        assert len(response.content) > 100
