"""The pages of rules: those in force, the editor, its previews, and applying."""

import html
import re
from datetime import UTC, datetime

import pytest

from console import rules
from merganser.admin import rule_preview
from merganser.http.authentication import Permission
from merganser.rulebook import rule_file, rule_store
from merganser.runtime import postgres
from merganser.runtime.set_aside import Item, Kind, put
from tests.console.test_profiles import apply_rules, store_properties, store_story
from tests.console.viewer import Viewer, text_of
from tests.properties.harness import PropertyHarness
from tests.support.actions import read_actions
from tests.support.database import Database
from tests.support.events import event

IDENTIFYING = "  - {key: userId, type: string, unique: true, identifying: true}\n"
VISITS = "  - {key: visits, type: integer, events: {type: pageview, aggregation: count}}\n"
CAMPAIGN = """\
  - key: campaign
    type: string
    events: {type: pageview, aggregation: most recent, column: data.utm_campaign}
"""
PRICES = (
    "  - {key: spent, type: float, events: {type: buy, aggregation: sum, column: data.price}}\n"
)
SAVED = "rules:\n" + IDENTIFYING + VISITS
NEW = "rules:\n" + IDENTIFYING + VISITS.replace("pageview", "[pageview, sign-up]") + CAMPAIGN


async def apply(database: Database, text: str) -> None:
    async with await postgres.connect(database.url, "test") as connection:
        await rule_store.apply_file(connection, rule_file.parse(text))


async def keys_in_force(database: Database) -> list[str]:
    return [stored.rule.key for stored in await rule_store.read_rules(database.connection)]


async def compute(database: Database) -> PropertyHarness:
    """Run the properties process until all is computed."""
    harness = PropertyHarness(database)
    await harness.run_steps()
    return harness


def fields_of(page: str, form: str) -> dict[str, str]:
    """Return the hidden fields of the form with this action, as a browser would send them."""
    part = page[page.index(f'action="{form}') :]
    part = part[: part.index("</form>")]
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', part, re.DOTALL)
    return {name: html.unescape(value) for name, value in found}


async def open_editor(viewer: Viewer, text: str, profile: str = "") -> dict[str, str]:
    """Open the editor, and return its fields with another text."""
    fields = fields_of(await viewer.page("/rules/edit"), "/rules/preview")
    return {**fields, "text": text, "profile": profile}


async def test_without_rules_the_page_says_what_to_do(viewer: Viewer) -> None:
    text = await viewer.text("/rules")
    assert "There are no rules yet" in text
    assert "Write the first rules" in text
    page = await viewer.page("/rules/edit")
    assert "rules: []" in page


async def test_the_rules_in_force_with_their_coverage_and_state(viewer: Viewer) -> None:
    await store_story(viewer)
    await viewer.store.store(event(None, "tablet", kind="other"))
    await apply(viewer.database, SAVED + CAMPAIGN)
    text = await viewer.text("/rules")
    assert "visits integer pageview, count 0 % " in text
    assert "backfill: 0 of about" in text
    await compute(viewer.database)
    text = await viewer.text("/rules")
    assert "Coverage is of all 2 profiles." in text
    assert "visits integer pageview, count 100 % up to date 20" in text
    assert "campaign string pageview, most recent, data.utm_campaign 50 % up to date 20" in text
    assert "userId string unique identifying the userIds of events 50 % up to date" in text


async def test_coverage_of_many_profiles_is_an_estimate(viewer: Viewer) -> None:
    await viewer.database.execute(
        "INSERT INTO profiles (guid) SELECT 'pro_' || n FROM generate_series(1, 2000) AS n"
    )
    await viewer.database.execute("ANALYZE profiles")
    await apply(viewer.database, SAVED)
    text = await viewer.text("/rules")
    found = re.search(r"Coverage is an estimate, from (\d+) of about 2,000 profiles", text)
    assert found
    assert 0 < int(found[1]) <= 500


async def test_sources_and_broken_rules(viewer: Viewer) -> None:
    await apply_rules(viewer.database)
    await viewer.database.execute(
        "UPDATE \"profilePropertyRules\" SET failure = 'fails for all' WHERE key = 'visits'"
    )
    await viewer.database.execute(
        'INSERT INTO "propertySourceStates" (source, revisions, "failingSince", error, failures) '
        "VALUES ('crm', '{}', now(), 'cannot connect', 3)"
    )
    text = await viewer.text("/rules")
    assert "visits broken fails for all" in text
    assert "crm CRM_URL failing since 20" in text
    assert "cannot connect" in text
    assert "email email crm: email — waiting: does `merganser decoration` run? 20" in text
    assert "The rule visits is broken, so the text does not have it" in await viewer.text(
        "/rules/edit"
    )


async def test_the_editor_has_the_rules_in_force(viewer: Viewer) -> None:
    await apply_rules(viewer.database)
    page = await viewer.page("/rules/edit")
    found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    assert found
    file = rule_file.parse(html.unescape(found[1]))
    async with await postgres.connect(viewer.database.url, "test") as connection:
        assert not await rule_store.compare_with_file(connection, file)


async def test_a_mistake_is_shown_with_its_line_and_field(viewer: Viewer) -> None:
    await apply(viewer.database, SAVED)
    text = SAVED + "  - key: new\n    type: strnig\n    events: {type: view, aggregation: count}\n"
    fields = await open_editor(viewer, text)
    response = await viewer.post("/rules/check", fields)
    assert response.status_code == 200
    shown = text_of(response.text)
    assert "Line 5 rules.type: input should be 'string', 'integer'" in shown
    assert "not 'strnig' type: strnig" in shown, "with the line itself"
    assert html.escape(text, quote=True).replace("&#x27;", "&#39;") in response.text
    for path in ("/rules/preview", "/rules/apply"):
        response = await viewer.post(path, fields)
        assert response.status_code == 422
        assert "Line 5 rules.type" in text_of(response.text)
    assert await keys_in_force(viewer.database) == ["userId", "visits"]


async def test_a_check_says_what_would_change(viewer: Viewer) -> None:
    await apply(viewer.database, SAVED)
    for text, shown in (
        (SAVED, "These rules apply already"),
        (NEW, "Applying it would add 1, change 1 rules"),
        ("rules:\n" + IDENTIFYING, "Applying it would remove 1 rule:"),
    ):
        response = await viewer.post("/rules/check", await open_editor(viewer, text))
        assert shown in text_of(response.text)
        assert "/rules/apply" not in response.text
    assert await keys_in_force(viewer.database) == ["userId", "visits"]


async def test_a_preview_is_what_the_properties_process_then_computes(viewer: Viewer) -> None:
    ann, _ = await store_story(viewer)
    for price in ("10.5", "a lot", "1e1"):
        await viewer.store.store(event("ann", kind="buy", price=price))
    await apply(viewer.database, SAVED)
    await compute(viewer.database)

    fields = await open_editor(viewer, NEW + PRICES, profile="laptop")
    page = (await viewer.post("/rules/preview", fields)).text
    shown = text_of(page)
    assert "added campaign + key: campaign + type: string" in shown
    assert "changed visits key: visits type: integer events: - type: [pageview]" in shown
    assert "campaign added no value spring spent added no value 20.5 visits changed 2 3" in shown
    assert "userId unchanged ann the same" in shown
    file = rule_file.parse(NEW + PRICES)
    async with await postgres.connect(viewer.database.url, "test") as connection:
        changes = await rule_store.compare_with_file(connection, file)
        async with connection.transaction():
            previewed = await rule_preview.preview_profile(
                connection, file, changes, "ann", datetime.now(UTC)
            )
    assert previewed.guid == ann
    assert previewed.properties is not None

    response = await viewer.post("/rules/apply", fields_of(page, "/rules/apply"))
    assert (response.status_code, response.headers["location"]) == (303, "/rules?done=applied")
    assert "Applied. The properties process now computes" in await viewer.text(
        "/rules?done=applied"
    )
    harness = await compute(viewer.database)
    computed = {
        preview.key: await harness.read_values(ann, preview.key) for preview in previewed.properties
    }
    assert computed == {preview.key: preview.after for preview in previewed.properties}
    assert computed == {
        "userId": ["ann"],
        "visits": ["3"],
        "campaign": ["spring"],
        "spent": ["20.5"],
    }


async def test_a_sample_shows_how_many_profiles_change(viewer: Viewer) -> None:
    for number in range(5):
        await viewer.store.store(event(f"user {number}", kind="pageview"))
        await viewer.store.store(event(f"user {number}", kind="buy", price="3" if number else "x"))
    await apply(viewer.database, SAVED)
    await compute(viewer.database)
    fields = await open_editor(viewer, "rules:\n" + IDENTIFYING + PRICES)
    shown = text_of((await viewer.post("/rules/preview", fields)).text)
    assert "All 5 profiles, before and after" in shown
    assert re.search(r"spent added 0 4 4 (pro_\S+ no value → 3 ){3}does not fit the type: 1", shown)
    assert re.search(r"visits removed 5 0 5 (pro_\S+ 1 → no value ){3}—", shown)
    assert "userId unchanged 5 5 0 — —" in shown
    assert "Apply these rules: add 1, remove 1" in shown


async def test_profiles_with_too_many_events_are_left_out(
    viewer: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store_story(viewer)
    await viewer.store.store(event("bob", kind="pageview"))
    monkeypatch.setattr(rule_preview, "MAX_SAMPLE_EVENTS", 3)
    monkeypatch.setattr(rule_preview, "MAX_EVENTS", 3)
    fields = await open_editor(viewer, SAVED, profile="ann")
    shown = text_of((await viewer.post("/rules/preview", fields)).text)
    assert "It has too many events to compute them on a page" in shown
    assert "1 further profile is left out" in shown
    assert re.search(r"visits added 0 1 1 pro_\S+ no value → 1 —", shown)


async def test_a_preview_that_takes_too_long_is_left_out(
    viewer: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store_story(viewer)
    monkeypatch.setattr(rule_preview, "MAX_SECONDS", -1)
    fields = await open_editor(viewer, SAVED, profile="ann")
    shown = text_of((await viewer.post("/rules/preview", fields)).text)
    assert "It has too many events to compute them on a page" in shown
    assert "1 further profile is left out" in shown


async def test_an_unknown_profile_keeps_the_text(viewer: Viewer) -> None:
    fields = await open_editor(viewer, NEW, profile="nobody")
    response = await viewer.post("/rules/preview", fields)
    assert "No profile, userId or anonymousId is 'nobody'" in text_of(response.text)
    assert html.escape(CAMPAIGN) in response.text
    assert 'value="nobody"' in response.text


async def test_queries_of_rules_do_not_run_in_a_preview(viewer: Viewer) -> None:
    ann, _ = await store_story(viewer)
    await apply_rules(viewer.database)
    await store_properties(viewer.database, ann, email="ann@example.com")
    editor = await viewer.page("/rules/edit")
    found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", editor, re.DOTALL)
    assert found
    text = html.unescape(found[1]).replace("column: email", "column: mail")
    fields = {**fields_of(editor, "/rules/preview"), "text": text, "profile": "ann"}
    page = (await viewer.post("/rules/preview", fields)).text
    shown = text_of(page)
    assert "email changed ann@example.com as its source says" in shown
    assert "email changed 1 as its source says" in shown
    same = (await viewer.post("/rules/preview", {**fields, "text": html.unescape(found[1])})).text
    assert "email unchanged ann@example.com the same" in text_of(same)
    assert "email unchanged 1 1 0" in text_of(same)
    response = await viewer.post("/rules/apply", fields_of(page, "/rules/apply"))
    assert response.status_code == 303


async def test_rules_that_someone_else_applied_are_not_replaced(viewer: Viewer) -> None:
    await apply(viewer.database, SAVED)
    fields = await open_editor(viewer, NEW)
    previewed = fields_of((await viewer.post("/rules/preview", fields)).text, "/rules/apply")
    await apply(viewer.database, SAVED + PRICES)
    response = await viewer.post("/rules/apply", previewed)
    assert response.status_code == 409
    assert "Other rules were applied since you opened the editor" in text_of(response.text)
    assert html.escape(CAMPAIGN) in response.text, "the text is kept"
    assert await keys_in_force(viewer.database) == ["spent", "userId", "visits"]

    again = {**fields, **fields_of(response.text, "/rules/preview"), "text": NEW}
    page = (await viewer.post("/rules/preview", again)).text
    assert "removed spent" in text_of(page), "the preview says what is undone"
    response = await viewer.post("/rules/apply", fields_of(page, "/rules/apply"))
    assert response.status_code == 303
    assert await keys_in_force(viewer.database) == ["campaign", "userId", "visits"]


async def test_an_apply_without_the_version_of_the_editor_is_refused(viewer: Viewer) -> None:
    await apply(viewer.database, SAVED)
    response = await viewer.post("/rules/apply", {"text": NEW})
    assert response.status_code == 409
    assert await keys_in_force(viewer.database) == ["userId", "visits"]


async def test_rules_wait_for_no_long_transaction(
    viewer: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rule_store, "LOCK_TIMEOUT", "100ms")
    fields = await open_editor(viewer, SAVED)
    async with await postgres.connect(viewer.database.url, "test") as writer, writer.transaction():
        await writer.execute("INSERT INTO events (type, \"userId\") VALUES ('view', '1')")
        response = await viewer.post("/rules/apply", fields)
    assert response.status_code == 409
    assert "A long transaction is writing events" in text_of(response.text)
    assert html.escape(VISITS) in response.text
    assert await keys_in_force(viewer.database) == []


@pytest.mark.parametrize(
    "sources",
    ["sources: {crm: {url: MERGANSER_DATABASE_URL}}\n", ""],
    ids=["another variable", "no source"],
)
async def test_the_console_does_not_change_sources(viewer: Viewer, sources: str) -> None:
    await apply(viewer.database, "sources: {crm: {url: CRM_URL}}\n" + SAVED)
    page = (await viewer.post("/rules/preview", await open_editor(viewer, sources + NEW))).text
    assert "The sources differ from those in force" in text_of(page)
    assert "/rules/apply" not in page
    response = await viewer.post("/rules/apply", await open_editor(viewer, sources + NEW))
    assert response.status_code == 409
    assert "Sources name environment variables with passwords" in text_of(response.text)
    assert await keys_in_force(viewer.database) == ["userId", "visits"]
    stored = await rule_store.read_sources(viewer.database.connection)
    assert stored["crm"].url == "CRM_URL"


async def test_applying_is_in_the_log_of_actions(viewer: Viewer) -> None:
    await apply(viewer.database, SAVED)
    await viewer.post("/rules/apply", await open_editor(viewer, "rules:\n" + IDENTIFYING + PRICES))
    (action,) = [row for row in await read_actions(viewer.database) if row[0] == "console"]
    assert action[2:] == ("rules applied", None, None, {"added": 1, "changed": 0, "removed": 1})


async def test_readers_preview_and_cannot_apply(stranger: Viewer) -> None:
    await stranger.log_in(Permission.READ_CONSOLE, Permission.READ_EVENTS, Permission.READ_PROFILES)
    await store_story(stranger)
    fields = await open_editor(stranger, SAVED)
    page = (await stranger.post("/rules/preview", fields)).text
    assert "The only profile, before and after" in text_of(page)
    assert "/rules/apply" not in page
    assert "log in with a key that has the permission console:write" in text_of(page)
    response = await stranger.post("/rules/apply", fields)
    assert response.status_code == 403
    assert "no permission console:write" in text_of(response.text)
    assert await keys_in_force(stranger.database) == []


@pytest.mark.parametrize("missing", rules.READS)
async def test_a_preview_needs_what_its_values_are_made_of(
    stranger: Viewer, missing: Permission
) -> None:
    """A rule can turn any data of events into a property, and a count says what a filter met."""
    await store_story(stranger)
    others = {Permission.WRITE_CONSOLE, *rules.READS} - {missing}
    await stranger.log_in(*others)
    fields = await open_editor(stranger, NEW, profile="ann")
    page = (await stranger.post("/rules/preview", fields)).text
    shown = text_of(page)
    assert f"Your key has no permission {missing} , so there is none" in shown
    assert "spring" not in shown
    assert "before and after" not in shown
    assert "Apply these rules: add 3" in shown, "the difference of the rules is shown"


HOSTILE = {
    "long": ("x" * 300_000, "a file has at most 262,144 bytes"),
    "deep": ("[" * 50_000, "more than 20 levels of nesting"),
    "aliases": (
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
            for before, name in zip("abcdefgh", "bcdefghi", strict=True)
        )
        + "rules: *i\n",
        "aliases make the file too large",
    ),
    "number": ("rules: " + "9" * 5_000, "a number has at most 100 characters"),
    "markup": ("rules: [<script>alert(1)</script>]", "not '<script>alert(1)</script>'"),
    "direction": ('rules: ["\\u202ex"]', "not '\\u202ex'"),
    "NUL": ('rules: "\\0"', "Postgres cannot store NUL"),
    "many mistakes": ("rules: [" + "a," * 5_000 + "]", "there are more mistakes"),
    "end of the text": ("</textarea><script>alert(1)</script>", "write `rules:`"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_yaml_gets_a_clear_error(viewer: Viewer, name: str) -> None:
    text, message = HOSTILE[name]
    response = await viewer.post("/rules/check", await open_editor(viewer, text))
    assert response.status_code == 200
    assert message in text_of(response.text)
    assert "<script>alert" not in response.text


async def test_a_form_of_10_mb_is_refused(viewer: Viewer) -> None:
    response = await viewer.post("/rules/check", {"text": "x" * 10_000_000})
    assert response.status_code == 413


async def test_hostile_rules_are_text(viewer: Viewer) -> None:
    markup = "<script>alert(1)</script>"
    column = f"  - {{key: a, type: string, events: {{type: '{markup}', aggregation: most recent, "
    text = "rules:\n" + IDENTIFYING + column + f"column: 'data.{markup}\u202e'}}}}\n"
    sent = event("ann", kind=markup)
    await viewer.store.store({**sent, "data": {f"{markup}\u202e": markup}})
    fields = await open_editor(viewer, text, profile="ann")
    page = (await viewer.post("/rules/preview", fields)).text
    assert markup not in page
    assert f"a added no value {markup}" in text_of(page)
    await viewer.post("/rules/apply", fields_of(page, "/rules/apply"))
    for path in ("/rules", "/rules/edit"):
        page = await viewer.page(path)
        assert markup not in page
        assert markup in text_of(page)


async def test_a_profile_leads_to_a_preview_of_its_own(viewer: Viewer) -> None:
    ann, _ = await store_story(viewer)
    page = await viewer.page(f"/profiles/{ann}")
    found = re.search(r'href="(/rules/edit[^"]*)"', page)
    assert found
    assert f'name="profile" value="{ann}"' in await viewer.page(html.unescape(found[1]))


async def test_a_profile_shows_how_its_sources_are_doing(viewer: Viewer) -> None:
    ann, _ = await store_story(viewer)
    assert "From sources" not in await viewer.text(f"/profiles/{ann}")
    await apply_rules(viewer.database)
    await viewer.database.execute(
        'INSERT INTO "profileDecorations" ("profileGuid", source, "dueAt") '
        "VALUES (%s, 'crm', 'epoch')",
        ann,
    )
    assert "crm : will be queried as soon as possible" in await viewer.text(f"/profiles/{ann}")
    await viewer.database.execute('UPDATE "profileDecorations" SET "dueAt" = \'2099-01-01Z\'')
    await viewer.database.execute(
        'INSERT INTO "propertySourceStates" (source, revisions, "failingSince", error, failures) '
        "VALUES ('crm', '{}', now(), 'cannot connect', 3)"
    )
    async with await postgres.connect(viewer.database.url, "test") as connection:
        await put(connection, [Item(Kind.VALUE, ann, "email", "ValueError")])
    text = await viewer.text(f"/profiles/{ann}")
    assert "crm : queried again 2099-01-01 00:00:00 UTC . failing cannot connect" in text
    assert "email : set aside ValueError" in text
