import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from merganser_client import Client, Failure
from standin import Standin

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl to make a key")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a new key and a certificate of 127.0.0.1 that it signed itself."""
    path = tmp_path_factory.mktemp("tls") / "key-and-certificate.pem"
    subject = ["-subj", "/CN=standin", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "-", *subject],
        capture_output=True,
        check=True,
    )
    path.write_bytes(made.stdout)
    return path


@pytest.fixture
def secured(certificate: Path) -> Iterator[Standin]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    standin = Standin(context)
    yield standin
    standin.stop()


def test_events_arrive_over_tls(
    secured: Standin, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Client("key", secured.url) as client:
        client.track("t", user_id="1")
        assert client.flush(10)
        client.track("t", user_id="1")
    assert len(secured.taken) == 2
    assert secured.connections_made == 1


def test_a_certificate_that_nobody_trusts_is_not_spoken_to(secured: Standin) -> None:
    failures: list[Failure] = []
    client = Client("key", secured.url, interval=0, on_error=failures.append)
    client.track("t", user_id="1")
    assert not client.close(0.5)
    assert [failure.kind for failure in failures] == ["unreachable", "closed"]
    assert "CERTIFICATE_VERIFY_FAILED" in failures[0].message
    assert secured.requests == []
