"""G6: what passes through stays nowhere. Distinctive secrets cross, then every byte that was kept is searched."""

import asyncio
import base64
import json
import sqlite3
import urllib.parse
from contextlib import closing

import pytest

from journeys.callers import ask
from journeys.installation import Installation, free_port, get, sekisho, until
from journeys.published_log import require_log_holds
from journeys.scripted_upstream import ScriptedUpstream, answer

QUESTION = "Zaphodische-Frage-7731"
JAPANESE = "門外不出の設計図甲乙丙"
ANSWER = "Trillianische-Antwort-9924"
E_MAIL = "kanda.yoko-4471@himitsu-kaisha.example.jp"
MY_NUMBER = "123456789018"
PROVIDER_KEY = "sk-provider-4c1d9e77aa02"
KEY_NAME = "Yamada-Taro-no-kagi-5518"
UPSTREAM_ERROR = "internal-words-of-the-upstream-3306"
CALLER = "127.77.66.55"  # loopback, but nobody else's
BAD_KEY = "sk-not-a-key-of-ours-8842"
MODEL_ASKED = "no-such-model-6203"
OWN_POLICY = """
@id("our.my-number")
@title("My Numbers leave only masked, even at home")
@title_ja("マイナンバーは国内であっても伏せた形でのみ送信できます")
forbid (principal, action, resource)
when { context.labels.contains(Label::"jp.my_number") };
"""
CONTENT = (QUESTION, JAPANESE, ANSWER, E_MAIL, MY_NUMBER, UPSTREAM_ERROR)


def forms(secret: str) -> list[bytes]:
    """As it stands, in either case, and as encodings that a log or a database might use."""
    plain = secret.encode()
    texts = {secret, secret.lower(), secret.upper(), json.dumps(secret)[1:-1], urllib.parse.quote(secret), plain.hex()}
    found = [text.encode() for text in texts] + [secret.encode("utf-16-le")]
    # Base64 of a text inside another depends on where it stands: the middle of each of the three ways.
    return found + [base64.b64encode(b"x" * shift + plain)[4:-4] for shift in range(3)]


def stream(*contents: str) -> list[dict]:
    events = [f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n" for text in contents]
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    return [{"read": "request"}, {"send": head + "".join(events) + "data: [DONE]\n\n"}, {"close": True}]


def whole(text: str, status: str = "200 OK") -> list[dict]:
    body = json.dumps({"choices": [{"message": {"content": text}}], "error": None})
    return [{"read": "request"}, {"send": answer(body, "connection: close", status=status)}, {"close": True}]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Installation(tmp_path_factory.mktemp("least") / "site") as site:
        asyncio.run(cross(site))
        yield site


async def cross(site: Installation) -> None:
    port = free_port()
    cut_short = {"send": f"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{UPSTREAM_ERROR}"}
    broken = [{"read": "request"}, cut_short, {"close": True}]
    scripts = [whole(ANSWER), stream(ANSWER, QUESTION), whole(UPSTREAM_ERROR, "500 Oops"), broken, whole(ANSWER)]
    upstream = site.upstream = await ScriptedUpstream(*scripts).start(port)
    try:
        await asyncio.to_thread(prepare, site, port)
        site.secret_key = key = await asyncio.to_thread(new_key, site)
        document = {"model": "record", "messages": [{"role": "user", "content": f"{QUESTION} {JAPANESE} {E_MAIL}"}]}
        document["user"] = E_MAIL
        private = document | {"messages": [{"role": "user", "content": f"個人番号は{MY_NUMBER}です {QUESTION}"}]}
        headers = "".join(f"{name}: {QUESTION}\r\n" for name in ("x-note", "user-agent", "x-request-id"))
        headers += f"x-forwarded-for: {CALLER}\r\n"
        statuses = []
        for asked in (document, document | {"stream": True}, document, document, private):
            statuses.append((await question(site, key, asked, headers)).status)
        assert statuses == [200, 200, 502, 502, 200]
        denied = headers + "x-sekisho-residency: US\r\n"
        # What a caller gets wrong is told to the caller, in the log by its kind alone.
        for used, asked, sent, status in (
            (key, document, denied, 403),
            (BAD_KEY, document, headers, 401),
            (key, document | {"model": MODEL_ASKED}, headers, 404),
            (key, document | {"messages": QUESTION}, headers, 400),
        ):
            assert (await question(site, used, asked, sent)).status == status
        assert (await asyncio.to_thread(get, f"{site.base}/nothing?{QUESTION}={E_MAIL}"))[0] == 404
        assert await asyncio.to_thread(site.stop) == 0
    finally:
        await upstream.__aexit__()


def prepare(site: Installation, port: int) -> None:
    (site.root / "keys" / "provider").touch(mode=0o600)
    (site.root / "keys" / "provider").write_text(PROVIDER_KEY)
    site.deployment("record", port, extra='credential = { file = "keys/provider" }\n')
    # Redacts at home too: what left redacted was readable in this process.
    site.declare("policies", "own", OWN_POLICY)
    site.apply()
    site.start()


def new_key(site: Installation) -> str:
    """A key made while the gateway runs, once it is known there."""
    key = sekisho("keys", "create", "--name", KEY_NAME, "--dir", site.root).stdout.strip()
    until(lambda: get(f"{site.base}/v1/models", key)[0] == 200, 10, "the new key")
    return key


async def question(site: Installation, key: str, document: dict, headers: str):
    reader, writer = await asyncio.open_connection("127.0.0.1", site.gateway_port, local_addr=(CALLER, 0))
    try:
        return await ask(site.gateway_port, key, document, headers, reader, writer)
    finally:
        writer.close()


def files_under(*paths):
    found = [path for top in paths for path in ([top] if top.is_file() else sorted(top.rglob("*"))) if path.is_file()]
    assert found
    return found


def require_absent(secrets, paths) -> None:
    for path in paths:
        data = path.read_bytes()
        for secret in secrets:
            for form in forms(secret):
                assert form not in data, f"{path} holds {secret} as {form!r}"


def test_what_was_sent_did_cross(site):
    """Else the searches below would find nothing for want of anything to find."""
    requests = site.upstream.seen
    assert all(f"authorization: Bearer {PROVIDER_KEY}" in seen.requests[0] for seen in requests)
    assert QUESTION in requests[0].requests[0]
    assert E_MAIL in requests[0].requests[0]
    assert MY_NUMBER not in requests[-1].requests[0]
    assert all(CALLER not in seen.requests[0] for seen in requests)
    kinds = [entry["kind"] for entry in require_log_holds(site.root)]
    assert kinds.count("decision") == 6  # the denial too
    assert kinds.count("outcome") == 5
    assert "change" in kinds
    assert "502" in site.log.read_text()


def test_the_ledger_the_snapshots_and_the_logs_hold_none_of_it(site):
    keys = (site.key, site.secret_key, site.key[3:], site.secret_key[3:])
    require_absent(
        (*CONTENT, KEY_NAME, PROVIDER_KEY, BAD_KEY, CALLER, *keys),
        files_under(site.root / "ledger", site.root / "snapshots", site.root / "run", site.log),
    )


def test_the_register_holds_names_of_keys_and_no_more(site):
    keys = (site.key, site.secret_key, site.key[3:], site.secret_key[3:])
    require_absent((*CONTENT, PROVIDER_KEY, BAD_KEY, CALLER, *keys), files_under(*site.root.glob("state.sqlite*")))
    with closing(sqlite3.connect(site.root / "state.sqlite")) as connection:
        assert KEY_NAME in "\n".join(connection.iterdump())


def test_nothing_else_is_kept_anywhere_in_the_installation(site):
    known = {"declarations", "format", "ledger", "snapshots", "keys", "run", "sekisho.toml", "site.vkey"}
    rest = {path.name for path in site.root.iterdir()} - known
    assert {name for name in rest if not name.startswith("state.sqlite")} == set()
