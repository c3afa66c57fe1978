"""Settings of Kafka's TLS and SASL."""

import ssl
from typing import Any, Literal, Self

from pydantic import Field, FilePath, SecretStr, model_validator
from pydantic_settings import BaseSettings


class KafkaSecurity(BaseSettings):
    """Security settings of Kafka connections; a contradictory combination fails validation.

    Names are those of Kafka's own clients: https://kafka.apache.org/documentation/#security
    """

    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT",
        description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, like the brokers' listener",
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
    )
    kafka_sasl_username: str | None = Field(None, description="SASL user name")
    kafka_sasl_password: SecretStr | None = Field(None, description="SASL password")
    kafka_ca: FilePath | None = Field(
        None,
        description="PEM file of the CA of the brokers' certificates, if it is not public",
    )
    kafka_certificate: FilePath | None = Field(
        None, description="PEM file of the client certificate, if brokers require one"
    )
    kafka_key: FilePath | None = Field(None, description="PEM file of the client certificate's key")

    @property
    def _tls(self) -> bool:
        return self.kafka_security.endswith("SSL")

    @property
    def _sasl(self) -> bool:
        return self.kafka_security.startswith("SASL")

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        user, password = self.kafka_sasl_username, self.kafka_sasl_password
        for name, value in (("USERNAME", user), ("PASSWORD", password)):
            if self._sasl and not value:
                raise ValueError(f"MERGANSER_KAFKA_SASL_{name}: {self.kafka_security} needs it")
            # Ignoring it would leave the connection unprotected, against the user's intent.
            if value and not self._sasl:
                raise ValueError(
                    f"MERGANSER_KAFKA_SECURITY: is {self.kafka_security}, which does not use "
                    f"MERGANSER_KAFKA_SASL_{name}"
                )
        if (self.kafka_ca or self.kafka_certificate) and not self._tls:
            raise ValueError(
                f"MERGANSER_KAFKA_SECURITY: is {self.kafka_security}, which does not use "
                "certificates"
            )
        if bool(self.kafka_certificate) != bool(self.kafka_key):
            raise ValueError(
                "MERGANSER_KAFKA_KEY: set both MERGANSER_KAFKA_CERTIFICATE and this, or neither"
            )
        if self._tls:
            self._context()
        return self

    def security(self) -> dict[str, Any]:
        """Return the security arguments of every aiokafka client."""
        arguments: dict[str, Any] = {"security_protocol": self.kafka_security}
        if self._tls:
            arguments["ssl_context"] = self._context()
        if self._sasl and self.kafka_sasl_password:
            arguments |= {
                "sasl_mechanism": self.kafka_sasl_mechanism,
                "sasl_plain_username": self.kafka_sasl_username,
                "sasl_plain_password": self.kafka_sasl_password.get_secret_value(),
            }
        return arguments

    def _context(self) -> ssl.SSLContext:
        """Return Python's default TLS context, which checks certificate and host name."""
        try:
            context = ssl.create_default_context(cafile=self.kafka_ca)
        except OSError as error:
            raise ValueError(f"MERGANSER_KAFKA_CA: no certificates in PEM: {error}") from None
        if self.kafka_certificate:
            try:
                context.load_cert_chain(self.kafka_certificate, self.kafka_key, password="")
            except OSError as error:
                raise ValueError(
                    "MERGANSER_KAFKA_CERTIFICATE: no certificate in PEM with its key, "
                    f"unencrypted, in MERGANSER_KAFKA_KEY: {error}"
                ) from None
        return context
