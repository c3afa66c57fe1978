"""The files of the page at /docs. `tests/clients/test_docs_page.py` opens it in a browser."""

import gzip
import hashlib
import re

import httpx

from merganser.http import docs_page
from tests.support import ROOT
from tests.support.system import System

FOLDER = ROOT / "merganser" / "http" / "swagger_ui"


def test_the_vendored_files_have_the_checksums_of_the_readme() -> None:
    rows = re.findall(
        r"^\| `(.+)` \| `([0-9a-f]{64})` \|$", (FOLDER / "README.md").read_text(), re.MULTILINE
    )
    vendored = {path.stem: path for path in FOLDER.glob("*.gz")}
    assert set(vendored) == {name for name, _ in rows}
    for name, checksum in rows:
        assert hashlib.sha256(gzip.decompress(vendored[name].read_bytes())).hexdigest() == checksum


async def test_ingest_and_api_serve_the_files(system: System) -> None:
    ingest = (await system.ingest()).url
    _, api = await system.api()
    for url in (ingest, api.removesuffix("/api/v1")):
        async with httpx.AsyncClient(base_url=url) as client:
            for path, file in docs_page.FILES.items():
                packed = await client.get(path, headers={"accept-encoding": "gzip"})
                plain = await client.get(path, headers={"accept-encoding": "identity"})
                assert packed.status_code == plain.status_code == 200
                assert packed.headers["content-encoding"] == "gzip"
                assert "content-encoding" not in plain.headers
                assert packed.content == plain.content
                for response in (packed, plain):
                    assert response.headers["content-type"] == file.media_type.decode()
                    assert response.headers["cache-control"] == "public, max-age=3600"
                    assert "accept-encoding" in response.headers["vary"]


async def test_the_page_may_load_nothing_from_other_hosts(system: System) -> None:
    response = await (await system.ingest()).request("GET", "/docs")
    policy = response.headers["content-security-policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "unsafe" not in str(policy)
    assert not re.search(r"https?://", response.text)
