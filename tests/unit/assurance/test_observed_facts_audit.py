"""What a snapshot takes for observed, the log tells that control's probes have read; anything else is found."""

import msgspec
import pytest

from audited_log import FARAWAY, TOKYO, AuditedLog
from sekisho.app.audit import AuditAsked, Auditor
from sekisho.app.observed import composed
from sekisho.app.prober import observation
from sekisho.app.probing import Taken
from sekisho.assurance import readings
from sekisho.catalog.evidence import MANAGEMENT_API
from sekisho.catalog.interfaces import ManagedIdentitySignIn, Management, Reading
from sekisho.catalog.observations import about
from sekisho.kernel import canonical
from sekisho.policy.check import compile_policies
from sekisho.snapshot.build import build_snapshot
from sekisho.snapshot.observed import OBSERVATIONS, OBSERVED_ENTITIES, SITE
from support_decide import LABELS, catalogue

API = Management("azure", "/r", "d", ManagedIdentitySignIn("r", "u"), "https://m.example", "2025-09-01")
PROBED = catalogue(FARAWAY, msgspec.structs.replace(TOKYO, management=API))
ABOUT = about(PROBED.deployments[1], PROBED.sites[0])
HOUR_US = 3_600_000_000


@pytest.fixture(scope="module")
def plain():
    return build_snapshot(
        PROBED, (), inspection_rules=b'{"rules":[]}', labels=LABELS, compile_policies=compile_policies
    )


class World(AuditedLog):
    def __init__(self, root, plain):
        super().__init__(root, PROBED)
        self.plain = plain
        self.before = self.snapshot.digest
        self.activate(self.snapshot.digest)
        self.create_key()

    def read(self, *places, actor="control", **changes):
        """What control's probes read now, recorded (unless nobody did)."""
        now_us = self.clock.now_us()
        reading = Reading(
            "tokyo", MANAGEMENT_API, ABOUT, now_us, now_us + HOUR_US,
            values={"processing": places}, evidence={"region": "japaneast", "sku": "Standard"},
        )  # fmt: skip
        told = msgspec.structs.replace(reading, **changes)
        if actor:
            body = canonical.decode(canonical.encode(observation([Taken("tokyo", MANAGEMENT_API, told)])))
            self.write(self.envelope("observation", body, actor), self.control)
        return reading

    def put_in_force(self, *readings, change=lambda parts: parts, told=True, before=None):
        built = composed(self.plain, PROBED, readings, "home")
        digest = self.install_parts(change(dict(built.parts)))
        if told:
            body = {"act": "snapshot.activate", "before": before or self.before, "snapshot": digest}
            self.write(self.envelope("change", body, "control"), self.control)
        self.before = digest
        self.request()

    def found(self):
        self.publish()
        self.close()
        report = Auditor(self.clock).audit(AuditAsked(str(self.root), depth=3))
        return [(one.kind.code, one.detail.partition(": ")[2]) for one in report.findings.sorted()]


@pytest.fixture
def log(tmp_path, plain):
    return World(tmp_path / "site", plain)


def test_what_was_read_and_recorded_holds_and_may_be_carried_along(log):
    first = log.read("JP")
    log.put_in_force(first)
    log.read("JP")  # says the same, and is not taken over
    log.put_in_force(first, change=lambda parts: parts | {("authority", "inspection.json"): b'{"rules":[1]}'})
    log.put_in_force(log.read("anywhere"))
    log.put_in_force()
    assert log.found() == []


def test_a_restored_log_begins_with_what_there_was(log):
    reading = log.read("JP", actor="")
    digest = composed(log.plain, PROBED, (reading,), "home").digest
    body = {"act": "ledger.restore", "origin": "old", "root": "", "size": 1}
    log.write(log.envelope("change", body), log.control)
    log.put_in_force(reading, before=digest)
    log.put_in_force(reading, before=digest)
    assert "observed_unsupported" not in [code for code, _ in log.found()]


UNTOLD = [("observed_unsupported", "no entry tells of what management-api has read of tokyo")]


def test_a_reading_that_nobody_recorded_is_found(log):
    log.put_in_force(log.read("JP", actor=""))
    assert log.found() == UNTOLD


@pytest.mark.parametrize(
    "changes", [{"values": {"processing": ("US",)}}, {"until": 1}, {"at": 1}, {"about": "0" * 64}, {"evidence": {}}]
)
def test_a_reading_that_is_not_as_it_was_recorded_is_found(log, changes):
    log.put_in_force(log.read("JP", **changes))
    assert log.found() == UNTOLD


def test_what_a_person_probed_puts_nothing_in_force(log):
    log.put_in_force(log.read("JP", actor="operator"))
    assert log.found() == UNTOLD


def test_an_older_reading_may_not_come_back_once_a_newer_one_is_in_force(log):
    home = log.read("JP")
    log.put_in_force(home)
    log.put_in_force(log.read("anywhere"))
    log.put_in_force(home)
    assert log.found() == UNTOLD


def put(name, old, new):
    def change(parts):
        assert old in parts[SITE, name]
        return parts | {(SITE, name): parts[SITE, name].replace(old, new)}

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (put(OBSERVATIONS, b'"grade":3', b'"grade":2'), "its facts are not what its readings make"),
        (put(OBSERVED_ENTITIES, b'"processing_grade":3', b'"processing_grade":2'), "policies see other facts"),
        (put(OBSERVED_ENTITIES, b'"lapses":[', b'"lapses":[{"at":0,"attributes":{"storage_grade":3},'
             b'"deployment":"tokyo","model":"m"},'), "policies see other facts"),
    ],
)  # fmt: skip
def test_facts_that_do_not_follow_from_the_readings_are_found(log, change, problem):
    log.put_in_force(log.read("JP"), change=change)
    [(code, detail)] = log.found()
    assert code == "observed_unsupported"
    assert detail.startswith(problem)


def test_what_policies_see_without_any_reading_is_found(log):
    whole = composed(log.plain, PROBED, (log.read("JP"),), "home").parts
    log.put_in_force(change=lambda parts: parts | {(SITE, OBSERVED_ENTITIES): whole[SITE, OBSERVED_ENTITIES]})
    assert [code for code, _ in log.found()] == ["observed_unsupported"]


def test_what_finds_no_room_is_told_or_found(log, monkeypatch):
    monkeypatch.setattr(readings, "USED_MAX", 0)
    monkeypatch.setattr(readings, "LATEST_MAX", 0)
    log.put_in_force(told=False, change=lambda parts: parts | {("authority", "inspection.json"): b'{"rules":[2]}'})
    log.put_in_force(log.read("JP"))
    assert {detail.partition(":")[0] for code, detail in log.found() if code == "observed_unsupported"} == {
        "those from here on were not looked at",
        *(detail for _, detail in UNTOLD),
    }


def test_a_snapshot_with_readings_that_no_entry_put_in_force_is_found(log):
    log.put_in_force(log.read("JP"), told=False)
    assert ("observed_unsupported", "the log does not tell that it came in force") in log.found()
