"""G1 and G5 under kill -9: whatever dies at whatever moment, what the upstream saw has its decision in the log."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from journeys.callers import Callers
from journeys.installation import Installation, free_port, until
from journeys.published_log import require_log_holds, require_well_formed, site_key
from journeys.recording_upstream import RecordingUpstream
from sekisho.ledger.verify import verify_receipt

CONNECTIONS = 16
REQUESTS_MAX = 600  # per round
RECEIPTS_MAX = 60  # fetched in each round: each costs the gateway a few proofs
ROUNDS = (("gateway",), ("control",), ("gateway", "control"))


@pytest.mark.parametrize(
    ("rounds", "seed"), [pytest.param(3, 1, id="3"), pytest.param(36, 2, id="36", marks=pytest.mark.long)]
)
def test_what_the_upstream_saw_is_in_the_log_whatever_is_killed(tmp_path, rounds, seed):
    chance = random.Random(seed)
    with (
        RecordingUpstream(free_port(), tmp_path / "seen") as upstream,
        Installation(tmp_path / "site") as installation,
    ):
        installation.deployment("record", upstream.port)
        installation.apply()
        installation.start()
        whole, cut_off = [], 0
        for number in range(rounds):
            answers, lost = kill_under_load(installation, ROUNDS[number % len(ROUNDS)], chance)
            whole += answers
            cut_off += lost
            require_receipts(installation, upstream, chance.sample(answers, min(RECEIPTS_MAX, len(answers))))
        assert whole, "nothing was answered"
        assert cut_off, "no kill ever met a request under way: the test shows nothing"
        assert installation.stop() == 0
        require_evidence(installation.root, upstream.seen(), whole)


def kill_under_load(installation: Installation, roles: tuple[str, ...], chance: random.Random):
    """Kill while callers call; the answers that came whole, and how many requests were cut off."""
    port = installation.gateway_port
    with Callers(port, installation.key, "record", CONNECTIONS, chance.getrandbits(32), REQUESTS_MAX) as callers:
        until(lambda: len(callers.answers) >= CONNECTIONS, 30, "load")
        time.sleep(chance.uniform(0.0, 0.5))  # the moment of the kill is what is random here
        children = installation.children()
        for role in roles:
            os.kill(children[role], signal.SIGKILL)
        until(lambda: restarted(installation, children, roles), 30, "the supervisor's restart")
        so_far = len(callers.answers)
        if "gateway" in roles:
            until(lambda: len(callers.answers) > so_far or callers.exhausted, 60, "service after the kill")
    installation.await_ready()
    assert {answer.status for answer in callers.answers} == {200}
    return [answer for answer in callers.answers if answer.whole], callers.cut_off


def restarted(installation: Installation, before: dict[str, int], roles: tuple[str, ...]) -> bool:
    now = installation.children()
    return all(now.get(role, before[role]) != before[role] for role in roles)


def require_receipts(installation: Installation, upstream: RecordingUpstream, answers) -> None:
    """The receipts are complete, verify, and commit to what was received, what was sent on and what was answered."""
    sent = {request["id"]: request["body"].encode() for request in upstream.seen()}
    for answer in answers:
        content = {"received": answer.sent, "sent": sent[answer.receipt], "answer": answer.body}
        receipt = installation.receipt(answer.receipt)
        verification = verify_receipt(receipt, trusted=[site_key(installation.root)], content=content)
        assert verification.attempts[-1].outcome["body"]["ended"] == "complete"


def require_evidence(root: Path, seen: list[dict], whole) -> None:
    evidence = require_well_formed(require_log_holds(root))
    times: dict[str, int] = {}
    for request in seen:
        times[request["id"]] = times.get(request["id"], 0) + 1
    for identifier, count in times.items():
        permitted = [d for d in evidence.decisions.get(identifier, []) if d["body"]["chosen"] is not None]
        assert count <= len(permitted), f"{identifier}: {count} sent, {len(permitted)} permitted"  # G1
    for answer in whole:
        last = evidence.decisions[answer.receipt][-1]
        assert (
            evidence.outcomes[last["id"]]["body"]["ended"] == "complete"
        )  # G5: what was answered is not "interrupted"
    ended = [outcome["body"]["ended"] for outcome in evidence.outcomes.values()]
    assert "interrupted" in ended, "no kill left a decision open: the test shows nothing of recovery"
