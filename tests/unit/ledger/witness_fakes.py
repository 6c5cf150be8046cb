"""A small log in memory, the requests that it would send to a witness, and a witness of its own key."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho.kernel.cosignatures import CosignatureSigner
from sekisho.kernel.notes import NoteSigner
from sekisho.ledger.checkpoint import Checkpoint, sign_checkpoint
from sekisho.ledger.merkle import consistency_proof, tree_root
from sekisho.ledger.tiles import node_source
from sekisho.ledger.witness import AddCheckpoint, format_request

LOG_ORIGIN = "bank.example/tokyo/node-1"


def key(number):
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def witness_signer(number=9, name="osaka.example/w"):
    return CosignatureSigner(name, key(number))


def named(value):
    """Ids for parameters: bodies by their length."""
    return f"{len(value)} long" if isinstance(value, bytes | str) and len(value) > 40 else None


class SmallLog:
    """A log of `entries` entries; `fork` makes another history that shares the first `shared` of them."""

    def __init__(self, entries=64, *, fork=b"", shared=0, signer=None):
        self.entries = [b"%d" % n if n < shared or not fork else b"%d %b" % (n, fork) for n in range(entries)]
        self.signer = signer or NoteSigner(LOG_ORIGIN, key(1))
        self.node = node_source(self.entries)
        self.verifier = self.signer.verifier

    def checkpoint(self, size):
        return Checkpoint(self.signer.verifier.name, size, tree_root(size, self.node))

    def note(self, size):
        return sign_checkpoint(self.checkpoint(size), self.signer)

    def body(self, old, size):
        return format_request(old, consistency_proof(old, size, self.node), self.note(size))

    def request(self, old, size):
        return AddCheckpoint.parse(self.body(old, size))
