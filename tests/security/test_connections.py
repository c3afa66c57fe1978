"""Kafka over TLS and SASL, Postgres over TLS, by configuration alone (docs/security.md)."""

import re
from collections.abc import Callable

import pytest

from tests.security.secured import STRANGER, Secured
from tests.support.command import command
from tests.support.system import System
from tests.support.waiting import equals, eventually

pytestmark = pytest.mark.faults

PROTOCOLS = [
    pytest.param("SASL_SSL", "SCRAM-SHA-512", id="TLS, SCRAM-SHA-512"),
    pytest.param("SASL_SSL", "SCRAM-SHA-256", id="TLS, SCRAM-SHA-256"),
    pytest.param("SASL_SSL", "PLAIN", id="TLS, PLAIN"),
    pytest.param("SASL_PLAINTEXT", "SCRAM-SHA-512", id="no TLS, SCRAM"),
    pytest.param("SASL_PLAINTEXT", "PLAIN", id="no TLS, PLAIN"),
    pytest.param("SSL", None, id="TLS, our certificate"),
]


@pytest.mark.parametrize(("protocol", "mechanism"), PROTOCOLS)
async def test_an_event_is_stored_over_secured_connections(
    protocol: str, mechanism: str | None, secured_servers: Secured, guarded: System
) -> None:
    guarded.env |= secured_servers.kafka_env(protocol, mechanism)
    await guarded.cli("migrate")
    await guarded.cli("topics")
    gateway = await guarded.ingest()
    await guarded.resolver()
    guid = await gateway.tracked(type="secret", userId="1")
    stored = 'SELECT count(*) FROM events WHERE guid = %s AND "profileGuid" IS NOT NULL'
    await eventually(lambda: guarded.database.value(stored, guid), equals(1))
    encrypted = await guarded.database.column(
        "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
        "WHERE application_name LIKE 'merganser %%'"
    )
    assert encrypted == [True]


def kafka_wrong_password(servers: Secured) -> dict[str, str]:
    env = servers.kafka_env("SASL_SSL", "SCRAM-SHA-512")
    return {**env, "MERGANSER_KAFKA_SASL_PASSWORD": "wr0ng"}


def kafka_wrong_password_plain(servers: Secured) -> dict[str, str]:
    env = servers.kafka_env("SASL_PLAINTEXT", "PLAIN")
    return {**env, "MERGANSER_KAFKA_SASL_PASSWORD": "wr0ng"}


def kafka_wrong_authority(servers: Secured) -> dict[str, str]:
    env = servers.kafka_env("SASL_SSL", "PLAIN")
    return {**env, "MERGANSER_KAFKA_CA": str(servers.other_ca)}


def kafka_wrong_name(servers: Secured) -> dict[str, str]:
    env = servers.kafka_env("SASL_SSL", "PLAIN")
    bootstrap = env["MERGANSER_KAFKA_BOOTSTRAP"].replace("localhost", "127.0.0.1")
    return {**env, "MERGANSER_KAFKA_BOOTSTRAP": bootstrap}


def kafka_without_certificate(servers: Secured) -> dict[str, str]:
    env = servers.kafka_env("SSL")
    return {name: value for name, value in env.items() if not re.search("CERT|KEY", name)}


def kafka_without_tls(servers: Secured) -> dict[str, str]:
    return {"MERGANSER_KAFKA_BOOTSTRAP": servers.listeners["SSL"]}


def kafka_without_sasl(servers: Secured) -> dict[str, str]:
    return {"MERGANSER_KAFKA_BOOTSTRAP": servers.listeners["SASL_PLAINTEXT"]}


def postgres_wrong_password(servers: Secured) -> dict[str, str]:
    return {"MERGANSER_DATABASE_URL": servers.database_url(password="wr0ng")}


def postgres_wrong_authority(servers: Secured) -> dict[str, str]:
    return {"MERGANSER_DATABASE_URL": servers.database_url(ca=servers.other_ca)}


def postgres_without_tls(servers: Secured) -> dict[str, str]:
    url = servers.database_url().replace("verify-full", "disable")
    return {"MERGANSER_DATABASE_URL": url}


REFUSED = [
    (kafka_wrong_password, "Authentication failed"),
    (kafka_wrong_password_plain, "Authentication failed"),
    (kafka_wrong_authority, "CERTIFICATE_VERIFY_FAILED"),
    (kafka_wrong_name, "IP address mismatch"),
    (kafka_without_certificate, "MERGANSER_KAFKA_CERTIFICATE"),
    (kafka_without_tls, "check MERGANSER_KAFKA_SECURITY"),
    (kafka_without_sasl, "check MERGANSER_KAFKA_SECURITY"),
    (postgres_wrong_password, "password authentication failed"),
    (postgres_wrong_authority, "certificate verify failed"),
    (postgres_without_tls, "no encryption"),
]


@pytest.mark.parametrize(("mistake", "reason"), REFUSED)
async def test_a_process_without_access_logs_the_reason(
    mistake: Callable[[Secured], dict[str, str]],
    reason: str,
    secured_servers: Secured,
    guarded: System,
) -> None:
    await guarded.cli("migrate")
    env = mistake(secured_servers)
    if "MERGANSER_KAFKA_BOOTSTRAP" not in env:
        env |= secured_servers.kafka_env("SASL_SSL", "SCRAM-SHA-512")
    guarded.env |= env
    resolver = guarded.new("resolver")
    resolver.start()
    await eventually(lambda: reason in resolver.log, what=f"{reason!r} in the log", within=60)
    assert await resolver.why_not_ready()
    assert "wr0ng" not in resolver.log


def kafka_without_grants(servers: Secured) -> dict[str, str]:
    env = servers.kafka_env("SASL_SSL", "SCRAM-SHA-512")
    return {**env, "MERGANSER_KAFKA_SASL_USERNAME": STRANGER}


HINTS = [
    (kafka_without_grants, "topics", "docs/managed-services.md lists the grants"),
    (kafka_wrong_password, "topics", "Check MERGANSER_KAFKA_SASL_USERNAME"),
    (kafka_wrong_password_plain, "topics", "Check MERGANSER_KAFKA_SASL_USERNAME"),
    (kafka_wrong_authority, "topics", "not signed by MERGANSER_KAFKA_CA"),
    (kafka_wrong_name, "topics", "does not match the host name in MERGANSER_KAFKA_BOOTSTRAP"),
    (kafka_without_certificate, "topics", "MERGANSER_KAFKA_SECURITY"),
    (kafka_without_tls, "topics", "MERGANSER_KAFKA_SECURITY"),
    (kafka_without_sasl, "topics", "MERGANSER_KAFKA_SECURITY"),
    (postgres_wrong_password, "migrate", "Check user and password"),
    (postgres_wrong_authority, "migrate", "not signed by sslrootcert"),
    (postgres_without_tls, "migrate", "check sslmode"),
]


@pytest.mark.parametrize(("mistake", "name", "hint"), HINTS)
async def test_a_command_without_access_prints_what_to_check(
    mistake: Callable[[Secured], dict[str, str]],
    name: str,
    hint: str,
    secured_servers: Secured,
    guarded: System,
) -> None:
    topics = {"MERGANSER_TOPIC": "other", "MERGANSER_DEAD_TOPIC": "other.dead"}
    result = await command({**guarded.env, **topics, **mistake(secured_servers)}, name)
    assert result.status == 1
    errors = " ".join(result.err.split())
    assert hint in errors
    assert "Is it running?" not in errors
    assert "Traceback" not in errors
    assert "wr0ng" not in errors
