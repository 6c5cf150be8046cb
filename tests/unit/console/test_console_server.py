"""The control server's pages, called without a socket."""

import httpx
import pytest

from sekisho.console.server import Status, control_app

CHECKPOINT = "a.internal/local/b\n1\nhash=\n\n\u2014 a sig=\n"


@pytest.fixture
def ledger(tmp_path):
    (tmp_path / "tile" / "0" / "x001").mkdir(parents=True)
    (tmp_path / "tile" / "entries").mkdir()
    (tmp_path / "tile" / "0" / "000.p").mkdir()
    (tmp_path / "tile" / "0" / "000.p" / "3").write_bytes(b"partial")
    (tmp_path / "tile" / "0" / "x001" / "234").write_bytes(b"whole")
    (tmp_path / "tile" / "entries" / "000").write_bytes(b"labels of requests")
    (tmp_path / "log.key").write_bytes(b"secret")
    return tmp_path


@pytest.fixture
async def client(ledger):
    status = Status("<b>origin</b>", 7, "2" * 64, "http://127.0.0.1:8400")
    transport = httpx.ASGITransport(control_app(ledger, lambda: status))
    async with httpx.AsyncClient(transport=transport, base_url="http://control") as made:
        yield made


async def test_health_and_status(client):
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/api/status")).json()["log_size"] == 7


async def test_the_checkpoint_is_not_there_before_the_first_is_published(client, ledger):
    assert (await client.get("/ledger/checkpoint")).status_code == 404
    (ledger / "checkpoint").write_text(CHECKPOINT, encoding="utf-8")
    answer = await client.get("/ledger/checkpoint")
    assert answer.text == CHECKPOINT
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(("tile", "body"), [("0/000.p/3", b"partial"), ("0/x001/234", b"whole")])
async def test_hash_tiles_are_public_and_never_change(client, tile, body):
    answer = await client.get(f"/ledger/tile/{tile}")
    assert answer.content == body
    assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize(
    "path",
    ["entries/000", "0/999", "0/000.p", "0/../entries/000", "%2e%2e/log.key", "0/%2e%2e/entries/000", "", "0/x001"],
)
async def test_nothing_else_of_the_ledger_is_served(client, path):
    assert (await client.get(f"/ledger/tile/{path}")).status_code == 404


async def test_the_page_escapes_what_it_shows(client):
    page = (await client.get("/")).text
    assert "&lt;b&gt;origin" in page
    assert "<b>" not in page


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/redoc"])
async def test_there_is_nothing_beside_what_is_documented(client, path):
    assert (await client.get(path)).status_code == 404
