"""The console as an operator meets it: a real installation, a real browser."""

import base64
import json
import random
import re
import urllib.error
import urllib.parse
import urllib.request

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from journeys.browser import Browser
from journeys.installation import Installation, get, openai_client, sekisho, until
from journeys.published_log import require_log_holds
from sekisho.kernel.notes import NoteSigner, NoteVerifier
from sekisho.ledger.errors import ReceiptInvalid
from sekisho.ledger.verify import verify_receipt

NUMBER = "123456789018"
ABROAD = """
model = "abroad"
provider = "local"
type = "openai-compatible"
url = "https://a.example/v1"
[facts]
processing = ["JP", "US"]
"""
VERIFY = """
const [text, trusted, address] = arguments;
const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
return import(address).then(({ verifyReceipt }) => verifyReceipt(bytes, { trusted }))
  .then(({ verdict, reason, obligations }) => ({ verdict, reason, held: obligations.map(({ held }) => held) }));
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Installation(tmp_path_factory.mktemp("console") / "site") as installation:
        installation.declare("models", "abroad", 'title = "Abroad"\n')
        installation.declare("deployments", "abroad", ABROAD)
        installation.start()
        yield installation


@pytest.fixture(scope="module")
def browser():
    if not Browser.is_there():
        pytest.skip("chromedriver is not installed")
    with Browser("--lang=en") as opened:
        yield opened


@pytest.fixture(scope="module")
def requests(running):
    """The ids of an answered request, and of a denied one, once they are published."""
    with openai_client(running) as client:
        answered = client.chat.completions.with_raw_response.create(
            model="manual", messages=[{"role": "user", "content": f"個人番号は{NUMBER}です。What is a receipt?"}]
        ).headers["x-sekisho-receipt"]
        with pytest.raises(Exception, match="No deployment is permitted") as denied:
            client.chat.completions.create(model="abroad", messages=[{"role": "user", "content": "hello"}])
    found = {"permitted": answered, "denied": denied.value.response.headers["x-sekisho-receipt"]}
    for identifier in found.values():
        running.receipt(identifier)
    return found


def token_url(running, *arguments):
    return sekisho("console", "token", running.root, *arguments).stdout.strip()


def sign_in(running, browser):
    browser.open(f"{running.control}/sign-in")  # where somebody without a session is: the address is pasted there
    browser.open(token_url(running))
    until(lambda: browser.run("return document.getElementById('token').value"), what="the token in the form")
    browser.click("form.card button")
    until(lambda: browser.url == f"{running.control}/", what="the sign-in")


def send(url, form, cookie="", **headers):
    """(status, body, headers) of a POST from our own origin, redirects not followed."""

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)
    origin = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(url))
    data = form if isinstance(form, bytes) else urllib.parse.urlencode(form).encode()
    request = urllib.request.Request(url, data=data, headers={"origin": origin, "cookie": cookie, **headers})
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


def verdict_of(browser):
    selector = "return document.querySelector('.verification')?.dataset.verdict ?? ''"
    return until(lambda: browser.run(selector), 20, "a verdict in the page")


def test_the_token_that_the_command_prints_opens_the_console_and_only_once(running):
    """`up` names the command in its log, and no token: whoever may read a service's log may not sign in."""
    command = until(lambda: re.search(r"sign in  sekisho (.+)", running.log.read_text()), what="the command")[1]
    assert command == f"console token {running.root}"
    assert "sign-in#" not in running.log.read_text()
    token = urllib.parse.urlsplit(sekisho(*command.split()).stdout.strip()).fragment
    assert get(f"{running.control}/sign-in")[0] == 200
    status, _, headers = send(f"{running.control}/sign-in", {"token": token})
    assert status == 303
    cookie = headers["set-cookie"].partition(";")[0]
    assert send(f"{running.control}/sign-in", {"token": token})[0] == 403
    assert send(f"{running.control}/sign-out", {}, cookie)[0] == 303


def test_an_operator_sees_what_went_through_and_the_browser_verifies_it(running, browser, requests):
    sign_in(running, browser)
    assert "#" not in browser.url
    assert browser.run("return document.cookie") == ""
    text = browser.text
    assert "manual-local" in text
    assert "jp.my_number" in text
    assert NUMBER not in browser.run("return document.documentElement.outerHTML")
    browser.click(f"a[href='/requests/{requests['permitted']}']")
    assert verdict_of(browser) == "verified"
    held = browser.run("return document.querySelectorAll('.obligations .held').length")
    assert held == 10
    assert "Callers may use every deployment" in browser.text
    browser.click("header .language")
    until(lambda: "利用者は、ほかの規則が禁じない" in browser.text, what="the page in Japanese")
    assert verdict_of(browser) == "verified"
    browser.open(f"{running.control}/?lang=en")


def test_a_denial_is_told_with_its_reasons(running, browser, requests):
    sign_in(running, browser)
    browser.open(f"{running.control}/?decision=denied")
    assert requests["permitted"] not in browser.run("return document.body.innerHTML")
    browser.click(f"a[href='/requests/{requests['denied']}']")
    assert "Nothing of this request left" in browser.text
    assert "outside the jurisdictions that the request allows" in browser.text
    assert verdict_of(browser) == "verified"


def test_a_file_with_one_changed_byte_fails_in_the_page(running, browser, requests, tmp_path):
    sign_in(running, browser)
    good = running.receipt(requests["permitted"])
    at = good.index(b'"status":200') + 9
    for name, data, verdict in (("good", good, "verified"), ("bad", good[:at] + b"5" + good[at + 1 :], "invalid")):
        file = tmp_path / f"{name}.json"
        file.write_bytes(data)
        browser.open(f"{running.control}/verify")
        browser.type("#receipt-file", str(file))
        assert verdict_of(browser) == verdict
    assert browser.run("return document.querySelectorAll('.obligations .failed').length") == 1
    assert "does not lead to the root" in browser.text


def test_another_key_pinned_is_another_verdict(running, browser, requests):
    sign_in(running, browser)
    browser.open(f"{running.control}/requests/{requests['denied']}")
    assert verdict_of(browser) == "verified"
    for key, verdict in ((foreign_key(), "invalid"), ("", "consistent")):
        browser.run(
            "const field = document.querySelector('.site-key'); field.value = arguments[0];"
            "delete document.querySelector('.verification').dataset.verdict;"
            "field.dispatchEvent(new Event('change'))",
            key,
        )
        assert verdict_of(browser) == verdict


def test_a_policy_is_held_against_the_receipt_in_the_page(running, browser, requests):
    sign_in(running, browser)
    log = (running.root / "ledger" / "enrolment").read_text().splitlines()[2]
    browser.open(f"{running.control}/requests/{requests['denied']}")
    assert verdict_of(browser) == "verified"
    for policy, verdict in (("quorum x", "unusable"), (f"log {foreign_key()}\nquorum none", "unmet"),
                            (f"log {log}\nquorum none", "verified")):  # fmt: skip
        browser.run(
            "const field = document.querySelector('.policy'); field.value = arguments[0];"
            "delete document.querySelector('.verification').dataset.verdict;"
            "for (const type of ['input', 'change']) field.dispatchEvent(new Event(type))",
            policy,
        )
        assert verdict_of(browser) == verdict
    assert browser.run("return document.querySelectorAll('.obligations .held').length") == 13


def foreign_key():
    return NoteSigner("foreign.example", Ed25519PrivateKey.from_private_bytes(b"f" * 32)).verifier.vkey


def test_the_browser_and_the_program_agree_on_every_altered_receipt(running, browser, requests):
    """Bytes flipped, cut and doubled all over two receipts, and whole fields altered in canonical form."""
    site = NoteVerifier.parse((running.root / "site.vkey").read_text())
    chance = random.Random(7)
    cases = []
    for identifier in requests.values():
        good = running.receipt(identifier)
        cases.append(good)
        for _ in range(60):
            at = chance.randrange(len(good))
            cases.append(good[:at] + bytes([good[at] ^ (1 << chance.randrange(8))]) + good[at + 1 :])
        at = chance.randrange(len(good))
        cases += [
            good[:at],
            good[:at] + good[at : at + 1] + good[at:],
            good + b"\n",
            b" " + good,
            b"\xef\xbb\xbf" + good,
        ]
        cases += list(altered_receipts(json.loads(good)))
    sign_in(running, browser)
    refused = 0
    for data in cases:
        said = browser.run(VERIFY, base64.b64encode(data).decode(), [site.vkey], "/static/verify.js")
        expected, reason = verdict_of_program(data, site)
        assert (said["verdict"], said["reason"]) == (expected, reason), (said, data[:200])
        assert said["held"].count(False) == (expected == "invalid"), said
        refused += expected == "invalid"
    # What stands: the receipts themselves, and each with a signature of somebody whom nobody pinned (signed-note).
    assert refused == len(cases) - 2 * len(requests)


def verdict_of_program(data, site):
    try:
        return verify_receipt(data, trusted=[site]).verdict, ""
    except ReceiptInvalid as error:
        return "invalid", error.reason


def altered_receipts(receipt):
    """Canonical files that say something else."""

    def change(alter):
        copy = json.loads(json.dumps(receipt))
        alter(copy)
        return json.dumps(copy, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()

    entries = receipt["entries"]
    yield change(lambda r: r.update(more=1))
    yield change(lambda r: r.update(request=r["request"][:-1] + ("1" if r["request"][-1] == "0" else "0")))
    yield change(lambda r: r.update(format="sekisho.receipt/2"))
    yield change(lambda r: r.update(site_key=foreign_key()))
    yield change(lambda r: r["entries"].pop())
    yield change(lambda r: r["entries"].append(r["entries"][0]))
    yield change(lambda r: r["entries"].reverse() if len(entries) > 1 else r.update(entries=[]))
    yield change(lambda r: r["entries"][0]["entry"]["body"].update(attempt=2))
    yield change(lambda r: r["entries"][0]["entry"].update(v=2))
    yield change(lambda r: r["entries"][0]["entry"].update(at=2**53 - 1))
    yield change(lambda r: r["entries"][0]["entry"].update(at=2**53))
    yield change(lambda r: r["entries"][0]["entry"].update(at=1.5))
    yield change(lambda r: r["entries"][0]["entry"]["body"].pop("chosen"))
    yield change(lambda r: r["entries"][0]["entry"]["body"].update(received=None))
    yield change(lambda r: r["entries"][0]["entry"]["body"].update(site="é\u2028"))
    yield change(lambda r: r["entries"][0]["salts"].clear())
    yield change(lambda r: r["entries"][0]["salts"].update(received=base64.b64encode(b"x" * 32).decode()))
    for old, new in (("index ", "index 0"), ("index ", "index -"), ("\n\n", "\n"), ("tlog-proof@v1", "tlog-proof@v2")):
        yield change(lambda r, o=old, n=new: r["entries"][0].update(proof=r["entries"][0]["proof"].replace(o, n, 1)))
    yield change(lambda r: r.update(enrolment=r["entries"][0]["proof"].partition("\n\n")[2]))
    yield change(lambda r: r.update(enrolment=r["enrolment"] + "— x AAAAAAA=\n"))


def test_a_browser_without_ed25519_says_so_and_calls_nothing_valid(running, browser, requests):
    sign_in(running, browser)
    browser.run("SubtleCrypto.prototype.importKey = () => Promise.reject(new DOMException('no', 'NotSupportedError'))")
    data = base64.b64encode(running.receipt(requests["permitted"])).decode()
    said = browser.run(VERIFY, data, [], "/static/verify.js")
    assert said["verdict"] == "unsupported"
    assert not any(said["held"])


def test_whoever_is_not_signed_in_sees_nothing(running, browser, requests):
    sign_in(running, browser)
    browser.click("header .aside button")
    until(lambda: browser.url.endswith("/sign-in"), what="the sign-out")
    for path in ("/", f"/requests/{requests['denied']}", "/verify", "/explain"):
        browser.open(f"{running.control}{path}")
        assert browser.url == f"{running.control}/sign-in"
        assert "manual-local" not in browser.text


def test_what_is_explained_is_what_happens(running, requests):
    """The API and the gateway, asked the same."""
    token = urllib.parse.urlsplit(token_url(running)).fragment
    cookie = send(f"{running.control}/sign-in", {"token": token})[2]["set-cookie"].partition(";")[0]
    key_id = json.loads(sekisho("keys", "list", "--json", "--dir", running.root).stdout)[0]["id"]
    for number, (model, text, headers) in enumerate(
        [
            ("manual", "hello", {}),
            ("manual", f"個人番号は{NUMBER}です", {"x-sekisho-data-class": "restricted"}),
            ("abroad", "hello", {}),
            ("manual", "hello", {"x-sekisho-residency": "US"}),
            ("no-such", "hello", {}),
            ("manual", "hello", {"x-sekisho-data-class": "no-such"}),
        ]
    ):
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        asked = {"request": body, "key_id": key_id}
        for header, name in (("x-sekisho-data-class", "class"), ("x-sekisho-residency", "residency")):
            if header in headers:
                asked[name] = headers[header]
        status, said, _ = send(f"{running.control}/api/explain", json.dumps(asked).encode(), cookie)
        sent, _, answer = send(
            f"{running.base}/v1/chat/completions",
            json.dumps(body).encode(),
            authorization=f"Bearer {running.key}",
            **{"content-type": "application/json"},
            **headers,
        )
        if sent in (200, 403):
            explanation = json.loads(said)
            receipt = json.loads(running.receipt(answer["x-sekisho-receipt"]))
            decision = receipt["entries"][0]["entry"]["body"]
            assert explanation["outcome"]["permitted"] == (sent == 200), number
            assert explanation["principal"] == decision["input"]["principal"]
            assert explanation["class"]["value"] == decision["input"]["class"]
            assert explanation["labels"]["raw"] == decision["input"]["labels_raw"]
            chosen = decision["chosen"]
            assert chosen is None or chosen["deployment"] in explanation["outcome"]["deployments"]
            for group in decision["candidates"]:
                form = "raw" if group["action"] == "sendRaw" else "redacted"
                for name in group["deployments"]:
                    verdict = next(d for d in explanation["deployments"] if d["name"] == name)[form]
                    ids = [decision["policies"][str(index)] for index in group["reasons"]]
                    assert [policy["id"] for policy in verdict["policies"]] == ids
                    assert verdict["permitted"] == group["permitted"]
        else:
            assert status == sent, number


def test_signing_in_is_recorded_and_holds_no_secret(running):
    url = token_url(running, "--role", "auditor")
    token = urllib.parse.urlsplit(url).fragment
    cookie = send(f"{running.control}/sign-in", {"token": token})[2]["set-cookie"].partition(";")[0]

    def told():
        entries = require_log_holds(running.root)
        acts = [e["body"] for e in entries if e["kind"] == "change" and e["body"]["act"].startswith("console.")]
        return entries if acts and acts[-1]["act"] == "console.sign_in" and acts[-1]["role"] == "auditor" else None

    entries = until(told, 20, "the entry of the sign-in")
    everything = json.dumps(entries)
    assert token not in everything
    assert cookie.partition("=")[2] not in everything
    state = b"".join(path.read_bytes() for path in running.root.glob("state.sqlite*"))
    assert token.encode() not in state
    assert cookie.partition("=")[2].encode() not in state
    assert token not in running.log.read_text()
