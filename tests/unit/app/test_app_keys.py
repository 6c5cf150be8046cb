"""Key files: commitment keys that are forgotten, and a log key that another takes the place of."""

import contextlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "ledger"))

from ledger_fakes import BEGINNING, ORIGIN, Decisions, World  # the ledger's units lend their world

from sekisho.app import keys as key_files
from sekisho.app.keys import LogKeyFiles, OrganisationKeys, create_signing_key, load_signing_key
from sekisho.kernel import canonical
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.kernel.files import FileLock
from sekisho.kernel.notes import SignedNote
from sekisho.ledger.audit import audit_integrity
from sekisho.ledger.checkpoint import make_enrolment, open_checkpoint, open_enrolment
from sekisho.ledger.interfaces import CommitmentKeyForgotten, CommitmentKeyMissing
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.publisher import Identity, Publisher
from sekisho.settings import DataDirectory


@pytest.fixture
def organisations(tmp_path, monkeypatch):
    monkeypatch.setattr(key_files, "FOLLOW_INTERVAL_S", 0.0)  # look at the files each time
    keys = OrganisationKeys(tmp_path)
    keys.ensure(["bank", "ministry"])
    return keys


def test_a_forgotten_key_is_gone_from_the_disk_and_from_processes_that_had_it(organisations, tmp_path):
    other = OrganisationKeys(tmp_path)  # another process
    text = (tmp_path / "bank.key").read_text()
    other.commit("bank", "id", "sent", b"text")
    organisations.forget("bank")
    for keys in (organisations, other):
        with pytest.raises(CommitmentKeyForgotten, match="sekisho keys renew"):
            keys.commit("bank", "id", "sent", b"text")
    assert not any(text.strip() in path.read_text() for path in tmp_path.iterdir())
    other.commit("ministry", "id", "sent", b"text")
    organisations.ensure(["bank"])  # as a new snapshot does
    with pytest.raises(CommitmentKeyForgotten):
        organisations.key("bank")


def test_what_is_missing_is_told_as_what_it_is(organisations, tmp_path):
    (tmp_path / "bank.key").unlink()
    with pytest.raises(CommitmentKeyMissing, match=r"bank\.key is missing"):
        organisations.key("bank")
    with pytest.raises(SekishoError, match=r"site\.key is missing") as missing:
        load_signing_key(tmp_path / "site.key", "site")
    assert type(missing.value) is SekishoError, "it is no commitment key"


def test_a_stream_that_runs_ends_with_the_salt_that_it_began_with(organisations):
    stream = organisations.stream("bank", "id", "answer")
    expected = organisations.commit("bank", "id", "answer", b"ab")
    organisations.forget("bank")
    stream.update(b"ab")
    assert stream.finish() == expected


def test_a_renewed_key_is_another_one(organisations):
    before = organisations.commit("bank", "id", "sent", b"text")
    with pytest.raises(UsageError, match="was not forgotten"):
        organisations.renew("bank")
    organisations.forget("bank")
    organisations.renew("bank")
    assert organisations.commit("bank", "id", "sent", b"text") != before


@pytest.mark.parametrize("name", ["banc", "../log", "bank.key"])
def test_nothing_but_an_organisations_key_is_destroyed(organisations, tmp_path, name):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match="no organisation"):
        organisations.forget(name)
    assert sorted(tmp_path.iterdir()) == before


class Crash(Exception):
    pass


class Site:
    """A log whose key is in files."""

    def __init__(self, root):
        self.directory = DataDirectory(root)
        self.world = World(self.directory.ledger)
        self.directory.ledger.mkdir(parents=True)
        self.directory.keys.mkdir()
        self.site = create_signing_key(self.directory.site_key, "bank.example/tokyo")
        old = create_signing_key(self.directory.log_key, ORIGIN)
        self.directory.enrolment.write_text(make_enrolment(self.site, ORIGIN, old.verifier))
        self.keys = LogKeyFiles(self.directory, ORIGIN)
        self.writer = self.world.writer()

    def start(self):
        publisher = Publisher(
            self.directory.ledger, Identity(self.keys.current(), "tokyo", self.keys), Decisions(), self.world.clock,
            self.world.ids, sources=lambda root: list(self.world.writers.values()), beginning=BEGINNING,
        )  # fmt: skip
        publisher.start()
        return publisher

    def stage(self):
        return self.keys.stage(self.site, self.world.ids.new(self.world.clock.now_us()), "operator")

    def enrolled(self):
        return open_enrolment(self.directory.enrolment.read_text(), self.site.verifier).log

    def rotations(self):
        size = audit_integrity(self.directory.ledger, self.enrolled()).size
        entries = [e for _, es in LogFiles(self.directory.ledger).entries(0, size) for e in map(canonical.decode, es)]
        return [e["body"] for e in entries if e["body"].get("act") == "ledger.key.rotate"]


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_the_new_key_is_named_in_the_log_and_introduced_by_the_old_one(site):
    old = site.keys.current().verifier
    publisher = site.start()
    new = site.stage()
    publisher.merge_once()
    note = site.directory.ledger.joinpath("checkpoint").read_text()
    assert set(SignedNote.parse(note).verified_by([old, new])) == {old, new}
    assert site.enrolled() == new == site.keys.current().verifier
    (told,) = site.rotations()
    assert (told["vkey"], told["vkey_before"]) == (new.vkey, old.vkey)
    site.writer.append("change", {})
    publisher.merge_once()
    note = site.directory.ledger.joinpath("checkpoint").read_text()
    assert SignedNote.parse(note).verified_by([old, new]) == (new,)
    publisher.close()
    site.start().close()
    kept = [path.read_text() for path in site.directory.former_enrolments.iterdir()]
    assert [open_enrolment(note, site.site.verifier).log for note in kept] == [old]
    assert sorted(path.name for path in site.directory.keys.iterdir()) == ["log.key", "site.key"]


def test_two_rotations_at_once_can_not_mix_their_keys(site):
    """The key of the one with the enrolment of the other: no checkpoint would ever verify again."""
    with FileLock(site.directory.ledger / "rotate.lock"), pytest.raises(UsageError, match="under way"):
        site.stage()
    before = site.enrolled()
    site.stage()
    site.directory.next_log_key.unlink()
    create_signing_key(site.directory.next_log_key, ORIGIN)
    publisher = site.start()
    with pytest.raises(SekishoError, match="Remove both"):
        publisher.merge_once()
    publisher.close()
    assert site.enrolled() == before == site.keys.current().verifier
    site.directory.next_log_key.unlink()
    site.directory.next_log.unlink()
    new = site.stage()
    publisher = site.start()
    publisher.merge_once()
    publisher.close()
    assert site.enrolled() == new == site.keys.current().verifier


def test_a_second_rotation_waits_for_the_first(site):
    site.stage()
    with pytest.raises(UsageError, match="under way"):
        site.stage()


@pytest.mark.parametrize("step", ["write_durable", "rename", "sync_directory"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_crash_in_the_middle_is_made_good_by_the_next_start(site, monkeypatch, step, number):
    """Whichever system call of `advance` is the last: one entry, and a log that its enrolled key has signed."""
    publisher = site.start()
    new = site.stage()
    owner = key_files.os if step == "rename" else key_files
    real, calls = getattr(owner, step), []

    def crash(*arguments, **options):
        calls.append(arguments)
        if len(calls) > number:
            raise Crash
        return real(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(owner, step, crash)
        with contextlib.suppress(Crash):
            publisher.merge_once()
        publisher.close()
    again = site.start()
    again.merge_once()
    site.writer.append("change", {})
    again.merge_once()
    again.close()
    assert site.enrolled() == new == site.keys.current().verifier
    assert len(site.rotations()) == 1
    note = site.directory.ledger.joinpath("checkpoint").read_text()
    assert open_checkpoint(note, new).size == 2
    assert not site.directory.next_log.exists()


def test_a_crash_between_the_entry_and_its_checkpoint_has_both_keys_sign_all_the_same(site, monkeypatch):
    publisher = site.start()
    new = site.stage()
    old = site.keys.current().verifier

    def crash(_state):
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(publisher, "_publish", crash)
        with pytest.raises(Crash):
            publisher.merge_once()
    publisher.close()
    again = site.start()
    note = site.directory.ledger.joinpath("checkpoint").read_text()
    assert SignedNote.parse(note).verified_by([old, new]) == (old,)
    again.merge_once()
    note = site.directory.ledger.joinpath("checkpoint").read_text()
    assert SignedNote.parse(note).verified_by([old, new]) == (old, new)
    again.close()
    assert len(site.rotations()) == 1
    assert site.rotations()[0]["origin"] == ORIGIN
