"""`sekisho verify --html`: one file, opened from the disk in a real browser, says what the program says."""

import base64
import contextlib
import http.server
import random
import re
import sys
import threading
from pathlib import Path

import pytest

from journeys.browser import Browser
from journeys.installation import sekisho, until

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "ledger"))

from ledger_fakes import World  # the ledger's units lend their world and their receipts
from receipt_corpus import (
    ENTRY_CHANGES,
    FILE_CHANGES,
    ODD_BODIES,
    altered,
    changed,
    cosigned,
    odd_files,
    odd_notes,
    odd_policies,
    policy,
    policy_cases,
    receipt_of,
    recorded,
    timed_cases,
    verdict_of,
    with_note,
)

from sekisho.kernel import canonical
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.notes import NoteVerifier

CHECK = """
const [receipt, keys, policy, content] = arguments;
const find = (selector) => document.querySelector(selector);
const give = (chooser, text) => {
  const files = new DataTransfer();
  files.items.add(new File([Uint8Array.from(atob(text), (character) => character.charCodeAt(0))], "file"));
  chooser.files = files.files;
};
const told = new Promise((resolve) => {
  new MutationObserver(() => {
    const { verdict, reason } = find(".verification").dataset;
    if (verdict !== undefined) resolve([verdict, reason, document.querySelectorAll(".failed").length]);
  }).observe(find(".verification"), { attributes: true });
});
find("#site-key").value = keys;
for (const [field, text] of Object.entries(content)) give(find(`#content-${field}`), text);
const begin = async () => {
  if (policy !== null) {
    const chooser = find(".policy-file");
    const read = new Promise((resolve) => {
      const descriptor = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value");
      let sets = 0;
      Object.defineProperty(find("#policy"), "value", {
        get() { return descriptor.get.call(this); },
        set(text) {
          descriptor.set.call(this, text);
          sets += 1;
          if (sets === 2) resolve(); // the first empties the field while the file is being read
        },
      });
    });
    give(chooser, policy);
    chooser.dispatchEvent(new Event("change"));
    await read;
  }
  give(find("#receipt-file"), receipt);
  find("#receipt-file").dispatchEvent(new Event("change"));
};
return begin().then(() => told);
"""


@pytest.fixture(scope="module")
def browser():
    if not Browser.is_there():
        pytest.skip("chromedriver is not installed")
    with Browser("--lang=en") as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "verifier.html"
    file.write_text(sekisho("verify", "--html").stdout, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world") / "ledger")


@pytest.fixture(scope="module")
def made(world):
    request, entries = recorded(world, failures=1)
    return request, entries, receipt_of(world, entries, request=request)


def told(browser, page, data, keys=(), policy=None, content=None):
    """Verdict and reason of the page, loaded anew."""

    def coded(octets):
        return None if octets is None else base64.b64encode(octets).decode()

    browser.open(page.as_uri())
    given = {field: coded(octets) for field, octets in (content or {}).items()}
    verdict, reason, failed = browser.run(CHECK, coded(data), "\n".join(keys), coded(policy), given)
    assert failed == (verdict in ("invalid", "unmet"))
    return verdict, reason


def note_of(data):
    return canonical.decode(data)["entries"][0]["proof"].partition("\n\n")[2]


def agreed(browser, page, cases):
    """Every case's verdict, which page and program must share."""
    verdicts = []
    for case in cases:
        expected = verdict_of(*case)
        assert told(browser, page, *case) == expected, case
        verdicts.append(expected)
    return verdicts


def test_page_and_program_agree_on_every_kind_of_tampering(browser, page, world, made):
    request, entries, good = made
    site, foreign = world.site_key.verifier.vkey, world.log_key.verifier.vkey
    cases = [(good, keys) for keys in ((), (site,), (foreign,), (foreign, site), ("no key",), (site[:-1],))]
    cases += [(changed(good, change), (site,)) for change in FILE_CHANGES.values()]
    cases += [(receipt_of(world, c(entries), request=request), (site,)) for c, _ in ENTRY_CHANGES.values()]
    forbidden = altered(entries[0], lambda e: e["body"]["candidates"].clear())
    cases.append((receipt_of(world, [forbidden, *entries[1:]], request=request), (site,)))
    asked, decided = recorded(world, denied=True)
    cases.append((receipt_of(world, decided[-1:], request=asked), (site,)))
    for public_key in (bytes(32), b"\x01" + bytes(31), b"\xed" + b"\xff" * 30 + b"\x7f"):  # of small order
        weak = NoteVerifier("weak.example", public_key).vkey
        cases += [(changed(good, lambda value, key=weak: value.update(site_key=key)), ()), (good, (weak,))]
    for text in ("question", "other"):
        cases.append((good, (site,), None, {"received": text.encode()}))
    cases.append((good, (), None, {"answer": b"answer", "received": b"question", "sent": b"question out"}))
    cases += [(data, (site,)) for data in (b"", b"[]", b"\xff", good + b"\n", good.replace(b",", b", ", 1))]
    verdicts = agreed(browser, page, cases)
    assert verdicts[:2] == [("consistent", ""), ("verified", "")]
    assert len({reason for _, reason in verdicts}) > 9


def test_page_and_program_agree_on_cosigned_receipts_and_policies(browser, page, world, made):
    site = world.site_key.verifier.vkey
    cases = [(data, (), text) for data, text in policy_cases(made[2], world)]
    good, demanded = cosigned(made[2], "a", "b"), policy(world.log_key.verifier, quorum="abc")
    cases += [(good, keys, demanded) for keys in ((), (site,), (site, site))]
    cases.append((good, (site,), policy(quorum="abc")))
    cases.append((with_note(good, lambda note: note.replace("\n4\n", "\n5\n")), (site,), demanded))
    verdicts = agreed(browser, page, cases)
    assert {verdict for verdict, _ in verdicts} == {"verified", "consistent", "unmet", "invalid", "unusable"}


@pytest.mark.parametrize("every", [pytest.param(4, id="some"), pytest.param(1, id="all", marks=pytest.mark.long)])
def test_page_and_program_agree_on_odd_spellings(browser, page, world, made, every):
    """What readers of JSON, base64, Unicode, numbers and line ends are known to take differently."""
    request, entries, good = made
    site = world.site_key.verifier.vkey
    cases = [(data, (site,)) for data in odd_files(good)]
    for change in ODD_BODIES.values():
        with contextlib.suppress(SekishoError):  # some of them can't be built into a receipt
            body = altered(entries[0], lambda e, change=change: change(e["body"]))
            cases.append((receipt_of(world, [body, *entries[1:]], request=request), (site,)))
    cases += [(with_note(good, lambda _, odd=odd: odd), (site,)) for odd in odd_notes(note_of(good))]
    around = ("\ufeff", "\u00a0", "\u0085", "\u3000", "\x0b", "\x1c", " \t")
    cases += [(good, (key,)) for space in around for key in (space + site, site + space)]
    assert len({verdict_of(*case) for case in cases}) > 5
    agreed(browser, page, cases[::every])


def test_page_and_program_agree_on_odd_policies_and_times(browser, page, world, made):
    log = world.log_key.verifier
    cases = [(cosigned(made[2], "a", "b"), (), text) for text in odd_policies(log)]
    cases += [(data, (), text) for data, text in timed_cases(made[2], log)]
    verdicts = agreed(browser, page, cases)
    assert {verdict for verdict, _ in verdicts} == {"verified", "unmet", "unusable", "invalid"}


def test_page_and_program_agree_on_changed_bytes(browser, page, world, made):
    good, demanded = cosigned(made[2], "a", "b"), policy(world.log_key.verifier, quorum="abc")
    chance = random.Random(4)
    cases = []
    for at in chance.sample(range(len(good)), 60):
        other = good[:at] + bytes([good[at] ^ (1 << chance.randrange(8))]) + good[at + 1 :]
        cases.append((other, (world.site_key.verifier.vkey,), demanded))
    assert not any(verdict == "verified" for verdict, _ in agreed(browser, page, cases))


def test_a_person_chooses_files_and_reads_what_was_decided(browser, page, world, made, tmp_path):
    files = {
        "receipt.json": cosigned(made[2], "a"),
        "site.vkey": f"# ours\n{world.site_key.verifier.vkey}\n".encode(),
        "policy.txt": policy(quorum="abc"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    browser.open(page.as_uri())
    browser.type("#receipt-file", str(tmp_path / "receipt.json"))
    until(lambda: "no key is pinned" in browser.text, what="the verdict without a key")
    browser.type(".site-key-file", str(tmp_path / "site.vkey"))
    until(lambda: "Verified: it is in the log" in browser.text, what="the verdict with the key")
    assert "domestic (sendRaw); answered" in browser.text
    assert world.site_key.verifier.name in browser.text
    browser.click("details:has(.policy) summary")
    browser.type(".policy-file", str(tmp_path / "policy.txt"))
    until(lambda: "not what the policy demands" in browser.text, what="the verdict under the policy")
    assert "Cosigned by a (2026-09-21 14:15:00 UTC)" in browser.text
    browser.run("const p = document.querySelector('#policy'); p.value = p.value.replace('quorum abc', 'quorum a');"
                "p.dispatchEvent(new Event('input')); p.dispatchEvent(new Event('change'))")  # fmt: skip
    until(lambda: "Verified: it is in the log" in browser.text, what="the verdict under another policy")
    assert browser.run("return document.querySelectorAll('.held').length") == 12


def test_a_file_that_changed_since_it_was_chosen_leaves_no_verdict_behind(browser, page, made, tmp_path):
    (tmp_path / "receipt.json").write_bytes(made[2])
    (tmp_path / "question").write_bytes(b"question")
    browser.open(page.as_uri())
    browser.click("details:has(#content-received) summary")
    browser.type("#content-received", str(tmp_path / "question"))
    browser.type("#receipt-file", str(tmp_path / "receipt.json"))
    until(lambda: "Consistent" in browser.text, what="the verdict on the content")
    (tmp_path / "question").write_bytes(b"another question")
    browser.run("document.querySelector('#site-key').dispatchEvent(new Event('change'))")
    until(lambda: "The file can't be read." in browser.text, what="the plain words")
    assert "Consistent" not in browser.text
    assert browser.run("return document.querySelectorAll('.held').length") == 0


def test_of_a_huge_file_no_more_is_read_than_a_receipt_may_have(browser, page, tmp_path):
    with (tmp_path / "receipt.json").open("wb") as file:
        file.truncate(3 << 30)  # sparse; more than a browser holds in one buffer
    browser.open(page.as_uri())
    browser.type("#receipt-file", str(tmp_path / "receipt.json"))
    until(lambda: "the file is larger than 32 MiB" in browser.text, what="the bound")


def test_both_languages_stand_in_the_page(browser, page, made, tmp_path):
    (tmp_path / "receipt.json").write_bytes(made[2])
    browser.open(page.as_uri())
    assert "Verify a receipt" in browser.text
    assert "受領証の検証" not in browser.text
    browser.type("#receipt-file", str(tmp_path / "receipt.json"))
    until(lambda: "Consistent" in browser.text, what="the verdict in English")
    browser.click("button[data-language=ja]")
    until(lambda: "整合しています" in browser.text, what="the verdict in Japanese")
    assert "受領証の検証" in browser.text
    assert "Verify a receipt" not in browser.text
    assert "ファイルは正規形の受領証である" in browser.text
    browser.click("button[data-language=en]")
    until(lambda: "Consistent" in browser.text, what="the verdict in English again")


def test_a_receipt_can_be_dropped(browser, page, world, made):
    browser.open(page.as_uri())
    browser.run(
        "const files = new DataTransfer();"
        "files.items.add(new File([Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0))], 'receipt.json'));"
        "document.querySelector('.drop').dispatchEvent(new DragEvent('drop', { dataTransfer: files }));",
        base64.b64encode(made[2]).decode(),
    )
    until(lambda: "no key is pinned" in browser.text, what="the verdict of the dropped file")


def test_the_page_reaches_no_network(browser, page):
    """It loads nothing, and its content policy stops what a script in it would try."""
    asked = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        browser.open(page.as_uri())
        assert browser.run("return performance.getEntriesByType('resource').length") == 0
        refused = browser.run(
            """
            const [address] = arguments;
            const seen = new Set();
            document.addEventListener("securitypolicyviolation", (event) => seen.add(event.effectiveDirective));
            const image = document.createElement("img");
            image.src = `${address}/image`;
            const script = document.createElement("script");
            script.src = `${address}/script`;
            const inline = document.createElement("script");
            inline.textContent = "window.injected = true";
            document.body.append(image, script, inline);
            const told = (said) => [said, [...seen].sort(), !window.injected];
            return fetch(`${address}/fetch`).then(() => "reached", () => "refused")
              .then((said) => new Promise((done) => setTimeout(() => done(told(said)))));
            """,
            address,
        )
        server.shutdown()
    assert refused == ["refused", ["connect-src", "img-src", "script-src-elem"], True]
    assert asked == []
    assert re.findall(r"""(?:src|href)=["'][^"']*["']""", page.read_text(encoding="utf-8")) == []


def test_a_browser_without_ed25519_says_so(browser, page, made, tmp_path):
    (tmp_path / "receipt.json").write_bytes(made[2])
    browser.open(page.as_uri())
    browser.run("SubtleCrypto.prototype.importKey = () => Promise.reject(new DOMException('no', 'NotSupportedError'))")
    browser.type("#receipt-file", str(tmp_path / "receipt.json"))
    until(lambda: "this browser can't check Ed25519 signatures" in browser.text, what="the plain words")
    assert "Firefox 129" in browser.text
    assert browser.run("return document.querySelectorAll('.held, .failed').length") == 0
