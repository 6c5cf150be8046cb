"""The control server's pages, called without a socket."""

import re

import httpx
import orjson
import pytest
from console_fakes import COOKIE, HOST, ORIGIN, RECEIPT, REQUEST, SECURE, SERVED, World

from sekisho.console.interfaces import BUILDING, CHANGED, FAILED, GIT, IN_FORCE, REFUSED, Panel
from sekisho.console.security import GUESSES_MAX, GUESSES_WINDOW_US
from sekisho.console.server import control_app
from sekisho.console.words import JAPANESE, Words
from sekisho.gateway.entries import Ended
from sekisho.kernel.errors import SekishoError
from sekisho.ledger.errors import LogUnreadable
from sekisho.ledger.interfaces import PublishedEntry

CHECKPOINT = "a.internal/local/b\n1\nhash=\n\n— a sig=\n"
DECISION = {
    "at": 1_790_000_000_000_000,
    "body": {
        "attempt": 1,
        "candidates": [
            {"action": "sendRaw", "deployments": ["<i>far</i>"], "errors": [], "permitted": False, "reasons": [0]},
            {"action": "sendRaw", "deployments": ["near"], "errors": ["<broken>"], "permitted": False, "reasons": []},
        ],
        "chosen": None,
        "input": {
            "class": "internal",
            "labels_raw": ["jp.my_number"],
            "model": "<script>alert(1)</script>",
            "principal": {"id": "key-1", "organisation": "default", "roles": ["caller"]},
            "residency": ["JP"],
            "snapshot": "2" * 64,
        },
        "policies": {"0": "r.one"},
    },
    "id": "e1",
    "kind": "decision",
    "request": REQUEST,
}


class OneRequest:
    """A log with one denied request in it."""

    broken = False

    def size(self):
        return 1

    def back_from(self, leaf, bundles_max):
        if self.broken:
            raise LogUnreadable("a tile is missing")
        yield PublishedEntry(0, orjson.dumps(DECISION))

    def of_requests(self, wanted, entries_max):
        entry = PublishedEntry(0, orjson.dumps(DECISION))
        return {one: [entry] if one == REQUEST else [] for one in wanted}

    def watermark_us(self):
        return 1


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
def world():
    return World(OneRequest())


@pytest.fixture
async def client(ledger, world):
    transport = httpx.ASGITransport(control_app(ledger, world.ports, SERVED))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as made:
        yield made


async def post(client, path, data=None, **headers):
    return await client.post(path, data=data or {}, headers={"origin": ORIGIN, **headers})


async def signed_in(client, token="operator-token"):
    assert (await post(client, "/sign-in", {"token": token})).status_code == 303


async def test_health_and_status(client):
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/api/status")).json()["log_size"] == 7


async def test_the_checkpoint_is_not_there_before_the_first_is_published(client, ledger):
    assert (await client.get("/ledger/checkpoint")).status_code == 404
    (ledger / "checkpoint").write_text(CHECKPOINT, encoding="utf-8")
    answer = await client.get("/ledger/checkpoint")
    assert answer.text == CHECKPOINT
    assert answer.headers["cache-control"] == "public, max-age=1, must-revalidate"


async def test_the_enrolment_is_public(client, ledger):
    (ledger / "enrolment").write_text("a note")
    assert (await client.get("/ledger/enrolment")).text == "a note"


@pytest.mark.parametrize(
    ("tile", "body", "cache"),
    [
        ("0/000.p/3", b"partial", "public, max-age=60"),
        ("0/x001/234", b"whole", "public, max-age=31536000, immutable"),
    ],
)
async def test_hash_tiles_are_public_and_whole_ones_never_change(client, tile, body, cache):
    answer = await client.get(f"/ledger/tile/{tile}", headers={"host": "log.example.jp"})
    assert answer.content == body
    assert answer.headers["cache-control"] == cache


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"authorization": "Bearer sk-x"}, 401), ({"authorization": "Bearer sk-caller"}, 403)],
)
async def test_entries_are_for_auditors_keys_alone(client, world, headers, status):
    answer = await client.get("/ledger/tile/entries/000", headers=headers)
    assert answer.status_code == status
    assert b"labels" not in answer.content
    assert answer.headers["cache-control"] == "no-store"
    assert ("www-authenticate" in answer.headers) is (status == 401)
    assert world.auditors.admitted == []


async def test_an_auditors_key_reads_entries_and_no_cache_in_between_keeps_them(client, world, ledger):
    (ledger / "tile" / "entries" / "001.p").mkdir()
    (ledger / "tile" / "entries" / "001.p" / "9").write_bytes(b"more labels")
    headers = {"authorization": "Bearer sk-auditor"}
    answer = await client.get("/ledger/tile/entries/000", headers=headers)
    assert (answer.status_code, answer.content) == (200, b"labels of requests")
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    answer = await client.get("/ledger/tile/entries/001.p/9", headers=headers)
    assert answer.headers["cache-control"] == "private, max-age=60"
    assert (await client.get("/ledger/tile/entries/002", headers=headers)).status_code == 404
    assert len(world.auditors.admitted) == 3


async def test_snapshots_are_for_auditors_keys_alone_and_nothing_beside_them_is_served(ledger, world):
    snapshots = ledger / "snapshots"
    (snapshots / "parts").mkdir(parents=True)
    digest = "ab" * 32
    for name in ("current", f"{digest}.json", f"parts/{digest}", "secret"):
        (snapshots / name).write_text(name)
    transport = httpx.ASGITransport(control_app(ledger, world.ports, SERVED, snapshots=snapshots))
    headers = {"authorization": "Bearer sk-auditor"}
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        for name in ("current", f"{digest}.json", f"parts/{digest}"):
            assert (await client.get(f"/ledger/snapshots/{name}")).status_code == 401
            assert (await client.get(f"/ledger/snapshots/{name}", headers=headers)).text == name
        for name in ("secret", "../log.key", "%2e%2e/log.key", f"{'cd' * 32}.json", ""):
            assert (await client.get(f"/ledger/snapshots/{name}", headers=headers)).status_code == 404


async def test_no_entry_leaves_while_its_reading_can_not_be_recorded(client, world):
    world.auditors.broken = True
    answer = await client.get("/ledger/tile/entries/000", headers={"authorization": "Bearer sk-auditor"})
    assert answer.status_code == 503
    assert b"labels" not in answer.content


@pytest.mark.parametrize(
    "path",
    ["0/999", "0/000.p", "0/../entries/000", "%2e%2e/log.key", "0/%2e%2e/entries/000", "", "0/x001", "entries/../0"],
)
async def test_nothing_else_of_the_ledger_is_served(client, path):
    assert (await client.get(f"/ledger/tile/{path}")).status_code in (401, 404)


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/redoc", "/static/x", "/static/..%2fserver.py"])
async def test_there_is_nothing_beside_what_is_documented(client, path):
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize(
    "path", ["/", f"/requests/{REQUEST}", f"/requests/{REQUEST}/receipt.json", "/verify", "/explain", "/facts"]
)
async def test_nobody_sees_a_page_without_signing_in(client, path):
    for cookie in ({}, {"cookie": f"{COOKIE}=wrong"}):
        answer = await client.get(path, headers=cookie)
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        assert b"default" not in answer.content
    assert (await client.get("/api/shadow")).status_code == 401
    for method in ("/explain", "/api/explain", "/api/plan", "/api/prove"):
        assert (await post(client, method)).status_code in (303, 401)


async def test_a_token_signs_in_once(client, world):
    await signed_in(client)
    assert REQUEST in (await client.get("/")).text
    client.cookies.clear()
    again = await post(client, "/sign-in", {"token": "operator-token"})
    assert again.status_code == 403
    assert COOKIE not in again.cookies
    assert (await client.get("/")).status_code == 303


@pytest.mark.parametrize(("served", "host"), [(SERVED, HOST), (SECURE, "console.example.jp")])
async def test_the_cookie_is_kept_from_scripts_and_other_sites(ledger, world, served, host):
    scheme = "https" if served.secure else "http"
    transport = httpx.ASGITransport(control_app(ledger, world.ports, served))
    async with httpx.AsyncClient(transport=transport, base_url=f"{scheme}://{host}") as client:
        answer = await client.post(
            "/sign-in", data={"token": "operator-token"}, headers={"origin": f"{scheme}://{host}"}
        )
        cookie = answer.headers["set-cookie"].lower()
        assert cookie.startswith(served.cookie.lower())
        assert all(word in cookie for word in ("httponly", "samesite=strict", "path=/", "max-age=3600"))
        assert ("secure" in cookie.split("; ")) == served.secure
        assert ("strict-transport-security" in answer.headers) == served.secure


async def test_signing_out_ends_it(client, world):
    await signed_in(client)
    assert (await post(client, "/sign-out")).status_code == 303
    assert world.sign_in.sessions == {}
    assert (await client.get("/")).status_code == 303


async def test_nothing_changes_by_get(client, world):
    await signed_in(client)
    assert (await client.get("/sign-out")).status_code == 405
    assert world.sign_in.sessions


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "http://127.0.0.1:9999", "http://localhost"])
async def test_a_post_needs_our_own_origin(client, world, origin):
    await signed_in(client)
    for path in ("/sign-in", "/sign-out", "/explain", "/api/explain", "/api/plan", "/api/prove"):
        answer = await client.post(path, data={}, headers={} if origin is None else {"origin": origin})
        assert answer.status_code == 403
    assert world.sign_in.sessions


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8401", "127.0.0.1", "127.0.0.1:80", ""])
async def test_a_foreign_host_gets_nothing(client, host):
    await signed_in(client)
    for path in ("/", "/sign-in", "/api/status", "/static/verify.js"):
        answer = await client.get(path, headers={"host": host})
        assert answer.status_code == 403
        assert "content-security-policy" in answer.headers


async def test_guessing_is_braked_for_a_while(client, world):
    for _ in range(GUESSES_MAX):
        assert (await post(client, "/sign-in", {"token": "guess"})).status_code == 403
    held = await post(client, "/sign-in", {"token": "operator-token"})
    assert held.status_code == 429
    assert int(held.headers["retry-after"]) > 0
    world.now_us += GUESSES_WINDOW_US
    await signed_in(client)


async def test_every_answer_carries_the_security_headers(client):
    await signed_in(client)
    for path in ("/", "/sign-in", "/static/verify.js", "/nothing", "/healthz", "/api/status"):
        headers = (await client.get(path)).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
    assert (await client.get("/")).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", f"/requests/{REQUEST}"])
async def test_pages_escape_what_they_show(client, world, path):
    world.panel = Panel("not ready", ("<u>full</u>",), None, ("a.toml: <x>: y",))
    await signed_in(client)
    page = (await client.get(path)).text
    assert "&lt;script&gt;" in page
    assert not any(f"<{name}>" in page for name in ("b", "i", "u", "x", "broken", "one"))
    assert "<script>" not in page


async def test_a_request_is_shown_in_the_words_of_its_policies(client, world):
    await signed_in(client)
    english = (await client.get(f"/requests/{REQUEST}?lang=en")).text
    assert "Title &lt;one&gt;" in english
    assert "r.cedar" in english
    assert "It could not be decided" in english
    japanese = (await client.get(f"/requests/{REQUEST}?lang=ja")).text
    assert "題名" in japanese
    assert '<html lang="ja">' in (await client.get("/")).text  # kept
    world.titles = ()
    assert "r.one" in (await client.get(f"/requests/{REQUEST}")).text


async def test_a_receipt_is_given_out_once_it_is_complete(client, world):
    await signed_in(client)
    link = f"/requests/{REQUEST}/receipt.json"
    assert (await client.get(link)).content == RECEIPT
    assert f'data-receipt="{link}"' in (await client.get(f"/requests/{REQUEST}")).text
    world.receipts.word = "pending"
    assert (await client.get(link)).status_code == 404
    assert "data-receipt" not in (await client.get(f"/requests/{REQUEST}")).text


async def test_a_request_is_shown_where_no_receipt_can_be_made_of_it(client, world):
    """Where the organisation's key was destroyed, say: then its page still says what was decided."""
    await signed_in(client)
    world.receipts.failure = SekishoError("the organisation's key is gone")
    assert (await client.get(f"/requests/{REQUEST}")).status_code == 200
    refused = await client.get(f"/requests/{REQUEST}/receipt.json")
    assert refused.status_code == 503
    assert "key is gone" in refused.text


STATES = {
    IN_FORCE: ("good", "in force", "適用済み"),
    CHANGED: ("", "settle", "落ち着く"),
    GIT: ("", "git", "git"),
    BUILDING: ("", "built", "構築"),
    REFUSED: ("bad", "mistakes: 100;", "誤り100件"),
    FAILED: ("bad", "tried again", "再試行"),
}


@pytest.mark.parametrize("state", STATES)
async def test_the_panel_says_what_control_says_of_the_declarations(client, world, state):
    """The lines of the panel are the first of the mistakes, or the one trouble there is: they are not counted."""
    await signed_in(client)
    world.status = world.status._replace(declarations=state, mistakes=100 if state == REFUSED else 0)
    world.panel = Panel("ready", (), 1, tuple(f"line {number}" for number in range(21)))
    kind, english, japanese = STATES[state]
    for language, text in (("en", english), ("ja", japanese)):
        page = (await client.get(f"/?lang={language}")).text
        (shown,) = re.findall(r"<dd>(<span[^>]*>[^<]*</span>)</dd>", page.split("</dl>")[0])[-1:]
        assert text in shown
        assert ('class="good"' in shown, 'class="bad"' in shown) == (kind == "good", kind == "bad")


@pytest.mark.parametrize("ended", Ended)
def test_how_an_attempt_ended_is_said_in_words(ended):
    assert Words(JAPANESE).ended(ended.value) != ended.value


async def test_a_form_of_too_many_fields_is_refused(client, caplog):
    fields = "&".join(f"f{number}=x" for number in range(33))
    answer = await client.post("/sign-in", content=fields, headers={"origin": ORIGIN})
    assert answer.status_code == 400
    assert "more than 32 fields" in answer.text
    assert caplog.records == []


async def test_a_fault_is_answered_and_told_once(client, world, caplog):
    await signed_in(client)
    world.log.back_from = None
    answer = await client.get("/")
    assert answer.status_code == 500
    assert [(one.levelname, one.exc_info is not None) for one in caplog.records] == [("ERROR", True)]
    assert "GET /: a fault" in caplog.text


async def test_who_leaves_in_the_middle_of_a_body_is_no_fault(ledger, world, caplog):
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/sign-in", "raw_path": b"/sign-in", "query_string": b"", "root_path": "",
        "headers": [(b"host", HOST.encode()), (b"origin", ORIGIN.encode())],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8401),
    }  # fmt: skip
    pieces = iter([{"type": "http.request", "body": b"token=", "more_body": True}])

    async def receive():
        return next(pieces, {"type": "http.disconnect"})

    async def send(message):
        pass

    await control_app(ledger, world.ports, SERVED)(scope, receive, send)
    assert caplog.records == []


async def test_a_right_token_is_told_so_where_too_many_are_signed_in(client, world):
    world.sign_in.is_full = True
    for _ in range(GUESSES_MAX + 1):  # and counts as no guess
        answer = await post(client, "/sign-in", {"token": "operator-token"})
        assert answer.status_code == 429
        assert "Sign out where it is not needed" in answer.text
    world.sign_in.is_full = False
    await signed_in(client)


@pytest.mark.parametrize("identifier", ["x", "..%2f..", "01a21113-e2b0-72ac-a15a-ba5ff5ee0d74"])
async def test_an_unknown_request_is_not_there(client, identifier):
    await signed_in(client)
    assert (await client.get(f"/requests/{identifier}")).status_code == 404


async def test_a_log_that_cannot_be_read_says_so(client, world):
    await signed_in(client)
    world.log.broken = True
    answer = await client.get("/")
    assert answer.status_code == 503
    assert "a tile is missing" in answer.text


@pytest.mark.parametrize(
    "query", ["before=x", "before=-1", "before=99999999999999999999", "decision=%3Cx%3E", "lang=xx"]
)
async def test_odd_queries_change_nothing(client, query):
    await signed_in(client)
    assert REQUEST in (await client.get(f"/?{query}")).text


async def test_a_request_that_an_exemption_permits_is_shown_with_what_did_not_count(client, world, monkeypatch):
    group = {"action": "sendRaw", "deployments": ["near"], "errors": [], "exempted": [0], "exemptions": ["<b>trial"],
             "permitted": True, "reasons": [0]}  # fmt: skip
    chosen = {"action": "sendRaw", "deployment": "near"}
    monkeypatch.setitem(DECISION["body"], "candidates", [group])
    monkeypatch.setitem(DECISION["body"], "chosen", chosen)
    await signed_in(client)
    english = (await client.get(f"/requests/{REQUEST}?lang=en")).text
    assert "because of the exemption &lt;b&gt;trial" in english
    assert "適用除外 &lt;b&gt;trial" in (await client.get(f"/requests/{REQUEST}?lang=ja")).text


async def test_the_compliance_view_is_for_who_is_signed_in_and_for_auditors_keys(client, world):
    path = "/api/compliance?from=2026-11-01&policy=p.q&deployment=d&fate=denied"
    assert (await client.get(path)).status_code == 401
    for key, status in (("Bearer sk-unknown", 401), ("Bearer sk-caller", 403), ("Bearer sk-auditor", 200)):
        assert (await client.get(path, headers={"authorization": key})).status_code == status
    await signed_in(client)
    answer = await client.get(path)
    assert answer.json() == {"rows": []}
    assert answer.headers["cache-control"] == "no-store"
    assert world.asked == [("--from=2026-11-01", "--policy=p.q", "--deployment=d", "--fate=denied")] * 2


@pytest.mark.parametrize("query", ["json=1", "help=", "dir=/", "from =x", "policy=a%00b"])
async def test_what_is_no_option_of_the_compliance_view_is_refused(client, world, query):
    await signed_in(client)
    assert (await client.get(f"/api/compliance?{query}")).status_code == 400
    assert world.asked == []


async def test_the_api_explains_the_very_bytes_of_the_request(client, world):
    await signed_in(client)
    request = b'{ "model" : "m", "messages": [], "model": "m" }'
    body = b'{"request": ' + request + b', "class": "internal", "roles": ["caller"], "declarations": true}'
    answer = await client.post("/api/explain", content=body, headers={"origin": ORIGIN})
    assert answer.json()["words"]["en"] == ["Because."]
    (asked,) = world.asked
    assert (asked.body, asked.data_class, asked.roles, asked.declarations) == (request, "internal", ("caller",), True)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"{}", 400),
        (b'{"request": {}, "role": "x"}', 400),
        (b"\xff", 400),
        (b'{"request": {"model": "no-such"}}', 404),
        (b"x" * (4 * 1024 * 1024 + 1), 413),
    ],
)
async def test_the_api_says_what_is_wrong(client, body, status):
    await signed_in(client)
    answer = await client.post("/api/explain", content=body, headers={"origin": ORIGIN})
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


async def test_the_api_proves_a_statement_and_what_it_supposes_reaches_explain(client, world):
    await signed_in(client)
    headers = {"origin": ORIGIN}
    for body, asked in (
        (b'{"statement": "no data", "any_deployment": true}', ("no data", False, True)),
        (b'{"declarations": true}', (None, True, False)),
    ):
        answer = await client.post("/api/prove", content=body, headers=headers)
        assert answer.json() == {"proofs": [{"outcome": "holds"}]}
        assert world.asked.pop() == asked
    for body in (b"[]", b'{"statment": "no data"}', b'{"statement": "no"}'):
        assert (await client.post("/api/prove", content=body, headers=headers)).status_code == 400
    supposed = b'{"request": {}, "labels": ["a"], "labels_left": [], "staleness": {"policy": 3}, "at": 7}'
    await client.post("/api/explain", content=supposed, headers=headers)
    found = world.asked.pop()
    assert (found.labels, found.labels_left, found.staleness, found.at_us) == (("a",), (), (("policy", 3),), 7)


async def test_the_api_plans_with_texts_or_with_what_is_there(client, world):
    await signed_in(client)
    headers = {"origin": ORIGIN}
    body = b"""{"declarations": {"models/a.toml": "x", "policies/a/b.cedar": ""}, "from": "2026-11-01 09:00",
                "to": "2026-11-02", "without": ["provider:a", "site:b"]}"""
    answer = await client.post("/api/plan", content=body, headers=headers)
    assert (answer.json(), answer.headers["cache-control"]) == ({"requests": 1}, "no-store")
    assert world.asked.pop() == (
        {"models/a.toml": "x", "policies/a/b.cedar": ""},
        ("--from-time=2026-11-01 09:00", "--to-time=2026-11-02", "--without=provider:a", "--without=site:b"),
    )
    assert (await client.post("/api/plan", content=b"{}", headers=headers)).status_code == 200
    assert world.asked.pop() == (None, ())
    mistaken = await client.post("/api/plan", content=b'{"declarations": {}}', headers=headers)
    assert (mistaken.status_code, mistaken.json()) == (409, {"mistakes": []})
    assert (await client.get("/api/shadow")).json() == {"shadow": None}


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "\ud800",
        '{"window": 1}',
        '{"from": ""}',
        '{"from": "a\\u0000"}',
        '{"to": "a\\n"}',
        '{"without": ["\u30ab"]}',
        f'{{"without": {["a"] * 65}}}'.replace("'", '"'),
        f'{{"without": ["{"a" * 257}"]}}',
        *(
            f'{{"declarations": {{"{name}": ""}}}}'
            for name in ("", "/etc/passwd", "../a", "a/../../b", ".hidden", "a/.b", "a//b", "a/", "a\\u0000", "a\\n",
                         "a/b/c/d/e/f", "\u30ab", "a" * 101, "a\\\\b")
        ),
        f'{{"declarations": {{{",".join(f"{chr(34)}a{n}{chr(34)}: {chr(34)*2}" for n in range(10_001))}}}}}',
        '{"declarations": {"a": "\\ud800"}}',
    ],
)  # fmt: skip
async def test_what_no_plan_can_be_made_of_is_refused(client, world, body):
    await signed_in(client)
    answer = await client.post("/api/plan", content=body.encode("utf-8", "surrogatepass"), headers={"origin": ORIGIN})
    assert (answer.status_code, world.asked) == (400, [])
    assert answer.json()["error"]["message"]


async def test_plans_and_the_shadow_are_for_operators(client, world):
    await signed_in(client, "auditor-token")
    assert (await client.get("/api/shadow")).status_code == 403
    assert (await client.post("/api/plan", content=b"{}", headers={"origin": ORIGIN})).status_code == 403
    assert world.asked == []


async def test_the_explain_page_asks_what_was_typed(client, world):
    await signed_in(client)
    page = await post(client, "/explain", {"text": "a\r\nb</textarea>", "model": "m", "role": "x y", "residency": ""})
    (asked,) = world.asked
    assert orjson.loads(asked.body) == {"model": "m", "messages": [{"role": "user", "content": "a\nb</textarea>"}]}
    assert (asked.roles, asked.residency) == (("x", "y"), None)
    assert "Because." in page.text
    assert "kept for 30 days (keep.&lt;all&gt;)" in page.text
    assert "b&lt;/textarea&gt;" in page.text
    refused = await post(client, "/explain", {"text": "x", "model": "no-such"})
    assert "404" in refused.text


async def test_auditors_read_and_do_not_explain(client, world):
    await signed_in(client, "auditor-token")
    front = await client.get("/")
    assert REQUEST in front.text
    assert 'href="/explain"' not in front.text
    assert (await client.get(f"/requests/{REQUEST}/receipt.json")).status_code == 200
    assert (await client.get("/explain")).status_code == 403
    assert (await post(client, "/explain", {"text": "x", "model": "m"})).status_code == 403
    assert world.asked == []


@pytest.mark.parametrize(("language", "words"), [("en", "A probe contradicts"), ("ja", "食い違っています")])
async def test_what_probes_contradict_is_on_the_first_page(client, world, language, words):
    await signed_in(client)
    world.panel = world.panel._replace(contradicted=("tokyo: processing: <Global>",))
    page = (await client.get(f"/?lang={language}")).text
    assert words in page
    assert "tokyo: processing: &lt;Global&gt;" in page


def told(name, **changes):
    fact = {"expires": None, "grade": "declared", "lowered": False, "observed_at": None, "source": "", "value": ["JP"]}
    return {"name": name, "model": "m", "provider": "p", "type": "Standard", "facts": {"processing": fact | changes}}


async def test_facts_are_shown_with_grade_source_age_and_end_those_contradicted_first(client, world):
    await signed_in(client, "auditor-token")
    assert "No deployment is in force" in (await client.get("/facts")).text
    drift = {
        "lowered": True,
        "value": ["anywhere"],
        "source": "management-api: <sku>",
        "observed_at": 0,
        "expires": 60_000_000,
    }
    world.facts = [told("a-tokyo"), told("z-osaka", **drift)]
    page = (await client.get("/facts?lang=en")).text
    assert page.index("z-osaka") < page.index("a-tokyo")
    assert '<span class="badge denied">contradicted</span>' in page
    assert "declared, management-api: &lt;sku&gt;, observed <time" in page
    assert "until <time" in page
    assert 'href="/facts" aria-current="page"' in page
    assert "食い違い" in (await client.get("/facts?lang=ja")).text
    world.facts = [told("a-tokyo", value=["unknown"], grade="unknown")]
    assert "not known: <code>processing</code>" in (await client.get("/facts?lang=en")).text


async def test_many_deployments_are_on_several_pages(client, world):
    await signed_in(client)
    world.facts = [told(f"d-{number:03}") for number in range(101)]
    first = (await client.get("/facts?lang=en")).text
    assert "d-099" in first
    assert "d-100" not in first
    assert 'href="/facts?from=100" rel="next"' in first
    last = (await client.get("/facts?from=100")).text
    assert "d-100" in last
    assert "d-099" not in last
    for odd in ("x", "-1", "9" * 12, "%00"):
        assert "d-000" in (await client.get(f"/facts?from={odd}")).text


async def test_programs_get_facts_too_when_they_are_signed_in(client, world):
    world.facts = [told("tokyo")]
    assert (await client.get("/api/facts")).status_code == 401
    await signed_in(client, "auditor-token")
    assert (await client.get("/api/facts")).json() == world.facts


async def test_witnesses_and_their_alarms_are_on_the_first_page(client, world):
    await signed_in(client)
    assert "Witnesses" not in (await client.get("/")).text
    world.panel = world.panel._replace(witnesses=3, cosigning=3)
    assert '<span class="good">3 of 3 cosign</span>' in (await client.get("/")).text
    world.panel = world.panel._replace(cosigning=2, alarms=("ALARM: witness <w>: it has seen more",))
    page = (await client.get("/")).text
    assert '<span class="bad">2 of 3 cosign</span>' in page
    assert "<li>ALARM: witness &lt;w&gt;: it has seen more</li>" in page
