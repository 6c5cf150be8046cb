"""Exemptions come in force with an approval only, each content once, and the ledger is told."""

import json
import shutil
import time
from contextlib import closing

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho.app.exemptions import declared_exemption, grant_exemptions, listed_exemptions, unapproved
from sekisho.app.installation import (
    Listen,
    build_declared,
    check_declarations,
    create_installation,
    put_declarations_in_force,
    snapshot_store,
)
from sekisho.catalog.exemptions import grant_parameters
from sekisho.catalog.files import read_declarations
from sekisho.cli.main import main
from sekisho.identity.acts import EXEMPTION_GRANT, Act
from sekisho.identity.approvals import APPROVER, ASKER, Approval, approval_of_record, signed, with_signature
from sekisho.identity.errors import ApprovalError, ApprovalMissing
from sekisho.identity.persons_sql import Rules, SqlPersons
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import UsageError
from sekisho.kernel.ids import IdSource
from sekisho.settings import DataDirectory, load_settings

HOUR_US = 3_600_000_000
KEYS = {name: Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32)) for name in ("s-1", "s-2", "s-3")}
RULE = '[[rules]]\nact = "exemption.grant"\napprovers = ["s-1", "s-2", "s-3"]\nneeded = 2\n'
TEXT = """
organisation = "default"
policies = ["jp-residency.storage"]
models = ["manual"]
classes = ["confidential"]
why = "移行の検証"
compensating_control = "Read before"
until = {}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An installation with three persons, without and with a rule in force; tests get copies."""
    root = tmp_path_factory.mktemp("made")
    bare, ruled = root / "bare", root / "ruled"
    create_installation(bare, Listen("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"))
    clock = SystemClock()
    with closing(SqlIdentity(DataDirectory(bare).state, clock)) as register:
        persons = SqlPersons(register, clock)
        for name, key in KEYS.items():
            persons.enrol(name, "", key.public_key().public_bytes_raw().hex(), "test", Rules((), "", ""), ())
    (bare / "declarations" / "exemptions").mkdir()
    shutil.copytree(bare, ruled)
    (ruled / "declarations" / "approvals.toml").write_text(RULE)
    put_declarations_in_force(DataDirectory(ruled))
    return root


class Site:
    def __init__(self, root):
        self.directory = DataDirectory(root)
        self.clock = SystemClock()
        self.register = SqlIdentity(self.directory.state, self.clock)
        self.store = snapshot_store(self.directory)
        self.origin = load_settings(root).installation.origin
        self.exemptions = self.directory.declarations / "exemptions"

    def declare(self, name="trial", days=30, text=TEXT):
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + days * 86_400))
        file = self.exemptions / f"{name}.toml"
        file.write_text(text.format(at))
        return file

    def approve(self, file, *approvers, parameters=None, origin=None):
        catalogue = read_declarations(self.directory.declarations).catalogue
        exemption = next(one for one in catalogue.exemptions if one.name == file.stem)
        now_us = self.clock.now_us()
        act = Act(EXEMPTION_GRANT, parameters or dict(grant_parameters(exemption)), "s-1", now_us, now_us + HOUR_US,
                  origin or self.origin, IdSource().new(now_us))  # fmt: skip
        approval = with_signature(Approval(act, ()), signed(act, ASKER, KEYS["s-1"]))
        for one in approvers:
            approval = with_signature(approval, signed(act, APPROVER, KEYS[one]))
        file.with_suffix(".approval").write_bytes(approval.encode())

    def mistakes(self):
        catalogue = read_declarations(self.directory.declarations).catalogue
        return unapproved(self.directory, catalogue, self.store)

    def grant(self):
        digest = self.store.save(build_declared(self.directory)[1])
        return grant_exemptions(self.directory, self.store, self.register, self.clock, digest)

    def told(self):
        bodies = [json.loads(entry.body) for entry in self.register.pending(1_000)]
        return [body for body in bodies if body["act"] == EXEMPTION_GRANT]


@pytest.fixture
def site(made, tmp_path):
    yield from copied(made / "ruled", tmp_path)


@pytest.fixture
def bare(made, tmp_path):
    yield from copied(made / "bare", tmp_path)


def copied(made, tmp_path):
    shutil.copytree(made, tmp_path / "site")
    site = Site(tmp_path / "site")
    yield site
    site.register.close()


def test_approved_ones_are_granted_once_and_told(site):
    file = site.declare()
    site.approve(file, "s-2", "s-3")
    assert check_declarations(site.directory).mistakes == []
    assert site.grant() == 1
    assert site.grant() == 0
    (told,) = site.told()
    exemption = declared_exemption(site.directory, file)
    assert {key: told[key] for key in grant_parameters(exemption)} == grant_parameters(exemption)
    assert told["approval"]["needed"] == 2
    assert dict(approval_of_record(told["approval"]).act.parameters) == grant_parameters(exemption)
    # Taken away and put back, with whatever approval beside it: the same content was approved.
    file.with_suffix(".approval").unlink()
    assert site.mistakes() == []


def test_whoever_puts_declarations_in_force_without_control_grants_it_too(site):
    site.approve(site.declare(), "s-2", "s-3")
    digest = put_declarations_in_force(site.directory)
    acts = [json.loads(entry.body) for entry in site.register.pending(1_000)]
    assert acts[-2]["act"] == EXEMPTION_GRANT
    assert acts[-1]["snapshot"] == digest


def test_without_an_approval_it_is_refused_with_the_command_that_asks_for_one(site):
    file = site.declare()
    (mistake,) = check_declarations(site.directory).mistakes
    assert mistake.file == "exemptions/trial.toml"
    assert "needs the approval of 2 of s-1, s-2, s-3" in mistake.problem
    assert f"sekisho exemptions ask {file} --by PERSON --dir {site.directory.root}" in mistake.remedy
    with pytest.raises(ApprovalMissing):
        grant_exemptions(site.directory, site.store, site.register, site.clock, stored_anyway(site, file))
    assert site.told() == []


def stored_anyway(site, file):
    """A snapshot with the exemption, built past the check: control must not put it in force either."""
    site.approve(file, "s-2", "s-3")
    digest = site.store.save(build_declared(site.directory)[1])
    file.with_suffix(".approval").unlink()
    return digest


def test_without_a_rule_in_force_nobody_can_approve(bare):
    site = bare
    file = site.declare()
    site.approve(file, "s-2", "s-3")
    (site.directory.declarations / "approvals.toml").write_text(RULE)  # declared, and not in force yet
    (mistake,) = site.mistakes()
    assert "no rule in force says who approves" in mistake.problem
    assert 'act = "exemption.grant"' in mistake.remedy


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda site, file: site.approve(file, "s-2"), "1 of the 2 approvals"),
        (lambda site, file: site.approve(file, "s-2", "s-3", origin="another/log"), "another installation"),
        (lambda site, file: file.write_text(file.read_text().replace("Read before", "Read after")), "another act"),
        (lambda site, file: file.with_suffix(".approval").write_text("{}"), "not an approval"),
        (lambda site, file: retire(site, "s-3"), "1 of the 2 approvals"),
    ],
)
def test_an_approval_that_does_not_hold_is_refused(site, spoil, said):
    file = site.declare()
    site.approve(file, "s-2", "s-3")
    assert site.mistakes() == []
    spoil(site, file)
    (mistake,) = site.mistakes()
    assert said in mistake.problem
    assert "sekisho exemptions ask" in mistake.remedy


def retire(site, person):
    SqlPersons(site.register, site.clock).retire(person, None, "test")


def test_one_approval_is_for_one_exemption(site):
    file = site.declare()
    site.approve(file, "s-2", "s-3")
    site.grant()
    other = site.declare("other")
    other.with_suffix(".approval").write_bytes(file.with_suffix(".approval").read_bytes())
    assert [one.file for one in site.mistakes()] == ["exemptions/other.toml"]


@pytest.mark.parametrize(("days", "said"), [(-1, "has ended"), (400, "more than a year")])
def test_its_end_is_neither_past_nor_far(site, days, said):
    file = site.declare(days=days)
    site.approve(file, "s-2", "s-3")
    (mistake,) = site.mistakes()
    assert said in mistake.problem
    with pytest.raises(ApprovalError, match=said):
        grant_exemptions(site.directory, site.store, site.register, site.clock, stored_unchecked(site))


def stored_unchecked(site):
    from sekisho.inspection.rules import compile_inspector, rules_bytes
    from sekisho.policy.check import compile_policies
    from sekisho.snapshot.build import build_snapshot

    declarations = read_declarations(site.directory.declarations)
    labels = compile_inspector(rules_bytes(("jp",))).labels()
    built = build_snapshot(
        declarations.catalogue, declarations.policies, inspection_rules=rules_bytes(("jp",)), labels=labels,
        compile_policies=compile_policies,
    )  # fmt: skip
    return site.store.save(built)


def test_asking_names_what_is_wrong_with_the_file(site, tmp_path):
    file = tmp_path / "trial.toml"
    file.write_text(TEXT.format("2027-03-31").replace("jp-residency.storage", "jp-residency.storge"))
    with pytest.raises(UsageError, match="is no policy"):
        declared_exemption(site.directory, file)
    file.write_text("organisation =")
    with pytest.raises(UsageError, match="is not TOML"):
        declared_exemption(site.directory, file)


def test_those_in_force_are_listed_with_their_state(site, capsys):
    file = site.declare()
    site.approve(file, "s-2", "s-3")
    site.store.activate(site.store.save(build_declared(site.directory)[1]))
    (listed,) = listed_exemptions(site.store, site.clock)
    assert (listed["name"], listed["state"]) == ("trial", "in force")
    assert main(["exemptions", "list", str(site.directory.root), "--language", "ja"]) == 0
    assert "移行の検証" in capsys.readouterr().out


def test_what_control_cant_read_stays_out_of_force(site):
    """An approval that is a directory, say: told, and nothing is granted."""
    file = site.declare()
    digest = stored_anyway(site, file)
    file.with_suffix(".approval").mkdir()
    with closing(SqlIdentity(site.directory.state, site.clock)) as register, pytest.raises(OSError, match="directory"):
        grant_exemptions(site.directory, site.store, register, site.clock, digest)
