"""An error of Kafka or Postgres is explained: what happened and what to do next."""

import ssl

import pytest
from aiokafka import errors as kafka
from psycopg import OperationalError, sql
from psycopg.conninfo import make_conninfo

from dev.stack.ports import free_port
from merganser.admin.errors import explain_kafka_error, explain_postgres_error
from tests.support.command import command
from tests.support.database import Database
from tests.support.servers import Servers
from tests.support.topics import Topics

RUNNING = " running?"

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


def case_name(value: object) -> str:
    return value if isinstance(value, str) else type(value).__name__


@pytest.mark.parametrize(("error", "advice"), OF_KAFKA, ids=case_name)
def test_an_error_of_kafka_is_explained(error: kafka.KafkaError, advice: str) -> None:
    message = explain_kafka_error(error, None)
    assert str(error) in message
    assert advice in message
    assert RUNNING not in message


@pytest.mark.parametrize(("cause", "advice"), CONNECTING, ids=case_name)
def test_a_failed_connection_to_kafka_is_explained(cause: Exception, advice: str) -> None:
    message = explain_kafka_error(kafka.KafkaConnectionError("Unable to bootstrap"), cause)
    assert type(cause).__name__ in message or str(cause) in message
    assert advice in message


@pytest.mark.parametrize(("message", "advice"), OF_POSTGRES)
def test_a_refused_connection_to_postgres_is_explained(message: str, advice: str) -> None:
    explained = explain_postgres_error(OperationalError(f"connection failed: {message}"))
    assert message in explained
    assert advice in explained
    assert RUNNING not in explained


async def failed(env: dict[str, str], *arguments: str) -> str:
    result = await command(env, *arguments)
    assert result.status == 1
    assert "Traceback" not in result.err
    return " ".join(result.err.split())


async def test_topics_that_the_cluster_does_not_allow_are_refused_with_advice(
    topics: Topics,
) -> None:
    env = {
        "MERGANSER_KAFKA_BOOTSTRAP": topics.bootstrap,
        "MERGANSER_TOPIC": f"refused-{topics.suffix}",
        "MERGANSER_DEAD_TOPIC": topics.dead.name,
        "MERGANSER_REFUSED_TOPIC": topics.refused.name,
        "MERGANSER_TOPIC_REPLICAS": "3",
    }
    message = await failed(env, "topics")
    assert f"refused-{topics.suffix}" in message
    assert "MERGANSER_TOPIC_REPLICAS" in message
    assert RUNNING not in message


async def test_existing_topics_are_not_created_again(topics: Topics) -> None:
    """A user without the permission to create topics may run the command, as the chart does."""
    result = await command(
        {
            "MERGANSER_KAFKA_BOOTSTRAP": topics.bootstrap,
            "MERGANSER_TOPIC": topics.events.name,
            "MERGANSER_DEAD_TOPIC": topics.dead.name,
            "MERGANSER_REFUSED_TOPIC": topics.refused.name,
            "MERGANSER_TOPIC_REPLICAS": "3",  # would be refused
        },
        "topics",
    )
    assert result.status == 0, result.err
    assert "nothing to do" in result.err


async def test_kafka_is_not_running() -> None:
    env = {"MERGANSER_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}"}
    assert RUNNING in await failed(env, "topics")


async def test_postgres_is_not_running() -> None:
    url = f"postgresql://merganser@127.0.0.1:{free_port()}/merganser"
    assert RUNNING in await failed({"MERGANSER_DATABASE_URL": url}, "keys", "list")


async def test_the_database_does_not_exist(servers_running: Servers) -> None:
    url = make_conninfo(servers_running.database_url, dbname="nowhere")
    message = await failed({"MERGANSER_DATABASE_URL": url}, "keys", "list")
    assert "Create the database" in message
    assert RUNNING not in message


async def test_a_user_without_grants(database: Database) -> None:
    await database.execute(
        "DO $$ BEGIN CREATE ROLE merganser_test_guest LOGIN PASSWORD 'guest'; "
        "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )
    url = make_conninfo(database.url, user="merganser_test_guest", password="guest")
    message = await failed({"MERGANSER_DATABASE_URL": url}, "keys", "list")
    assert "permission denied" in message
    assert "grants" in message
    assert RUNNING not in message


async def test_the_server_is_a_replica(database: Database) -> None:
    alter = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on")
    name = sql.Identifier(database.connection.info.dbname)
    await database.connection.execute(alter.format(name))
    message = await failed({"MERGANSER_DATABASE_URL": database.url}, "keys", "create", "one")
    assert "target_session_attrs" in message
    assert RUNNING not in message
