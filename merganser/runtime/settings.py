"""Configuration: `MERGANSER_*` in the environment or a `.env` file, read once at the start."""

import sys
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import (
    AnyHttpUrl,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict

from merganser.runtime.kafka_security import KafkaSecurity
from schemas import ids, refused_event
from schemas.client_ip import IpPolicy
from schemas.event import LONGEST_ID
from schemas.exact_json import DEEPEST
from schemas.guid import GuidVersion

RECORD_OVERHEAD = 8 << 10
"""Bytes of a record besides its event: key, headers and Kafka's overhead of a batch."""

Port = Annotated[int, Field(ge=0, le=65535)]
Workers = Annotated[int, Field(ge=1, le=256)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode]
UserPermission = Literal[
    "events:write",
    "events:read",
    "events:delete",
    "profiles:read",
    "links:write",
    "console:read",
    "console:write",
]
"""Any permission of an API key."""


def _split(value: object) -> object:
    """Return the parts of a text that are separated by commas; any other value as it is."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


class Settings(KafkaSecurity):
    """Settings of every process."""

    model_config = SettingsConfigDict(
        env_prefix="MERGANSER_", env_file=".env", extra="ignore", frozen=True
    )

    kafka_bootstrap: str = Field(
        "127.0.0.1:9092", description="host:port of Kafka brokers, separated by commas"
    )
    database_url: SecretStr = Field(
        SecretStr("postgresql://merganser@127.0.0.1:5432/merganser"),
        description="PostgreSQL connection URL",
    )
    topic: str = Field("events", description="Topic of accepted events")
    dead_topic: str = Field(
        "events.dead", description="Topic of dead letters: records that cannot be processed"
    )
    refused_topic: str = Field(
        "events.refused", description="Topic of refused events: a sample, for the console"
    )
    topic_partitions: PositiveInt = Field(
        12, description="Partitions of the topic, if `merganser topics` creates it"
    )
    topic_replicas: PositiveInt = Field(
        1, description="Replicas of the topics, if `merganser topics` creates them"
    )
    topic_max_record: Annotated[int, Field(ge=32 << 10)] = Field(
        4 << 20,
        description="Most bytes of a record in the topic; `merganser topics` sets this limit",
    )
    dead_topic_max_record: Annotated[int, Field(ge=32 << 10)] = Field(
        8 << 20, description="Most bytes of a dead letter; `merganser topics` sets this limit"
    )
    topic_retention: Annotated[int, Field(ge=0, le=36_500)] = Field(
        7,
        description="Days that the topic keeps a record, if `merganser topics` "
        "creates it; 0: without "
        "limit. Deleted events are remembered for a week longer",
    )
    dead_topic_retention: Annotated[int, Field(ge=0, le=36_500)] = Field(
        30,
        description="Days that the topic keeps a dead letter, if `merganser topics` creates it; "
        "0: without limit",
    )
    guid_version: GuidVersion = Field(7, description="UUID version of new guids: 7 or 4")
    nobody_ids: Annotated[frozenset[str], NoDecode] = Field(
        ids.NOBODY,
        description="More ids that count as missing, separated by commas, in any "
        "case; those of the "
        "default always count as missing",
    )
    ops_host: str = Field("127.0.0.1", description="Address of /metrics, /healthz and /readyz")
    otlp_endpoint: str | None = Field(
        None,
        description="URL of an OTLP/HTTP collector for traces; if empty, "
        "OTEL_EXPORTER_OTLP_ENDPOINT; "
        "without both there are no traces",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Log level")
    log_format: Literal["auto", "json", "pretty"] = Field(
        "auto", description="json, pretty, or auto: pretty on a terminal"
    )

    @property
    def topic_holds(self) -> timedelta | None:
        """How long the topic may keep a record; None: without limit.

        Kafka deletes whole segments by the age of their last record. With its default
        `segment.ms`, a segment spans up to a week.
        """
        return timedelta(days=self.topic_retention + 7) if self.topic_retention else None

    @field_validator("database_url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        try:
            conninfo_to_dict(url.get_secret_value())
        except psycopg.ProgrammingError:  # its message quotes the URL with the password
            raise ValueError("is not a PostgreSQL connection URL") from None
        return url

    @field_validator("nobody_ids", mode="before")
    @classmethod
    def _split_ids(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(map(ids.folded, value.split(","))) | ids.NOBODY
        return value

    @classmethod
    def read(cls) -> Self:
        """Read and validate; exit with a message that names the variable if a value is invalid."""
        try:
            return cls()
        except ValidationError as error:
            # One line for each variable, even if several parts of a list are invalid.
            messages = {problem["loc"][:1]: problem["msg"] for problem in error.errors()}
            for names, message in messages.items():
                # A message about several variables names them itself.
                named = "".join(f"MERGANSER_{str(name).upper()}: " for name in names)
                sys.stderr.write(f"merganser: {named}{message.removeprefix('Value error, ')}\n")
            raise SystemExit(2) from None


class IngestSettings(Settings):
    """Settings of ingest."""

    ingest_host: str = Field("127.0.0.1", description="Address that ingest listens on")
    ingest_port: Port = Field(8080, description="Port that ingest listens on")
    ingest_metrics_port: Port = Field(9101, description="Port of ingest's /metrics")
    ingest_workers: Workers = Field(
        1, description="Processes of ingest that share its ports, under one supervisor"
    )
    ingest_max_body: PositiveInt = Field(
        1 << 20, description="Most bytes of a request body, uncompressed"
    )
    ingest_max_batch: PositiveInt = Field(1000, description="Most events of a batch")
    ingest_max_event: Annotated[int, Field(ge=1, le=512 << 10)] = Field(
        64 << 10, description="Most bytes of one event as a record"
    )
    ingest_max_id: Annotated[int, Field(ge=1, le=LONGEST_ID)] = Field(
        191, description="Most characters of type, userId and anonymousId"
    )
    ingest_max_keys: PositiveInt = Field(256, description="Most keys of an event's data")
    ingest_max_depth: Annotated[int, Field(ge=1, le=DEEPEST)] = Field(
        32, description="Most levels of nesting in an event's data"
    )
    ingest_max_waiting: Annotated[int, Field(ge=512 << 10)] = Field(
        32 << 20, description="Most bytes waiting for Kafka; beyond, ingest answers 503"
    )
    ingest_publish_timeout: PositiveFloat = Field(
        1.5, description="Seconds to wait for Kafka's acknowledgement before ingest answers 503"
    )
    ingest_max_connections: PositiveInt = Field(
        10_000,
        description="Most connections at once; beyond, ingest closes that of the slowest client",
    )
    ingest_head_timeout: PositiveFloat = Field(
        10, description="Seconds a client may take to send a request's headers"
    )
    ingest_body_timeout: PositiveFloat = Field(
        15, description="Seconds a client may take to send its body"
    )
    ingest_keys_interval: PositiveFloat = Field(
        2, description="Seconds between reads of apiKeys: how long a revoked key may still work"
    )
    ingest_rate: PositiveFloat | None = Field(
        None,
        description="Events a second, in one ingest process, of an API key without its "
        "own rate; beyond, it answers 429",
    )
    ingest_burst: PositiveInt = Field(
        2000, description="Events of one API key at once, if it has a rate limit"
    )
    ingest_refused_rate: NonNegativeInt = Field(
        10,
        description="Refused events a second that one ingest process records for the console, at "
        "most half of them of one API key; 0: none",
    )
    ingest_refused_content: Annotated[int, Field(ge=0, le=refused_event.MAX_CONTENT)] = Field(
        0,
        description="Most bytes of a refused event's content that its record has; 0: no content",
    )
    ingest_ip: IpPolicy = Field(
        "keep",
        description="What is stored of clients' IP addresses: keep, truncate (IPv4 to /24, IPv6 to "
        "/48) or drop",
    )
    trusted_proxies: Networks = Field(
        (), description="Networks, separated by commas, whose X-Forwarded-For is trusted"
    )

    @model_validator(mode="after")
    def _check_record_size(self) -> Self:
        if self.topic_max_record < self.ingest_max_event + RECORD_OVERHEAD:
            raise ValueError(
                f"MERGANSER_TOPIC_MAX_RECORD: must be at least "
                f"MERGANSER_INGEST_MAX_EVENT plus {RECORD_OVERHEAD}, or accepted events do not fit"
            )
        return self

    @model_validator(mode="after")
    def _check_refused_content(self) -> Self:
        if self.ingest_refused_content and self.ingest_ip != "keep":
            raise ValueError(
                "MERGANSER_INGEST_REFUSED_CONTENT: must be 0 unless MERGANSER_INGEST_IP is keep: "
                "content may have IP addresses"
            )
        return self

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        return _split(value)


class ResolverSettings(Settings):
    """Settings of the resolver."""

    consumer_group: str = Field("merganser-resolver", description="Kafka consumer group")
    resolver_metrics_port: Port = Field(9102, description="Port of the resolver's /metrics")
    resolver_workers: Workers = Field(
        1, description="Processes of the resolver that share its ops port, under one supervisor"
    )
    resolver_batch: PositiveInt = Field(5000, description="Most events of one transaction")
    resolver_move: PositiveInt = Field(
        5000,
        description="Most events that a merge moves in its own transaction; the "
        "scanner moves the rest",
    )
    resolver_dead_limit: PositiveInt = Field(
        1000, description="Dead letters within a minute that stop the resolver"
    )
    resolver_silence: PositiveFloat = Field(
        60,
        description="Seconds without progress in a partition with waiting "
        "records before /readyz fails",
    )
    resolver_session_timeout: PositiveFloat = Field(
        10,
        description="Seconds without a heartbeat before Kafka assigns a "
        "resolver's partitions to others",
    )
    resolver_instance: str | None = Field(
        None, description="Static group membership id: a quick restart then moves no partitions"
    )


class ScannerSettings(Settings):
    """Settings of the scanner."""

    scanner_metrics_port: Port = Field(9103, description="Port of the scanner's /metrics")
    scanner_interval: PositiveFloat = Field(
        60, description="Seconds between scans for unresolved rows"
    )
    scanner_batch: PositiveInt = Field(2000, description="Most rows of one transaction")
    scanner_move: PositiveInt = Field(
        5000, description="Most events of a large merge that one transaction moves"
    )


class PropertiesSettings(Settings):
    """Settings of the properties process."""

    properties_metrics_port: Port = Field(
        9104, description="Port of the properties process's /metrics"
    )
    properties_interval: PositiveFloat = Field(
        0.5, description="Seconds between checks for changed events"
    )
    properties_batch: PositiveInt = Field(
        10_000, description="Events of one transaction, approximately"
    )


class DecorationSettings(Settings):
    """Settings of the decoration process."""

    decoration_metrics_port: Port = Field(
        9106, description="Port of the decoration process's /metrics"
    )
    decoration_interval: PositiveFloat = Field(
        0.5, description="Seconds between checks for profiles that need a query to a source"
    )


class ApiSettings(Settings):
    """Settings of the read API."""

    api_host: str = Field("127.0.0.1", description="Address that the read API listens on")
    api_port: Port = Field(8081, description="Port that the read API listens on")
    api_metrics_port: Port = Field(9105, description="Port of the read API's /metrics")
    api_connections: PositiveInt = Field(
        8,
        description="Connections to Postgres of one process: the requests that it handles at once",
    )
    api_scan: PositiveInt = Field(
        10_000, description="Most events that a page reads to find those that match its filters"
    )
    api_statement_timeout: PositiveFloat = Field(
        5, description="Most seconds of a statement; beyond, the read API answers 503"
    )
    api_keys_interval: PositiveFloat = Field(
        2, description="Seconds between reads of apiKeys: how long a revoked key may still work"
    )


class ConsoleSettings(Settings):
    """Settings of the console."""

    console_host: str = Field("127.0.0.1", description="Address that the console listens on")
    console_port: Port = Field(8082, description="Port that the console listens on")
    console_metrics_port: Port = Field(9107, description="Port of the console's /metrics")
    console_url: AnyHttpUrl | None = Field(
        None,
        description="URL that browsers use, if a proxy is in front: with https, cookies are Secure",
    )
    console_connections: PositiveInt = Field(
        8,
        description="Connections to Postgres of one process: the requests that it handles at once",
    )
    console_scan: PositiveInt = Field(
        10_000, description="Most events that a page reads to find those that match its filters"
    )
    console_statement_timeout: PositiveFloat = Field(
        5, description="Most seconds of a statement; beyond, the page says what to narrow"
    )
    console_keys_interval: PositiveFloat = Field(
        2, description="Seconds between reads of apiKeys: how long a revoked key may still work"
    )
    console_idle_timeout: PositiveInt = Field(
        3600, description="Seconds without a request after which a login ends"
    )
    console_session_timeout: PositiveInt = Field(
        43_200, description="Seconds after which a login ends in any case"
    )
    console_user_header: Annotated[str, Field(pattern="^[A-Za-z0-9-]+$")] | None = Field(
        None,
        description="Header in which a trusted proxy names the user, who then needs no API key",
    )
    console_trusted_proxies: Networks = Field(
        (), description="Networks, separated by commas, of the proxies whose header is trusted"
    )
    console_user_permissions: Annotated[frozenset[UserPermission], NoDecode] = Field(
        frozenset({"console:read"}),
        description="Permissions, separated by commas, of each user that a proxy names",
    )

    @field_validator("console_trusted_proxies", "console_user_permissions", mode="before")
    @classmethod
    def _split_lists(cls, value: object) -> object:
        return _split(value)

    @model_validator(mode="after")
    def _check_users(self) -> Self:
        if self.console_user_header and not self.console_trusted_proxies:
            raise ValueError(
                "MERGANSER_CONSOLE_TRUSTED_PROXIES: must have the proxies whose "
                "MERGANSER_CONSOLE_USER_HEADER is trusted, or anyone could send it"
            )
        if self.console_user_permissions.isdisjoint({"console:read", "console:write"}):
            raise ValueError(
                "MERGANSER_CONSOLE_USER_PERMISSIONS: must include console:read or console:write"
            )
        return self


class ServeSettings(Settings):
    """Settings of `merganser serve`, in addition to those of each process that it runs."""

    serve_metrics_port: Port = Field(
        9100, description="Port of /metrics of all processes that `merganser serve` runs"
    )
