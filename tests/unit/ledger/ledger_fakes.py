"""Write-ahead logs in memory, a lifecycle of decisions and outcomes, and a disk on which each write can break."""

import shutil
from collections import defaultdict
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho.kernel import canonical
from sekisho.kernel.ids import IdSource
from sekisho.kernel.notes import NoteSigner
from sekisho.ledger import commitments
from sekisho.ledger.publisher import Identity, Publisher
from sekisho.ledger.sources import Batch, Position
from sekisho.ledger.storage import Disk

ORIGIN = "bank.example/tokyo/node-1"
BEGINNING = Position(0, 0, bytes(4))
ORGANISATION_KEY = b"k" * 32


class StillClock:
    def __init__(self, now_us=1_790_000_000_000_000):
        self.time_us = now_us

    def now_us(self):
        self.time_us += 1
        return self.time_us


class HeldLock:
    def __init__(self):
        self.released = 0

    def release(self):
        self.released += 1


class FakeWriter:
    """A write-ahead log that survives whatever the publisher does; dead once `alive` is false."""

    def __init__(self, world, name):
        self.world, self.name, self.alive = world, name, True
        self.entries = []
        self.seq = 0
        self.released = 0
        self.lock = HeldLock()

    def append(self, kind, body, request=None, identifier=None):
        now_us = self.world.clock.now_us()
        envelope = {
            "actor": "tester", "at": now_us, "body": body, "id": identifier or self.world.ids.new(now_us),
            "kind": kind, "seq": self.seq, "site": "tokyo", "v": 1, "writer": self.name,
        }  # fmt: skip
        if request is not None:
            envelope["request"] = request
        self.entries.append(canonical.encode(envelope))
        self.seq += 1
        return envelope["id"]

    def read(self, position, *, bytes_max):
        assert position.offset >= self.released, "what was released is asked for again"
        taken, used = [], 0
        for entry in self.entries[position.offset : position.offset + 100]:
            if used >= bytes_max:
                break
            taken.append(entry)
            used += len(entry)
        end = position.offset + len(taken)
        return Batch(tuple(taken), Position(end, end, end.to_bytes(4, "big")) if taken else position)

    read_dead = read

    def try_lock(self):
        return None if self.alive else self.lock

    def release(self, position):
        self.released = max(self.released, position.offset)
        return 0

    def remove(self):
        assert not self.alive
        self.world.writers.pop(self.name, None)


class Decisions:
    """Decisions with something chosen are open until their outcome."""

    def opens(self, envelope):
        return envelope["kind"] == "decision" and envelope["body"]["chosen"] is not None

    def closes(self, envelope):
        return envelope["body"]["decision"] if envelope["kind"] == "outcome" else None

    def interrupted(self, envelope):
        body = {
            "answer": None, "attempt": envelope["body"]["attempt"], "decision": envelope["id"], "ended": "interrupted",
            "status": None, "usage": {},
        }  # fmt: skip
        return "outcome", canonical.encode(body)


class World:
    """A ledger directory, its writers and the means to start publishers over it."""

    def __init__(self, root: Path):
        self.root = root
        self.clock = StillClock()
        self.ids = IdSource()
        self.writers = {}
        self.log_key = NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"l" * 32))
        self.site_key = NoteSigner("bank.example/tokyo", Ed25519PrivateKey.from_private_bytes(b"s" * 32))

    def writer(self, name=None):
        name = name or f"w{len(self.writers)}-{self.clock.now_us()}"
        return self.writers.setdefault(name, FakeWriter(self, name))

    def publisher(self, storage=None, **options):
        publisher = Publisher(
            self.root, Identity(self.log_key, "tokyo"), Decisions(), self.clock, self.ids,
            sources=lambda root: list(self.writers.values()), beginning=BEGINNING, storage=storage, **options,
        )  # fmt: skip
        publisher.start()
        return publisher

    def request(self, writer, *, failures=0, denied=False, outcome=True):
        """A request's entries: failed attempts, then one that answers (or a denial, or no outcome at all)."""
        request = self.ids.new(self.clock.now_us())
        following = self.ids.new(self.clock.now_us())
        for attempt in range(1, failures + 2):
            last = attempt == failures + 1
            decision = self.decide(writer, request, attempt, denied=denied and last, identifier=following)
            following = self.ids.new(self.clock.now_us())
            if not last:
                self.finish(writer, request, decision, attempt, "failed", next=following)
            elif outcome and not denied:
                self.finish(writer, request, decision, attempt, "answered")
        return request

    def decide(self, writer, request, attempt=1, *, denied=False, identifier=None):
        identifier = identifier or self.ids.new(self.clock.now_us())
        body = {
            "attempt": attempt,
            "candidates": [
                {"action": "sendRaw", "deployments": ["faraway"], "errors": [], "permitted": False, "reasons": [1]},
                {"action": "sendRaw", "deployments": ["domestic"], "errors": [], "permitted": True, "reasons": [0]},
            ],
            "chosen": None if denied else {"action": "sendRaw", "deployment": "domestic"},
            "engine": {"name": "cedar", "version": "4"},
            "input": {
                "class": "confidential", "labels_raw": [], "model": "manual",
                "principal": {"id": "app", "organisation": "bank"},
            },
            "monitored": False,
            "policies": {"0": "home", "1": "abroad"},
            "received": self.commit(identifier, "received", b"question"),
            "schema": "00" * 32,
            "sent": None if denied else self.commit(identifier, "sent", b"question out"),
        }  # fmt: skip
        return writer.append("decision", body, request, identifier)

    def finish(self, writer, request, decision, attempt, ended, **more):
        identifier = self.ids.new(self.clock.now_us())
        body = {
            "answer": self.commit(identifier, "answer", b"answer"), "attempt": attempt, "decision": decision,
            "ended": ended, "status": 200, "usage": {"input_tokens": 3, "output_tokens": 4}, **more,
        }  # fmt: skip
        return writer.append("outcome", body, request, identifier)

    def commit(self, identifier, field, data):
        return commitments.commit(commitments.salt(ORGANISATION_KEY, identifier, field), data)


class DiskBroke(OSError):
    """The injected error."""


class BreakingDisk:
    """A disk whose write number `break_at` fails, before it happened or (`persisted`) after it did.

    Then `power_cut` takes away what was never made durable.
    """

    def __init__(self, break_at=None, *, persisted=False):
        self._disk = Disk()
        self.break_at = break_at
        self._persisted = persisted
        self.count = 0
        self.unsynced = {}
        self.removed = defaultdict(dict)

    def _do(self, act):
        self.count += 1
        if self.count - 1 != self.break_at:
            return act()
        if self._persisted:
            act()
        raise DiskBroke("injected")

    def replace(self, path, data):
        self._do(lambda: self._disk.replace(path, data))

    def put(self, path, data):
        def act():
            self.unsynced.setdefault(path, path.read_bytes() if path.exists() else None)
            self._disk.put(path, data)

        self._do(act)

    def sync(self, paths, root):
        paths = list(paths)

        def act():
            self._disk.sync(paths, root)
            for path in paths:
                self.unsynced.pop(path, None)

        self._do(act)

    def append_to(self, path):
        return BreakingFile(self, self._disk.append_to(path), path)

    def remove(self, path):
        self._do(lambda: self._disk.remove(path))

    def power_cut(self):
        """Files that were put and never synced are gone, or cut short."""
        for number, (path, before) in enumerate(self.unsynced.items()):
            if not path.exists():
                continue
            if before is not None:
                path.write_bytes(before)
            elif number % 2:
                path.unlink()
            else:
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


class BreakingFile:
    def __init__(self, disk, file, path):
        self._disk, self._file, self._path = disk, file, path

    def append(self, data):
        def tear():
            self._disk.count += 1
            if self._disk.count - 1 != self._disk.break_at:
                return self._file.append(data)
            self._file.append(data if self._disk._persisted else data[: len(data) * 2 // 3])
            raise DiskBroke("injected")

        tear()

    def close(self):
        self._file.close()


def copy_tree(source, target):
    shutil.copytree(source, target)
