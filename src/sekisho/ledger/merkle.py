"""Merkle trees of RFC 6962: hashing, proofs and their verification. Pure.

A *node* is addressed as (level, index): the root of the complete subtree over the leaves
`[index << level, (index + 1) << level)`. Proofs are made from a `NodeSource` and hold whole subtrees only.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from sekisho.ledger.errors import ProofInvalid

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()  # RFC 6962 section 2.1: MTH({})
SIZE_MAX: Final = 2**63 - 1  # tree sizes are signed 64-bit numbers in other implementations
PROOF_HASHES_MAX: Final = 63  # a tree of at most 2**63 leaves is no deeper

NodeSource = Callable[[int, int], bytes]  # (level, index) -> hash of a complete subtree


def leaf_hash(entry: bytes) -> bytes:
    """RFC 6962 section 2.1: SHA-256(00 ‖ entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962 section 2.1: SHA-256(01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def complete_root(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of nodes of one level."""
    sha256 = hashlib.sha256
    level = list(hashes)
    while len(level) > 1:
        level = [sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level), 2)]
    return level[0]


def subtree_root(first: int, end: int, node: NodeSource) -> bytes:
    """The root over the leaves [first, end); `first` is a multiple of the largest power of two below its length.

    (Every subtree that occurs in a tree is such.) An empty range has the empty root.
    """
    if first == end:
        return EMPTY_ROOT
    parts: list[bytes] = []
    while first < end:
        level = (end - first).bit_length() - 1
        parts.append(node(level, first >> level))
        first += 1 << level
    root = parts.pop()
    while parts:
        root = node_hash(parts.pop(), root)
    return root


def tree_root(size: int, node: NodeSource) -> bytes:
    """MTH over the first `size` leaves."""
    return subtree_root(0, size, node)


def inclusion_proof(index: int, size: int, node: NodeSource) -> list[bytes]:
    """PATH(index, D[size]) of RFC 6962 section 2.1.1, the leaf's sibling first. Raises ValueError outside the tree."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    first, end = 0, size
    proof: list[bytes] = []
    while end - first > 1:
        middle = first + _split(end - first)
        if index < middle:
            proof.append(subtree_root(middle, end, node))
            end = middle
        else:
            proof.append(subtree_root(first, middle, node))
            first = middle
    proof.reverse()
    return proof


def consistency_proof(old_size: int, size: int, node: NodeSource) -> list[bytes]:
    """PROOF(old_size, D[size]) of RFC 6962 section 2.1.2; empty when a size is 0 or both are equal."""
    if not 0 <= old_size <= size:
        raise ValueError(f"a tree of {size} does not extend one of {old_size}")
    if old_size in (0, size):
        return []
    first, end = 0, size
    proof: list[bytes] = []
    known = True  # whether the old tree's root over [first, old_size) is the old root itself
    while old_size != end:
        middle = first + _split(end - first)
        if old_size <= middle:
            proof.append(subtree_root(middle, end, node))
            end = middle
        else:
            proof.append(subtree_root(first, middle, node))
            first = middle
            known = False
    if not known:
        proof.append(subtree_root(first, end, node))
    proof.reverse()
    return proof


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """RFC 9162 section 2.1.3.2. `leaf` is the leaf's hash. Raises ProofInvalid unless the proof leads to `root`."""
    _require_hashes((leaf, root, *proof))
    if not 0 <= index < size <= SIZE_MAX:
        raise ProofInvalid(f"leaf {index} is not in a tree of {size}")
    fn, sn, result = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            raise ProofInvalid("the inclusion proof is too long")
        if fn & 1 or fn == sn:
            result = node_hash(sibling, result)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            result = node_hash(result, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise ProofInvalid("the inclusion proof is too short")
    if result != root:
        raise ProofInvalid("the inclusion proof does not lead to the root")


def verify_consistency(old_size: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    """RFC 9162 section 2.1.4.2. Raises ProofInvalid unless the tree of `size` extends that of `old_size`."""
    _require_hashes((old_root, root, *proof))
    if not 0 <= old_size <= size <= SIZE_MAX or (old_size == 0 and size):
        # Everything extends the empty tree: a proof from there would say nothing.
        raise ProofInvalid(f"that a tree of {size} extends one of {old_size} can't be proved")
    if old_size == size:
        if proof or old_root != root or (size == 0 and root != EMPTY_ROOT):
            raise ProofInvalid("two roots for one size, or a proof where none is needed")
        return
    path = list(proof)
    if old_size & (old_size - 1) == 0:  # a power of two: its root stands in no proof (step 2)
        path.insert(0, old_root)
    if not path:
        raise ProofInvalid("the consistency proof is too short")
    fn, sn = old_size - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old_result = result = path[0]
    for sibling in path[1:]:
        if sn == 0:
            raise ProofInvalid("the consistency proof is too long")
        if fn & 1 or fn == sn:
            old_result, result = node_hash(sibling, old_result), node_hash(sibling, result)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            result = node_hash(result, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn or old_result != old_root or result != root:
        raise ProofInvalid("the consistency proof does not lead to both roots")


def _split(count: int) -> int:
    """The largest power of two below `count` (at least 2)."""
    return 1 << ((count - 1).bit_length() - 1)


def _require_hashes(hashes: Sequence[bytes]) -> None:
    if len(hashes) > PROOF_HASHES_MAX + 3 or any(len(h) != HASH_BYTES for h in hashes):
        raise ProofInvalid("a hash is not 32 bytes, or there are too many")
