"""A Kafka broker and a Postgres that require authentication."""

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
"""A user of the brokers with the same password and no permission."""

DB_USER, DB_PASSWORD = "gateway", "s3cret-of-postgres"

_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
_LISTENERS = {"MTLS": "SSL", "SASLTLS": "SASL_SSL", "SASLTEXT": "SASL_PLAINTEXT"}
_HBA = f"""\
hostssl all merganser  127.0.0.1/32 trust
hostssl all {DB_USER}  127.0.0.1/32 scram-sha-256
"""
"""TLS is required; the user of the test needs no password."""


@dataclass(frozen=True)
class Secured:
    """The servers, and the certificates and settings for their clients."""

    kafka: Kafka
    """Its own port is open, for the test to read topics; processes use the listeners."""
    postgres: Postgres
    listeners: dict[str, str]
    """`host:port` by protocol; SSL requires a client certificate."""
    folder: Path

    @property
    def ca(self) -> Path:
        """The authority that signed the certificates of both servers."""
        return self.folder / "ca.pem"

    @property
    def other_ca(self) -> Path:
        """Another authority."""
        return self.folder / "other-ca.pem"

    def database_url(self, password: str = DB_PASSWORD, ca: Path | None = None) -> str:
        """Return the connection URL that an operator configures."""
        return (
            f"postgresql://{DB_USER}:{password}@localhost:{self.postgres.port}/merganser"
            f"?sslmode=verify-full&sslrootcert={ca or self.ca}"
        )

    def kafka_env(self, protocol: str, mechanism: str | None = None) -> dict[str, str]:
        """Return the environment variables for a listener."""
        settings = {"BOOTSTRAP": self.listeners[protocol], "SECURITY": protocol}
        if protocol.endswith("SSL"):
            settings["CA"] = str(self.ca)
        if protocol == "SSL":
            settings["CERTIFICATE"] = str(self.folder / "client.pem")
            settings["KEY"] = str(self.folder / "client.key")
        if mechanism:
            settings["SASL_MECHANISM"] = mechanism
            settings["SASL_USERNAME"] = USER
            settings["SASL_PASSWORD"] = PASSWORD
        return {f"MERGANSER_KAFKA_{name}": value for name, value in settings.items()}


@contextmanager
def running(folder: Path) -> Iterator[Secured]:
    """Run the servers for the length of a `with` block.

    Raises:
        StackError: Java or a Postgres with TLS is missing.
    """
    _write_certificates(folder)
    ports = {name: free_port() for name in ("KAFKA", "CONTROLLER", "POSTGRES", *_LISTENERS)}
    home = Home(folder / "home")
    with home.owned():
        kafka = Kafka(
            home,
            ports["KAFKA"],
            ports["CONTROLLER"],
            config=_configure_broker(folder, ports),
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
            binaries=_find_postgres_with_tls(),
            config={
                "ssl": "on",
                "ssl_cert_file": str(folder / "server.pem"),
                "ssl_key_file": str(folder / "server.key"),
                "hba_file": str(folder / "pg_hba.conf"),
            },
        )
        try:
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda server: server.start(), (kafka, postgres)))
            _create_role(postgres)
            listeners = {p: f"localhost:{ports[name]}" for name, p in _LISTENERS.items()}
            yield Secured(kafka, postgres, listeners, folder)
        finally:
            kafka.stop()
            postgres.stop()


def _find_postgres_with_tls() -> Path:
    """Return the folder of the system's Postgres; that of the wheel is built without TLS."""
    folders = list(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        raise StackError("no Postgres of the system, such as Debian's package postgresql")
    return max(folders, key=lambda found: int(found.parent.name))


def _configure_broker(folder: Path, ports: dict[str, int]) -> dict[str, str]:
    """Return the configuration of the broker: https://kafka.apache.org/documentation/#security."""
    addresses = {"PLAINTEXT": ("127.0.0.1", ports["KAFKA"])}
    addresses |= {name: ("localhost", ports[name]) for name in _LISTENERS}
    advertised = ",".join(f"{name}://{host}:{port}" for name, (host, port) in addresses.items())
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **_LISTENERS}
    config = {
        "listeners": f"{advertised},CONTROLLER://127.0.0.1:{ports['CONTROLLER']}",
        "advertised.listeners": advertised,
        "listener.security.protocol.map": ",".join(f"{n}:{p}" for n, p in protocols.items()),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "server-keystore.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.pem"),
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


def _write_certificates(folder: Path) -> None:
    authority, other_authority = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    other_authority.cert_pem.write_to_path(str(folder / "other-ca.pem"))
    # Not for 127.0.0.1, so that clients refuse the certificate at that address.
    server, client = authority.issue_cert("localhost"), authority.issue_cert("merganser")
    for name, issued in (("server", server), ("client", client)):
        key = load_pem_private_key(issued.private_key_pem.bytes(), password=None)
        pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        (folder / f"{name}.pem").write_bytes(chain)
        (folder / f"{name}.key").write_bytes(pkcs8)
        (folder / f"{name}.key").chmod(0o600)
        (folder / f"{name}-keystore.pem").write_bytes(pkcs8 + chain)
    (folder / "pg_hba.conf").write_text(_HBA)


def _create_role(postgres: Postgres) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                sql.Identifier(DB_USER), sql.Literal(DB_PASSWORD)
            )
        )
        connection.execute(
            sql.SQL("ALTER DATABASE merganser OWNER TO {}").format(sql.Identifier(DB_USER))
        )
