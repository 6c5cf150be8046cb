"""From the published log to a receipt, and what its verifier refuses."""

import base64
import copy
import shutil
import tracemalloc

import pytest
from ledger_fakes import ORGANISATION_KEY, ORIGIN, World
from receipt_corpus import (
    ENTRY_CHANGES,
    FILE_CHANGES,
    altered,
    receipt_of,
    recorded,
)

from sekisho.kernel import canonical
from sekisho.kernel.notes import NoteVerifier
from sekisho.ledger import commitments
from sekisho.ledger.checkpoint import make_enrolment
from sekisho.ledger.description import describe, summary
from sekisho.ledger.errors import LogUnreadable, ReceiptInvalid
from sekisho.ledger.interfaces import ProvenEntry, ReceiptState
from sekisho.ledger.reader import DECIDE_US_MAX, FUTURE_US_MAX, PENDING, LogReader
from sekisho.ledger.receipts import build_receipt, parse_receipt
from sekisho.ledger.verify import CONSISTENT, VERIFIED, verify_receipt


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "ledger")


@pytest.fixture
def reader(world):
    reader = LogReader(world.root)
    yield reader
    reader.close()


def test_a_file_of_brackets_is_refused_before_it_fills_memory():
    tracemalloc.start()
    try:
        with pytest.raises(ReceiptInvalid, match="too many arrays"):
            parse_receipt(b"[" + b"[]," * (4 << 20) + b"[]]")
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_a_receipt_is_verified_with_the_pinned_key_only(world):
    request, entries = recorded(world, failures=1)
    data = receipt_of(world, entries, request=request)
    assert verify_receipt(data).verdict == CONSISTENT
    verification = verify_receipt(data, trusted=[world.site_key.verifier])
    assert verification.verdict == VERIFIED
    assert [a.outcome["body"]["ended"] for a in verification.attempts] == ["failed", "answered"]
    with pytest.raises(ReceiptInvalid, match="not among those you trust"):
        verify_receipt(data, trusted=[world.log_key.verifier])


def test_a_strangers_signature_is_passed_over_and_does_not_stand_in_for_the_logs(world):
    """C2SP signed-note, "Verifying": lines of unknown keys are ignored; one of a known key must verify."""
    request, entries = recorded(world)
    receipt = canonical.decode(receipt_of(world, entries, request=request))
    line = f"— stranger.example {base64.b64encode(bytes(68)).decode()}\n"

    def verdict(note_of):
        changed = copy.deepcopy(receipt)
        for item in changed["entries"]:
            item["proof"] = note_of(item["proof"])
        return verify_receipt(canonical.encode(changed), trusted=[world.site_key.verifier]).verdict

    assert verdict(lambda proof: proof + line) == VERIFIED
    with pytest.raises(ReceiptInvalid):
        verdict(lambda proof: proof[: proof.rindex("— ")] + line)  # instead of the log's own
    own = world.log_key.verifier
    broken = base64.b64encode(own.key_id + bytes(64)).decode()
    with pytest.raises(ReceiptInvalid, match="does not verify"):
        verdict(lambda proof: f"{proof}— {own.name} {broken}\n")  # beside a good one of the same key


def test_a_denial_is_a_receipt_too(world):
    request, entries = recorded(world, denied=True)
    (attempt,) = verify_receipt(receipt_of(world, entries, request=request)).attempts
    assert attempt.outcome is None
    assert attempt.decision["body"]["chosen"] is None


def test_content_is_compared_with_what_was_committed_to(world):
    request, entries = recorded(world, failures=1)
    data = receipt_of(world, entries, request=request)
    content = {"received": b"question", "sent": b"question out", "answer": b"answer"}
    assert verify_receipt(data, content=content).content == ("answer", "received", "sent")
    for field in content:
        with pytest.raises(ReceiptInvalid, match=f"given as {field}"):
            verify_receipt(data, content={**content, field: b"other"})
    with pytest.raises(ReceiptInvalid, match="no content named"):
        verify_receipt(data, content={"engine": b""})


def test_another_organisations_key_builds_no_receipt(world):
    request, entries = recorded(world)
    world_key = ProvenEntry(entries[0], 0, "")
    with pytest.raises(ReceiptInvalid, match="salt"):
        build_receipt(request, world.site_key.verifier, "", [world_key], b"other" * 8)


@pytest.mark.parametrize("name", ENTRY_CHANGES)
def test_entries_that_do_not_fit_together_are_refused(world, name):
    change, reason = ENTRY_CHANGES[name]
    request, entries = recorded(world, failures=1)
    verify_receipt(receipt_of(world, entries, request=request))
    with pytest.raises(ReceiptInvalid, match=reason):
        verify_receipt(receipt_of(world, change(entries), request=request))


@pytest.mark.parametrize("name", FILE_CHANGES)
def test_a_file_that_is_not_of_the_one_form_is_refused(world, name):
    request, entries = recorded(world, failures=1)
    value = canonical.decode(receipt_of(world, entries, request=request))
    changed = copy.deepcopy(value)
    FILE_CHANGES[name](changed)
    with pytest.raises(ReceiptInvalid):
        verify_receipt(canonical.encode(changed))


def test_white_space_and_rubbish_are_refused(world):
    request, entries = recorded(world)
    data = receipt_of(world, entries, request=request)
    for other in (b"", b"[]", b"\xff", data + b"\n", data.replace(b",", b", ", 1), b"[" * 100_000):
        with pytest.raises(ReceiptInvalid):
            verify_receipt(other)


def test_a_log_of_another_origin_is_refused(world):
    request, entries = recorded(world)
    value = canonical.decode(receipt_of(world, entries, request=request))
    stranger = World(world.root / "x")
    stranger.log_key = world.site_key
    note = make_enrolment(world.site_key, world.site_key.verifier.name, world.site_key.verifier)
    value["enrolment"] = note
    with pytest.raises(ReceiptInvalid, match="not signed by"):
        verify_receipt(canonical.encode(value))


def test_descriptions_are_for_people_and_terminals(world):
    request, entries = recorded(world, failures=1)
    entries[0] = altered(entries[0], lambda e: e["body"]["input"].update(model="\x1b[31m\u202eevil"))
    verification = verify_receipt(receipt_of(world, entries, request=request), trusted=[world.site_key.verifier])
    english, japanese = describe(verification), describe(verification, "ja")
    assert english.startswith("VERIFIED")
    assert "refused: faraway (sendRaw) because of: abroad" in english
    assert "chosen: domestic" in english
    assert "検証済み" in japanese
    for text in (english, japanese):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert len(text.splitlines()) <= 42
    assert summary(verification)["attempts"][1]["ended"] == "answered"


def test_the_reader_knows_complete_pending_and_unknown(world, reader):
    writer = world.writer()
    assert reader.state(world.ids.new(world.clock.now_us()), world.clock.now_us()).state == "pending"
    before = world.ids.new(world.clock.now_us() - 2 * DECIDE_US_MAX)
    publisher = world.publisher()
    done, denied = world.request(writer, failures=1), world.request(writer, denied=True)
    unfinished = world.request(writer, outcome=False)
    publisher.merge_once()
    late = world.request(writer)
    now_us = world.clock.now_us()
    assert reader.state(done, now_us).state == "complete"
    assert len(reader.state(done, now_us).entries) == 4
    assert reader.state(denied, now_us).state == "complete"
    assert reader.state(unfinished, now_us).state == "pending"
    assert reader.state(late, now_us).state == "pending"
    assert reader.state(before, now_us).state == "unknown"
    assert reader.state(world.ids.new(now_us + 2 * FUTURE_US_MAX), now_us).state == "unknown"
    assert reader.state("no id at all", now_us).state == "unknown"


def test_what_the_checkpoint_does_not_cover_is_pending(world, reader):
    writer = world.writer()
    publisher = world.publisher()
    publisher.merge_once()
    old = (world.root / "checkpoint").read_bytes()
    request = world.request(writer)
    publisher.merge_once()
    new = (world.root / "checkpoint").read_bytes()
    (world.root / "checkpoint").write_bytes(old)  # a reader between the index and the checkpoint
    assert reader.state(request, world.clock.now_us()).state == "pending"
    (world.root / "checkpoint").write_bytes(new)
    assert reader.state(request, world.clock.now_us()).state == "complete"


def test_the_reader_follows_a_log_that_grows_and_an_index_that_is_rebuilt(world, reader):
    writer = world.writer()
    publisher = world.publisher()
    requests = []
    enrolment = make_enrolment(world.site_key, ORIGIN, world.log_key.verifier)
    for round_number in range(6):
        for _ in range(40):
            requests.append(world.request(writer))
        publisher.merge_once()
        if round_number == 3:
            publisher.close()
            (world.root / "index.sqlite").unlink()
            publisher = world.publisher()
        for request in requests[:: 1 + len(requests) // 8]:
            state = reader.state(request, world.clock.now_us())
            data = build_receipt(request, world.site_key.verifier, enrolment, state.entries, ORGANISATION_KEY)
            assert verify_receipt(data, trusted=[world.site_key.verifier]).verdict == VERIFIED


def test_an_index_that_lags_behind_the_checkpoint_makes_no_receipt_of_half_a_request(world, reader):
    """It is being rebuilt, up to between two attempts of the request; the receipt must not end there."""
    writer = world.writer("w")
    request = world.ids.new(world.clock.now_us())
    publisher = world.publisher()
    for attempt, ended in ((1, "failed"), (2, "answered")):
        world.finish(writer, request, world.decide(writer, request, attempt), attempt, ended)
        publisher.merge_once()
        if attempt == 1:
            publisher.close()
            shutil.copy(world.root / "index.sqlite", world.root / "half.sqlite")
            publisher = world.publisher()
    publisher.close()
    assert len(reader.state(request, world.clock.now_us()).entries) == 4
    (world.root / "half.sqlite").replace(world.root / "index.sqlite")
    assert reader.state(request, world.clock.now_us()) == ReceiptState(PENDING)


def test_a_damaged_tile_does_not_become_a_receipt(world, reader):
    publisher = world.publisher()
    requests = [world.request(world.writer("w")) for _ in range(4)]
    publisher.merge_once()
    tile = world.root / "tile/0/000.p/8"
    data = bytearray(tile.read_bytes())
    data[-1] ^= 1
    tile.write_bytes(data)
    with pytest.raises(LogUnreadable, match="do not lead to the root"):
        reader.state(requests[0], world.clock.now_us())


def test_commitments_of_a_stream_are_those_of_the_whole():
    salt = commitments.salt(b"key", "id", "answer")
    stream = commitments.Commitment(salt)
    for piece in (b"", b"an", b"swer"):
        stream.update(piece)
    assert stream.finish() == commitments.commit(salt, b"answer")
    assert commitments.salt(b"key", "id", "sent") != salt


def test_vkeys_compare_by_value(world):
    assert NoteVerifier.parse(world.site_key.verifier.vkey) == world.site_key.verifier


@pytest.mark.parametrize("key", [b"", b"key", bytes(64), bytes(range(65))])
def test_prepared_salts_are_hmacs_of_any_key(key):
    assert commitments.Salts(key).of("id", "sent") == commitments.salt(key, "id", "sent")
