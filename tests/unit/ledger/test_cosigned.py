"""Cosignatures kept beside the log: what is served and proved against carries those that are there, no others."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_fakes import World
from witness_fakes import LOG_ORIGIN, SmallLog, key, named, witness_signer

from sekisho.kernel.cosignatures import cosigned_by
from sekisho.kernel.files import FileLock
from sekisho.kernel.notes import NoteSigner, SignedNote
from sekisho.ledger import cosigned
from sekisho.ledger.checkpoint import Checkpoint, EntryProof, open_checkpoint, sign_checkpoint
from sekisho.ledger.cosigned import NEWEST_KEPT, CosignedNotes
from sekisho.ledger.cosigning import SIZE_TYPE, WitnessAnswer, read_answer, verify_lines, write_request
from sekisho.ledger.errors import SizeConflict, WitnessAnswerInvalid, WitnessBusy
from sekisho.ledger.reader import LogReader
from sekisho.ledger.witness import AddCheckpoint

LOG = SmallLog()
W1, W2, W3 = (witness_signer(n, f"w{n}.example/w") for n in (11, 12, 13))
DECLARED = [one.verifier for one in (W1, W2, W3)]


def line(witness, size, time=1_790_000_000, log=LOG):
    return witness.cosign(log.checkpoint(size).text, time)


@pytest.fixture
def notes(tmp_path):
    return CosignedNotes(tmp_path)


def add(notes, witness, size, declared=DECLARED, log=LOG):
    notes.add(log.note(size), line(witness, size, log=log), declared)


def names(note):
    return [found.cosigner.name for found in cosigned_by(SignedNote.parse(note), DECLARED)]


def sizes(notes):
    return [found.checkpoint.size for found in notes.notes()]


def test_cosignatures_of_one_checkpoint_gather_on_it(notes):
    add(notes, W1, 9)
    add(notes, W2, 9)
    note = notes.with_cosignatures(LOG.note(9))
    assert names(note) == [W1.verifier.name, W2.verifier.name]
    open_checkpoint(note, LOG.verifier)
    assert notes.with_cosignatures(LOG.note(10)) == LOG.note(10)


def test_a_newer_cosignature_replaces_the_older(notes):
    for time in range(1_790_000_000, 1_790_000_100):
        notes.add(LOG.note(9), line(W1, 9, time), DECLARED)
    note = SignedNote.parse(notes.with_cosignatures(LOG.note(9)))
    assert [found.time for found in cosigned_by(note, DECLARED)] == [1_790_000_099]
    assert len(note.signatures) == 2


def test_an_older_cosignature_that_is_sent_again_replaces_nothing(notes):
    for time in (1_790_000_050, 1_790_000_000):
        notes.add(LOG.note(9), line(W1, 9, time), DECLARED)
    note = SignedNote.parse(notes.with_cosignatures(LOG.note(9)))
    assert [found.time for found in cosigned_by(note, DECLARED)] == [1_790_000_050]


def test_another_root_of_that_size_gets_none_of_them(notes):
    add(notes, W1, 9)
    other = SmallLog(fork=b"other").note(9)
    assert notes.with_cosignatures(other) == other


def test_the_note_with_the_most_cosignatures_is_proved_against_and_of_these_the_newest(notes):
    add(notes, W1, 5)
    add(notes, W2, 5)
    add(notes, W1, 9)
    add(notes, W1, 12)
    published = LOG.note(20)
    for size_min, size in ((1, 5), (5, 5), (6, 12), (12, 12), (13, 20), (20, 20)):
        assert SignedNote.parse(notes.covering(published, size_min)).text == LOG.checkpoint(size).text


def test_what_is_beyond_or_beside_the_published_log_is_not_proved_against(notes, tmp_path):
    add(notes, W1, 9)
    assert notes.covering(LOG.note(8), 3) == LOG.note(8)
    other = SmallLog(fork=b"other")
    assert notes.covering(other.note(9), 3) == other.note(9)
    rotated = SmallLog(signer=NoteSigner(LOG_ORIGIN, key(2)))
    assert notes.covering(rotated.note(20), 3) == rotated.note(20), "the note is not signed by the log's present key"


@pytest.mark.parametrize("spoilt", [b"", b"\xff", b"x\n\n", LOG.note(4).encode(), LOG.note(9).encode()[:-3]], ids=named)
def test_what_cannot_be_read_is_passed_over(notes, tmp_path, spoilt):
    add(notes, W1, 9)
    (tmp_path / "cosigned" / "9").write_bytes(spoilt)
    assert notes.with_cosignatures(LOG.note(9)) == LOG.note(9)
    assert notes.covering(LOG.note(20), 3) == LOG.note(20)
    add(notes, W2, 9)
    assert names(notes.with_cosignatures(LOG.note(9))) == [W2.verifier.name]


def test_only_so_many_notes_are_kept(notes):
    add(notes, W3, 1)
    add(notes, W1, 2)
    add(notes, W2, 2)
    for size in range(3, 30):
        add(notes, W2 if size == 10 else W1, size)
    # The newest, the newest of W2 and of W3, and the one with the most witnesses.
    assert sizes(notes) == [29, 28, 27, 26, 10, 2, 1]
    assert len(sizes(notes)) <= NEWEST_KEPT + 1 + len(DECLARED)
    add(notes, W2, 29)
    add(notes, W3, 29)
    assert sizes(notes) == [29, 28, 27, 26]


def test_the_cosignatures_of_who_is_declared_no_more_keep_nothing(notes):
    add(notes, W2, 2)
    add(notes, W3, 2)
    for size in range(3, 10):
        add(notes, W1, size, declared=[W1.verifier])
    assert sizes(notes) == [9, 8, 7, 6]


def test_another_process_at_work_is_told(notes, tmp_path, monkeypatch):
    add(notes, W1, 5)
    monkeypatch.setattr(cosigned, "_LOCK_WAIT_S", 0.01)
    with FileLock(tmp_path / "cosigned" / "lock").acquire(), pytest.raises(WitnessBusy):
        add(notes, W1, 6)


def test_receipts_are_proved_against_what_witnesses_cosigned(tmp_path):
    world = World(tmp_path / "ledger")
    writer, publisher = world.writer(), world.publisher()
    early = world.request(writer)
    publisher.merge_once()
    note = (world.root / "checkpoint").read_text()
    reader, store = LogReader(world.root), CosignedNotes(world.root)
    text = SignedNote.parse(note).text
    store.add(note, W1.cosign(text, 7), DECLARED)
    for _ in range(300):
        late = world.request(writer)
    publisher.merge_once()

    def proved(request):
        state = reader.state(request, world.clock.now_us())
        assert state.state == "complete"
        return [EntryProof.parse(entry.proof).checkpoint for entry in state.entries]

    assert [names(one) for one in proved(early)] == [[W1.verifier.name]] * 2
    assert SignedNote.parse(proved(early)[0]).text == text
    assert proved(late) == [(world.root / "checkpoint").read_text()] * 2
    held = world.root / "cosigned" / str(2)
    other = sign_checkpoint(Checkpoint(world.log_key.verifier.name, 2, bytes(32)), world.log_key)
    held.write_text(other + W1.cosign(SignedNote.parse(other).text, 7))  # of another history
    assert proved(early) == proved(late)
    held.write_text("damaged")
    assert proved(early) == proved(late)
    reader.close()


# What a witness answers


def answer(body, status=200, content_type="text/plain"):
    return WitnessAnswer(status, content_type, body if isinstance(body, bytes) else body.encode())


def test_a_request_is_what_a_witness_reads():
    request = AddCheckpoint.parse(write_request(5, LOG.note(9), LOG.node))
    assert request == LOG.request(5, 9)


def test_the_witness_line_is_found_among_those_of_its_other_keys():
    other = witness_signer(14, W1.verifier.name)
    body = line(other, 9) + line(W1, 9, 8) + line(W1, 9, 9) + line(W2, 8)
    assert read_answer(answer(body), LOG.note(9), W1.verifier) == line(W1, 9, 9)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "\n",
        line(W1, 9)[:-1],
        line(W2, 9),
        line(W1, 8),
        line(W1, 9, log=SmallLog(fork=b"other")),
        line(W1, 9, 0),
        line(W1, 9) + line(W1, 8),
        line(W1, 9) + "garbage\n",
        line(W1, 9) * 65,
        LOG.note(9),
        b"\xff\n",
        b"<html></html>",
    ],
    ids=named,
)
def test_an_answer_that_is_no_cosignature_of_this_checkpoint_is_refused(body):
    with pytest.raises(WitnessAnswerInvalid):
        read_answer(answer(body), LOG.note(9), W1.verifier)


def test_a_conflict_is_read_strictly():
    with pytest.raises(SizeConflict) as conflict:
        read_answer(answer("7\n", 409, SIZE_TYPE), LOG.note(9), W1.verifier)
    assert conflict.value.size == 7
    with pytest.raises(SizeConflict):  # by way of a proxy
        read_answer(answer("7\n", 409, "Text/X.tlog.size; charset=utf-8"), LOG.note(9), W1.verifier)
    with pytest.raises(WitnessAnswerInvalid):
        read_answer(answer("7\n", 409, "text/plain"), LOG.note(9), W1.verifier)
    for body in ("", "7", "07\n", "-7\n", "7\n\n", "9223372036854775808\n", "7 \n", "９\n", b"\xff\n", "7" * 40 + "\n"):
        with pytest.raises(WitnessAnswerInvalid):
            read_answer(answer(body, 409, SIZE_TYPE), LOG.note(9), W1.verifier)
    with pytest.raises(WitnessAnswerInvalid, match="409"):
        read_answer(answer("7\n", 409), LOG.note(9), W1.verifier)


def test_its_own_words_are_repeated_without_their_control_characters():
    with pytest.raises(WitnessAnswerInvalid, match="503: no\ufffd time") as refused:
        read_answer(answer("no\x1b time\nmore", 503), LOG.note(9), W1.verifier)
    assert "more" not in str(refused.value)


BODY = line(W1, 9).encode()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_no_byte_of_a_cosignature_can_be_changed(position, change):
    changed = bytearray(BODY)
    changed[position] ^= change
    with pytest.raises(WitnessAnswerInvalid):
        read_answer(answer(bytes(changed)), LOG.note(9), W1.verifier)


def test_lines_out_of_a_file_are_held_to_the_same():
    assert verify_lines(line(W1, 9), LOG.note(9), W1.verifier) == line(W1, 9)
    with pytest.raises(WitnessAnswerInvalid):
        verify_lines(line(W1, 9), LOG.note(10), W1.verifier)
