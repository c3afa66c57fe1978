"""Configuration: `MERGANSER_*` in the environment or a `.env` file, read once, at the edge (§8)."""

import sys
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict

from merganser.runtime.kafka_security import KafkaSecurity
from schemas import ids
from schemas.event import LONGEST_ID
from schemas.exact_json import DEEPEST
from schemas.guid import GuidVersion

RECORD_OVERHEAD = 8 << 10
"""Bytes of a record beside its event: key, headers, and what Kafka adds to a batch."""

Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(KafkaSecurity):
    """What every process needs."""

    model_config = SettingsConfigDict(
        env_prefix="MERGANSER_", env_file=".env", extra="ignore", frozen=True
    )

    kafka_bootstrap: str = Field(
        "127.0.0.1:9092", description="host:port of Kafka brokers, by comma"
    )
    database_url: SecretStr = Field(
        SecretStr("postgresql://merganser@127.0.0.1:5432/merganser"),
        description="PostgreSQL connection URL",
    )
    topic: str = Field("events", description="Topic of accepted events")
    dead_topic: str = Field("events.dead", description="Topic of records that can never succeed")
    topic_partitions: PositiveInt = Field(
        12, description="Partitions of the topic where `merganser topics` makes it"
    )
    topic_replicas: PositiveInt = Field(
        1, description="Replicas of the topics where `merganser topics` makes them"
    )
    topic_max_record: Annotated[int, Field(ge=32 << 10)] = Field(
        4 << 20, description="Bytes of a record in the topic of events, as `merganser topics` sets"
    )
    dead_topic_max_record: Annotated[int, Field(ge=32 << 10)] = Field(
        8 << 20, description="Bytes of a record in the topic of dead letters, in the same way"
    )
    topic_retention: Annotated[int, Field(ge=0, le=36_500)] = Field(
        7,
        description="Days that the topic keeps a record where `merganser topics` makes it, 0 for "
        "ever; so long, and a week more, deleted events are remembered",
    )
    guid_version: GuidVersion = Field(
        7, description="UUID version of the processes' new guids: 7 or 4"
    )
    nobody_ids: Annotated[frozenset[str], NoDecode] = Field(
        ids.NOBODY,
        description="More ids that mean nobody, by comma, in any case; those of the default always "
        "do",
    )
    ops_host: str = Field("127.0.0.1", description="Address of /metrics, /healthz and /readyz")
    otlp_endpoint: str | None = Field(
        None,
        description="URL of an OTLP/HTTP collector for traces, else OTEL_EXPORTER_OTLP_ENDPOINT; "
        "without either nothing is traced",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Log level")
    log_format: Literal["auto", "json", "pretty"] = Field(
        "auto", description="json, pretty, or auto: pretty on a terminal"
    )

    @property
    def topic_holds(self) -> timedelta | None:
        """For how long the topic may hold a record; None: for ever.

        Kafka deletes records a segment at a time, by the last one's age. By its defaults
        (`segment.ms`) a segment has records of up to a week.
        """
        return timedelta(days=self.topic_retention + 7) if self.topic_retention else None

    @field_validator("database_url")
    @classmethod
    def _connectable(cls, url: SecretStr) -> SecretStr:
        try:
            conninfo_to_dict(url.get_secret_value())
        except psycopg.ProgrammingError:  # whose message quotes the URL, with its password
            raise ValueError("is not a PostgreSQL connection URL") from None
        return url

    @field_validator("nobody_ids", mode="before")
    @classmethod
    def _by_comma(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(map(ids.folded, value.split(","))) | ids.NOBODY
        return value

    @classmethod
    def read(cls) -> Self:
        """Read and validate; a mistake ends the process with a message that names the variable."""
        try:
            return cls()
        except ValidationError as error:
            # One line a variable, although each part of a list may have faults of its own.
            faults = {problem["loc"][:1]: problem["msg"] for problem in error.errors()}
            for names, fault in faults.items():
                # What concerns several variables names them itself.
                named = "".join(f"MERGANSER_{str(name).upper()}: " for name in names)
                sys.stderr.write(f"merganser: {named}{fault.removeprefix('Value error, ')}\n")
            raise SystemExit(2) from None


class IngestSettings(Settings):
    """The gateway."""

    ingest_host: str = Field("127.0.0.1", description="Address that ingest listens on")
    ingest_port: Port = Field(8080, description="Port that ingest listens on")
    ingest_metrics_port: Port = Field(9101, description="Port of ingest's /metrics")
    ingest_max_body: PositiveInt = Field(1 << 20, description="Bytes of a body, unpacked")
    ingest_max_batch: PositiveInt = Field(1000, description="Events of a batch")
    ingest_max_event: Annotated[int, Field(ge=1, le=512 << 10)] = Field(
        64 << 10, description="Bytes of one event as a record"
    )
    ingest_max_id: Annotated[int, Field(ge=1, le=LONGEST_ID)] = Field(
        191, description="Characters of type, userId and anonymousId"
    )
    ingest_max_keys: PositiveInt = Field(256, description="Keys of an event's data")
    ingest_max_depth: Annotated[int, Field(ge=1, le=DEEPEST)] = Field(
        32, description="Levels of nesting in an event's data"
    )
    ingest_max_waiting: Annotated[int, Field(ge=512 << 10)] = Field(
        32 << 20, description="Bytes waiting for Kafka before ingest answers 503"
    )
    ingest_publish_timeout: PositiveFloat = Field(
        1.5, description="Seconds to wait for Kafka's acknowledgement before ingest answers 503"
    )
    ingest_max_connections: PositiveInt = Field(
        10_000, description="Connections at once; past it the one is closed whose client is slowest"
    )
    ingest_head_timeout: PositiveFloat = Field(
        10, description="Seconds a client may take to send a request's headers"
    )
    ingest_body_timeout: PositiveFloat = Field(
        15, description="Seconds a client may take to send its body"
    )
    ingest_keys_interval: PositiveFloat = Field(
        2, description="Seconds between looks at apiKeys: how long a revoked key may still work"
    )
    ingest_rate: PositiveFloat | None = Field(
        None, description="Events a second of one API key before a gateway answers 429; no limit"
    )
    ingest_burst: PositiveInt = Field(
        2000, description="Events of one API key at once, where there is a rate"
    )
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (), description="Networks, by comma, whose X-Forwarded-For is believed"
    )

    @model_validator(mode="after")
    def _event_fits_into_a_record(self) -> Self:
        if self.topic_max_record < self.ingest_max_event + RECORD_OVERHEAD:
            raise ValueError(
                f"MERGANSER_TOPIC_MAX_RECORD: must be MERGANSER_INGEST_MAX_EVENT and "
                f"{RECORD_OVERHEAD} bytes at least, or accepted events would not fit"
            )
        return self

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value


class ResolverSettings(Settings):
    """The consumer group."""

    consumer_group: str = Field("merganser-resolver", description="Kafka consumer group")
    resolver_metrics_port: Port = Field(9102, description="Port of the resolver's /metrics")
    resolver_batch: PositiveInt = Field(5000, description="Most events of one transaction")
    resolver_move: PositiveInt = Field(
        5000, description="Events that a merge moves in its own transaction; more follow in chunks"
    )
    resolver_dead_limit: PositiveInt = Field(
        1000, description="Dead letters within a minute that stop the resolver"
    )
    resolver_silence: PositiveFloat = Field(
        60, description="Seconds without progress in a partition whose records wait: not ready"
    )
    resolver_session_timeout: PositiveFloat = Field(
        10, description="Seconds without heartbeat until a resolver's partitions go to others"
    )
    resolver_instance: str | None = Field(
        None, description="Static group membership id, so that a quick restart moves no partition"
    )


class ScannerSettings(Settings):
    """The scanner."""

    scanner_metrics_port: Port = Field(9103, description="Port of the scanner's /metrics")
    scanner_interval: PositiveFloat = Field(
        60, description="Seconds between looks for unresolved rows"
    )
    scanner_batch: PositiveInt = Field(2000, description="Most rows of one transaction")
    scanner_move: PositiveInt = Field(
        5000, description="Events that follow a big merge in one transaction"
    )


class PropertiesSettings(Settings):
    """The process that keeps properties up to date."""

    properties_metrics_port: Port = Field(
        9104, description="Port of the properties process's /metrics"
    )
    properties_interval: PositiveFloat = Field(
        0.5, description="Seconds between looks for changes that properties do not show yet"
    )
    properties_batch: PositiveInt = Field(
        10_000, description="Events that one transaction counts, about"
    )


class DecorationSettings(Settings):
    """The process that asks the company's own databases."""

    decoration_metrics_port: Port = Field(
        9106, description="Port of the decoration process's /metrics"
    )
    decoration_interval: PositiveFloat = Field(
        0.5, description="Seconds between looks for profiles that a source is to be asked for"
    )


class ApiSettings(Settings):
    """The read API."""

    api_host: str = Field("127.0.0.1", description="Address that the read API listens on")
    api_port: Port = Field(8081, description="Port that the read API listens on")
    api_metrics_port: Port = Field(9105, description="Port of the read API's /metrics")
    api_connections: PositiveInt = Field(
        8, description="Connections to Postgres of one process: requests that it works on at once"
    )
    api_scan: PositiveInt = Field(
        10_000, description="Events that a page looks at to find those that match its filters"
    )
    api_statement_timeout: PositiveFloat = Field(
        5, description="Seconds of a statement before the read API answers 503"
    )
    api_keys_interval: PositiveFloat = Field(
        2, description="Seconds between looks at apiKeys: how long a revoked key may still work"
    )
