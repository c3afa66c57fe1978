"""Logs, metrics and responses contain no key and no content of events, at any level and failure."""

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
"""In everything that clients send, and nowhere else."""

SENT = {
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
"""The error of Postgres quotes a userId that is not a number."""

DEFECTS = """
import ingest.app, resolver.copy_format

def break_for(function, kind):
    def fail(subject, *others):
        if kind in str(subject):
            raise ValueError(f"what is this: {subject!r}") from KeyError(repr(subject))
        return function(subject, *others)
    return fail

ingest.app.validate = break_for(ingest.app.validate, "break-ingest")
ingest.app.Request = break_for(ingest.app.Request, "break-request")
resolver.copy_format.encode_events = break_for(resolver.copy_format.encode_events, "break-resolver")
"""
"""Defects whose errors quote their data, as exceptions of Python do."""


@pytest.fixture
def defective(tmp_path: Path, system: System) -> System:
    """The system with defects in its code."""
    (tmp_path / "sitecustomize.py").write_text(DEFECTS)
    system.env |= {"PYTHONPATH": f"{tmp_path}:{ROOT}", "MERGANSER_LOG_LEVEL": "debug"}
    return system


async def send_all_kinds_of_requests(url: str, key: str) -> list[httpx.Response]:
    """Send requests that are accepted, refused for each reason, or fail because of a defect."""
    own = {"authorization": f"Bearer {key}"}
    many = {"events": [SENT, {**SENT, "userId": None, "anonymousId": None}, SENT | {"type": MARK}]}
    bodies: list[tuple[str, bytes | object, dict[str, str]]] = [
        ("track", SENT, own),
        ("track", {**SENT, "apiKey": key}, {}),
        ("batch", many, {**own, "user-agent": MARK, "cookie": MARK, "x-forwarded-for": MARK}),
        ("track", SENT, {}),
        ("track", SENT, {"authorization": f"Bearer unknown-{MARK}"}),
        ("track", SENT, {"authorization": f"Basic {MARK}"}),
        ("track", {**SENT, "apiKey": f"unknown-{MARK}"}, {}),
        ("track", f'{{"type": "{MARK}", nonsense {MARK}'.encode(), own),
        ("track", f'"{MARK}'.encode() + b"\xff\xfe", own),
        ("track", {**SENT, "type": [MARK]}, own),
        ("track", {**SENT, "occurredAt": MARK}, own),
        ("track", {**SENT, "userId": MARK * 1000}, own),
        ("track", {**SENT, "data": MARK}, own),
        ("track", {**SENT, "data": {"x": MARK * 20_000}}, own),
        ("track", {**SENT, "type": f"break-ingest-{MARK}"}, own),
        ("track", {**SENT, "type": f"break-request-{MARK}"}, own),
        ("batch", {"events": [{**SENT, "type": f"break-ingest-{MARK}"}]}, own),
        (f"nowhere/{MARK}?apiKey={MARK}", SENT, own),
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
    """Create a role whose password is the mark."""
    name = f"merganser_test_{uuid.uuid4().hex}"
    role, mark = sql.Identifier(name), sql.Literal(MARK)
    execute = database.connection.execute
    await execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, mark))
    await execute(sql.SQL("GRANT SELECT ON profiles TO {}").format(role))
    yield name
    await execute(sql.SQL("DROP OWNED BY {}").format(role))
    await execute(sql.SQL("DROP ROLE {}").format(role))


async def test_no_failure_reveals_events_or_keys(defective: System, role: str) -> None:
    system = defective
    gateway = await system.ingest()
    resolver = await system.resolver()
    reader = await system.key("reader", "profiles:read", "events:read")
    api, api_url = await system.api()
    properties = await system.properties()
    decoration = await start_failing_decoration(system, role)

    answers = await send_all_kinds_of_requests(gateway.url, gateway.key)
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
            for path, parameters in (
                ("profiles", PERSON),
                ("profiles", {"email": MARK}),
                (f"profile/{MARK}", {}),
                ("events", {"limit": MARK}),
            ):
                answer = await client.get(path, params=parameters, headers=headers)
                if answer.status_code != 200:
                    answers.append(answer)

    refused = {"source": "crm", "outcome": "refused"}
    await eventually(lambda: decoration.metric("merganser_decoration_calls_total", **refused))
    processes = (gateway, resolver, api, properties, decoration)
    pages = [await service.ops("/metrics") for service in processes]
    pages += [await service.ops("/readyz") for service in processes]
    scanner = system.new("scanner")
    await set_aside_events(system, scanner)
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
    assert "ingest/app.py" in gateway.log  # the place of a defect is in the log


async def start_failing_decoration(system: System, role: str) -> Service:
    """Start a decoration process whose source fails with errors that quote the query."""
    system.env |= {"CRM": url_of(f"{system.database.url} user={role} password={MARK}")}
    rules = [USER_ID, query(sql=QUOTING)]
    file = RuleFile.model_validate({"sources": {"crm": {"url": "CRM"}}, "rules": rules})
    await rule_store.apply_file(system.database.connection, file)
    return await system.decoration()


async def set_aside_events(system: System, scanner: Service) -> None:
    """Make the resolver and the scanner fail on events because of defects."""
    letters = await system.dead.size()
    await system.events.publish_events([event(user=MARK, kind=f"break-resolver-{MARK}")])
    await eventually(system.dead.size, equals(letters + 1))
    errors = [record.headers["error"].decode() for record in await system.dead.records()]
    assert any(
        "at resolver/writer.py" in error for error in errors
    )  # the place of a defect is in the reason
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


@pytest.mark.parametrize("to_text", [str, repr, lambda settings: str(settings.model_dump())])
def test_settings_do_not_show_passwords(
    to_text: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MERGANSER_DATABASE_URL", f"postgresql://me:{MARK}@db/x")
    monkeypatch.setenv("MERGANSER_KAFKA_SECURITY", "SASL_SSL")
    monkeypatch.setenv("MERGANSER_KAFKA_SASL_USERNAME", "me")
    monkeypatch.setenv("MERGANSER_KAFKA_SASL_PASSWORD", MARK)
    assert callable(to_text)
    assert MARK not in to_text(Settings.read())


@pytest.mark.parametrize(
    "url", [f"postgres//me:{MARK}@db/x", f"postgresql://me:{MARK}@db/x?wrong={MARK}", MARK]
)
def test_an_invalid_url_is_refused_without_its_password(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MERGANSER_DATABASE_URL", url)
    with pytest.raises(SystemExit):
        Settings.read()
    errors = capsys.readouterr().err
    assert errors == "merganser: MERGANSER_DATABASE_URL: is not a PostgreSQL connection URL\n"
