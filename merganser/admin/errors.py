"""Errors for operators: what happened, where, and what to do next."""

import ssl

import psycopg
from aiokafka import errors as kafka
from psycopg import errors as postgres

from merganser.runtime.kafka_connection import Connection
from schemas.migrations import SchemaError


class AdminError(Exception):
    """An operation cannot be done. The message says why, and what to do next."""


_GRANTS = "docs/managed-services.md lists the grants that each process and command needs."
_TOPICS = (
    "The cluster does not allow a topic with these settings. Set MERGANSER_TOPIC_MAX_RECORD, "
    "MERGANSER_DEAD_TOPIC_MAX_RECORD, MERGANSER_TOPIC_REPLICAS or MERGANSER_TOPIC_PARTITIONS to "
    "what it allows (docs/managed-services.md), or create the topics with its own tools."
)
_MECHANISM = "The brokers require another MERGANSER_KAFKA_SASL_MECHANISM."
_LOGIN = (
    "Check MERGANSER_KAFKA_SASL_USERNAME, MERGANSER_KAFKA_SASL_PASSWORD and "
    "MERGANSER_KAFKA_SASL_MECHANISM."
)

_KAFKA: dict[type[BaseException], str] = {
    kafka.PolicyViolationError: _TOPICS,
    kafka.InvalidConfigurationError: _TOPICS,
    kafka.InvalidReplicationFactorError: (
        "Set MERGANSER_TOPIC_REPLICAS to what the cluster allows: at most the number of brokers."
    ),
    kafka.InvalidPartitionsError: "Set MERGANSER_TOPIC_PARTITIONS to what the cluster allows.",
    kafka.TopicAuthorizationFailedError: (
        f"The Kafka user lacks a permission on this topic. {_GRANTS}"
    ),
    kafka.GroupAuthorizationFailedError: (
        f"The Kafka user lacks a permission on the consumer group. {_GRANTS}"
    ),
    kafka.ClusterAuthorizationFailedError: (
        f"The Kafka user lacks a permission on the cluster. {_GRANTS}"
    ),
    kafka.UnknownTopicOrPartitionError: "Create the topics: run `merganser topics`.",
    kafka.AuthenticationFailedError: _LOGIN,
    kafka.SaslAuthenticationFailed: _LOGIN,
    kafka.UnsupportedSaslMechanismError: _MECHANISM,
    kafka.AuthenticationMethodNotSupported: _MECHANISM,
    ssl.SSLCertVerificationError: (
        "The broker's certificate is not signed by MERGANSER_KAFKA_CA, or does not match the host "
        "name in MERGANSER_KAFKA_BOOTSTRAP."
    ),
    ssl.SSLError: (
        "The brokers require another MERGANSER_KAFKA_SECURITY, or a MERGANSER_KAFKA_CERTIFICATE."
    ),
    OSError: "Is Kafka running? Is MERGANSER_KAFKA_BOOTSTRAP right?",
    kafka.KafkaConnectionError: (
        "A broker closed the connection. It may require another MERGANSER_KAFKA_SECURITY, or a "
        "MERGANSER_KAFKA_CERTIFICATE."
    ),
}
"""Advice by type of error. A subclass comes before its base class."""

_POSTGRES = {
    "password authentication failed": "Check user and password in MERGANSER_DATABASE_URL.",
    "no password supplied": "MERGANSER_DATABASE_URL has no password, but Postgres requires one.",
    "no pg_hba.conf entry": (
        "Postgres does not accept this user from this address, or not without TLS: "
        "check sslmode in MERGANSER_DATABASE_URL, and pg_hba.conf."
    ),
    "certificate verify failed": (
        "The server's certificate is not signed by sslrootcert in MERGANSER_DATABASE_URL, or does "
        "not match the host name."
    ),
    "does not support SSL": "Postgres has no TLS: check sslmode in MERGANSER_DATABASE_URL.",
    'database "': "Create the database, or change its name in MERGANSER_DATABASE_URL.",
    'role "': "Create the role, or change the user in MERGANSER_DATABASE_URL.",
    "too many": "Postgres has no free connection: see docs/managed-services.md#connections.",
    "remaining connection slots": (
        "Postgres has no free connection: see docs/managed-services.md#connections."
    ),
    "FATAL:": "Postgres is running but refuses the connection: check MERGANSER_DATABASE_URL.",
}
"""Advice by part of the message: libpq reports no SQLSTATE when a connection is refused."""


def explain_error(error: BaseException) -> str | None:
    """Return what to show an operator: what happened and what to do next.

    Args:
        error: what a function of `merganser.admin` raised.

    Returns:
        None if the error is a defect of Merganser: show the traceback then.
    """
    match error:
        case AdminError() | SchemaError():
            return str(error)
        case postgres.UndefinedTable():
            return "the database has no tables of Merganser: run `merganser migrate`"
        case (
            psycopg.OperationalError()
            | postgres.InsufficientPrivilege()
            | postgres.ReadOnlySqlTransaction()
        ):
            return explain_postgres_error(error)
        case kafka.KafkaError():
            return explain_kafka_error(error, Connection.failure)
    return None


def explain_kafka_error(error: kafka.KafkaError, connect_error: BaseException | None) -> str:
    """Return what happened in Kafka and what to do next.

    Args:
        error: as a client raised it.
        connect_error: why the last attempt to connect to a broker failed, if it did. The clients
            of aiokafka themselves report only that they reached no broker.
    """
    cause: BaseException = error
    if connect_error and isinstance(error, kafka.KafkaConnectionError):
        cause = connect_error
    message = str(cause) or type(cause).__name__
    for kind, advice in _KAFKA.items():
        if isinstance(cause, kind):
            return f"Kafka: {message}\n{advice}"
    return f"Kafka: {message}\nSee the logs of the brokers."


def explain_postgres_error(error: psycopg.Error) -> str:
    """Return what happened in Postgres and what to do next."""
    return f"Postgres: {error}\n{_postgres_advice(error)}"


def _postgres_advice(error: psycopg.Error) -> str:
    match error:
        case postgres.InsufficientPrivilege():
            return f"Grant it to the user of MERGANSER_DATABASE_URL. {_GRANTS}"
        case postgres.ReadOnlySqlTransaction():
            return (
                "This server is a replica, or read-only. MERGANSER_DATABASE_URL must lead to the "
                "primary: add target_session_attrs=read-write."
            )
    for part, advice in _POSTGRES.items():
        if part in str(error):
            return advice
    return "Is Postgres running? Is MERGANSER_DATABASE_URL right?"
