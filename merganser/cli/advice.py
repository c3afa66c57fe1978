"""What to do next when Kafka or Postgres does not do what a command asks: pure."""

import ssl

import psycopg
from aiokafka import errors as kafka
from psycopg import errors as postgres

_GRANTS = "See docs/managed-services.md for the grants that each process and command needs."
_TOPICS = (
    "The cluster allows no topic like that. Set MERGANSER_TOPIC_MAX_RECORD, "
    "MERGANSER_DEAD_TOPIC_MAX_RECORD, MERGANSER_TOPIC_REPLICAS or MERGANSER_TOPIC_PARTITIONS to "
    "what it allows (docs/managed-services.md), or make the topics with its own tools."
)
_MECHANISM = "The brokers want another MERGANSER_KAFKA_SASL_MECHANISM."
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
    kafka.TopicAuthorizationFailedError: f"This user may not do that with the topic. {_GRANTS}",
    kafka.GroupAuthorizationFailedError: f"This user may not use the consumer group. {_GRANTS}",
    kafka.ClusterAuthorizationFailedError: f"This user may not do that with the cluster. {_GRANTS}",
    kafka.UnknownTopicOrPartitionError: "Make the topics: run `merganser topics`.",
    kafka.AuthenticationFailedError: _LOGIN,
    kafka.SaslAuthenticationFailed: _LOGIN,
    kafka.UnsupportedSaslMechanismError: _MECHANISM,
    kafka.AuthenticationMethodNotSupported: _MECHANISM,
    ssl.SSLCertVerificationError: (
        "The certificate is not signed by MERGANSER_KAFKA_CA, or not for the host name in "
        "MERGANSER_KAFKA_BOOTSTRAP."
    ),
    ssl.SSLError: "The brokers want another MERGANSER_KAFKA_SECURITY, or a certificate of ours.",
    OSError: "Is it running? Is MERGANSER_KAFKA_BOOTSTRAP right?",
    kafka.KafkaConnectionError: (
        "A broker hung up: it may want another MERGANSER_KAFKA_SECURITY, or a "
        "MERGANSER_KAFKA_CERTIFICATE."
    ),
}
"""By the kind of error; a more special kind stands before the general one."""

_POSTGRES = {
    "password authentication failed": "Check user and password in MERGANSER_DATABASE_URL.",
    "no password supplied": "MERGANSER_DATABASE_URL has no password, and Postgres asks for one.",
    "no pg_hba.conf entry": (
        "Postgres lets this user in neither from this address nor without TLS: "
        "check sslmode in MERGANSER_DATABASE_URL, and pg_hba.conf."
    ),
    "certificate verify failed": (
        "The certificate is not signed by sslrootcert in MERGANSER_DATABASE_URL, or not for its "
        "host name."
    ),
    "does not support SSL": "Postgres has no TLS: check sslmode in MERGANSER_DATABASE_URL.",
    'database "': "Create the database, or name another one in MERGANSER_DATABASE_URL.",
    'role "': "Create the role, or name another one in MERGANSER_DATABASE_URL.",
    "too many": "Postgres has no connection left: see docs/managed-services.md#connections.",
    "remaining connection slots": (
        "Postgres has no connection left: see docs/managed-services.md#connections."
    ),
    "FATAL:": "Postgres runs and does not let this command in: check MERGANSER_DATABASE_URL.",
}
"""By a part of the message: libpq gives no SQLSTATE of a connection that was refused."""


def of_kafka(error: kafka.KafkaError, connecting: BaseException | None) -> tuple[str, str]:
    """What happened, and what to do next.

    Args:
        error: as a client raised it.
        connecting: why the last try to connect to a broker failed, if one did. aiokafka's clients
            say no more than that no broker could be reached.
    """
    cause: BaseException = error
    if connecting and isinstance(error, kafka.KafkaConnectionError):
        cause = connecting
    for kind, advice in _KAFKA.items():
        if isinstance(cause, kind):
            return f"{cause}" or type(cause).__name__, advice
    return f"{cause}" or type(cause).__name__, "See the logs of the brokers."


def of_postgres(error: psycopg.Error) -> tuple[str, str]:
    """The same of Postgres."""
    match error:
        case postgres.InsufficientPrivilege():
            return str(error), f"Grant it to the user of MERGANSER_DATABASE_URL. {_GRANTS}"
        case postgres.ReadOnlySqlTransaction():
            return str(error), (
                "This server is a replica, or read-only: MERGANSER_DATABASE_URL must lead to the "
                "primary, as with target_session_attrs=read-write."
            )
    for part, advice in _POSTGRES.items():
        if part in str(error):
            return str(error), advice
    return str(error), "Is it running? Is MERGANSER_DATABASE_URL right?"
