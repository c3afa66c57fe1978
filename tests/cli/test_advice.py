"""A command that Kafka or Postgres refuses says what happened and what to do next."""

import ssl

import pytest
from aiokafka import errors as kafka
from psycopg import OperationalError, sql
from psycopg.conninfo import make_conninfo

from dev.stack.ports import free_port
from merganser.cli import advice
from tests.support.command import command
from tests.support.database import Database
from tests.support.servers import Servers
from tests.support.topics import Topics

RUNNING = "Is it running?"

OF_KAFKA = [
    (kafka.PolicyViolationError("events.dead: max.message.bytes"), "DEAD_TOPIC_MAX_RECORD"),
    (kafka.InvalidConfigurationError("min.insync.replicas"), "docs/managed-services.md"),
    (kafka.InvalidReplicationFactorError("3"), "MERGANSER_TOPIC_REPLICAS"),
    (kafka.InvalidPartitionsError("99"), "MERGANSER_TOPIC_PARTITIONS"),
    (kafka.TopicAuthorizationFailedError("events"), "grants"),
    (kafka.ClusterAuthorizationFailedError("create"), "grants"),
    (kafka.GroupAuthorizationFailedError("g"), "grants"),
    (kafka.SaslAuthenticationFailed("no"), "MERGANSER_KAFKA_SASL_PASSWORD"),
    (kafka.UnknownTopicOrPartitionError("events"), "merganser topics"),
    (kafka.NotEnoughReplicasError("2"), "logs of the brokers"),
]
CONNECTING = [
    (ConnectionRefusedError("refused"), RUNNING),
    (TimeoutError(), RUNNING),
    (ssl.SSLCertVerificationError("self-signed"), "MERGANSER_KAFKA_CA"),
    (ssl.SSLError("wrong version number"), "MERGANSER_KAFKA_SECURITY"),
    (kafka.AuthenticationFailedError("no"), "MERGANSER_KAFKA_SASL_PASSWORD"),
    (kafka.UnsupportedSaslMechanismError("no"), "MERGANSER_KAFKA_SASL_MECHANISM"),
    (kafka.KafkaConnectionError("closed"), "MERGANSER_KAFKA_SECURITY"),
]
OF_POSTGRES = [
    ('FATAL:  password authentication failed for user "a"', "password"),
    ('FATAL:  database "a" does not exist', "Create the database"),
    ('FATAL:  role "a" does not exist', "Create the role"),
    ('FATAL:  no pg_hba.conf entry for host "::1", no encryption', "sslmode"),
    ("SSL error: certificate verify failed", "sslrootcert"),
    ("FATAL:  sorry, too many clients already", "connection"),
    ("FATAL:  something new", "MERGANSER_DATABASE_URL"),
]


def kind(one: object) -> str:
    return one if isinstance(one, str) else type(one).__name__


@pytest.mark.parametrize(("error", "next_"), OF_KAFKA, ids=kind)
def test_what_kafka_refuses(error: kafka.KafkaError, next_: str) -> None:
    what, told = advice.of_kafka(error, None)
    assert str(error) in what
    assert next_ in told
    assert RUNNING not in told


@pytest.mark.parametrize(("cause", "next_"), CONNECTING, ids=kind)
def test_a_connection_that_was_not_made(cause: Exception, next_: str) -> None:
    what, told = advice.of_kafka(kafka.KafkaConnectionError("Unable to bootstrap"), cause)
    assert what
    assert next_ in told


@pytest.mark.parametrize(("message", "next_"), OF_POSTGRES)
def test_a_postgres_that_lets_nobody_in(message: str, next_: str) -> None:
    what, told = advice.of_postgres(OperationalError(f"connection failed: {message}"))
    assert message in what
    assert next_ in told
    assert RUNNING not in told


async def refused(env: dict[str, str], *arguments: str) -> str:
    ended = await command(env, *arguments)
    assert ended.status == 1
    assert "Traceback" not in ended.err
    return " ".join(ended.err.split())


async def test_topics_that_the_cluster_does_not_allow(topics: Topics) -> None:
    env = {
        "MERGANSER_KAFKA_BOOTSTRAP": topics.bootstrap,
        "MERGANSER_TOPIC": f"refused-{topics.suffix}",
        "MERGANSER_DEAD_TOPIC": topics.dead.name,
        "MERGANSER_TOPIC_REPLICAS": "3",
    }
    said = await refused(env, "topics")
    assert f"refused-{topics.suffix}" in said
    assert "MERGANSER_TOPIC_REPLICAS" in said
    assert RUNNING not in said


async def test_topics_that_are_there_are_not_made_again(topics: Topics) -> None:
    """So a user without the right to make any may run the command, as the chart does."""
    ended = await command(
        {
            "MERGANSER_KAFKA_BOOTSTRAP": topics.bootstrap,
            "MERGANSER_TOPIC": topics.events.name,
            "MERGANSER_DEAD_TOPIC": topics.dead.name,
            "MERGANSER_TOPIC_REPLICAS": "3",  # would be refused
        },
        "topics",
    )
    assert ended.status == 0, ended.err
    assert "nothing to do" in ended.err


async def test_no_kafka_is_there() -> None:
    env = {"MERGANSER_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port(set())}"}
    assert RUNNING in await refused(env, "topics")


async def test_no_postgres_is_there() -> None:
    url = f"postgresql://merganser@127.0.0.1:{free_port(set())}/merganser"
    assert RUNNING in await refused({"MERGANSER_DATABASE_URL": url}, "keys", "list")


async def test_no_such_database(servers_running: Servers) -> None:
    url = make_conninfo(servers_running.database_url, dbname="nowhere")
    said = await refused({"MERGANSER_DATABASE_URL": url}, "keys", "list")
    assert "Create the database" in said
    assert RUNNING not in said


async def test_a_user_without_grants(database: Database) -> None:
    await database.execute(
        "DO $$ BEGIN CREATE ROLE merganser_test_guest LOGIN PASSWORD 'guest'; "
        "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )
    url = make_conninfo(database.url, user="merganser_test_guest", password="guest")
    said = await refused({"MERGANSER_DATABASE_URL": url}, "keys", "list")
    assert "permission denied" in said
    assert "grants" in said
    assert RUNNING not in said


async def test_a_replica(database: Database) -> None:
    alter = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on")
    name = sql.Identifier(database.connection.info.dbname)
    await database.connection.execute(alter.format(name))
    said = await refused({"MERGANSER_DATABASE_URL": database.url}, "keys", "create", "one")
    assert "target_session_attrs" in said
    assert RUNNING not in said
