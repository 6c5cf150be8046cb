"""The witness over HTTP, without sockets: what is answered, and what is not taken on."""

import asyncio

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho.app.cosigning import DeclaredPeers, log_key, make_request, read_word, take_in, witnesses_of
from sekisho.app.witness import BURST, RATE_PER_S, WAITING_MAX, WitnessSurface, open_witness
from sekisho.catalog.interfaces import LogOfOthers, Witness
from sekisho.gateway.http1.interfaces import InboundRequest, Peer
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.cosignatures import CosignatureSigner, cosigned_by
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.notes import NoteSigner, SignedNote
from sekisho.ledger.checkpoint import Checkpoint, make_enrolment, origin_hash, sign_checkpoint
from sekisho.ledger.cosigned import CosignedNotes
from sekisho.ledger.cosigner import DeclaredWitness
from sekisho.ledger.errors import WitnessHalted
from sekisho.ledger.merkle import consistency_proof, tree_root
from sekisho.ledger.tiles import Edge, node_source
from sekisho.ledger.witness import AddCheckpoint, format_request
from sekisho.settings import DataDirectory

ORIGIN = "other.example/log"
ENTRIES = [b"%d" % n for n in range(20)]
NODE = node_source(ENTRIES)
LOG = NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"l" * 32))


def note(size, signer=LOG, node=NODE):
    return sign_checkpoint(Checkpoint(signer.verifier.name, size, tree_root(size, node)), signer)


def body(old, size):
    return format_request(old, consistency_proof(old, size, NODE), note(size))


class Answer:
    def __init__(self):
        self.over = False

    def respond(self, status, headers, body):
        self.status, self.headers, self.body = status, dict(headers), body


@pytest.fixture
def directory(tmp_path):
    directory = DataDirectory(tmp_path)
    for path in (directory.keys, directory.run, directory.ledger):
        path.mkdir()
    return directory


@pytest.fixture
def surface(directory):
    book = open_witness(directory, "ours.example/a/b", SystemClock())
    surface = WitnessSurface(book, lambda: {ORIGIN: (LOG.verifier,)}, monotonic=lambda: 0.0)
    surface.book = book
    yield surface
    surface.close()


async def ask(surface, data, path="/add-checkpoint", method="POST"):
    answer = Answer()
    await surface(InboundRequest(method, path, "", {}, data, Peer("127.0.0.1", 1, None)), answer)
    return answer


async def test_statuses_and_types_are_those_of_the_protocol(surface):
    done = await ask(surface, body(0, 5))
    assert done.status == 200
    assert cosigned_by(SignedNote.parse(f"{note(5)}{done.body.decode()}"), [open_verifier(surface)])
    conflict = await ask(surface, body(0, 5))
    assert (conflict.status, conflict.body) == (409, b"5\n")
    assert conflict.headers[b"content-type"] == b"text/x.tlog.size"
    assert (await ask(surface, body(5, 9).replace(b"old 5", b"old 10"))).status == 400
    assert (await ask(surface, b"nonsense")).status == 400
    assert (await ask(surface, body(5, 9).replace(ORIGIN.encode(), b"unknown.example/log"))).status == 404
    assert (await ask(surface, body(5, 9).replace(b"\n9\n", b"\n8\n"))).status == 403
    assert (await ask(surface, format_request(5, [bytes(32)], note(9)))).status == 422
    assert surface.answers == {200: 1, 409: 1, 400: 2, 404: 1, 403: 1, 422: 1}


def open_verifier(surface):
    from sekisho.kernel.cosignatures import CosignatureVerifier

    return CosignatureVerifier.parse(surface.book.vkey)


async def test_what_was_cosigned_can_be_read(surface):
    path = f"/{origin_hash(ORIGIN)}/checkpoint"
    assert (await ask(surface, b"", path, "GET")).status == 404
    await ask(surface, body(0, 5))
    kept = await ask(surface, b"", path, "GET")
    assert kept.status == 200
    signed = SignedNote.parse(kept.body.decode())
    assert signed.verified_by([LOG.verifier])
    assert cosigned_by(signed, [open_verifier(surface)])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/add-checkpoint", 405),
        ("POST", "/", 404),
        ("POST", "/add-checkpoint/", 404),
        ("POST", f"/{'0' * 64}/checkpoint", 404),
        ("GET", "/../keys/witness.key", 404),
        ("GET", "/lock/checkpoint", 404),
        ("GET", "//checkpoint", 404),
    ],
)
async def test_nothing_else_is_there(surface, method, path, status):
    assert (await ask(surface, body(0, 5), path, method)).status == status


async def test_requests_beyond_the_rate_are_not_taken_on(directory):
    now = [0.0]
    book = open_witness(directory, "ours.example/a/b", SystemClock())
    surface = WitnessSurface(book, dict, monotonic=lambda: now[0])
    statuses = [(await ask(surface, b"nonsense")).status for _ in range(BURST + 5)]
    assert statuses == [400] * BURST + [429] * 5
    now[0] += 3 / RATE_PER_S
    statuses = [(await ask(surface, b"nonsense")).status for _ in range(5)]
    assert statuses == [400] * 3 + [429] * 2
    surface.close()


async def test_only_so_many_wait(directory):
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    def logs():
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()
        return {}

    surface = WitnessSurface(open_witness(directory, "ours.example/a/b", SystemClock()), logs)
    waiting = [asyncio.create_task(ask(surface, body(0, 5))) for _ in range(WAITING_MAX)]
    await asyncio.sleep(0)
    refused = await ask(surface, body(0, 5))
    assert (refused.status, refused.headers[b"retry-after"]) == (503, b"1")
    gate.set()
    assert {answer.status for answer in await asyncio.gather(*waiting)} == {404}
    surface.close()


async def test_a_fault_of_ours_is_no_answer_about_the_checkpoint(surface, directory, caplog):
    await ask(surface, body(0, 5))
    (directory.witness / origin_hash(ORIGIN)).write_text("damaged")
    answer = await ask(surface, body(5, 9))
    assert answer.status == 500
    assert str(directory.root).encode() not in answer.body
    assert "damaged" in caplog.text
    shown = await ask(surface, b"", f"/{origin_hash(ORIGIN)}/checkpoint", "GET")
    assert (shown.status, shown.body) == (500, answer.body)


def test_the_key_is_made_once_and_for_its_owner_only(directory):
    first = open_witness(directory, "ours.example/a/b", SystemClock()).vkey
    assert open_witness(directory, "ours.example/a/b", SystemClock()).vkey == first
    assert directory.witness_key.stat().st_mode & 0o777 == 0o600
    assert directory.witness_vkey.read_text() == f"{first}\n"
    assert first.startswith("ours.example/a/b/witness+")


def test_a_lost_record_is_not_begun_anew_under_the_old_key(directory):
    open_witness(directory, "ours.example/a/b", SystemClock())
    (directory.witness / "format").unlink()
    with pytest.raises(WitnessHalted, match="is gone"):
        open_witness(directory, "ours.example/a/b", SystemClock())
    directory.witness_key.unlink()
    assert open_witness(directory, "ours.example/a/b", SystemClock())


# The log's side, by files


WITNESS = CosignatureSigner("w.example/w", Ed25519PrivateKey.from_private_bytes(b"w" * 32))
DECLARED = (DeclaredWitness("w", WITNESS.verifier),)


@pytest.fixture
def published(directory):
    """A log of our own with 20 entries."""
    signer = NoteSigner("ours.example/a/b", Ed25519PrivateKey.from_private_bytes(b"o" * 32))
    site = NoteSigner("ours.example/a", Ed25519PrivateKey.from_private_bytes(b"s" * 32))
    directory.enrolment.write_text(make_enrolment(site, signer.verifier.name, signer.verifier))
    directory.site_vkey.write_text(site.verifier.vkey)
    edge = Edge()
    edge.append(ENTRIES)
    for name, data in edge.partials():
        path = directory.ledger / name.path
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    (directory.ledger / "checkpoint").write_text(note(20, signer))
    assert log_key(directory) == signer.verifier
    return signer


def cosigned(signer, size, node=NODE, witness=WITNESS):
    text = note(size, signer, node)
    return text + witness.cosign(SignedNote.parse(text).text, 1_790_000_000)


def test_cosignatures_that_came_by_file_are_kept_with_their_checkpoint(directory, published):
    assert AddCheckpoint.parse(make_request(directory, DECLARED[0], None)).old_size == 0
    assert take_in(directory, cosigned(published, 7), DECLARED) == (7, ("w",))
    (kept,) = CosignedNotes(directory.ledger).notes()
    assert kept.note == cosigned(published, 7)
    request = AddCheckpoint.parse(make_request(directory, DECLARED[0], None))
    assert (request.old_size, request.checkpoint.size) == (7, 20)
    assert request.proof == tuple(consistency_proof(7, 20, NODE))


def test_only_what_is_ours_and_cosigned_is_taken_in(directory, published):
    stranger = CosignatureSigner("x.example/w", Ed25519PrivateKey.from_private_bytes(b"x" * 32))
    forked = node_source([b"other %d" % n for n in range(30)])
    wrong = {
        "no declared witness": cosigned(published, 7, witness=stranger),
        "not signed by ours": cosigned(NoteSigner("ours.example/a/b", LOG._private_key), 7),
        "not those here": cosigned(published, 7, forked),
        "signed 25 entries": cosigned(published, 25, forked),
        "does not verify": cosigned(published, 7).replace("\n7\n", "\n8\n"),
    }
    for reason, text in wrong.items():
        with pytest.raises(SekishoError, match=reason):
            take_in(directory, text, DECLARED)
    assert list(CosignedNotes(directory.ledger).notes()) == []


def test_a_witness_ahead_of_this_log_is_told(directory, published):
    with pytest.raises(SekishoError, match="cosigned 21") as ahead:
        make_request(directory, None, 21)
    assert "clone" in ahead.value.remedy


def test_without_a_checkpoint_there_is_nothing_to_ask(directory):
    with pytest.raises(SekishoError, match="nothing has been published"):
        make_request(directory, None, 0)


def test_one_tree_can_name_all_sites_and_nobody_is_its_own_witness(directory):
    own = open_witness(directory, "ours.example/a/b", SystemClock()).vkey
    peers = DeclaredPeers(directory, "ours.example/a/b")
    assert (peers.witnesses(), dict(peers.logs())) == ((), {})

    class Catalogue:
        witnesses = (Witness("us", "us", own), Witness("w", "w", WITNESS.verifier.vkey, "https://w.example"))
        logs = (
            LogOfOthers("us", "us", "ours.example/a/b", (LOG.verifier.vkey,)),
            LogOfOthers("other", "other", ORIGIN, (LOG.verifier.vkey,)),
        )

    peers._read = (None, Catalogue())
    assert [one.name for one in peers.witnesses()] == ["w"]
    assert dict(peers.logs()) == {ORIGIN: (LOG.verifier,)}
    assert witnesses_of(None, own) == ()


@pytest.mark.parametrize("word", ["", "{}", "[1]", '[{"name":"w"}]', '[{"other":1}]', "[[]]", "\xff"])
def test_a_word_that_cannot_be_read_says_nothing(directory, word):
    directory.witnesses_state.write_text(word)
    assert [one.name for one in read_word(directory)] == (["w"] if "name" in word else [])
