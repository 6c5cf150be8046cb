"""An act that needs two others: asked for, carried to people without an installation, signed, used once, in the log."""

import json
import stat
import subprocess
import sys
import time
from contextlib import closing

import pytest

from journeys.installation import ENVIRONMENT, Installation, sekisho, until
from journeys.published_log import require_log_holds
from sekisho.catalog.interfaces import ApprovalRule
from sekisho.content.files import ContentFiles
from sekisho.content.interfaces import Content
from sekisho.identity.approvals import Wanted, approval_of_record, require_approval
from sekisho.identity.interfaces import PersonKey
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.ids import IdSource

PEOPLE = ("s-001", "s-002", "s-003")
RULES = """
[[rules]]
act = "stop.lift"
approvers = ["s-001", "s-002", "s-003"]
needed = 2

[[rules]]
act = "content.forget"
approvers = ["s-002"]
needed = 1

[[rules]]
act = "keys.forget"
approvers = ["s-002", "s-003"]
needed = 1

[[rules]]
act = "person.enrol"
approvers = ["s-001", "s-002", "s-003"]
needed = 1
"""
# Of the server's packages none is there: what an approver installs is `pip install sekisho`.
BARE = """
import sys
for name in ("sqlalchemy", "msgspec", "orjson", "cedarpy", "hyperscan", "fastapi", "uvloop"):
    sys.modules[name] = None
from sekisho.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def bare(*words, check=True, **kwargs):
    done = subprocess.run(
        [sys.executable, "-c", BARE, *map(str, words)],
        capture_output=True, text=True, timeout=60, env=ENVIRONMENT, stdin=subprocess.DEVNULL, **kwargs,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The persons' own directory: keys and a passphrase."""
    home = tmp_path_factory.mktemp("persons")
    (home / "passphrase").write_text("a passphrase of a test\n")
    for person in (*PEOPLE, "s-004"):
        bare("persons", "new-key", home / person, "--passphrase-file", home / "passphrase")
    return home


@pytest.fixture(scope="module")
def governed(tmp_path_factory, home):
    installation = Installation(tmp_path_factory.mktemp("approvals") / "site")
    for person in PEOPLE:
        key = home / f"{person}.pub"
        sekisho("persons", "enrol", person, "--key", key, "--name", f"Person {person}", "--dir", installation.root)
    (installation.root / "declarations" / "approvals.toml").write_text(RULES)
    installation.declare("organisations", "other", 'title = "Others"\n')
    installation.apply()
    sekisho("stop", "provider", "local", "--dir", installation.root)
    return installation


def ask(governed, home, out, *words, by="s-001"):
    secret = ("--key", home / by, "--passphrase-file", home / "passphrase")
    return sekisho("approvals", "ask", *words, "--by", by, "--out", out, "--dir", governed.root, *secret)


def approve(home, person, file, *words, **kwargs):
    secret = ("--key", home / person, "--passphrase-file", home / "passphrase")
    return bare("approve", file, "--yes", *secret, *words, **kwargs)


def lift(governed, *files, check=True):
    given = [word for file in files for word in ("--approval", file)]
    return sekisho("stop", "lift", "provider", "local", "--dir", governed.root, *given, check=check)


def test_private_keys_are_private_and_encrypted(home):
    for person in PEOPLE:
        assert stat.S_IMODE((home / person).stat().st_mode) == 0o600
        assert "ENCRYPTED" in (home / person).read_text()
    again = bare("persons", "new-key", home / "s-001", "--passphrase-file", home / "passphrase", check=False)
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_a_key_that_others_can_read_is_not_used(home, governed, tmp_path):
    ask(governed, home, tmp_path / "lift", "stop.lift", "kind=provider", "name=local")
    loose = tmp_path / "loose"
    loose.write_bytes((home / "s-002").read_bytes())
    loose.chmod(0o644)
    words = ("approve", tmp_path / "lift", "--yes", "--key", loose, "--passphrase-file", home / "passphrase")
    refused = bare(*words, check=False)
    assert refused.returncode == 1
    assert "chmod 600" in refused.stderr


def test_nobody_signs_without_reading(home, governed, tmp_path):
    ask(governed, home, tmp_path / "lift", "stop.lift", "kind=provider", "name=local")
    secret = ("--key", home / "s-002", "--passphrase-file", home / "passphrase")
    before = (tmp_path / "lift").read_bytes()
    refused = bare("approve", tmp_path / "lift", *secret, check=False)
    assert refused.returncode == 2
    assert "Lift the emergency stop of the provider local" in refused.stdout
    assert (tmp_path / "lift").read_bytes() == before


def test_an_act_is_shown_in_japanese(home, governed, tmp_path):
    ask(governed, home, tmp_path / "lift", "stop.lift", "kind=provider", "name=local")
    shown = bare("approvals", "show", tmp_path / "lift", "--language", "ja").stdout
    assert "事業者 local の緊急停止を解除します" in shown
    assert "申請者:" in shown


def test_a_changed_file_is_refused_everywhere(home, governed, tmp_path):
    file = tmp_path / "lift"
    ask(governed, home, file, "stop.lift", "kind=provider", "name=local")
    file.write_bytes(file.read_bytes().replace(b'"name":"local"', b'"name":"other"'))
    shown = bare("approvals", "show", file, check=False)
    checked = sekisho("approvals", "check", file, "--dir", governed.root, check=False)
    for refused in (approve(home, "s-002", file, check=False), shown, checked, lift(governed, file, check=False)):
        assert refused.returncode == 1
        assert "not of these bytes" in refused.stderr


def test_a_person_is_enrolled_by_the_approval_of_others_only(home, governed, tmp_path):
    public = home / "s-004.pub"
    words = ("persons", "enrol", "s-004", "--key", public, "--dir", governed.root)
    refused = sekisho(*words, check=False)
    assert refused.returncode == 1
    assert "needs the approval of 1 of" in refused.stderr
    key = bare("persons", "new-key", tmp_path / "x", "--no-passphrase").stdout.partition("The key is ")[2][:64]
    ask(governed, home, tmp_path / "enrol", "person.enrol", f"key={key}", "person=s-004")
    approve(home, "s-002", tmp_path / "enrol")
    other_key = sekisho(*words, "--approval", tmp_path / "enrol", check=False)
    assert other_key.returncode == 1
    assert "for another act" in other_key.stderr
    sekisho(*words[:4], tmp_path / "x.pub", *words[5:], "--approval", tmp_path / "enrol")


def test_kept_content_is_deleted_early_by_the_approval_of_another_only(home, governed, tmp_path):
    now_us = time.time_ns() // 1000
    entry = IdSource().new(now_us)
    files = ContentFiles(governed.root / "content", governed.root / "keys" / "content")
    files.write(Content("default", entry, entry, now_us + 10**12, b"asked", b"answered"))
    words = ("content", "forget", entry, "--dir", governed.root)
    refused = sekisho(*words, check=False)
    assert refused.returncode == 1
    assert f"approvals ask content.forget entry={entry} organisation=default" in refused.stderr
    assert [held.entry for held in files.held()] == [entry]
    ask(governed, home, tmp_path / "forget", "content.forget", f"entry={entry}", "organisation=default")
    approve(home, "s-002", tmp_path / "forget")
    sekisho(*words, "--approval", tmp_path / "forget")
    assert files.held() == []


def test_a_commitment_key_is_destroyed_by_the_approval_of_another_only(home, governed, tmp_path):
    key, file = governed.root / "keys" / "organisations" / "other.key", tmp_path / "forget"
    words = ("keys", "forget", "other", "--confirm", "other", "--dir", governed.root)
    before = key.read_bytes()
    refused = sekisho(*words, check=False)
    assert refused.returncode == 1
    assert "sekisho approvals ask keys.forget organisation=other" in refused.stderr
    ask(governed, home, file, "keys.forget", "organisation=other")
    unsigned = sekisho(*words, "--approval", file, check=False)
    assert "0 of the 1 approvals" in unsigned.stderr
    shown = approve(home, "s-002", file).stdout
    assert "Destroy, for good, the commitment key of other" in shown
    another = sekisho("keys", "forget", "default", "--confirm", "default", *words[5:], "--approval", file, check=False)
    assert "for another act" in another.stderr
    assert key.read_bytes() == before, "what is refused changes nothing"
    sekisho(*words, "--approval", file)
    assert not key.exists()
    sekisho("keys", "renew", "other", "--dir", governed.root)
    again = sekisho(*words, "--approval", file, check=False)
    assert again.returncode == 1
    assert "used before" in again.stderr
    assert key.exists()


def test_two_persons_lift_a_stop_by_file_and_the_log_tells(home, governed, tmp_path):
    refused = lift(governed, check=False)
    assert refused.returncode == 1
    assert "sekisho approvals ask stop.lift kind=provider name=local" in refused.stderr
    asked = tmp_path / "lift"
    ask(governed, home, asked, "stop.lift", "kind=provider", "name=local")
    approve(home, "s-002", asked, "--out", tmp_path / "second")
    approve(home, "s-003", asked, "--out", tmp_path / "third")
    one = sekisho("approvals", "check", tmp_path / "second", "--dir", governed.root, check=False)
    assert one.returncode == 1
    assert "1 of the 2" in one.stderr
    assert lift(governed, tmp_path / "second", check=False).returncode == 1
    both = (tmp_path / "second", tmp_path / "third")
    checked = sekisho("approvals", "check", *both, "--dir", governed.root).stdout
    assert "APPROVED: 2 of 2" in checked
    assert "s-003 Person s-003" in checked
    lift(governed, *both)
    sekisho("stop", "provider", "local", "--dir", governed.root)
    again = lift(governed, *both, check=False)
    assert again.returncode == 1
    assert "used before" in again.stderr
    with governed:
        governed.start()
        require_told(governed)
        require_a_lifting_past_the_rules_is_found(governed)


def require_told(governed):
    """An auditor has the log and its snapshots alone: who was enrolled, and what enough of them approved."""
    entries = until(lambda: lifted(require_log_holds(governed.root)), 30, "the entry of the lifting")
    report = audited(governed)
    assert (report["depth"], report["found"]["errors"], report["found"]["warnings"]) == (3, 0, 0), report["findings"]
    assert report["counts"]["acts_under_approval"] == 4, "the lifting, an enrolment, a deletion, and a key destroyed"
    assert "Person" not in json.dumps(entries)
    persons = {}
    for entry in entries:
        body = entry["body"]
        if body.get("act") == "person.enrol":
            persons[body["key"]] = PersonKey(body["person"], body["key"], entry["at"], None)
    (lifting,) = [entry for entry in entries if entry["body"].get("act") == "stop.lift"]
    body = lifting["body"]
    wanted = Wanted("stop.lift", {"kind": body["kind"], "name": body["name"]}, origin(governed))
    rule = ApprovalRule(act="stop.lift", approvers=PEOPLE, needed=2)
    approval = approval_of_record(body["approval"])
    found = require_approval(wanted, [approval], [rule], persons.values(), now_us=lifting["at"])
    assert [persons[one.key].person for one in found.approvals] in (["s-002", "s-003"], ["s-003", "s-002"])
    assert len(persons) == 4
    forgotten = [entry["body"] for entry in entries if entry["body"].get("act") == "keys.forget"]
    assert [(body["organisation"], approval_of_record(body["approval"]).act.asked_by) for body in forgotten] == [
        ("other", "s-001")
    ]


class NothingDemanded:
    """What somebody has in hand who can write to the register's database, and does not ask."""

    def meet(self, connection, now_us):
        return None


def require_a_lifting_past_the_rules_is_found(governed):
    def lift_and_audit():
        """Again and again: shortly after the rules came in force it might have been done under those before."""
        with closing(SqlIdentity(governed.root / "state.sqlite", SystemClock())) as register:
            register.set_stop("provider", "local", "", "operator")
            register.lift_stop("provider", "local", "operator", NothingDemanded())
        return [one for one in audited(governed)["findings"] if one["severity"] == "error"]

    finding, *_ = until(lift_and_audit, 30, "the finding")
    assert finding["code"] == "approval_missing"
    assert "stop.lift" in finding["detail"]
    assert finding["id"]


def audited(governed):
    done = sekisho("audit", governed.root, "--trust", governed.root / "site.vkey", "--json", check=False)
    return json.loads(done.stdout)


def lifted(entries):
    return entries if any(entry["body"].get("act") == "stop.lift" for entry in entries) else None


def origin(governed):
    line = next(one for one in (governed.root / "sekisho.toml").read_text().splitlines() if one.startswith("origin"))
    return json.loads(line.partition("=")[2])
