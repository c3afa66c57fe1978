"""What clients send is shown as text, on every page."""

import pytest

from tests.console.test_profiles import store_properties
from tests.console.viewer import Viewer, text_of
from tests.support.events import event

MARKUP = "<script>alert(1)</script>"
TEXTS = {
    "markup": MARKUP,
    "attribute": '" onmouseover="alert(1)" x="',
    "single quotes": "' onfocus='alert(1)' autofocus='",
    "template": "{{ 7 * 7 }}{% raw %}",
    "link": "javascript:alert(1)",
    "path": "../../login?next=//evil.example#",
    "percent": "%2e%2e%2f%00",
    "entities": "&lt;b&gt;&amp;",
    "emoji": "👩‍💻 Zoë 日本",
    "controls": "a\x01b\x1b[31mc\x7f",
    "right to left": "abc\u202egnp.exe\u2066\u200f",
    "long": "Ω" * 500,
}
VISIBLE = {
    "controls": "a⟨U+0001⟩b⟨U+001B⟩[31mc⟨U+007F⟩",
    "right to left": "abc⟨U+202E⟩gnp.exe⟨U+2066⟩⟨U+200F⟩",
    "emoji": "👩⟨U+200D⟩💻 Zoë 日本",
}


@pytest.mark.parametrize("name", TEXTS)
async def test_hostile_ids_types_and_values_are_text(viewer: Viewer, name: str) -> None:
    text = TEXTS[name]
    link = event(text, f"device {text}"[:512], kind=text)
    link["data"] = {text: text}
    visit = event(None, f"device {text}"[:512], at=-5, kind=text)
    await viewer.store.store(visit)
    await viewer.store.store(link)
    profile = await viewer.store.profile_of(link)
    await store_properties(viewer.database, profile, value=text)
    visible = " ".join(VISIBLE.get(name, text).split())
    for path, parameters in (
        (f"/profiles/{profile}", {}),
        (f"/profiles/{profile}", {"type": text}),
        (f"/events/{link['guid']}", {}),
        ("/profiles", {}),
        ("/profiles", {"q": text}),
        ("/privacy", {"id": text}),
        ("/profiles", {"property": "value", "value": text}),
    ):
        page = await viewer.page(path, **parameters)
        assert MARKUP not in page
        assert 'onmouseover="' not in page
        assert "49" not in text_of(page).split()
        assert "\u202e" not in text_of(page)
        shown = visible if name != "long" else visible[:40]
        assert shown in text_of(page), path


async def test_a_value_of_10_kb_is_folded(viewer: Viewer) -> None:
    value = "x" * 10_000
    await viewer.store.store(link := event("ann", kind="big", text=value))
    profile = await viewer.database.profile_of("ann")
    await store_properties(viewer.database, profile, text=value)
    for path in (f"/profiles/{profile}", f"/events/{link['guid']}"):
        page = await viewer.page(path)
        assert '<details class="long">' in page
        assert "10,000 characters" in text_of(page)
        assert value in page


async def test_ids_that_look_like_guids_lead_to_their_own_pages(viewer: Viewer) -> None:
    await viewer.store.store(victim := event("victim"))
    profile = await viewer.store.profile_of(victim)
    await viewer.store.store(fake := event(profile, profile))
    text = await viewer.text(f"/profiles/{profile}")
    assert "User victim" in text
    assert "No anonymousId belongs to this user" in text
    own = await viewer.store.profile_of(fake)
    assert f"User {profile}" in await viewer.text(f"/profiles/{own}")
