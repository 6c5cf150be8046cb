"""Asking witnesses: honest, slow, lying and equivocating ones, none of which reaches the publisher."""

import asyncio
import hashlib

import pytest
from ledger_fakes import StillClock
from witness_fakes import LOG_ORIGIN, SmallLog, key, witness_signer

from sekisho.kernel.cosignatures import cosigned_by
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.notes import NoteSigner, SignedNote
from sekisho.ledger import cosigner as module
from sekisho.ledger.cosigned import CosignedNotes
from sekisho.ledger.cosigner import RENEW_US, Cosigner, DeclaredWitness
from sekisho.ledger.cosigning import SIZE_TYPE, WitnessAnswer
from sekisho.ledger.errors import SizeConflict, WitnessRefused
from sekisho.ledger.tiles import Edge
from sekisho.ledger.witness import AddCheckpoint
from sekisho.ledger.witness_book import WitnessBook, begin

LOG = SmallLog(300)


class Published:
    """The files of a log as the publisher leaves them, at any size."""

    def __init__(self, root, log=LOG):
        self.root, self.log, self.edge, self.full = root, log, Edge(), []

    def publish(self, size):
        self.full += self.edge.append(self.log.entries[self.edge.size : size])
        for name, data in (*self.full, *self.edge.partials()):
            path = self.root / name.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (self.root / "checkpoint").write_text(self.log.note(size))

    def cosigned_by(self, *witnesses):
        """Who cosigned what is published now."""
        note = CosignedNotes(self.root).with_cosignatures((self.root / "checkpoint").read_text())
        return [found.cosigner.name for found in cosigned_by(SignedNote.parse(note), [w.verifier for w in witnesses])]


class Witnesses:
    """The AsksWitness: a real book behind each name, and what stands in `lies` instead of its answer."""

    def __init__(self, root):
        self.root, self.books, self.lies, self.asked = root, {}, {}, []
        self.silent = set()
        self.clock = StillClock()

    def add(self, name):
        number = 40 + len(self.books)
        begin(self.root / name).release()
        signer = witness_signer(number, f"{name}.example/w")
        self.books[name] = WitnessBook(self.root / name, signer, self.clock)
        return DeclaredWitness(name, signer.verifier, f"https://{name}.example")

    async def checkpoint(self, witness, hashed):
        if witness.name in self.silent:
            await asyncio.Event().wait()
        note = self.books[witness.name].checkpoint(hashed)
        return WitnessAnswer(404, "", b"") if note is None else WitnessAnswer(200, "", note.encode())

    async def add_checkpoint(self, witness, body):
        request = AddCheckpoint.parse(body)
        self.asked.append((witness.name, request.old_size, request.checkpoint.size))
        lie = self.lies.get(witness.name)
        if lie is not None:
            return await lie(witness, request)
        return self.honest(witness, request)

    def honest(self, witness, request):
        try:
            lines = self.books[witness.name].add_checkpoint(request, [LOG.verifier])
        except SizeConflict as conflict:
            return WitnessAnswer(409, SIZE_TYPE, f"{conflict.size}\n".encode())
        except WitnessRefused as refused:
            return WitnessAnswer(refused.status, "text/plain", str(refused).encode())
        return WitnessAnswer(200, "text/plain", lines.encode())

    def lie(self, name, answer):
        """From now on `answer(witness, request)` is what `name` says."""

        async def said(witness, request):
            return answer(witness, request)

        self.lies[name] = said


class World:
    def __init__(self, root):
        self.ledger = root / "ledger"
        self.ledger.mkdir()
        self.log = Published(self.ledger)
        self.witnesses = Witnesses(root)
        self.declared = []
        self.told = []
        self.clock = StillClock()
        self.cosigner = self.start()

    def start(self):
        return Cosigner(
            self.ledger, self.witnesses, lambda: tuple(self.declared), self.clock,
            lambda word: self.told.append(word), lambda: LOG.verifier,
        )  # fmt: skip

    def declare(self, *names):
        self.declared += [self.witnesses.add(name) for name in names]
        return self.declared[-len(names) :]

    def status(self, name):
        return next(one for one in self.cosigner.standing if one.name == name)


@pytest.fixture
async def world(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RETRY_S_MIN", 0.0)
    world = World(tmp_path)
    yield world
    await world.cosigner.close()


async def test_each_new_checkpoint_is_cosigned_by_all(world):
    one, two = world.declare("one", "two")
    for size in (3, 3, 20, 270, 300):
        world.log.publish(size)
        await world.cosigner.round()
        assert world.log.cosigned_by(one, two) == ["one.example/w", "two.example/w"]
    assert [ask for ask in world.witnesses.asked if ask[0] == "one"] == [
        ("one", 0, 3), ("one", 3, 20), ("one", 20, 270), ("one", 270, 300),
    ]  # fmt: skip
    assert world.status("one").size == 300
    assert world.status("one").lag_s(world.clock.now_us()) == 0
    assert world.told[-1] == world.cosigner.standing


async def test_nothing_is_asked_before_something_is_published_or_declared(world):
    await world.cosigner.round()
    world.declare("one")
    await world.cosigner.round()
    assert world.witnesses.asked == []
    world.log.publish(3)
    world.declared.clear()
    await world.cosigner.round()
    assert world.witnesses.asked == []


async def test_after_a_new_start_it_goes_on_from_what_is_kept(world):
    (one,) = world.declare("one")
    world.log.publish(3)
    await world.cosigner.round()
    world.cosigner = world.start()
    world.log.publish(9)
    await world.cosigner.round()
    assert world.witnesses.asked[-1] == ("one", 3, 9)
    assert world.log.cosigned_by(one)


async def test_what_is_not_known_here_the_witness_says(world):
    (one,) = world.declare("one")
    world.log.publish(3)
    await world.cosigner.round()
    for path in (world.ledger / "cosigned").iterdir():
        path.unlink()
    world.cosigner = world.start()
    world.log.publish(9)
    await world.cosigner.round()
    assert world.witnesses.asked[1:] == [("one", 0, 9), ("one", 3, 9)]
    assert world.log.cosigned_by(one)
    assert world.status("one").refusals == 0


async def test_a_resting_log_is_cosigned_again_after_a_while(world):
    (one,) = world.declare("one")
    world.log.publish(3)
    for _ in range(3):
        await world.cosigner.round()
    assert len(world.witnesses.asked) == 1
    world.clock.time_us += RENEW_US
    world.witnesses.clock.time_us += RENEW_US
    await world.cosigner.round()
    assert world.witnesses.asked[1:] == [("one", 3, 3)]
    assert world.log.cosigned_by(one)


async def test_a_witness_that_hangs_holds_up_nobody(world, monkeypatch):
    monkeypatch.setattr(module, "ASK_S_MAX", 0.05)
    good, slow = world.declare("good", "slow")
    hang = asyncio.Event()

    async def hangs(witness, request):
        await hang.wait()

    world.witnesses.lies["slow"] = hangs
    world.log.publish(3)
    await world.cosigner.round()
    assert world.log.cosigned_by(good, slow) == ["good.example/w"]
    assert "within" in world.status("slow").trouble
    for bound in ("ASK_S_MAX", "ROUND_S_MAX"):  # a round that waited for it now would last as long
        monkeypatch.setattr(module, bound, 3600)
    for size in (4, 5, 6):
        world.log.publish(size)
        await asyncio.wait_for(world.cosigner.round(), 30)
        assert world.log.cosigned_by(good, slow) == ["good.example/w"]
    assert [ask for ask in world.witnesses.asked if ask[0] == "slow"] == [("slow", 0, 3), ("slow", 0, 4)]
    assert world.status("slow").lag_s(world.clock.now_us()) > 0
    hang.set()
    world.witnesses.lies.clear()
    for size in (7, 8):
        world.log.publish(size)
        await world.cosigner.round()
        await asyncio.gather(*(a.task for a in world.cosigner._asked.values()), return_exceptions=True)
    assert "slow.example/w" in world.log.cosigned_by(slow)


async def test_a_slow_witness_gives_its_cosignature_late(world, monkeypatch):
    monkeypatch.setattr(module, "ROUND_S_MAX", 0.05)
    good, slow = world.declare("good", "slow")
    go = asyncio.Event()

    async def waits(witness, request):
        await go.wait()
        return world.witnesses.honest(witness, request)

    world.witnesses.lies["slow"] = waits
    for size in (3, 4):
        world.log.publish(size)
        await world.cosigner.round()
        assert world.log.cosigned_by(good, slow) == ["good.example/w"]
    assert [ask for ask in world.witnesses.asked if ask[0] == "slow"] == [("slow", 0, 3)], "one question at a time"
    go.set()
    await asyncio.gather(*(asked.task for asked in world.cosigner._asked.values()))
    found = {one.checkpoint.size: one.cosignatures for one in CosignedNotes(world.ledger).notes()}
    assert found == {4: 1, 3: 2}
    assert not world.status("slow").failures


def equivocates(witness, request):
    """A true cosignature of another history."""
    other = SmallLog(300, fork=b"other").checkpoint(request.checkpoint.size)
    signer = witness_signer(40, witness.name + ".example/w")
    return WitnessAnswer(200, "text/plain", signer.cosign(other.text, 9).encode())


@pytest.mark.parametrize(
    "answer",
    [
        equivocates,
        lambda witness, request: WitnessAnswer(200, "text/plain", b"\x00garbage"),
        lambda witness, request: WitnessAnswer(200, "text/plain", b""),
        lambda witness, request: WitnessAnswer(404, "text/plain", b"unknown log"),
        lambda witness, request: WitnessAnswer(500, "text/html", b"<html>" * 1000),
        lambda witness, request: WitnessAnswer(409, SIZE_TYPE, b"%d\n" % request.old_size),
        lambda witness, request: WitnessAnswer(409, SIZE_TYPE, b"%d\n" % (request.old_size + 1)),
        lambda witness, request: WitnessAnswer(409, SIZE_TYPE, b"many\n"),
    ],
)
async def test_an_answer_that_is_none_is_not_kept_and_asked_again_more_and_more_rarely(world, answer):
    bad, good = world.declare("bad", "good")
    world.witnesses.lie("bad", answer)
    world.log.publish(30)
    await world.cosigner.round()
    assert world.log.cosigned_by(bad, good) == ["good.example/w"]
    status = world.status("bad")
    assert (status.failures, status.refusals, status.size) == (1, 1, 0)
    assert status.trouble
    assert not status.alarm


async def test_questions_after_failures_come_ever_more_rarely(world, monkeypatch):
    monkeypatch.setattr(module, "RETRY_S_MIN", 1000.0)

    def broken(witness, request):
        raise SekishoError("no route to it")

    world.declare("one")
    world.witnesses.lie("one", broken)
    world.log.publish(3)
    loop = asyncio.get_running_loop()
    waits = []
    for _ in range(4):
        await world.cosigner.round()
        (asked,) = world.cosigner._asked.values()
        await asyncio.gather(asked.task)
        waits.append(asked.retry_at - loop.time())
        count = len(world.witnesses.asked)
        await world.cosigner.round()
        assert len(world.witnesses.asked) == count, "asked again before its time"
        asked.retry_at = 0.0
    assert waits == pytest.approx([300, 300, 300, 300], abs=5)  # RETRY_S_MAX bounds it
    assert world.status("one").failures == 4
    assert world.status("one").refusals == 0


async def test_a_witness_that_has_seen_more_is_an_alarm(world, caplog):
    """A rolled-back disk: the witness cosigned 20 entries, here are 9."""
    one, two = world.declare("one", "two")
    world.log.publish(20)
    await world.cosigner.round()
    for path in (*(world.ledger / "cosigned").iterdir(), world.ledger / "checkpoint"):
        path.unlink()
    world.log = Published(world.ledger)
    world.cosigner = world.start()
    world.log.publish(9)
    await world.cosigner.round()
    assert "20 entries" in world.status("one").alarm
    assert "shows 20 that this log's own key signed" in world.status("one").alarm
    assert [record.levelname for record in caplog.records].count("CRITICAL") == 2  # one of each witness
    assert "clone or an old copy" in caplog.text
    assert world.log.cosigned_by(one, two) == []
    await world.cosigner.round()
    await asyncio.gather(*(a.task for a in world.cosigner._asked.values()))
    assert [record.levelname for record in caplog.records].count("CRITICAL") == 2, "said once"


async def test_a_checkpoint_that_a_stranger_showed_it_while_it_was_asked_is_no_alarm(world, caplog):
    """Checkpoints are public: anybody can send a witness one that was published after the question was written."""
    (one,) = world.declare("one")
    world.log.publish(3)
    await world.cosigner.round()

    def overtaken(witness, request):
        world.witnesses.lies.clear()
        world.log.publish(30)
        world.witnesses.honest(witness, LOG.request(3, 30))
        return world.witnesses.honest(witness, request)

    world.log.publish(9)
    world.witnesses.lie("one", overtaken)
    await world.cosigner.round()
    assert not world.status("one").alarm
    assert "CRITICAL" not in [record.levelname for record in caplog.records]
    assert world.witnesses.asked[-2:] == [("one", 3, 9), ("one", 30, 30)]
    assert world.status("one").size == 30
    assert world.log.cosigned_by(one)


async def test_what_could_not_be_told_is_told_in_the_next_round(world):
    world.declare("one")
    world.log.publish(3)
    told = []

    def tell(word):
        told.append(word)
        if len(told) == 1:
            raise OSError("the disk is full")

    world.cosigner._changed = tell
    with pytest.raises(OSError, match="full"):
        await world.cosigner.round()
    await world.cosigner.round()
    assert told == [world.cosigner.standing] * 2


async def test_a_witness_that_has_seen_another_history_is_an_alarm(world, caplog):
    """A rolled-back disk that has grown on: 25 entries now, of which the witness saw other ones."""
    world.declare("one")
    world.log.publish(20)
    await world.cosigner.round()
    world.log = Published(world.ledger, SmallLog(300, fork=b"other", shared=5))
    world.log.publish(25)
    await world.cosigner.round()
    assert "extend the 20" in world.status("one").alarm
    assert "CRITICAL" in [record.levelname for record in caplog.records]


async def test_an_alarm_says_that_the_witness_shows_nothing_for_its_word(world, monkeypatch):
    monkeypatch.setattr(module, "_SHOW_S_MAX", 0.01)
    world.declare("none", "less", "forged", "silent")
    world.log.publish(9)
    await world.cosigner.round()
    for asked in world.cosigner._asked.values():
        world.witnesses.lie(asked.witness.name, lambda witness, request: WitnessAnswer(409, SIZE_TYPE, b"1000\n"))
    (hashed,) = (path.name for path in (world.ledger.parent / "less").iterdir() if len(path.name) == 64)
    (world.ledger.parent / "none" / hashed).unlink()
    stranger = SmallLog(300, signer=NoteSigner(LOG_ORIGIN, key(2)))
    (world.ledger.parent / "forged" / hashed).write_text(stranger.note(200))
    world.witnesses.silent.add("silent")
    world.log.publish(10)
    await world.cosigner.round()
    for status in world.cosigner.standing:
        assert "cosigned 1000 entries of this log, which has 10 here, and shows none" in status.alarm, status


async def test_an_alarm_ends_when_the_witness_cosigns_again(world):
    (one,) = world.declare("one")
    world.witnesses.lie("one", lambda witness, request: WitnessAnswer(409, SIZE_TYPE, b"1000\n"))
    world.log.publish(9)
    await world.cosigner.round()
    assert world.status("one").alarm
    world.witnesses.lies.clear()
    await world.cosigner.round()
    await asyncio.gather(*(a.task for a in world.cosigner._asked.values()))
    assert not world.status("one").alarm
    assert world.log.cosigned_by(one)


async def test_who_is_declared_no_more_is_asked_no_more(world):
    one, _ = world.declare("one", "two")
    world.log.publish(3)
    await world.cosigner.round()
    world.declared.remove(one)
    world.log.publish(4)
    await world.cosigner.round()
    assert [name for name, _, size in world.witnesses.asked if size == 4] == ["two"]
    assert [one.name for one in world.cosigner.standing] == ["two"]


async def test_a_witness_without_a_url_is_known_by_the_files_that_came(world):
    (one,) = world.declare("one")
    world.declared[0] = one._replace(url=None)
    world.log.publish(3)
    await world.cosigner.round()
    assert world.witnesses.asked == []
    assert world.status("one").lag_s(world.clock.now_us()) > 0
    line = world.witnesses.books["one"].add_checkpoint(LOG.request(0, 3), [LOG.verifier])
    CosignedNotes(world.ledger).add(LOG.note(3), line, [one.verifier])
    await world.cosigner.round()
    assert world.status("one").size == 3
    assert world.status("one").lag_s(world.clock.now_us()) == 0


async def test_it_goes_on_whatever_a_round_meets(world, monkeypatch, caplog):
    monkeypatch.setattr(module, "INTERVAL_S", 0.0)
    (one,) = world.declare("one")
    world.log.publish(3)
    failed, calls = asyncio.Event(), []

    def declared():
        calls.append(1)
        if len(calls) < 4:
            raise OSError("no such snapshot")
        return tuple(world.declared)

    world.cosigner = Cosigner(
        world.ledger, world.witnesses, declared, world.clock,
        lambda word: loop.call_soon_threadsafe(failed.set) if word[0].size == 3 else None, lambda: LOG.verifier,
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(world.cosigner.run())
    await asyncio.wait_for(failed.wait(), 30)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert world.log.cosigned_by(one)
    assert [record.message for record in caplog.records] == ["witnesses can't be asked: no such snapshot"]


async def test_nothing_that_the_publisher_writes_is_touched(world):
    world.declare("one")
    world.log.publish(40)

    def seen():
        return {
            path: hashlib.sha256(path.read_bytes()).digest()
            for path in world.ledger.rglob("*")
            if path.is_file() and "cosigned" not in path.parts
        }

    before = seen()
    await world.cosigner.round()
    assert seen() == before
    assert LOG_ORIGIN in (world.ledger / "cosigned" / "40").read_text()
