"""A ledger over real write-ahead logs, of processes that died, and the means to damage it."""

import shutil

from ledger_fakes import Decisions, World
from write_ahead_fixtures import draft, open_writer

from sekisho.kernel import canonical
from sekisho.ledger import frames
from sekisho.ledger.audit import audit_integrity
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.publisher import Identity, Publisher
from sekisho.ledger.repair import Repair
from sekisho.ledger.wal_reader import START, writers

DECISION = b'{"attempt":1,"chosen":{"action":"sendRaw","deployment":"a"}}'


class Site(World):
    """A ledger whose write-ahead logs are real ones; what is `written` has been written by processes that died."""

    def __init__(self, root):
        super().__init__(root)
        self.ids_of = {}

    async def written(self, *bodies, sizes=()):
        """One dead process's log, an entry a frame, each synced before the next; its name."""
        live = self.root.with_name("live")
        writer = open_writer(live)
        for body in bodies:
            identifier = self.ids.new(self.clock.now_us())
            self.ids_of.setdefault(writer.name, []).append(identifier)
            kind = "decision" if body == DECISION else "change"
            request = self.ids.new(self.clock.now_us()) if body == DECISION else None
            await writer.append(draft(body, identifier=identifier, kind=kind, request=request))
        await writer.close()
        (self.root / "wal").mkdir(parents=True, exist_ok=True)
        shutil.move(live / "wal" / writer.name, self.root / "wal" / writer.name)
        return writer.name

    def make_publisher(self, storage=None):
        return Publisher(
            self.root, Identity(self.log_key, "tokyo"), Decisions(), self.clock, self.ids,
            sources=writers, beginning=START, storage=storage,
        )  # fmt: skip

    def publish(self):
        publisher = self.make_publisher()
        publisher.start()
        try:
            publisher.merge_once()
        finally:
            publisher.close()

    def repair(self, **options):
        return Repair(self.root, [self.log_key.verifier], self.clock, **options)

    def logged(self):
        size = audit_integrity(self.root, self.log_key.verifier).size
        return [canonical.decode(e) for _, entries in LogFiles(self.root).entries(0, size) for e in entries]

    def damage(self, name, seq):
        """Flip a bit in the frame that holds entry `seq`."""
        path = self.root / "wal" / name / "00000000.seg"
        data = bytearray(path.read_bytes())
        header = frames.decode_segment_header(bytes(data[: frames.SEGMENT_HEADER_BYTES]))
        found = list(frames.find_frames(bytes(data), mark=header.mark, offset=0))
        data[next(f for f in found if f.seq == seq).offset + frames.FRAME_HEADER_BYTES + 30] ^= 1
        path.write_bytes(data)
