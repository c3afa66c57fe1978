"""The pages of profiles."""

import re

import pytest

from merganser.http.authentication import Permission
from merganser.identity.unlink import Unlinker
from merganser.rulebook import rule_store
from merganser.rulebook.language import RuleFile
from merganser.runtime import postgres
from schemas.ids import NOBODY
from tests.console.viewer import Viewer, text_of
from tests.support.database import Database
from tests.support.events import event

VISIT = event(None, "laptop", at=0, kind="pageview", path="/", utm_campaign="spring")
SIGN_UP = event("ann", "laptop", at=10, kind="sign-up")
ON_PHONE = event(None, "phone", at=20, kind="pageview", path="/sale")
SIGN_IN = event("ann", "phone", at=30, kind="sign-in")

RULES = RuleFile.model_validate(
    {
        "sources": {"crm": {"url": "CRM_URL"}},
        "rules": [
            {"key": "userId", "type": "string", "unique": True, "identifying": True},
            {
                "key": "visits",
                "type": "integer",
                "events": {"type": "pageview", "aggregation": "count"},
            },
            {
                "key": "email",
                "type": "email",
                "query": {
                    "source": "crm",
                    "sql": "SELECT id, email FROM users WHERE id = ANY(:userIds)",
                    "column": "email",
                },
            },
        ],
    }
)


async def store_story(viewer: Viewer) -> tuple[str, str]:
    """Store the events one by one; return the guids of Ann's profile and of the phone's."""
    await viewer.store.store(VISIT)
    await viewer.store.store(SIGN_UP)
    await viewer.store.store(ON_PHONE)
    phone = await viewer.store.profile_of(ON_PHONE)
    await viewer.store.store(SIGN_IN)
    return await viewer.store.profile_of(SIGN_IN), phone


async def store_properties(database: Database, profile: str, **values: str) -> None:
    for key, value in values.items():
        await database.execute(
            'INSERT INTO "profileProperties" ("profileGuid", key, value) VALUES (%s, %s, %s)',
            profile,
            key,
            value,
        )


async def apply_rules(database: Database) -> None:
    async with await postgres.connect(database.url, "test") as connection:
        await rule_store.apply_file(connection, RULES)


async def test_an_empty_database_says_what_to_do(viewer: Viewer) -> None:
    assert "There are no profiles yet Send the first event" in await viewer.text("/profiles")


async def test_without_a_search_the_page_shows_the_newest(viewer: Viewer) -> None:
    ann, phone = await store_story(viewer)
    text = await viewer.text("/profiles")
    assert "Recent merges" in text
    assert re.search(r"merged phone ann .* claimed laptop ann", text)
    page = await viewer.page("/profiles")
    assert f'href="/profiles/{ann}"' in page
    assert f'href="/events/{SIGN_IN["guid"]}"' in page
    assert f'href="/profiles/{phone}"' not in page


@pytest.mark.parametrize("searched", ["ann", "laptop", "phone", "its guid", "the merged guid"])
async def test_a_profile_is_found_by_each_of_its_ids(viewer: Viewer, searched: str) -> None:
    ann, phone = await store_story(viewer)
    text = {"its guid": ann, "the merged guid": phone}.get(searched, searched)
    page = await viewer.page("/profiles", q=f" {text} ")
    assert f'href="/profiles/{ann}"' in page
    kinds = {"ann": "is the userId", "its guid": "is the guid of this profile"}
    kinds |= {"the merged guid": "is the guid of a profile that merged into this one"}
    assert kinds.get(searched, "is the anonymousId of this profile") in text_of(page)


async def test_an_id_of_two_profiles_finds_both(viewer: Viewer) -> None:
    await viewer.store.store(event("both"), event(None, "both"))
    page = text_of(await viewer.page("/profiles", q="both"))
    assert "both is the userId of this profile user both" in page
    assert "both is the anonymousId of this profile anonymous visitor" in page


async def test_nothing_found_says_so(viewer: Viewer) -> None:
    assert "No profile has the id nobody@example.com" in await viewer.text(
        "/profiles", q="nobody@example.com"
    )


async def test_the_guid_of_an_event_opens_the_event(viewer: Viewer) -> None:
    response = await viewer.get("/profiles", q="evt_1")
    assert (response.status_code, response.headers["location"]) == (303, "/events/evt_1")


@pytest.mark.parametrize("text", ["x" * 600, "a\0b"], ids=["long", "NUL"])
async def test_an_impossible_search_is_refused(viewer: Viewer, text: str) -> None:
    response = await viewer.get("/profiles", q=text)
    assert response.status_code == 422
    assert "An id has at most 512 characters" in text_of(response.text)


async def test_profiles_are_found_by_a_property_in_pages(viewer: Viewer) -> None:
    for number in range(60):
        await viewer.store.store(event(f"user-{number}"))
        profile = await viewer.database.profile_of(f"user-{number}")
        await store_properties(viewer.database, profile, plan="gold")
    page = await viewer.page("/profiles", property="plan", value="gold")
    second = re.search(r'href="(/profiles\?property=plan&amp;value=gold&amp;cursor=[^"]*)"', page)
    assert second
    rest = await viewer.page(second[1].replace("&amp;", "&"))
    found = re.findall(r'href="/profiles/(pro_[^"]*)">user', page + rest)
    assert len(set(found)) == 60
    assert "Next page" not in rest
    assert "No profile has this value" in await viewer.text("/profiles", property="plan", value="x")


async def test_the_search_by_property_needs_a_permission(stranger: Viewer) -> None:
    await stranger.log_in(Permission.READ_CONSOLE)
    assert 'id="property"' not in await stranger.page("/profiles")
    response = await stranger.get("/profiles", property="plan", value="gold")
    assert response.status_code == 422
    assert "needs a key with the permission profiles:read" in text_of(response.text)


async def test_a_profile_shows_its_properties_with_their_rules(viewer: Viewer) -> None:
    ann, _ = await store_story(viewer)
    await apply_rules(viewer.database)
    await store_properties(
        viewer.database, ann, visits="2", email="ann@example.com", userId="ann", old="x"
    )
    text = await viewer.text(f"/profiles/{ann}")
    assert "visits 2 count over pageview 20" in text
    assert "email ann@example.com source crm 20" in text
    assert "userId ann userId of the events 20" in text
    assert "old x no rule 20" in text


async def test_a_merged_guid_leads_to_the_profile(viewer: Viewer) -> None:
    _, phone = await store_story(viewer)
    text = await viewer.text(f"/profiles/{phone}")
    assert "User ann" in text
    assert f"The profile {phone} merged into this one" in text


async def test_an_unknown_profile_is_not_found(viewer: Viewer) -> None:
    response = await viewer.get("/profiles/pro_unknown")
    assert response.status_code == 404
    assert "No such profile" in text_of(response.text)


async def test_the_identity_graph_and_its_table_say_the_same(viewer: Viewer) -> None:
    ann, phone = await store_story(viewer)
    page = await viewer.page(f"/profiles/{ann}")
    drawing = page[page.index("<svg") : page.index("</svg>")]
    assert re.findall(r'class="joint (\w+)"', drawing) == ["claimed", "merged"]
    assert re.findall(r'class="number"[^>]*>(\d)<', drawing) == ["1", "2"]
    links = [f"/events/{SIGN_UP['guid']}", f"/events/{SIGN_IN['guid']}"]
    assert re.findall(r'<a href="([^"]*)"', drawing) == links
    assert drawing.count('class="line"') == 2
    assert 'style="' not in drawing
    text = text_of(page)
    assert "claimed laptop" in text
    assert "the anonymous profile of laptop became this user's" in text
    assert f"{phone}, the anonymous profile of phone, merged into it" in text
    assert "2 anonymousIds belong to this user" in text


async def test_a_split_leaves_the_profile_in_the_drawing(viewer: Viewer) -> None:
    bob = event("bob", "laptop", at=40)
    ann, _ = await store_story(viewer)
    await viewer.store.store(bob)
    async with (
        await postgres.connect(viewer.database.url, "test") as connection,
        connection.transaction(),
    ):
        unlinker = Unlinker(NOBODY, 100)
        await unlinker.change(connection, "unlink", SIGN_UP["guid"], "test", "wrong", preview=False)
    page = await viewer.page(f"/profiles/{ann}")
    assert page.count('class="line leaves"') == 1
    assert 'class="joint unlinked"' in page
    other = await viewer.store.profile_of(bob)
    assert f'href="/profiles/{other}"' in page
    assert f"the events of laptop moved from {ann} to {other}" in text_of(page)


async def test_a_refused_link_is_explained(viewer: Viewer) -> None:
    ann, _ = await store_story(viewer)
    late = event("bob", "laptop", at=50)
    await viewer.store.store(late)
    text = await viewer.text(f"/profiles/{ann}")
    assert "links laptop to user bob , but it already belongs to user ann : two users never" in text


async def test_an_anonymous_visitor_is_explained(viewer: Viewer) -> None:
    await viewer.store.store(VISIT)
    text = await viewer.text(f"/profiles/{await viewer.store.profile_of(VISIT)}")
    assert "Anonymous visitor" in text
    assert "No event says who this visitor is" in text


async def test_the_timeline_is_newest_first_and_paged(viewer: Viewer) -> None:
    events = [event("ann", at=number, kind=f"kind-{number:03}") for number in range(120)]
    await viewer.store.store(*events)
    path = f"/profiles/{await viewer.database.profile_of('ann')}"
    kinds: list[str] = []
    url: str | None = path
    while url:
        page = await viewer.page(url)
        kinds += re.findall(r"<bdi>(kind-\d+)</bdi>", page)
        older = re.search(r'href="([^"]*)#timeline" hx-get', page)
        url = older[1].replace("&amp;", "&") if older else None
    assert kinds == [f"kind-{number:03}" for number in reversed(range(120))]


async def test_the_timeline_is_filtered_by_get_parameters(viewer: Viewer) -> None:
    ann, _ = await store_story(viewer)

    async def kinds(**filters: str) -> list[str]:
        page = await viewer.page(f"/profiles/{ann}", **filters)
        return re.findall(r'class="type"><bdi>([^<]*)</bdi>', page)

    assert await kinds(type="sign-in") == ["sign-in"]
    assert await kinds(type="", dataKey="path") == ["pageview", "pageview"]
    assert await kinds(dataKey="path", dataValue="/sale") == ["pageview"]
    assert await kinds(**{"from": "2026-03-01T12:00:15Z", "to": "2026-03-01T12:00:25Z"}) == [
        "pageview"
    ]
    assert "No event matches these filters" in await viewer.text(f"/profiles/{ann}", type="none")


async def test_a_wrong_filter_is_explained_and_kept(viewer: Viewer) -> None:
    ann, _ = await store_story(viewer)
    response = await viewer.get(f"/profiles/{ann}", **{"from": "yesterday", "type": "sign-in"})
    assert response.status_code == 422
    assert "from : write it as 2026-01-31 or 2026-01-31T12:00:00Z" in text_of(response.text)
    assert 'value="yesterday"' in response.text
    assert re.findall(r'class="type"><bdi>([^<]*)</bdi>', response.text) == ["sign-in"]
    response = await viewer.get(f"/profiles/{ann}", dataValue="/sale")
    assert "dataValue needs dataKey" in text_of(response.text)
    response = await viewer.get(f"/profiles/{ann}", cursor="wrong", type="sign-in")
    assert response.status_code == 400
    assert "Not a cursor of this page" in text_of(response.text)
    assert f'href="/profiles/{ann}?cursor=wrong&amp;type=sign-in"' in response.text


async def test_values_are_masked_without_the_permissions(stranger: Viewer) -> None:
    await stranger.log_in(Permission.READ_CONSOLE)
    ann, _ = await store_story(stranger)
    await store_properties(stranger.database, ann, email="ann@example.com")
    page = await stranger.page(f"/profiles/{ann}")
    for hidden in ("ann@example.com", "/sale", "spring"):
        assert hidden not in page
    text = text_of(page)
    assert "email •••• hidden: you have no permission profiles:read" in text
    assert "path •••• hidden: you have no permission events:read" in text
    response = await stranger.get(f"/profiles/{ann}", dataKey="path", dataValue="/sale")
    assert response.status_code == 422
    assert "dataValue : needs a key with the permission events:read" in text_of(response.text)


async def test_a_query_that_takes_too_long_is_an_error_that_says_what_to_do(
    viewer: Viewer,
) -> None:
    ann, _ = await store_story(viewer)
    async with await postgres.connect(viewer.database.url, "test") as other:
        await other.execute('BEGIN; LOCK TABLE "profileProperties"')
        response = await viewer.client.get(f"/profiles/{ann}?type=sign-in")
    assert response.status_code == 503
    assert "Try again with the same filters" in text_of(response.text)
    assert f'href="/profiles/{ann}?type=sign-in"' in response.text
