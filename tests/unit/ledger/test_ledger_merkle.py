"""Trees, tiles and their edge against the plain recursion of RFC 6962 and against pymerkle."""

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.ledger import merkle
from sekisho.ledger.errors import LogUnreadable, ProofInvalid
from sekisho.ledger.tiles import (
    ENTRIES,
    Edge,
    TileName,
    TileNodes,
    bundle_entry,
    decode_bundle,
    encode_bundle,
    node_source,
    number_path,
    partial_tiles,
    tile_at,
)

EDGE_SIZES = [0, 1, 2, 3, 255, 256, 257, 511, 512, 513, 1000]


def entries_of(size):
    return [b"entry %d" % number for number in range(size)]


def recursive_root(hashes):
    if not hashes:
        return merkle.EMPTY_ROOT
    if len(hashes) == 1:
        return hashes[0]
    k = 1 << (len(hashes) - 1).bit_length() - 1
    return merkle.node_hash(recursive_root(hashes[:k]), recursive_root(hashes[k:]))


@pytest.mark.parametrize("size", EDGE_SIZES)
def test_the_edges_root_is_that_of_the_recursion_and_of_pymerkle(size):
    entries = entries_of(size)
    edge = Edge()
    edge.append(entries)
    assert edge.root() == recursive_root([merkle.leaf_hash(e) for e in entries])
    assert edge.root() == merkle.tree_root(size, node_source(entries))
    oracle = pymerkle.InmemoryTree(algorithm="sha256")
    for entry in entries:
        oracle.append_entry(entry)
    assert size == 0 or oracle.get_root() == edge.root()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_inclusion_proofs_hold_and_no_change_of_them_does(data):
    size = data.draw(st.integers(1, 600))
    index = data.draw(st.integers(0, size - 1))
    entries = entries_of(size)
    node = node_source(entries)
    root = merkle.tree_root(size, node)
    proof = merkle.inclusion_proof(index, size, node)
    leaf = merkle.leaf_hash(entries[index])
    merkle.verify_inclusion(index, size, leaf, proof, root)
    for change in (
        lambda: merkle.verify_inclusion(index, size, leaf, [*proof, root], root),
        lambda: merkle.verify_inclusion(index, size, merkle.leaf_hash(b"other"), proof, root),
        lambda: merkle.verify_inclusion(index + size, size, leaf, proof, root),
    ):
        with pytest.raises(ProofInvalid):
            change()
    if proof:
        step = data.draw(st.integers(0, len(proof) - 1))
        bent = [*proof]
        bent[step] = bytes([bent[step][0] ^ 1]) + bent[step][1:]
        for wrong in (bent, proof[:step] + proof[step + 1 :], [h[:-1] for h in proof]):
            with pytest.raises(ProofInvalid):
                merkle.verify_inclusion(index, size, leaf, wrong, root)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_consistency_proofs_hold_and_no_change_of_them_does(data):
    size = data.draw(st.integers(1, 600))
    old = data.draw(st.integers(1, size))
    node = node_source(entries_of(size))
    root, old_root = merkle.tree_root(size, node), merkle.tree_root(old, node)
    proof = merkle.consistency_proof(old, size, node)
    merkle.verify_consistency(old, size, old_root, root, proof)
    with pytest.raises(ProofInvalid):
        merkle.verify_consistency(old, size, old_root, root, [*proof, root])
    with pytest.raises(ProofInvalid):
        merkle.verify_consistency(old, size, merkle.leaf_hash(b""), root, proof)
    if proof:
        with pytest.raises(ProofInvalid):
            merkle.verify_consistency(old, size, old_root, merkle.leaf_hash(b""), proof)
        with pytest.raises(ProofInvalid):
            merkle.verify_consistency(old, size, old_root, root, proof[1:])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=6))
def test_tiles_written_by_any_batches_are_those_of_the_whole(batches):
    store, edge = {}, Edge()
    total = entries_of(sum(batches))
    done = 0
    for count in batches:
        for name, data in (*edge.append(total[done : done + count]), *edge.partials()):
            store[name] = data
        done += count
    node = TileNodes(len(total), store.__getitem__)
    assert merkle.tree_root(len(total), node) == merkle.tree_root(len(total), node_source(total)) == edge.root()
    again = Edge.load(len(total), store.__getitem__)
    assert (again.root(), again.entries) == (edge.root(), edge.entries)
    assert again.append(entries_of(300)) == edge.copy().append(entries_of(300))
    bundles = [tile_at(ENTRIES, n, len(total)) for n in range(-(-len(total) // 256))]
    assert [e for name in bundles for e in decode_bundle(store[name])] == total


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537])
def test_the_third_level_begins_with_its_first_full_tile(size):
    edge = Edge()
    full = [name for name, _ in edge.append([b"x"] * size)]
    assert (TileName(1, 0, 256) in full) == (size >= 65_536)
    edges = {name.level: name.width for name in partial_tiles(size)}
    assert edges == {65_535: {-1: 255, 0: 255, 1: 255}, 65_536: {2: 1}, 65_537: {-1: 1, 0: 1, 2: 1}}[size]
    assert [name for name, _ in edge.partials()] == partial_tiles(size)
    # All leaves are alike, so each level has one kind of complete subtree.
    same = [merkle.leaf_hash(b"x")]
    for _ in range(17):
        same.append(merkle.node_hash(same[-1], same[-1]))
    assert edge.root() == merkle.tree_root(size, lambda level, _: same[level])


def test_the_example_of_the_specification():
    """tlog-tiles: a log of 70,000 entries."""
    names = [name.path for name in partial_tiles(70_000)]
    assert names == ["tile/entries/273.p/112", "tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]
    assert number_path(1_234_067) == "x001/x234/067"
    assert TileName(0, 1_234_067, 256).path == "tile/0/x001/x234/067"
    with pytest.raises(LogUnreadable):
        tile_at(0, 274, 70_000)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_bundles_come_back(entries):
    data = encode_bundle(entries)
    assert decode_bundle(data) == entries
    assert [bundle_entry(data, number) for number in range(len(entries))] == entries
    with pytest.raises(LogUnreadable):
        bundle_entry(data, len(entries))
    if data:
        with pytest.raises(LogUnreadable):
            decode_bundle(data + b"\x01")
