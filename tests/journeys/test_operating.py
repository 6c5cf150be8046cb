"""An installation run day by day: reloaded under traffic, stopped in an emergency, watching before it enforces."""

import asyncio
import datetime
import json
import os
import re
import signal
import time

import pytest

from journeys.callers import Callers, ask
from journeys.installation import Installation, get, sekisho, until
from journeys.playing_upstream import PlayingUpstream
from journeys.published_log import log_key, outsider, require_log_holds, require_well_formed, site_key
from journeys.test_callers import ask as open_request
from journeys.test_callers import outcome, read_until

MONITOR = 'title = "W"\nmode = "monitor"\nmonitor_until = {}\n'
ABROAD = """model = "abroad"
provider = "local"
type = "openai-compatible"
url = "http://127.0.0.1:{}/chat"
facts = {{ processing = ["US"] }}
"""


@pytest.fixture(scope="module")
def upstream():
    with PlayingUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def running(tmp_path_factory, upstream):
    with Installation(tmp_path_factory.mktemp("operating") / "site") as installation:
        installation.setting("gateway", "workers", 2)
        installation.setting("gateway", "stream_outlives_snapshot_seconds", 1)
        for part in ("chat", "started", "held", "silent"):
            installation.deployment(part, upstream.port, path=f"/{part}")
        installation.start()
        until(lambda: in_force(installation) == status(installation)["snapshot"][:16], what="both workers' following")
        yield installation
    require_well_formed(require_log_holds(installation.root))


def status(running) -> dict:
    return json.loads(get(f"{running.control}/api/status")[1])


def in_force(running) -> str:
    """The snapshot (as logs show it) that both workers say to have in force; they share a port, so their log tells."""
    said = running.log.read_text()
    workers = dict(re.findall(r"started gateway (\d+), process (\d+)", said))
    latest = dict(re.findall(r"gateway\[(\d+)\] INFO (?:serving with )?snapshot ([0-9a-f]{16})", said))
    seen = {latest.get(process, "") for process in workers.values()}
    return seen.pop() if len(seen) == 1 else ""


def taken_over(running, before: str) -> str:
    """The snapshot that comes after `before`, once control and the workers have it."""
    after = until(lambda: (now := status(running)["snapshot"]) != before and now, what="the taking over")
    until(lambda: in_force(running) == after[:16], what="the workers' following")
    return after


def put_in_force(running) -> None:
    """The declarations, at once, where how they are taken over is not what is proved."""
    running.apply()
    until(lambda: in_force(running) == status(running)["snapshot"][:16], what="the workers' following")


def question(running, model="chat", headers="", key=None, **more):
    document = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
    return asyncio.run(ask(running.gateway_port, key or running.key, document, headers))


def entries(running, act: str) -> list[dict]:
    """The bodies of the published entries of an act, from a log that grows meanwhile."""

    def held() -> list[dict] | None:
        try:
            found = outsider.check_log(running.root / "ledger", log_key(running.root).vkey)
            return [json.loads(entry) for entry in found]
        except outsider.Rejected as rejected:
            # Between a look at the checkpoint and one at a partial tile, the full one may have replaced it.
            if "missing: tile/" not in str(rejected) or ".p/" not in str(rejected):
                raise
            return None

    found = (entry["body"] for entry in until(held) if entry["kind"] == "change")
    return [body for body in found if body["act"] == act]


# Reloading


def test_a_changed_tree_is_taken_over_under_traffic_without_a_failed_request(running, upstream):
    before = status(running)["snapshot"]
    with Callers(running.gateway_port, running.key, "chat", 4, seed=1, requests_max=100_000) as callers:
        until(lambda: len(callers.answers) > 20, what="traffic")
        running.deployment("second", upstream.port, path="/chat")
        after = taken_over(running, before)
        count = len(callers.answers)
        until(lambda: len(callers.answers) > count + 20, what="traffic under the new snapshot")
    assert {answer.status for answer in callers.answers} == {200}
    assert all(answer.whole for answer in callers.answers)
    assert callers.cut_off == 0
    assert question(running, "second").status == 200
    until(
        lambda: (
            {"act": "snapshot.activate", "before": before, "snapshot": after} in entries(running, "snapshot.activate")
        )
    )


def test_a_bad_tree_leaves_the_old_one_in_force_and_is_told_of_once(running):
    before = status(running)["snapshot"]
    path = running.root / "declarations" / "deployments" / "chat.toml"
    good = path.read_text()
    try:
        path.write_text(good.replace('type = "engine"', 'type = "engin"'))
        refused = until(lambda: (now := status(running))["mistakes"] and now, what="the refusal")
        assert refused["declarations"].startswith("refused")
        assert question(running).status == 200
        ready = until(
            lambda: (now := json.loads(get(f"{running.base}/readyz")[1]))["notes"] and now, what="the workers' note"
        )
        assert ready["status"] == "ready"
        assert "sekisho check" in ready["notes"][0]
        assert ready["snapshot"] == before
        # Whichever of the two workers answers, each has seen it soon.
        until(lambda: b"sekisho_declarations_mistakes 1.0" in get(f"{running.base}/metrics")[1], what="the metric")
        # Another mistake beside it: the first is not told again.
        running.declare("models", "odd", "titel = 'x'\n")
        until(lambda: status(running)["mistakes"] == 2, what="the second refusal")
        said = running.log.read_text()
        assert said.count("'engin' is not a deployment type") == 1
        assert said.count("models/odd.toml: titel") == 1
    finally:
        path.write_text(good)
        (running.root / "declarations" / "models" / "odd.toml").unlink(missing_ok=True)
    until(lambda: status(running)["declarations"] == "in force", what="the recovery")
    until(lambda: not json.loads(get(f"{running.base}/readyz")[1])["notes"], what="the end of the note")
    assert status(running)["snapshot"] == before


def test_a_tree_that_git_is_writing_is_not_taken(running):
    before = status(running)["snapshot"]
    lock = running.root / "declarations" / ".git" / "index.lock"
    lock.parent.mkdir()
    lock.touch()
    running.declare("models", "checkout", 'title = "half"\n')
    until(lambda: "git" in status(running)["declarations"], what="the waiting for git")
    running.declare("models", "checkout", 'title = "whole"\n')
    assert status(running)["snapshot"] == before
    lock.unlink()
    taken_over(running, before)


def test_sighup_ends_nothing(running):
    children = running.children()
    for process in (running.process.pid, children["gateway"], children["control"]):
        os.kill(process, signal.SIGHUP)
    until(lambda: "SIGHUP: nothing to do" in running.log.read_text())
    until(lambda: status(running)["declarations"] == "in force")
    assert question(running).status == 200
    assert running.children() == children


def test_a_stream_does_not_outlive_its_rules_for_long(running, upstream):
    connection = open_request(running, "started", stream=True)
    read_until(connection, b"begun")
    seen = upstream.of("started")[-1]
    running.declare("models", f"m{time.monotonic_ns()}", 'title = "another"\n')
    rest = read_until(connection, b"0\r\n\r\n")
    connection.close()
    assert b"snapshot_superseded" in rest
    assert b"[DONE]" not in rest
    assert seen.left.wait(20)
    ended = outcome(running, seen.headers["x-request-id"])
    assert (ended["ended"], ended["error"]) == ("superseded", "snapshot_superseded")
    until(lambda: in_force(running) == status(running)["snapshot"][:16])


# Emergency stops


def lift_all(running) -> None:
    for stop in json.loads(sekisho("stop", "list", "--json", "--dir", running.root).stdout):
        sekisho("stop", "lift", stop["kind"], stop["name"], "--dir", running.root)


def test_a_stopped_deployment_gets_nothing_more_and_its_streams_end(running, upstream):
    connection = open_request(running, "started", stream=True)
    read_until(connection, b"begun")
    stream = upstream.of("started")[-1]
    begun = open_request(running, "started", stream=False)  # half its answer is there: it is ended, too
    until(lambda: len(upstream.of("started")) > 1 and upstream.of("started")[-1].sent, what="half an answer")
    before = len(upstream.of("silent"))
    waiting = open_request(running, "silent", stream=False)  # and one that was not answered at all
    until(lambda: len(upstream.of("silent")) > before, what="the silent one's request")
    sekisho("stop", "deployment", "silent", "--dir", running.root)
    done = sekisho("stop", "deployment", "started", "--dir", running.root, "--reason", "wrong region")
    assert "within a second" in done.stdout
    rest = read_until(connection, b"0\r\n\r\n")
    assert b'"code":"stopped"' in rest
    assert b"[DONE]" not in rest
    assert stream.left.wait(20)
    assert outcome(running, stream.headers["x-request-id"])["ended"] == "stopped"
    silent = upstream.of("silent")[-1]
    assert silent.left.wait(20)
    assert outcome(running, silent.headers["x-request-id"])["ended"] == "stopped"
    for stopped in (begun, waiting):
        answer = read_until(stopped, b"\r\n\r\n").lower()
        assert answer.startswith(b"http/1.1 503")
        assert b"x-sekisho-receipt" in answer  # it was decided, and its outcome says how it ended
        stopped.close()
    connection.close()
    before = len(upstream.seen)
    refused = question(running, "started")
    assert (refused.status, refused.receipt) == (503, "")
    assert json.loads(refused.body)["error"]["code"] == "stopped"
    assert len(upstream.seen) == before
    assert question(running).status == 200
    until(lambda: "stop list" in str(json.loads(get(f"{running.base}/readyz")[1])["notes"]))
    lift_all(running)
    until(lambda: [question(running, "chat").status for _ in range(4)] == [200] * 4)
    until(lambda: not json.loads(get(f"{running.base}/readyz")[1])["notes"])
    told = {"kind": "deployment", "name": "started"}
    until(lambda: {"act": "stop.set", **told} in entries(running, "stop.set"), what="the entry of the stop")
    until(lambda: {"act": "stop.lift", **told} in entries(running, "stop.lift"), what="the entry of the lifting")


def test_a_stopped_organisation_is_refused_with_control_down(running):
    control = running.children()["control"]
    os.kill(control, signal.SIGSTOP)  # it does nothing, and nobody starts another
    try:
        sekisho("stop", "organisation", "default", "--dir", running.root)
        refused = until(lambda: (answer := question(running)).status == 403 and answer, what="the refusal")
        assert json.loads(refused.body)["error"]["code"] == "organisation_stopped"
        until(lambda: [question(running).status for _ in range(6)] == [403] * 6, what="the refusal by both workers")
        lift_all(running)
        until(lambda: [question(running).status for _ in range(6)] == [200] * 6, what="the lifting")
        told = {"kind": "organisation", "name": "default"}
        assert {"act": "stop.set", **told} not in entries(running, "stop.set")  # nobody could publish it
    finally:
        os.kill(control, signal.SIGCONT)
    until(lambda: {"act": "stop.set", **told} in entries(running, "stop.set"), what="the entry of the stop")
    until(lambda: {"act": "stop.lift", **told} in entries(running, "stop.lift"), what="the entry of the lifting")


def test_a_stop_needs_a_name_that_is_declared(running):
    refused = sekisho("stop", "provider", "lokal", "--dir", running.root, check=False)
    assert refused.returncode == 2
    assert "local" in refused.stderr
    assert sekisho("stop", "list", "--dir", running.root).stdout == "Nothing is stopped.\n"


# Monitor mode


def test_what_monitor_mode_lets_pass_is_stamped_and_it_ends(running, upstream, tmp_path):
    running.declare("models", "abroad", 'title = "Abroad"\n')
    running.declare("deployments", "abroad", ABROAD.format(upstream.port))
    running.declare("organisations", "watching", MONITOR.format("2199-01-01"))
    put_in_force(running)
    key = sekisho("keys", "create", "--organisation", "watching", "--name", "w", "--dir", running.root).stdout.strip()
    until(lambda: [question(running, "abroad", key=key).status for _ in range(8)] == [200] * 8, what="both workers")
    passed = question(running, "abroad", key=key)
    assert passed.headers["x-sekisho-monitored"] == "would-deny"
    assert question(running, "abroad").status == 403  # another organisation's
    assert question(running, "abroad", "x-sekisho-residency: JP\r\n", key).status == 403  # its own demand
    assert "x-sekisho-monitored" not in question(running, "chat", key=key).headers  # permitted anyway
    note = "organisation watching is in monitor mode"
    assert any(note in line for line in json.loads(get(f"{running.base}/readyz")[1])["notes"])
    assert "policy denies it (jp-residency.processing)" in running.log.read_text()
    # The receipt says it, and both verifiers read it.
    receipt = running.receipt(passed.receipt, key)
    outsider.check_receipt(receipt, site_key(running.root).vkey)
    decision = next(e["entry"]["body"] for e in json.loads(receipt)["entries"] if e["entry"]["kind"] == "decision")
    assert decision["monitored"] is True
    assert [group["permitted"] for group in decision["candidates"]] == [False]
    (tmp_path / "receipt.json").write_bytes(receipt)
    shown = sekisho("verify", tmp_path / "receipt.json", "--trust", running.root / "site.vkey").stdout
    assert "MONITORED" in shown
    # It ends at its end.
    end = datetime.datetime.fromtimestamp(time.time() + 3, datetime.UTC)
    running.declare("organisations", "watching", MONITOR.format(end.isoformat()))
    running.apply()
    until(lambda: question(running, "abroad", key=key).status == 403, 30, "the end of monitor mode")
    assert datetime.datetime.now(datetime.UTC) >= end
