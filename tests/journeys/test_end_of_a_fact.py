"""G2 over time, with real processes: a fact that ends takes its permission with it, without a request that fails."""

import asyncio
import datetime
import time

import pytest

from journeys.callers import ask
from journeys.installation import Installation, free_port
from journeys.published_log import require_log_holds, require_well_formed
from journeys.recording_upstream import RecordingUpstream

AHEAD_S = (3, 12, 40, 120)  # until the fact ends; longer ones only if the machine is too busy to meet the shorter
AFTER = 5  # requests that are refused
ENDS_WITHIN_S = 180  # far beyond the last of AHEAD_S: what never ends must fail
FACT = '[facts]\nstorage = {{ value = ["JP"], grade = "contractual", source = "contract 1", expires = "{}" }}\n'
CLASS = "x-sekisho-data-class: confidential\r\n"  # protected: it must be stored at home


DOCUMENT = {"model": "record", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Running, with a fact that still holds: asked now, the request is permitted."""
    directory = tmp_path_factory.mktemp("fact")
    with RecordingUpstream(free_port(), directory / "seen") as upstream, Installation(directory / "site") as site:
        site.deployment("record", upstream.port)
        site.apply()
        site.start()
        assert any(holds(site, upstream.port, ahead_s) for ahead_s in AHEAD_S), "too slow a machine"
        yield site


def holds(site: Installation, port: int, ahead_s: int) -> bool:
    """Declare the fact; whether it came in force before it ended."""
    site.end_us = int((time.time() + ahead_s) * 1_000_000)
    end = datetime.datetime.fromtimestamp(site.end_us / 1_000_000, datetime.UTC)
    site.deployment("record", port, extra=FACT.format(end.isoformat()))
    site.apply()
    while time.time() * 1_000_000 < site.end_us:
        if question(site) == 200:
            return True
        time.sleep(0.05)
    return False


def question(site: Installation) -> int:
    return asyncio.run(ask(site.gateway_port, site.key, DOCUMENT, CLASS)).status


async def ask_across_the_end(site: Installation) -> list[int]:
    statuses: list[int] = []
    while statuses.count(403) < AFTER:
        statuses.append((await ask(site.gateway_port, site.key, DOCUMENT, CLASS)).status)
        await asyncio.sleep(0.02)
    return statuses


def test_no_decision_stands_on_a_fact_that_has_ended(site):
    statuses = asyncio.run(asyncio.wait_for(ask_across_the_end(site), ENDS_WITHIN_S))
    assert set(statuses) <= {200, 403}, "a request failed at the change"
    assert statuses == sorted(statuses)
    site.stop()
    entries = require_well_formed(require_log_holds(site.root)).entries
    decisions = [entry for entry in entries if entry["kind"] == "decision"]
    first = next(number for number, d in enumerate(decisions) if d["body"]["chosen"] is not None)
    decisions = decisions[first:]  # those before did not know the fact yet
    assert len(decisions) > len(statuses)
    before = [d for d in decisions if d["at"] < site.end_us]
    after = [d for d in decisions if d["at"] >= site.end_us]
    assert all(d["body"]["chosen"] is not None and d["body"]["input"]["epoch_from"] == 0 for d in before)
    # Decided an instant before it is recorded: of one caller, one decision may have had the end between the two.
    assert all(d["body"]["chosen"] is None and d["body"]["input"]["epoch_from"] == site.end_us for d in after[1:])
    assert before
    assert len(after) > 2
