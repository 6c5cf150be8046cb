"""`sekisho ledger` on a real installation: beside it while it runs, and after its disk was damaged."""

import json
import os
import signal

import openai
import pytest

from journeys.installation import Installation, get, openai_client, sekisho, until
from journeys.playing_upstream import PlayingUpstream
from journeys.published_log import require_log_holds, require_well_formed
from sekisho.cli.ledger import _KEEP_DEFAULT
from sekisho.ledger.archive import KEEP_DEFAULT

ASK = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with PlayingUpstream() as upstream, Installation(tmp_path_factory.mktemp("ledger") / "site") as installation:
        installation.declare("organisations", "other", 'title = "Others"\n')
        installation.deployment("chat", upstream.port, path="/chat")
        installation.start()
        yield installation


def ask(site) -> str:
    with openai_client(site) as client:
        raw = client.chat.completions.with_raw_response.create(model="chat", messages=ASK)
    return raw.headers["x-sekisho-receipt"]


def ledger(site, *words, check=True):
    return sekisho("ledger", *words, "--dir", site.root, check=check)


def status(site):
    return json.loads(ledger(site, "status", "--json").stdout)


def test_the_default_of_the_command_is_the_ledgers():
    assert _KEEP_DEFAULT == KEEP_DEFAULT


def test_status_tells_what_waits_while_control_is_stuck(site):
    site.receipt(ask(site))
    text = ledger(site, "status").stdout
    assert "publishes it" in text
    assert "DAMAGED" not in text
    control = site.children()["control"]
    os.kill(control, signal.SIGSTOP)
    try:
        before = status(site)
        ask(site)
        after = until(lambda: (found := status(site))["lag_entries"] > before["lag_entries"] and found, what="the lag")
    finally:
        os.kill(control, signal.SIGCONT)
    assert after["damage"] == []
    assert {writer["alive"] for writer in after["writers"]} == {True}
    assert after["disk"]["unmerged_bytes"] > 0
    until(lambda: status(site)["lag_entries"] == 0, what="the lag's end")


def test_a_running_installation_is_not_repaired(site):
    for words in (("repair",), ("repair", "--yes")):
        refused = ledger(site, *words, check=False)
        assert refused.returncode == 1
        assert "Stop `sekisho up`" in refused.stderr


def test_it_is_archived_while_it_runs_and_receipts_are_still_made(site, tmp_path_factory):
    cold = tmp_path_factory.mktemp("cold") / "log"
    wanted = ask(site)
    site.receipt(wanted)
    done = json.loads(ledger(site, "archive", "--to", cold, "--keep", "0", "--json").stdout)
    assert done["size"] > 0
    site.receipt(wanted)
    assert (cold / "checkpoint").read_text().splitlines()[1] == str(done["size"])
    audited = sekisho("audit", cold, "--trust", site.root / "site.vkey", "--json", check=False)
    assert audited.returncode == 0, audited.stdout + audited.stderr
    assert ledger(site, "archive", "--to", site.root / "ledger", check=False).returncode == 2


def verdict(site, path, file):
    path.write_bytes(file)
    return sekisho("verify", path, "--trust", site.root / "site.vkey", check=False).returncode


def test_the_logs_key_is_replaced_while_it_runs(site, tmp_path):
    before = site.receipt(ask(site))
    new = json.loads(ledger(site, "rotate-key", "--json").stdout)["vkey"]
    after = site.receipt(ask(site))
    assert new in json.loads(after)["enrolment"]
    assert new not in json.loads(before)["enrolment"]
    assert [verdict(site, tmp_path / "receipt.json", file) for file in (before, after)] == [0, 0]
    key = site.root / "keys/log.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert not (site.root / "keys/log-next.key").exists()


def test_a_forgotten_organisation_is_refused_and_its_entries_are_unlinked(site, tmp_path):
    made = ("keys", "create", "--name", "n", "--organisation", "other", site.root)
    key = sekisho(*made).stdout.strip()
    until(lambda: get(f"{site.base}/v1/models", key)[0] == 200, what="the new key's working")

    def request():
        with openai_client(site, key) as client:
            try:
                raw = client.chat.completions.with_raw_response.create(model="chat", messages=ASK)
            except openai.PermissionDeniedError as error:
                return error.code
        return raw.headers["x-sekisho-receipt"]

    wanted = request()
    kept = site.receipt(wanted, key)
    refused = sekisho("keys", "forget", "other", "--dir", site.root, check=False)
    assert refused.returncode == 2
    assert "--confirm other" in refused.stderr
    sekisho("keys", "forget", "other", "--confirm", "other", "--dir", site.root)
    until(lambda: request() == "organisation_key_forgotten", what="the refusal")
    ask(site)  # another organisation's are served
    status, body, _ = get(f"{site.base}/receipts/{wanted}", key)
    assert (status, json.loads(body)["error"]["code"]) == (410, "receipt_unlinked")
    assert verdict(site, tmp_path / "kept.json", kept) == 0
    sekisho("keys", "renew", "other", "--dir", site.root)
    new = until(lambda: (found := request()) != "organisation_key_forgotten" and found, what="the new key")
    assert verdict(site, tmp_path / "new.json", site.receipt(new, key)) == 0
    assert get(f"{site.base}/receipts/{wanted}", key)[0] == 410


def test_damage_stops_control_names_the_command_and_is_repaired(site):
    """The whole story: a bit of a write-ahead log flips while control is away; nothing else is lost."""
    control = site.children()["control"]
    os.kill(control, signal.SIGSTOP)
    requests = [ask(site) for _ in range(6)]
    gateway = site.children()["gateway"]
    os.kill(gateway, signal.SIGKILL)
    os.kill(control, signal.SIGKILL)
    os.kill(site.process.pid, signal.SIGKILL)
    site.process.wait()
    site.process = None
    until(lambda: get(f"{site.base}/healthz")[0] == 0, what="the gateway's end")
    segments = [
        path for path in (site.root / "ledger/wal").glob("*/*.seg") if requests[2].encode() in path.read_bytes()
    ]
    data = bytearray(segments[0].read_bytes())
    data[data.index(requests[2].encode())] ^= 1
    segments[0].write_bytes(data)

    looked = ledger(site, "status", check=False)
    assert looked.returncode == 1
    assert "sekisho ledger repair" in looked.stdout
    said = sekisho("control", site.root, check=False)
    assert said.returncode == 1
    assert "sekisho ledger repair" in said.stderr
    planned = ledger(site, "repair", check=False)
    assert planned.returncode == 1
    assert "Nothing was changed" in planned.stdout
    done = json.loads(ledger(site, "repair", "--yes", "--json").stdout)
    assert done["aside"]
    lost = {trace["request"] for writer in done["writers"] for trace in writer["traces"]} & set(requests)
    assert lost <= {requests[2], requests[1]}, "a frame holds an outcome and the next decision at most"

    assert ledger(site, "repair").stdout.startswith("The ledger is whole")
    site.start()
    for request in set(requests) - lost - {requests[2]}:
        site.receipt(request)
    site.stop()
    entries = require_log_holds(site.root)
    acts = [e["body"]["act"] for e in entries if e["kind"] == "change"]
    told = {"ledger.key.rotate", "keys.forget", "keys.renew", "ledger.repair"}
    assert [acts.count(act) for act in told] == [1, 1, 1, 1]
    assert [e["body"]["kept"] for e in entries if e["body"].get("act") == "ledger.repair"] == [
        os.path.basename(done["aside"])
    ]
    with pytest.raises(AssertionError, match=r"gap|without a permitted decision"):
        require_well_formed(entries)  # what was lost shows, and the repair's entry tells of it
    (repair,) = (e["id"] for e in entries if e["body"].get("act") == "ledger.repair")
    audited = sekisho("audit", site.root, "--trust", site.root / "site.vkey", "--json", check=False)
    report = json.loads(audited.stdout)
    assert audited.returncode == 1
    assert "sequence_gap" not in report["found"]["by_code"], "nothing is missing that the repair did not name"
    told = [one for one in report["findings"] if one["code"] == "loss_told"]
    assert [(one["id"], one["detail"].partition(":")[0]) for one in told] == [
        (repair, f"the repair of {repair} says that these were lost")
    ]


def test_without_control_the_commands_merge_themselves(site, tmp_path):
    before = status(site)["published"]
    new = json.loads(ledger(site, "rotate-key", "--json").stdout)["vkey"]
    assert new in (site.root / "ledger/enrolment").read_text()
    assert "verified" in sekisho("backup", site.root, tmp_path / "backup").stdout
    assert status(site)["published"] == before + 1
    assert len(require_log_holds(site.root)) == before + 1
