"""A witness's record: over crashes, races and bad disks no two histories are ever cosigned."""

import itertools
import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ledger_fakes import BreakingDisk, DiskBroke, StillClock
from witness_fakes import LOG_ORIGIN, SmallLog, key, witness_signer

from sekisho.kernel.cosignatures import cosigned_by
from sekisho.kernel.files import FileLock
from sekisho.kernel.notes import NoteSigner, SignedNote, parse_signatures
from sekisho.ledger import witness_book
from sekisho.ledger.checkpoint import origin_hash
from sekisho.ledger.errors import ProofRefused, SizeConflict, WitnessBusy, WitnessHalted, WitnessRefused
from sekisho.ledger.witness import Head
from sekisho.ledger.witness_book import REPEAT_US, WitnessBook, begin

LOG = SmallLog()
FORK = SmallLog(fork=b"other", shared=20)
KEYS = [LOG.verifier]
HASH = origin_hash(LOG_ORIGIN)


@pytest.fixture
def root(tmp_path):
    begin(tmp_path / "witness").release()
    return tmp_path / "witness"


def book(root, clock=None, storage=None, signer=None):
    return WitnessBook(root, signer or witness_signer(), clock or StillClock(), storage)


def cosigned(lines, log, size):
    """The time at which our witness cosigned exactly this checkpoint."""
    note = SignedNote(log.checkpoint(size).text, parse_signatures(lines))
    (found,) = cosigned_by(note, [witness_signer().verifier])
    return found.time


def test_a_log_is_followed_and_each_step_recorded_before_its_cosignature(root):
    witness = book(root)
    for old, size in itertools.pairwise((0, 1, 1, 5, 64)):
        lines = witness.add_checkpoint(LOG.request(old, size), KEYS)
        assert cosigned(lines, LOG, size) > 0
        kept = SignedNote.parse(witness.checkpoint(HASH))
        assert kept.text == LOG.checkpoint(size).text
        assert kept.verified_by(KEYS) == (LOG.verifier,)
        assert len(cosigned_by(kept, [witness_signer().verifier])) == 1
        assert witness.heads() == {LOG_ORIGIN: Head(size, LOG.checkpoint(size).root)}


def test_it_is_remembered_by_the_next_process(root):
    book(root).add_checkpoint(LOG.request(0, 30), KEYS)
    with pytest.raises(SizeConflict) as conflict:
        book(root).add_checkpoint(LOG.request(0, 40), KEYS)
    assert conflict.value.size == 30
    with pytest.raises(ProofRefused):
        book(root).add_checkpoint(FORK.request(30, 40), KEYS)
    book(root).add_checkpoint(LOG.request(30, 40), KEYS)


def test_it_never_goes_back(root):
    witness = book(root)
    witness.add_checkpoint(LOG.request(0, 30), KEYS)
    for old, size in ((0, 20), (20, 20), (20, 30)):
        with pytest.raises(SizeConflict):
            witness.add_checkpoint(LOG.request(old, size), KEYS)
    assert witness.heads()[LOG_ORIGIN].size == 30


def test_logs_are_apart(root):
    witness = book(root)
    other = SmallLog(signer=NoteSigner("other.example/log", key(3)))
    witness.add_checkpoint(LOG.request(0, 30), KEYS)
    witness.add_checkpoint(other.request(0, 7), [other.verifier])
    assert {origin: head.size for origin, head in witness.heads().items()} == {LOG_ORIGIN: 30, "other.example/log": 7}


def test_two_signed_histories_are_kept_as_proof_and_the_second_is_not_cosigned(root, caplog):
    witness = book(root)
    witness.add_checkpoint(LOG.request(0, 30), KEYS)
    for request in (FORK.request(30, 30), FORK.request(0, 30)):
        with pytest.raises(WitnessRefused):
            witness.add_checkpoint(request, KEYS)
    assert witness.splits == 2
    assert caplog.text.count("has two histories") == 1
    first, second = (root / f"{HASH}.split").read_text().split("\n\n— ")[:2]
    assert LOG.checkpoint(30).text.strip() in first
    assert FORK.checkpoint(30).text.strip() in second
    assert witness.heads()[LOG_ORIGIN].root == LOG.checkpoint(30).root


def test_times_never_go_back(root):
    clock = StillClock()
    witness = book(root, clock)
    first = cosigned(witness.add_checkpoint(LOG.request(0, 5), KEYS), LOG, 5)
    clock.time_us -= 3_600_000_000
    assert cosigned(witness.add_checkpoint(LOG.request(5, 6), KEYS), LOG, 6) == first


def test_a_checkpoint_sent_again_costs_no_write_for_a_while(root):
    clock, disk = StillClock(), BreakingDisk()
    witness = book(root, clock, disk)
    lines = witness.add_checkpoint(LOG.request(0, 5), KEYS)
    for _ in range(5):
        assert witness.add_checkpoint(LOG.request(5, 5), KEYS) == lines
    assert disk.count == 2, "the record, and that there is one"
    clock.time_us += REPEAT_US + 1_000_000
    assert cosigned(witness.add_checkpoint(LOG.request(5, 5), KEYS), LOG, 5) > cosigned(lines, LOG, 5)
    assert disk.count == 3


@pytest.mark.parametrize("persisted", [False, True])
def test_after_a_failed_write_nothing_is_signed_until_a_new_start(root, persisted):
    book(root).add_checkpoint(LOG.request(0, 5), KEYS)
    witness = book(root, storage=BreakingDisk(0, persisted=persisted))
    with pytest.raises(DiskBroke):
        witness.add_checkpoint(LOG.request(5, 9), KEYS)
    for request in (LOG.request(5, 9), LOG.request(9, 9), LOG.request(5, 10)):
        with pytest.raises(WitnessHalted, match="injected"):
            witness.add_checkpoint(request, KEYS)
    again, at = book(root), 9 if persisted else 5
    assert cosigned(again.add_checkpoint(LOG.request(at, 10), KEYS), LOG, 10)


@pytest.mark.parametrize("persisted", [False, True])
def test_what_may_not_be_durable_is_not_shown_either(root, persisted):
    """A cosignature that is read from the record leaves as well: a power cut could make us forget it."""
    witness = book(root, storage=BreakingDisk(0, persisted=persisted))
    with pytest.raises(DiskBroke):
        witness.add_checkpoint(LOG.request(0, 9), KEYS)
    if persisted:
        with pytest.raises(WitnessHalted, match="injected"):
            witness.checkpoint(HASH)
        again = book(root, storage=BreakingDisk(0))  # a new process finds it, and its sync fails
        with pytest.raises(DiskBroke):
            again.checkpoint(HASH)
        with pytest.raises(WitnessHalted, match="injected"):
            again.add_checkpoint(LOG.request(9, 10), KEYS)
        disk = BreakingDisk()
        third = book(root, storage=disk)
        assert [third.checkpoint(HASH) for _ in range(3)] == [(root / HASH).read_text()] * 3
        assert disk.count == 1, "made durable once"
    else:
        assert witness.checkpoint(HASH) is None


def test_a_full_disk_does_not_hide_two_histories(root, caplog):
    book(root).add_checkpoint(LOG.request(0, 30), KEYS)
    with pytest.raises(ProofRefused):
        book(root, storage=BreakingDisk(0)).add_checkpoint(FORK.request(30, 30), KEYS)
    assert "has two histories" in caplog.text
    for log in (LOG, FORK):
        assert log.checkpoint(30).text in caplog.text


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff"),
        lambda path: path.write_text(path.read_text().replace("\n5\n", "\n4\n")),
        lambda path: path.write_text(LOG.note(5)),
        lambda path: path.write_text(LOG.note(5) + witness_signer(7).cosign(LOG.checkpoint(5).text, 9)),
    ],
)
def test_a_record_that_is_not_ours_stops_it(root, spoil):
    witness = book(root)
    witness.add_checkpoint(LOG.request(0, 5), KEYS)
    spoil(root / HASH)
    for each in (witness, book(root)):
        with pytest.raises(WitnessHalted):
            each.add_checkpoint(LOG.request(5, 9), KEYS)
    with pytest.raises(WitnessHalted):
        witness.heads()


def test_a_record_that_is_lost_alone_is_missed(root):
    """Begun anew, it could be made to cosign another history under the same key."""
    witness = book(root)
    witness.add_checkpoint(LOG.request(0, 5), KEYS)
    (root / HASH).unlink()
    for each in (witness, book(root)):
        with pytest.raises(WitnessHalted, match="is gone"):
            each.add_checkpoint(FORK.request(0, 9), KEYS)


def test_a_record_of_before_there_was_a_mark_gets_one(root):
    book(root).add_checkpoint(LOG.request(0, 5), KEYS)
    (root / f"{HASH}.known").unlink()  # as after a crash between the two
    book(root).add_checkpoint(LOG.request(5, 9), KEYS)
    (root / HASH).unlink()
    with pytest.raises(WitnessHalted, match="is gone"):
        book(root).add_checkpoint(LOG.request(0, 5), KEYS)


@pytest.mark.parametrize("persisted", [False, True])
def test_no_cosignature_leaves_before_its_log_is_marked_as_known(root, persisted):
    witness = book(root, storage=BreakingDisk(1, persisted=persisted))
    with pytest.raises(DiskBroke):
        witness.add_checkpoint(LOG.request(0, 5), KEYS)
    assert cosigned(book(root).add_checkpoint(LOG.request(5, 9), KEYS), LOG, 9)


def test_another_logs_record_under_this_name_stops_it(root):
    other = SmallLog(signer=NoteSigner("other.example/log", key(3)))
    witness = book(root)
    witness.add_checkpoint(other.request(0, 5), [other.verifier])
    (root / origin_hash("other.example/log")).rename(root / HASH)
    with pytest.raises(WitnessHalted):
        witness.add_checkpoint(LOG.request(0, 5), KEYS)


def test_a_key_without_its_record_stops_it(tmp_path):
    with pytest.raises(WitnessHalted, match="is gone") as halted:
        book(tmp_path / "witness")
    assert "keys/witness.key" in halted.value.remedy


def test_a_record_without_its_key_is_not_begun_anew(root):
    book(root).add_checkpoint(LOG.request(0, 5), KEYS)
    with pytest.raises(WitnessHalted, match="of a key that is gone"):
        begin(root)


def test_a_newer_format_is_refused(root):
    (root / "format").write_text("2\n")
    with pytest.raises(WitnessHalted, match="format"):
        book(root)


def test_another_process_at_work_is_waited_for_and_then_told(root, monkeypatch):
    monkeypatch.setattr(witness_book, "LOCK_WAIT_S", 0.02)
    lock = FileLock(root / "lock").acquire()
    with pytest.raises(WitnessBusy):
        book(root).add_checkpoint(LOG.request(0, 5), KEYS)
    lock.release()
    book(root).add_checkpoint(LOG.request(0, 5), KEYS)


def test_of_many_that_ask_at_once_one_history_wins(root):
    """Threads and books of their own race with two histories: whatever wins, all that was cosigned is one history."""
    given = []

    def ask(log):
        witness = book(root)
        old = 0
        for size in range(21, 40):
            try:
                lines = witness.add_checkpoint(log.request(old, size), KEYS)
            except SizeConflict as conflict:
                old = conflict.size if conflict.size <= size else old
            except ProofRefused:
                return
            else:
                given.append((log, size, lines))
                old = size

    threads = [threading.Thread(target=ask, args=(log,)) for log in (LOG, FORK, LOG, FORK)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert given
    assert len({id(log) for log, _, _ in given}) == 1
    for log, size, lines in given:
        cosigned(lines, log, size)


@pytest.mark.parametrize("hashed", ["", "../keys/witness.key", HASH.upper(), HASH + ".split", "lock", "0" * 63])
def test_only_hashes_name_checkpoints(root, hashed):
    witness = book(root)
    witness.add_checkpoint(LOG.request(0, 5), KEYS)
    assert witness.checkpoint(hashed) is None
    assert witness.checkpoint("0" * 64) is None


class Crashes(RuleBasedStateMachine):
    """Requests of two histories, disks that break (with and without the write having happened), and new starts."""

    @initialize(root=st.builds(object))
    def start(self, root):
        import tempfile
        from pathlib import Path

        self._kept = tempfile.TemporaryDirectory()
        self.root = Path(self._kept.name) / "witness"
        begin(self.root).release()
        self.clock = StillClock()
        self.given = {}  # size -> text: everything that ever left
        self.times = []
        self.witness = book(self.root, self.clock)

    def teardown(self):
        if hasattr(self, "_kept"):
            self._kept.cleanup()

    @rule(old=st.integers(0, 40), size=st.integers(0, 40), fork=st.booleans(), knows=st.booleans())
    def ask(self, old, size, fork, knows):
        log = FORK if fork else LOG
        if knows:
            old = next((head.size for head in self.witness.heads().values()), 0)
        if old > size:
            return
        try:
            lines = self.witness.add_checkpoint(log.request(old, size), KEYS)
        except (WitnessRefused, WitnessHalted, OSError):
            return
        self.times.append(cosigned(lines, log, size))
        text = log.checkpoint(size).text
        assert self.given.setdefault(size, text) == text, "two roots for one size"
        assert size >= max(self.given), "went back"
        assert self.witness.heads()[LOG_ORIGIN].size == size, "left before it was recorded"

    @rule(persisted=st.booleans(), at=st.integers(0, 2))
    def start_on_a_bad_disk(self, persisted, at):
        self.witness = book(self.root, self.clock, BreakingDisk(at, persisted=persisted))

    @rule(back_us=st.integers(-10_000_000, 10_000_000))
    def start_again(self, back_us):
        self.clock.time_us += back_us
        self.witness = book(self.root, self.clock)

    @invariant()
    def one_history_and_time_goes_on(self):
        if not hasattr(self, "given"):
            return
        assert self.times == sorted(self.times)
        forked = {size for size, text in self.given.items() if text == FORK.checkpoint(size).text and size > 20}
        ours = {size for size, text in self.given.items() if text == LOG.checkpoint(size).text and size > 20}
        assert not (forked and ours), "two histories were cosigned"


TestCrashes = Crashes.TestCase
TestCrashes.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
