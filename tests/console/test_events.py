"""The page of one event."""

from merganser.http.authentication import Permission
from tests.console.test_profiles import ON_PHONE, SIGN_IN, SIGN_UP, VISIT, apply_rules, store_story
from tests.console.viewer import Viewer, text_of
from tests.support.events import event


async def test_an_event_shows_its_way_to_the_profile(viewer: Viewer) -> None:
    ann, phone = await store_story(viewer)
    page = await viewer.page(f"/events/{SIGN_IN['guid']}")
    text = text_of(page)
    assert "2026-03-01 12:00:30.000 UTC by the clock of the client" in text
    assert "userId ann" in text
    assert "anonymousId phone" in text
    assert f'href="/profiles/{ann}"' in page
    assert "It is an event with userId ann, so it is on that user's profile" in text
    assert "The anonymous profile of phone" in text
    assert f'title="{phone}"' in page
    assert 'class="merged"' in page


async def test_an_event_of_a_visitor_names_the_link_that_explains_it(viewer: Viewer) -> None:
    await store_story(viewer)
    text = await viewer.text(f"/events/{VISIT['guid']}")
    assert (
        f"whose anonymousId laptop belongs to user ann by its earliest link, {SIGN_UP['guid']}"
        in text
    )
    assert "path /" in text
    assert "utm_campaign spring" in text
    assert "claimed" in await viewer.text(f"/events/{SIGN_UP['guid']}")


async def test_values_are_masked_without_the_permission(stranger: Viewer) -> None:
    await stranger.log_in(Permission.READ_CONSOLE)
    await store_story(stranger)
    page = await stranger.page(f"/events/{ON_PHONE['guid']}")
    assert "/sale" not in page
    assert "192.0.2.1" not in page
    assert "path •••• hidden: you have no permission events:read" in text_of(page)


async def test_an_event_names_the_properties_that_it_counts_for(viewer: Viewer) -> None:
    await store_story(viewer)
    await apply_rules(viewer.database)
    assert "Properties visits : counted" in await viewer.text(f"/events/{VISIT['guid']}")
    assert "visits" not in await viewer.text(f"/events/{SIGN_IN['guid']}")


async def test_a_row_of_another_system_is_traced(viewer: Viewer) -> None:
    row = event("ann")
    await viewer.store.insert_unresolved(row)
    await viewer.database.execute('UPDATE events SET "producerGuid" = NULL, "occurredAt" = NULL')
    text = await viewer.text(f"/events/{row['guid']}")
    assert "The writer gave no time" in text
    assert "by another system, as a row of events" in text
    assert "Not resolved yet" in text


async def test_a_missing_event_says_why_it_may_be_missing(viewer: Viewer) -> None:
    response = await viewer.get("/events/evt_unknown")
    assert response.status_code == 404
    assert "No event evt_unknown" in text_of(response.text)
    assert (await viewer.get("/events/" + "x" * 65)).status_code == 404
    page = (await viewer.get("/events/a%3Fb%23c")).text
    assert 'href="/events/a%3Fb%23c?record"' in page
    assert (await viewer.get("/events/a%00b")).status_code == 404
