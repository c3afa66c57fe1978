"""No key and no event in logs, metrics or answers: not at level debug, not by any failure."""

import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from psycopg import sql

from merganser.rulebook import rule_store
from merganser.rulebook.language import RuleFile
from merganser.runtime.settings import Settings
from tests.decoration.harness import USER_ID, query, url_of
from tests.support import ROOT
from tests.support.database import Database
from tests.support.events import event
from tests.support.service import Service
from tests.support.system import System
from tests.support.topics import Record, record_of
from tests.support.waiting import equals, eventually

MARK = "s3cr3t"
"""In all that clients send, and nowhere else."""

SAID = {
    "type": f"type-{MARK}",
    "userId": f"user-{MARK}",
    "anonymousId": f"visitor-{MARK}",
    "sessionId": f"session-{MARK}",
    "messageId": f"message-{MARK}",
    "data": {f"key-{MARK}": f"value-{MARK}", "list": [MARK]},
}
PERSON = {"userId": f"user-{MARK}"}
QUOTING = (
    'SELECT "userId", CAST("userId" AS integer) AS plan FROM profiles '
    'WHERE "userId" = ANY(:userIds)'
)
"""Postgres quotes the userId that is not a number in its error."""

DEFECTS = """
import ingest.app, resolver.copy_format

def breaking(sound, kind):
    def broken(subject, *others):
        if kind in str(subject):
            raise ValueError(f"what is this: {subject!r}") from KeyError(repr(subject))
        return sound(subject, *others)
    return broken

ingest.app.validate = breaking(ingest.app.validate, "break-ingest")
ingest.app.Request = breaking(ingest.app.Request, "break-request")
resolver.copy_format.encode_events = breaking(resolver.copy_format.encode_events, "break-resolver")
"""
"""Defects that quote what was in hand, as Python's own exceptions do."""


@pytest.fixture
def defective(tmp_path: Path, system: System) -> System:
    """The system, with mistakes in its code."""
    (tmp_path / "sitecustomize.py").write_text(DEFECTS)
    system.env |= {"PYTHONPATH": f"{tmp_path}:{ROOT}", "MERGANSER_LOG_LEVEL": "debug"}
    return system


async def what_clients_do(url: str, key: str) -> list[httpx.Response]:
    """Requests that are accepted, refused in every way, and broken off by a defect."""
    own = {"authorization": f"Bearer {key}"}
    many = {"events": [SAID, {**SAID, "userId": None, "anonymousId": None}, SAID | {"type": MARK}]}
    bodies: list[tuple[str, bytes | object, dict[str, str]]] = [
        ("track", SAID, own),
        ("track", {**SAID, "apiKey": key}, {}),
        ("batch", many, {**own, "user-agent": MARK, "cookie": MARK, "x-forwarded-for": MARK}),
        ("track", SAID, {}),
        ("track", SAID, {"authorization": f"Bearer unknown-{MARK}"}),
        ("track", SAID, {"authorization": f"Basic {MARK}"}),
        ("track", {**SAID, "apiKey": f"unknown-{MARK}"}, {}),
        ("track", f'{{"type": "{MARK}", nonsense {MARK}'.encode(), own),
        ("track", f'"{MARK}'.encode() + b"\xff\xfe", own),
        ("track", {**SAID, "type": [MARK]}, own),
        ("track", {**SAID, "occurredAt": MARK}, own),
        ("track", {**SAID, "userId": MARK * 1000}, own),
        ("track", {**SAID, "data": MARK}, own),
        ("track", {**SAID, "data": {"x": MARK * 20_000}}, own),
        ("track", {**SAID, "type": f"break-ingest-{MARK}"}, own),
        ("track", {**SAID, "type": f"break-request-{MARK}"}, own),
        ("batch", {"events": [{**SAID, "type": f"break-ingest-{MARK}"}]}, own),
        (f"nowhere/{MARK}?apiKey={MARK}", SAID, own),
    ]
    async with httpx.AsyncClient(base_url=f"{url}/api/v1/") as client:
        return [
            await client.post(
                path,
                content=body if isinstance(body, bytes) else json.dumps(body).encode(),
                headers=headers,
            )
            for path, body, headers in bodies
        ]


@pytest.fixture
async def role(database: Database) -> AsyncIterator[str]:
    """A role of the server with the mark as its password: also where a password must be right."""
    name = f"merganser_test_{uuid.uuid4().hex}"
    role, mark = sql.Identifier(name), sql.Literal(MARK)
    execute = database.connection.execute
    await execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, mark))
    await execute(sql.SQL("GRANT SELECT ON profiles TO {}").format(role))
    yield name
    await execute(sql.SQL("DROP OWNED BY {}").format(role))
    await execute(sql.SQL("DROP ROLE {}").format(role))


async def test_whatever_happens_nothing_of_it_is_told(defective: System, role: str) -> None:
    system = defective
    gateway = await system.ingest()
    resolver = await system.resolver()
    reader = await system.key("reader", "profiles:read", "events:read")
    api, api_url = await system.api()
    properties = await system.properties()
    decoration = await asking_in_vain(system, role)

    answers = await what_clients_do(gateway.url, gateway.key)
    counts = [answer.status_code for answer in answers]
    assert counts == [200] * 3 + [401] * 4 + [400] * 2 + [422] * 4 + [413, 500, 500, 200, 404]
    await eventually(lambda: system.database.count("events"), equals(1))  # one messageId

    await system.database.execute(
        """ALTER TABLE events ADD CONSTRAINT mine CHECK (type !~ '^refused')"""
    )
    await system.events.publish(
        Record(f"garbage {MARK}".encode(), MARK.encode(), {MARK: MARK.encode()}),
        record_of(event(user=MARK, kind=f"refused-{MARK}")),
    )
    await eventually(system.dead.size, equals(2))

    async with httpx.AsyncClient(base_url=api_url + "/") as client:
        for authorization in (f"Bearer {reader}", f"Bearer {MARK}", f"Basic {MARK}", ""):
            headers = {"authorization": authorization}
            for path, asked in (
                ("profiles", PERSON),
                ("profiles", {"email": MARK}),
                (f"profile/{MARK}", {}),
                ("events", {"limit": MARK}),
            ):
                answer = await client.get(path, params=asked, headers=headers)
                if answer.status_code != 200:
                    answers.append(answer)

    refused = {"source": "crm", "outcome": "refused"}
    await eventually(lambda: decoration.metric("merganser_decoration_calls_total", **refused))
    processes = (gateway, resolver, api, properties, decoration)
    pages = [await service.ops("/metrics") for service in processes]
    pages += [await service.ops("/readyz") for service in processes]
    scanner = system.new("scanner")
    await until_set_aside(system, scanner)
    for service in system.services:
        if service.running:
            assert await service.stop() == 0

    secrets = (MARK, gateway.key, reader)
    for answer in [*answers, *pages]:
        assert not any(secret in answer.text for secret in secrets), answer.text
    for service in system.services:
        for line in service.log.splitlines():
            assert not any(secret in line for secret in secrets), line
    assert gateway.log.count("internal error in") == 3
    assert "ingest/app.py" in gateway.log  # where it is may be told, and must be


async def asking_in_vain(system: System, role: str) -> Service:
    """A decoration process whose source answers with errors that quote what it was asked."""
    system.env |= {"CRM": url_of(f"{system.database.url} user={role} password={MARK}")}
    rules = [USER_ID, query(sql=QUOTING)]
    file = RuleFile.model_validate({"sources": {"crm": {"url": "CRM"}}, "rules": rules})
    await rule_store.apply_file(system.database.connection, file)
    return await system.decoration()


async def until_set_aside(system: System, scanner: Service) -> None:
    """Have both fail by what nobody foresaw, with events in hand."""
    letters = await system.dead.size()
    await system.events.publish_events([event(user=MARK, kind=f"break-resolver-{MARK}")])
    await eventually(system.dead.size, equals(letters + 1))
    errors = [record.headers["error"].decode() for record in await system.dead.records()]
    assert any("at resolver/writer.py" in error for error in errors)  # where it is may be told
    assert not any(MARK in error for error in errors)
    await system.database.execute(
        """ALTER TABLE profiles ADD CONSTRAINT mine CHECK ("userId" !~ '^refused')"""
    )
    await system.database.execute(
        """INSERT INTO events (type, "userId") VALUES (%s, %s)""", MARK, f"refused-{MARK}"
    )
    scanner.start()
    rows = """SELECT reason FROM "setAside" WHERE kind = 'row'"""
    refused = await eventually(lambda: system.database.rows(rows), bool)
    assert "CheckViolation 23514" in str(refused)
    assert MARK not in str(refused)


@pytest.mark.parametrize("shown", [str, repr, lambda settings: str(settings.model_dump())])
def test_settings_do_not_show_passwords(
    shown: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MERGANSER_DATABASE_URL", f"postgresql://me:{MARK}@db/x")
    monkeypatch.setenv("MERGANSER_KAFKA_SECURITY", "SASL_SSL")
    monkeypatch.setenv("MERGANSER_KAFKA_SASL_USERNAME", "me")
    monkeypatch.setenv("MERGANSER_KAFKA_SASL_PASSWORD", MARK)
    assert callable(shown)
    assert MARK not in shown(Settings.read())


@pytest.mark.parametrize(
    "url", [f"postgres//me:{MARK}@db/x", f"postgresql://me:{MARK}@db/x?wrong={MARK}", MARK]
)
def test_a_mistaken_url_is_refused_without_its_password(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MERGANSER_DATABASE_URL", url)
    with pytest.raises(SystemExit):
        Settings.read()
    said = capsys.readouterr().err
    assert said == "merganser: MERGANSER_DATABASE_URL: is not a PostgreSQL connection URL\n"
