"""Settings: where they come from, and the message that names the variable of a wrong one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from merganser.runtime.settings import IngestSettings, ResolverSettings, ScannerSettings, Settings
from schemas.ids import NOBODY
from tests.support.service import environment


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("MERGANSER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


BAD = [
    (IngestSettings, "INGEST_PORT", "not-a-number"),
    (IngestSettings, "INGEST_PORT", "65536"),
    (IngestSettings, "INGEST_MAX_BODY", "0"),
    (IngestSettings, "INGEST_MAX_ID", "513"),
    (IngestSettings, "INGEST_MAX_DEPTH", "101"),
    (IngestSettings, "INGEST_PUBLISH_TIMEOUT", "-1"),
    (IngestSettings, "INGEST_REFUSED_RATE", "-1"),
    (IngestSettings, "INGEST_REFUSED_CONTENT", "4097"),
    (IngestSettings, "TRUSTED_PROXIES", "10.0.0.0/8, nonsense"),
    (ResolverSettings, "RESOLVER_BATCH", "0"),
    (ScannerSettings, "SCANNER_INTERVAL", "0"),
    (Settings, "GUID_VERSION", "5"),
    (Settings, "LOG_LEVEL", "loud"),
    (Settings, "LOG_FORMAT", "xml"),
    (Settings, "TOPIC_PARTITIONS", "none"),
    (Settings, "TOPIC_MAX_RECORD", "4096"),
    (Settings, "DEAD_TOPIC_MAX_RECORD", "0"),
    (IngestSettings, "TOPIC_MAX_RECORD", str(64 << 10)),
]


@pytest.mark.parametrize(("settings", "name", "value"), BAD)
def test_the_message_for_an_invalid_value_names_the_variable(
    settings: type[Settings],
    name: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(f"MERGANSER_{name}", value)
    with pytest.raises(SystemExit) as exit_:
        settings.read()
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert f"MERGANSER_{name}" in message
    assert len(message.splitlines()) == 1


def test_all_mistakes_are_reported_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MERGANSER_INGEST_PORT", "x")
    monkeypatch.setenv("MERGANSER_LOG_LEVEL", "x")
    with pytest.raises(SystemExit):
        IngestSettings.read()
    message = capsys.readouterr().err
    assert "MERGANSER_INGEST_PORT" in message
    assert "MERGANSER_LOG_LEVEL" in message


@pytest.mark.parametrize("process", ["ingest", "resolver", "scanner"])
def test_a_process_with_an_invalid_setting_exits_with_2(process: str) -> None:
    env = environment({f"MERGANSER_{process.upper()}_METRICS_PORT": "many"})
    result = subprocess.run(
        [sys.executable, "-m", "merganser.cli", process],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith(f"merganser: MERGANSER_{process.upper()}_METRICS_PORT: ")
    assert "Traceback" not in result.stderr


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert Settings.read().topic == "events"
    (tmp_path / ".env").write_text("MERGANSER_TOPIC=of-the-file\nMERGANSER_UNKNOWN=1\nOTHER=2\n")
    assert Settings.read().topic == "of-the-file"
    monkeypatch.setenv("MERGANSER_TOPIC", "of-the-environment")
    assert Settings.read().topic == "of-the-environment"


def test_the_content_of_refused_events_needs_that_addresses_are_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MERGANSER_INGEST_REFUSED_CONTENT", "100")
    assert IngestSettings.read().ingest_refused_content == 100
    monkeypatch.setenv("MERGANSER_INGEST_IP", "truncate")
    with pytest.raises(SystemExit):
        IngestSettings.read()
    assert "MERGANSER_INGEST_REFUSED_CONTENT: must be 0" in capsys.readouterr().err


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.read().nobody_ids == NOBODY
    monkeypatch.setenv("MERGANSER_NOBODY_IDS", "Visitor, test user ,")
    monkeypatch.setenv("MERGANSER_TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8")
    settings = IngestSettings.read()
    assert settings.nobody_ids == NOBODY | {"visitor", "test user"}
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "fd00::/8"]


@pytest.mark.parametrize("value", ["", ",", "visitor", "guest"])
def test_the_default_placeholder_ids_cannot_be_removed(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MERGANSER_NOBODY_IDS", value)
    assert Settings.read().nobody_ids >= NOBODY


def test_settings_hide_the_password_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGANSER_DATABASE_URL", "postgresql://me:s3cret@db/x")
    assert "s3cret" not in repr(Settings.read())


@pytest.mark.parametrize("settings", [IngestSettings, ResolverSettings, ScannerSettings])
def test_every_setting_has_a_description(settings: type[Settings]) -> None:
    for name, field in settings.model_fields.items():
        assert field.description, name


INCONSISTENT = [
    ({"SECURITY": "SASL_SSL"}, "MERGANSER_KAFKA_SASL_USERNAME: SASL_SSL needs it"),
    (
        {"SECURITY": "SASL_SSL", "SASL_USERNAME": "me"},
        "MERGANSER_KAFKA_SASL_PASSWORD: SASL_SSL needs it",
    ),
    (
        {"SECURITY": "SSL", "SASL_PASSWORD": "s3cret"},
        "MERGANSER_KAFKA_SECURITY: is SSL, which does not use MERGANSER_KAFKA_SASL_PASSWORD",
    ),
    ({"SASL_USERNAME": "me"}, "MERGANSER_KAFKA_SECURITY: is PLAINTEXT"),
    ({"CA": "here.pem"}, "MERGANSER_KAFKA_SECURITY: is PLAINTEXT"),
    ({"SECURITY": "SSL", "CA": "nowhere.pem"}, "MERGANSER_KAFKA_CA: Path does not point to a file"),
    ({"SECURITY": "SSL", "CA": "here.pem"}, "MERGANSER_KAFKA_CA: no certificates in PEM"),
    (
        {"SECURITY": "SSL", "CERTIFICATE": "here.pem"},
        "MERGANSER_KAFKA_KEY: set both MERGANSER_KAFKA_CERTIFICATE and this, or neither",
    ),
    (
        {"SECURITY": "SSL", "CERTIFICATE": "here.pem", "KEY": "here.pem"},
        "MERGANSER_KAFKA_CERTIFICATE: no certificate in PEM",
    ),
    ({"SECURITY": "TLS"}, "MERGANSER_KAFKA_SECURITY: Input should be 'PLAINTEXT', 'SSL'"),
    ({"SASL_MECHANISM": "GSSAPI"}, "MERGANSER_KAFKA_SASL_MECHANISM: Input should be 'PLAIN'"),
]


@pytest.mark.parametrize(("given", "message"), INCONSISTENT)
def test_inconsistent_security_settings_are_refused(
    given: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "here.pem").write_text("not a certificate")
    for name, value in given.items():
        monkeypatch.setenv(f"MERGANSER_KAFKA_{name}", value)
    with pytest.raises(SystemExit) as exit_:
        Settings.read()
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"merganser: {message}")
    assert "s3cret" not in line
