"""A broker and a Postgres that let nobody in who does not prove who it is."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from psycopg import sql

from dev.stack.errors import StackError
from dev.stack.home import Home
from dev.stack.kafka import Kafka
from dev.stack.ports import free_port
from dev.stack.postgres import Postgres

USER, PASSWORD = "merganser", "s3cret-of-kafka"
STRANGER = "stranger"
"""Whom the brokers know, by the same password, and let do nothing."""

DB_USER, DB_PASSWORD = "gateway", "s3cret-of-postgres"

_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
_LISTENERS = {"MTLS": "SSL", "SASLTLS": "SASL_SSL", "SASLTEXT": "SASL_PLAINTEXT"}
_HBA = f"""\
hostssl all merganser  127.0.0.1/32 trust
hostssl all {DB_USER}  127.0.0.1/32 scram-sha-256
"""
"""Nobody without TLS; the test's own user needs no password."""


@dataclass(frozen=True)
class Secured:
    """The servers, and what a client needs for them."""

    kafka: Kafka
    """Its own port asks for nothing: for the test to look inside, not for the processes."""
    postgres: Postgres
    listeners: dict[str, str]
    """`host:port` by protocol; SSL asks for the client's certificate."""
    place: Path

    @property
    def ca(self) -> Path:
        """Who signed the certificates of both servers."""
        return self.place / "ca.pem"

    @property
    def other_ca(self) -> Path:
        """Somebody else."""
        return self.place / "other-ca.pem"

    def database_url(self, password: str = DB_PASSWORD, ca: Path | None = None) -> str:
        """As an operator writes it."""
        return (
            f"postgresql://{DB_USER}:{password}@localhost:{self.postgres.port}/merganser"
            f"?sslmode=verify-full&sslrootcert={ca or self.ca}"
        )

    def kafka_env(self, protocol: str, mechanism: str | None = None) -> dict[str, str]:
        """The settings for a listener."""
        settings = {"BOOTSTRAP": self.listeners[protocol], "SECURITY": protocol}
        if protocol.endswith("SSL"):
            settings["CA"] = str(self.ca)
        if protocol == "SSL":
            settings["CERTIFICATE"] = str(self.place / "client.pem")
            settings["KEY"] = str(self.place / "client.key")
        if mechanism:
            settings["SASL_MECHANISM"] = mechanism
            settings["SASL_USERNAME"] = USER
            settings["SASL_PASSWORD"] = PASSWORD
        return {f"MERGANSER_KAFKA_{name}": value for name, value in settings.items()}


@contextmanager
def running(place: Path) -> Iterator[Secured]:
    """Have them for the length of a `with` block; raises StackError where there is no Java."""
    _write_certificates(place)
    ports = {name: free_port(set()) for name in ("KAFKA", "CONTROLLER", "POSTGRES", *_LISTENERS)}
    home = Home(place / "home")
    with home.owned():
        kafka = Kafka(
            home,
            ports["KAFKA"],
            ports["CONTROLLER"],
            config=_broker(place, ports),
            scram=[
                f"SCRAM-SHA-{n}=[name={name},password={PASSWORD}]"
                for name in (USER, STRANGER)
                for n in (256, 512)
            ],
        )
        postgres = Postgres(
            home,
            ports["POSTGRES"],
            unsafe_fast=True,
            binaries=_postgres_with_tls(),
            config={
                "ssl": "on",
                "ssl_cert_file": str(place / "server.pem"),
                "ssl_key_file": str(place / "server.key"),
                "hba_file": str(place / "pg_hba.conf"),
            },
        )
        try:
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda server: server.start(), (kafka, postgres)))
            _make_role(postgres)
            listeners = {p: f"localhost:{ports[name]}" for name, p in _LISTENERS.items()}
            yield Secured(kafka, postgres, listeners, place)
        finally:
            kafka.stop()
            postgres.stop()


def _postgres_with_tls() -> Path:
    """Where the system's own Postgres is: the wheel's is built without TLS."""
    places = list(Path("/usr/lib/postgresql").glob("*/bin"))
    if not places:
        raise StackError("no Postgres of the system, such as Debian's package postgresql")
    return max(places, key=lambda place: int(place.parent.name))


def _broker(place: Path, ports: dict[str, int]) -> dict[str, str]:
    """Its configuration: https://kafka.apache.org/documentation/#security."""
    at = {"PLAINTEXT": ("127.0.0.1", ports["KAFKA"])}
    at |= {name: ("localhost", ports[name]) for name in _LISTENERS}
    advertised = ",".join(f"{name}://{host}:{port}" for name, (host, port) in at.items())
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **_LISTENERS}
    config = {
        "listeners": f"{advertised},CONTROLLER://127.0.0.1:{ports['CONTROLLER']}",
        "advertised.listeners": advertised,
        "listener.security.protocol.map": ",".join(f"{n}:{p}" for n, p in protocols.items()),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(place / "server-keystore.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(place / "ca.pem"),
        "listener.name.mtls.ssl.client.auth": "required",
        "listener.name.mtls.ssl.principal.mapping.rules": f"RULE:^.*$/{USER}/",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:ANONYMOUS;User:{USER}",
    }
    for listener in ("sasltls", "sasltext"):
        prefix = f"listener.name.{listener}"
        config[f"{prefix}.plain.sasl.jaas.config"] = f'{_PLAIN} required user_{USER}="{PASSWORD}";'
        for bits in (256, 512):
            config[f"{prefix}.scram-sha-{bits}.sasl.jaas.config"] = f"{_SCRAM} required;"
    return config


def _write_certificates(place: Path) -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(str(place / "ca.pem"))
    theirs.cert_pem.write_to_path(str(place / "other-ca.pem"))
    # Not for 127.0.0.1: a client that goes there by that name is to notice.
    server, client = ours.issue_cert("localhost"), ours.issue_cert("merganser")
    for name, issued in (("server", server), ("client", client)):
        key = load_pem_private_key(issued.private_key_pem.bytes(), password=None)
        pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        (place / f"{name}.pem").write_bytes(chain)
        (place / f"{name}.key").write_bytes(pkcs8)
        (place / f"{name}.key").chmod(0o600)
        (place / f"{name}-keystore.pem").write_bytes(pkcs8 + chain)
    (place / "pg_hba.conf").write_text(_HBA)


def _make_role(postgres: Postgres) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                sql.Identifier(DB_USER), sql.Literal(DB_PASSWORD)
            )
        )
        connection.execute(
            sql.SQL("ALTER DATABASE merganser OWNER TO {}").format(sql.Identifier(DB_USER))
        )
