"""The demo story of `make run`: one person's events, sent over HTTP to a running stack.

It is the workflow that the Grouparoo event system documents: a visitor signs up, uses a second
device and signs in on it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psycopg
from rich.panel import Panel
from rich.table import Table

from dev.stack import StackInfo
from merganser.cli.terminal import fail, out, run
from merganser.rulebook import rule_file, rule_store
from merganser.runtime.postgres import connect

RULES = Path(__file__).with_name("story.yaml")

TIMEOUT_SECONDS = 30.0
"""For an event to be resolved, and for properties to be complete."""

_CREATE_SHOP = """
CREATE SCHEMA IF NOT EXISTS shop;
CREATE TABLE IF NOT EXISTS shop.users (id text PRIMARY KEY, email text NOT NULL)
"""
_INSERT_SHOP_USER = "INSERT INTO shop.users VALUES (%s, %s) ON CONFLICT DO NOTHING"

_PROFILE_OF_EVENT = 'SELECT "profileGuid" FROM events WHERE guid = %s AND "profileGuid" IS NOT NULL'
_TIMELINE = """
SELECT to_char(events."occurredAt", 'HH24:MI:SS.MS'), events.type,
    coalesce(events."anonymousId", ''), coalesce(events."userId", ''),
    coalesce(string_agg(key || '=' || value, ' ' ORDER BY "eventData".guid), '')
FROM events
LEFT JOIN "eventData" ON "eventData"."eventGuid" = events.guid
WHERE events."profileGuid" = %s
GROUP BY events.guid
ORDER BY events."occurredAt", events.guid
"""
_COUNT_EARLIER_RUNS = (
    "SELECT count(*) FROM profiles WHERE \"userId\" ~ ('^' || %s || '([0-9]{3})?$')"
)
_MERGES = """
SELECT reason, "anonymousId", coalesce("loserGuid", ''), "survivorGuid"
FROM "profileMerges" WHERE "survivorGuid" = %s ORDER BY "createdAt"
"""

Value = TypeVar("Value")


def play_story(info: StackInfo) -> None:
    """Send the story's events and print what they lead to; exit if the stack fails."""
    with (
        psycopg.connect(info.database_url, autocommit=True) as database,
        httpx.Client(headers={"Authorization": f"Bearer {info.api_key}"}) as http,
    ):
        _Player(info, http, database).play()


@dataclass(frozen=True)
class _Player:
    info: StackInfo
    http: httpx.Client
    database: psycopg.Connection[tuple[Any, ...]]

    def play(self) -> None:
        user, visitor, phone = self._choose_ids("123", "person_1", "person_1_phone")
        has_story_rules = run(_ensure_rules(self.info.database_url))
        out.print(f"\nSee each event arrive at {self.info.console_url}/live", highlight=False)
        _print_heading("A click on an ad: an unknown visitor opens the shop.")
        landing = {"path": "/", "utm_source": "google", "utm_campaign": "my-ad-campaign"}
        profile = self._track("pageview", landing, anonymousId=visitor)
        self._track("pageview", {"path": "/mugs"}, anonymousId=visitor)
        self._track("item-added-to-cart", {"sku": "mug-7", "price": 12.50}, anonymousId=visitor)
        self._print_result(f"{visitor} has an anonymous profile, {profile}", f"/profiles/{profile}")

        _print_heading(f"The visitor signs up. One event with both ids: {visitor} is user {user}.")
        self.database.execute(_CREATE_SHOP)
        self.database.execute(_INSERT_SHOP_USER, (user, f"user{user}@example.test"))
        claimed = self._track("sign-up", {"via": "google"}, anonymousId=visitor, userId=int(user))
        _check(claimed == profile, f"{claimed} is not {profile}")
        self._print_result(
            f"the anonymous profile became user {user}'s: same guid, same history",
            f"/profiles/{profile}#identity",
        )

        _print_heading("Later, the same person uses a phone and is not signed in yet.")
        phone_profile = self._track("pageview", {"path": "/sale"}, anonymousId=phone)
        _check(phone_profile != profile, "the phone does not have its own profile")
        self._print_result(
            f"{phone} has another anonymous profile, {phone_profile}", f"/profiles?q={phone}"
        )

        _print_heading("The person signs in on the phone.")
        merged = self._track("sign-in", {"via": "password"}, anonymousId=phone, userId=int(user))
        _check(merged == profile, f"{merged} is not {profile}")
        self._print_result(
            f"{phone_profile} merged into {profile}, history and all",
            f"/profiles/{phone_profile}#identity",
        )

        _print_heading("Two purchases.")
        for price in (12.50, 7.25):
            self._track("purchase", {"price": price}, anonymousId=phone, userId=int(user))
        self._print_result(f"both are on {profile}", f"/profiles/{profile}?type=purchase#timeline")

        _print_heading("A back end inserts a row with plain SQL:")
        statement = "INSERT INTO events (type, \"userId\") VALUES ('refund', %s) RETURNING guid"
        out.print(f"    [dim]{statement.replace('%s', repr(user))}", highlight=False)
        (event,) = self.database.execute(statement, (user,)).fetchone() or ("",)
        _check(self._await_profile(event) == profile, "the row is on another profile")
        self._print_result(
            "the scanner found the row and put it on the same profile", f"/events/{event}"
        )
        self._show(profile, user)

        if has_story_rules:
            self._show_properties(phone_profile, user)
        else:
            _print_heading(
                "This database has other rules than dev/story.yaml: no properties to show."
            )

    def _choose_ids(self, user: str, *visitors: str) -> tuple[str, ...]:
        """Return these ids, numbered if the database has the data of earlier runs."""
        row = self.database.execute(_COUNT_EARLIER_RUNS, (user,)).fetchone()
        runs = row[0] if row else 0
        if runs == 0:
            return user, *visitors
        return f"{user}{runs:03}", *(f"{visitor}_{runs + 1}" for visitor in visitors)

    def _track(self, event_type: str, data: Mapping[str, Any], **ids: Any) -> str:
        """Send an event, wait until it is resolved and return the guid of its profile."""
        response = self.http.post(
            f"{self.info.ingest_url}/api/v1/track", json={"type": event_type, "data": data, **ids}
        )
        _check(response.status_code == httpx.codes.OK, f"ingest answered {response.text}")
        event = response.json()["event"]["guid"]
        names = " ".join(f"{key}={value}" for key, value in ids.items())
        out.print(f"  [cyan]→[/] {event_type:20} [dim]{names}[/]", highlight=False)
        return self._await_profile(event)

    def _await_profile(self, event: str) -> str:
        def read_profile() -> str | None:
            row = self.database.execute(_PROFILE_OF_EVENT, (event,)).fetchone()
            return str(row[0]) if row else None

        return _await(read_profile, f"{event} is not resolved: see `merganser logs resolver`")

    def _show(self, profile: str, user: str) -> None:
        timeline = Table("occurred", "type", "anonymousId", "userId", "data", box=None)
        for row in self.database.execute(_TIMELINE, (profile,)):
            timeline.add_row(*row)
        merges = Table("reason", "anonymousId", "merged profile", "surviving profile", box=None)
        for row in self.database.execute(_MERGES, (profile,)):
            merges.add_row(*row)
        out.print(Panel(timeline, title=f"user {user} = {profile}", border_style="green"))
        out.print(Panel(merges, title="merges of the profile", border_style="green"))

    def _show_properties(self, merged_profile: str, user: str) -> None:
        """Wait for the properties, which the read API returns under a merged profile's guid too."""
        path = f"/api/v1/profile/{merged_profile}"
        _print_heading(
            "The properties that dev/story.yaml defines, read by the guid of the phone's profile:"
        )
        out.print(f"    [dim]GET {path}", highlight=False)
        expected = {
            "userId": user,
            "visits": 3,
            "lastCampaign": "my-ad-campaign",
            "totalSpent": 19.75,
            "email": f"user{user}@example.test",
        }

        def read_complete() -> dict[str, Any] | None:
            body: dict[str, Any] = (
                self.http.get(f"{self.info.api_url}{path}").raise_for_status().json()
            )
            return body if expected.items() <= body["profile"]["properties"].items() else None

        body = _await(
            read_complete,
            "properties are missing: see `merganser logs properties` and "
            "`merganser logs decoration`",
        )
        properties = Table("property", "value", box=None)
        for key, value in body["profile"]["properties"].items():
            properties.add_row(key, str(value))
        title = f"user {user} = {body['profile']['guid']}"
        out.print(Panel(properties, title=title, border_style="green"))
        self._print_result(
            f"mergedFrom: {body['mergedFrom']}", f"/profiles/{merged_profile}#properties"
        )

    def _print_result(self, text: str, page: str) -> None:
        """Print what a step led to, and the page of the console that shows it."""
        out.print(f"  [green]✓[/] {text}", highlight=False)
        out.print(f"    [dim]see {self.info.console_url}{page}", highlight=False, soft_wrap=True)


async def _ensure_rules(database_url: str) -> bool:
    """Apply the story's rules if there are none; return whether they are the applied ones."""
    file = rule_file.read(RULES)
    async with await connect(database_url, "story") as connection:
        applied = await rule_store.read_all_rules(connection)
        if not applied.keys:
            await rule_store.apply_file(connection, file)
            return True
        return not await rule_store.compare_with_file(connection, file)


def _await(read: Callable[[], Value | None], message: str) -> Value:
    """Return the first value that is not None; exit with the message after a timeout."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (value := read()) is None:
        if time.monotonic() > deadline:
            fail(message)
        time.sleep(0.02)
    return value


def _check(condition: bool, message: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not condition:
        fail(f"the demo story failed: {message}")


def _print_heading(text: str) -> None:
    out.print(f"\n[bold]{text}", highlight=False)
