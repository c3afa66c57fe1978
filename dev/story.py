"""The seed's story, told on a running stack with a real HTTP client (`make run`)."""

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

PATIENCE = 30.0
"""Seconds until an event that is not resolved means that something is wrong."""

_SHOP = """
CREATE SCHEMA IF NOT EXISTS shop;
CREATE TABLE IF NOT EXISTS shop.users (id text PRIMARY KEY, email text NOT NULL)
"""
_SIGN_UP = "INSERT INTO shop.users VALUES (%s, %s) ON CONFLICT DO NOTHING"

_PROFILE = 'SELECT "profileGuid" FROM events WHERE guid = %s AND "profileGuid" IS NOT NULL'
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
_TOLD = "SELECT count(*) FROM profiles WHERE \"userId\" ~ ('^' || %s || '([0-9]{3})?$')"
_MERGES = """
SELECT reason, "anonymousId", coalesce("loserGuid", ''), "survivorGuid"
FROM "profileMerges" WHERE "survivorGuid" = %s ORDER BY "createdAt"
"""

Value = TypeVar("Value")


def tell(info: StackInfo) -> None:
    """Play the story and show what becomes of it; ends the process if the stack does not."""
    with (
        psycopg.connect(info.database_url, autocommit=True) as database,
        httpx.Client(headers={"Authorization": f"Bearer {info.api_key}"}) as http,
    ):
        _Story(info, http, database).play()


@dataclass(frozen=True)
class _Story:
    info: StackInfo
    http: httpx.Client
    database: psycopg.Connection[tuple[Any, ...]]

    def play(self) -> None:
        user, visitor, phone = self._names("123", "person_1", "person_1_phone")
        ruled = run(_ruled(self.info.database_url))
        _say("A click on an ad: a visitor lands on the shop. Nobody knows who it is.")
        landing = {"path": "/", "utm_source": "google", "utm_campaign": "my-ad-campaign"}
        profile = self._track("pageview", landing, anonymousId=visitor)
        self._track("pageview", {"path": "/mugs"}, anonymousId=visitor)
        self._track("item-added-to-cart", {"sku": "mug-7", "price": 12.50}, anonymousId=visitor)
        _result(f"{visitor} has an anonymous profile, {profile}")

        _say(f"The visitor signs up. One event with both ids: {visitor} is user {user}.")
        self.database.execute(_SHOP)
        self.database.execute(_SIGN_UP, (user, f"user{user}@example.test"))
        known = self._track("sign-up", {"via": "google"}, anonymousId=visitor, userId=int(user))
        _expect(known == profile, f"{known} is not {profile}")
        _result(f"the anonymous profile became user {user}'s: same guid, same history")

        _say("Later, the same person on a phone, not signed in yet.")
        second = self._track("pageview", {"path": "/sale"}, anonymousId=phone)
        _expect(second != profile, "the phone has no profile of its own")
        _result(f"{phone} has another anonymous profile, {second}")

        _say("The person signs in on the phone.")
        merged = self._track("sign-in", {"via": "password"}, anonymousId=phone, userId=int(user))
        _expect(merged == profile, f"{merged} is not {profile}")
        _result(f"{second} merged into {profile}, history and all")

        _say("Two purchases.")
        for price in (12.50, 7.25):
            self._track("purchase", {"price": price}, anonymousId=phone, userId=int(user))

        _say("A back end writes a row of its own, with nothing but SQL:")
        statement = "INSERT INTO events (type, \"userId\") VALUES ('refund', %s) RETURNING guid"
        out.print(f"    [dim]{statement.replace('%s', repr(user))}", highlight=False)
        (event,) = self.database.execute(statement, (user,)).fetchone() or ("",)
        _expect(self._resolved(event) == profile, "the row went to another profile")
        _result("the scanner found the row and put it on the same profile")
        self._show(profile, user)

        if ruled:
            self._know(second, user)
        else:
            _say("Other rules apply here than the story's, so it ends without properties.")

    def _names(self, user: str, *visitors: str) -> tuple[str, ...]:
        """The seed's names, or numbered ones where the data of an earlier run is still there."""
        row = self.database.execute(_TOLD, (user,)).fetchone()
        times = row[0] if row else 0
        if times == 0:
            return user, *visitors
        return f"{user}{times:03}", *(f"{visitor}_{times + 1}" for visitor in visitors)

    def _track(self, event_type: str, data: Mapping[str, Any], **ids: Any) -> str:
        """Send an event, wait until it is resolved and return the guid of its profile."""
        answer = self.http.post(
            f"{self.info.ingest_url}/api/v1/track", json={"type": event_type, "data": data, **ids}
        )
        _expect(answer.status_code == httpx.codes.OK, f"ingest answered {answer.text}")
        event = answer.json()["event"]["guid"]
        names = " ".join(f"{key}={value}" for key, value in ids.items())
        out.print(f"  [cyan]→[/] {event_type:20} [dim]{names}[/]", highlight=False)
        return self._resolved(event)

    def _resolved(self, event: str) -> str:
        def profile() -> str | None:
            row = self.database.execute(_PROFILE, (event,)).fetchone()
            return str(row[0]) if row else None

        return _wait(profile, f"{event} is not resolved: see `merganser logs resolver`")

    def _show(self, profile: str, user: str) -> None:
        timeline = Table("occurred", "type", "anonymousId", "userId", "data", box=None)
        for row in self.database.execute(_TIMELINE, (profile,)):
            timeline.add_row(*row)
        merges = Table("why", "anonymousId", "profile that went", "profile that stays", box=None)
        for row in self.database.execute(_MERGES, (profile,)):
            merges.add_row(*row)
        out.print(Panel(timeline, title=f"user {user} = {profile}", border_style="green"))
        out.print(Panel(merges, title="how the profile came to be", border_style="green"))

    def _know(self, guid: str, user: str) -> None:
        """Wait until all that the rules say is there, asked for by a guid that has merged away."""
        path = f"/api/v1/profile/{guid}"
        _say("What the rules in dev/story.yaml make of it, asked for by the phone's old profile:")
        out.print(f"    [dim]GET {path}", highlight=False)
        expected = {
            "userId": user,
            "visits": 3,
            "lastCampaign": "my-ad-campaign",
            "totalSpent": 19.75,
            "email": f"user{user}@example.test",
        }

        def answer() -> dict[str, Any] | None:
            found = self.http.get(f"{self.info.api_url}{path}").raise_for_status().json()
            complete = expected.items() <= found["profile"]["properties"].items()
            return found if complete else None

        found = _wait(answer, "properties do not come: see `merganser logs properties decoration`")
        known = Table("property", "value", box=None)
        for key, value in found["profile"]["properties"].items():
            known.add_row(key, str(value))
        title = f"user {user} = {found['profile']['guid']}"
        out.print(Panel(known, title=title, border_style="green"))
        _result(f"mergedFrom: {found['mergedFrom']}")


async def _ruled(database_url: str) -> bool:
    """Apply the story's rules where there are none; whether they are those that apply."""
    file = rule_file.read(RULES)
    async with await connect(database_url, "story") as connection:
        applied = await rule_store.read_all_rules(connection)
        if not applied.keys:
            await rule_store.apply_file(connection, file)
            return True
        return not await rule_store.compare_with_file(connection, file)


def _wait(value: Callable[[], Value | None], otherwise: str) -> Value:
    deadline = time.monotonic() + PATIENCE
    while (found := value()) is None:
        if time.monotonic() > deadline:
            fail(otherwise)
        time.sleep(0.02)
    return found


def _expect(truth: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not truth:
        fail(f"the story went wrong: {otherwise}")


def _say(text: str) -> None:
    out.print(f"\n[bold]{text}", highlight=False)


def _result(text: str) -> None:
    out.print(f"  [green]✓[/] {text}", highlight=False)
