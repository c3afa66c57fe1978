import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_ingest import FakeIngest
from merganser_client import Client, Failure

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a new key and a self-signed certificate for 127.0.0.1."""
    path = tmp_path_factory.mktemp("tls") / "key-and-certificate.pem"
    subject = ["-subj", "/CN=fake-ingest", "-addext", "subjectAltName=IP:127.0.0.1"]
    created = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "-", *subject],
        capture_output=True,
        check=True,
    )
    path.write_bytes(created.stdout)
    return path


@pytest.fixture
def tls_ingest(certificate: Path) -> Iterator[FakeIngest]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = FakeIngest(context)
    yield server
    server.stop()


def test_events_arrive_over_tls(
    tls_ingest: FakeIngest, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Client("key", tls_ingest.url) as client:
        client.track("t", user_id="1")
        assert client.flush(10)
        client.track("t", user_id="1")
    assert len(tls_ingest.stored) == 2
    assert tls_ingest.connections_opened == 1


def test_an_untrusted_certificate_is_refused(tls_ingest: FakeIngest) -> None:
    failures: list[Failure] = []
    client = Client("key", tls_ingest.url, interval=0, on_error=failures.append)
    client.track("t", user_id="1")
    assert not client.close(0.5)
    assert [failure.kind for failure in failures] == ["unreachable", "closed"]
    assert "CERTIFICATE_VERIFY_FAILED" in failures[0].message
    assert tls_ingest.requests == []
