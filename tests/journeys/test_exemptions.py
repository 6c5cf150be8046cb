"""Denied; an exemption that two of three approve is put in force while it runs; permitted, with the receipt saying so;
after its end denied again."""

import datetime
import json
import re
import time

import httpx
import pytest

from journeys.browser import Browser
from journeys.installation import Installation, get, inside, sekisho, until
from journeys.test_approvals import PEOPLE, approve, home  # noqa: F401 - a fixture
from journeys.test_console import sign_in, verdict_of
from journeys.test_operating import entries as published
from sekisho.app.exemptions import declared_exemption
from sekisho.catalog.exemptions import grant_parameters
from sekisho.identity.acts import EXEMPTION_GRANT, Act
from sekisho.identity.approvals import APPROVER, ASKER, Approval, signed, with_signature
from sekisho.identity.persons import read_private_key
from sekisho.kernel.ids import IdSource
from sekisho.settings import DataDirectory, load_settings

RULES = """
[[rules]]
act = "exemption.grant"
approvers = ["s-001", "s-002", "s-003"]
needed = 2

[[rules]]
act = "person.enrol"
approvers = ["s-001", "s-002", "s-003"]
needed = 1
"""
POLICY = """
@id("own.confidential")
@title("Confidential data stays with us")
@title_ja("機密データは外部に送信できません")
forbid (principal, action, resource)
when { context.class == DataClass::"confidential" };
"""
EXEMPTION = """
organisation = "default"
policies = ["own.confidential"]
models = ["manual"]
classes = ["confidential"]
why = "移行の検証のため"
compensating_control = "The team reads every answer"
until = {}
"""
CONFIDENTIAL = {"x-sekisho-data-class": "confidential"}
LASTS_S = (4, 15, 60)  # its end is waited for; where a busy machine takes it over too late, once more
YES, TOO_LATE = "yes", "too late"


def in_toml(at_s):
    return datetime.datetime.fromtimestamp(int(at_s), datetime.UTC).isoformat()


@pytest.fixture(scope="module")
def running(tmp_path_factory, home):  # noqa: F811
    site = Installation(tmp_path_factory.mktemp("exemptions") / "site")
    for person in PEOPLE:
        inside("persons", "enrol", person, "--key", home / f"{person}.pub", "--dir", site.root)
    (site.root / "declarations" / "approvals.toml").write_text(RULES)
    (site.root / "declarations" / "policies").mkdir(exist_ok=True)
    site.declare("policies", "own", POLICY)
    (site.root / "declarations" / "exemptions").mkdir()
    site.apply()
    with site:
        site.start()
        yield site


@pytest.fixture(scope="module")
def browser():
    if not Browser.is_there():
        pytest.skip("chromedriver is not installed")
    with Browser("--lang=en") as opened:
        yield opened


def question(site, headers=CONFIDENTIAL):
    """The answer to a request, as it came."""
    with httpx.Client(trust_env=False, timeout=30, verify=False) as client:  # HTTP; asked often
        return client.post(
            f"{site.base}/v1/chat/completions",
            json={"model": "manual", "messages": [{"role": "user", "content": "What is a receipt?"}]},
            headers={"authorization": f"Bearer {site.key}", **headers},
        )


def ask(site, home, file):  # noqa: F811
    secret = ("--key", home / "s-001", "--passphrase-file", home / "passphrase")
    return sekisho("exemptions", "ask", file, "--by", "s-001", "--dir", site.root, *secret)


def decisions(receipt):
    return [one["entry"]["body"] for one in json.loads(receipt)["entries"] if one["entry"]["kind"] == "decision"]


def status(site):
    return json.loads(get(f"{site.control}/api/status")[1])


def test_from_denied_to_permitted_to_denied(running, home, tmp_path):  # noqa: F811
    directory = running.root / "declarations" / "exemptions"
    denied = question(running)
    assert denied.status_code == 403
    assert "own.confidential" in denied.json()["error"]["message"]

    # Without an approval it is refused, and what is in force stays.
    end_s = int(time.time()) + 7_200
    file = tmp_path / "trial.toml"
    file.write_text(EXEMPTION.format(in_toml(end_s)))
    (directory / "trial.toml").write_text(file.read_text())
    refused = sekisho("check", running.root, check=False)
    assert refused.returncode == 1
    assert "exemptions/trial.toml" in refused.stdout
    assert "needs the approval of 2 of s-001, s-002, s-003" in refused.stdout
    assert f"sekisho exemptions ask {directory / 'trial.toml'} --by PERSON" in refused.stdout

    # What is shown is what is signed: why and what guards the data are bound by the digest of the file.
    asked = ask(running, home, file).stdout
    approval = tmp_path / "trial.approval"
    for words in ("own.confidential", "manual", "移行の検証のため", "The team reads every answer"):
        assert words in asked
    shown = approve(home, "s-002", approval).stdout
    assert "移行の検証のため" in shown
    (directory / "trial.approval").write_bytes(approval.read_bytes())
    short = sekisho("check", running.root, check=False)
    assert "1 of the 2 approvals" in short.stdout
    file.write_text(file.read_text().replace("every answer", "some answers"))
    changed = approve(home, "s-003", approval, check=False)
    assert changed.returncode == 2
    assert "was changed since" in changed.stderr
    file.write_text((directory / "trial.toml").read_text())
    approve(home, "s-003", approval)

    before = status(running)["snapshot"]
    (directory / "trial.approval").write_bytes(approval.read_bytes())
    assert sekisho("check", running.root).stdout == "The declarations hold no mistakes.\n"
    until(lambda: status(running)["snapshot"] != before, what="the exemption in force")
    until(lambda: question(running).status_code == 200, what="every worker")
    permitted = question(running)
    assert permitted.status_code == 200
    assert permitted.headers["x-sekisho-exemption"] == "trial"
    assert "x-sekisho-exemption" not in question(running, {}).headers
    assert any(
        "exemption trial excuses default" in note for note in json.loads(get(f"{running.base}/readyz")[1])["notes"]
    )

    receipt = running.receipt(permitted.headers["x-sekisho-receipt"])
    (decision,) = decisions(receipt)
    (group,) = [one for one in decision["candidates"] if one["permitted"]]
    assert group["exemptions"] == ["trial"]
    assert [decision["policies"][str(index)] for index in group["exempted"]] == ["own.confidential"]
    (tmp_path / "receipt.json").write_bytes(receipt)
    told = sekisho("verify", tmp_path / "receipt.json", "--trust", running.root / "site.vkey").stdout
    assert "EXEMPTION trial" in told
    assert "own.confidential" in told
    (listed,) = json.loads(sekisho("exemptions", "list", running.root, "--json").stdout)
    assert (listed["name"], listed["sha256"]) == ("trial", decision["exemptions"]["trial"])
    explained = ("--model", "manual", "--text", "hello", "--class", "confidential")
    assert "by the exemption trial" in sekisho("explain", running.root, *explained).stdout

    view = json.loads(sekisho("compliance", running.root, "--json").stdout)
    (row,) = [one for one in view["rows"] if one["policy"] == "own.confidential"]
    assert (row["deployment"], row["denied"] >= 1, row["exempt"] >= 1) == ("manual-local", True, True)
    named = ("--policy", "own.confidential", "--deployment", "manual-local", "--fate", "exempt", "--limit", "1000")
    page = json.loads(sekisho("compliance", running.root, *named, "--json").stdout)
    assert permitted.headers["x-sekisho-receipt"] in [one["request"] for one in page["entries"]]
    words = ("--organisation", "default", "--role", "auditor", "--name", "a", "--dir", running.root)
    key = sekisho("keys", "create", *words).stdout.strip()
    over_http = json.loads(get(f"{running.control}/api/compliance", key, timeout=60)[1])
    assert {(one["policy"], one["deployment"]) for one in over_http["rows"]} >= {("own.confidential", "manual-local")}
    assert get(f"{running.control}/api/compliance?fate=denid", key, timeout=60)[0] == 400
    assert get(f"{running.control}/api/compliance", running.key)[0] == 403

    # Taken away, it is over at once.
    (directory / "trial.toml").unlink()
    until(lambda: question(running).status_code == 403, what="the end of what was taken away", every_s=0.1)
    assert sekisho("exemptions", "list", running.root, "--language", "en").stdout == "There are no exemptions.\n"


def test_the_compliance_officer_sees_it_in_the_console_down_to_a_receipt(running, home, browser, tmp_path):  # noqa: F811
    end_s = int(time.time()) + 7_200
    approved_at_once(running, home, "shown", EXEMPTION.format(in_toml(end_s)))
    permitted = until(lambda: (found := question(running)).status_code == 200 and found, what="the exemption in force")
    receipt = permitted.headers["x-sekisho-receipt"]
    running.receipt(receipt)
    assert get(f"{running.control}/compliance")[0] == 200  # the sign-in, where a redirect leads
    sign_in(running, browser)
    browser.open(f"{running.control}/compliance?lang=en")
    text = browser.text
    for words in ("shown", "移行の検証のため", "The team reads every answer", "ends soon", "own.confidential",
                  "Confidential data stays with us"):  # fmt: skip
        assert words in text
    zone = browser.run("return document.querySelector('input.zone').value")
    assert re.fullmatch(r"[+-]\d\d:\d\d", zone)
    browser.click("button[name=days][value=all]")
    until(lambda: "days=all" in browser.url, what="the whole log")
    number = "a[href*='own.confidential'][href$='fate=exempt']"
    exempt = int(browser.run("return document.querySelector(arguments[0]).textContent", number))
    browser.click(number)
    listed = listed_here(browser)
    while browser.find("a[rel=next]") and f"/requests/{receipt}" not in listed:
        browser.open(browser.run("return document.querySelector('a[rel=next]').href"))
        listed += listed_here(browser)
    assert len(listed) == len(set(listed)) == exempt  # the newest is on the last page
    assert f"/requests/{receipt}" == listed[-1]
    browser.click(f"a[href='/requests/{receipt}']")
    assert verdict_of(browser) == "verified"
    assert "because of the exemption shown" in browser.text
    (tmp_path / "receipt.json").write_bytes(running.receipt(receipt))
    (tmp_path / "verifier.html").write_text(sekisho("verify", "--html").stdout)
    browser.open((tmp_path / "verifier.html").as_uri())  # as somebody else checks it
    browser.type("#receipt-file", str(tmp_path / "receipt.json"))
    assert verdict_of(browser) == "consistent"
    assert "by the exemption shown" in browser.text
    browser.open(f"{running.control}/compliance?days=30&lang=ja")
    assert "機密データは外部に送信できません" in browser.text
    (running.root / "declarations" / "exemptions" / "shown.toml").unlink()
    running.apply()
    until(lambda: question(running).status_code == 403, what="the end of what was taken away")


def listed_here(browser):
    rows = "return [...document.querySelectorAll('td.time a')].map((link) => link.getAttribute('href'))"
    return until(lambda: browser.run(rows), what="the decisions")


def test_it_ends_at_its_end_and_not_before(running, home):  # noqa: F811
    for lasts_s in LASTS_S:
        end_s = int(time.time()) + lasts_s
        approved_at_once(running, home, f"near-{lasts_s}", EXEMPTION.format(in_toml(end_s)))
        answered = until(lambda end_s=end_s: is_answered(running, end_s), what="the exemption in force")
        if answered == YES:
            break
    assert answered == YES
    answer = until(lambda: (found := question(running)).status_code == 403 and found, 90, "its end", every_s=0.1)
    assert time.time() >= end_s
    (after,) = decisions(running.receipt(answer.headers["x-request-id"]))
    assert after["chosen"] is None
    assert "exemptions" not in after
    assert "ended" in sekisho("exemptions", "list", running.root, "--language", "en").stdout
    report = sekisho("audit", running.root, "--json", check=False)
    assert json.loads(report.stdout)["findings"] == [], report.stdout[-2_000:]
    granted = [one["exemption"] for one in published(running, "exemption.grant")]
    assert granted[-1] == f"near-{lasts_s}"
    assert "trial" in granted


def is_answered(site, end_s):
    """Whether an exemption is in force, or its end has come before it ever was; false while neither is so."""
    over = time.time() >= end_s
    if question(site).status_code == 200:
        return YES
    return TOO_LATE if over else ""


def approved_at_once(site, home, name, text):  # noqa: F811
    """An exemption with its approval, signed here and put in force here: all else would take of the time it lasts."""
    directory = DataDirectory(site.root)
    file = directory.declarations / "exemptions" / f"{name}.toml"
    (home / file.name).write_text(text)
    parameters = grant_parameters(declared_exemption(directory, home / file.name))
    now_us = int(time.time()) * 1_000_000
    origin = load_settings(site.root).installation.origin
    act = Act(EXEMPTION_GRANT, parameters, "s-001", now_us, now_us + 3_600_000_000, origin, IdSource().new(now_us))
    approval = Approval(act, ())
    for person, capacity in (("s-001", ASKER), ("s-002", APPROVER), ("s-003", APPROVER)):
        key = read_private_key((home / person).read_bytes(), (home / "passphrase").read_text().strip())
        approval = with_signature(approval, signed(act, capacity, key))
    file.with_suffix(".approval").write_bytes(approval.encode())
    file.write_text(text)
    site.apply()
