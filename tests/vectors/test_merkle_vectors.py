"""Inclusion and consistency proofs against the vectors of transparency-dev/merkle (most of them must fail)."""

import base64
import hashlib
import json
import os
from pathlib import Path

import pytest

from sekisho.ledger.errors import ProofInvalid
from sekisho.ledger.merkle import verify_consistency, verify_inclusion

REPOSITORY = Path(__file__).parents[2]
VECTORS = Path(os.environ.get("SEKISHO_VECTORS", REPOSITORY.parent / "shared" / "vectors")) / "merkle" / "testdata"

pytestmark = pytest.mark.skipif(not VECTORS.is_dir(), reason="no vectors: set SEKISHO_VECTORS to their directory")


def cases(kind):
    return sorted((VECTORS / kind).rglob("*.json")) if VECTORS.is_dir() else []


def unbase64(text):
    return base64.b64decode(text or "")


def root(text):
    """Some cases have words for roots where they must not matter; we take 32 bytes only."""
    data = unbase64(text)
    return data if len(data) == 32 else hashlib.sha256(data).digest()


def expect(case, check):
    if case["wantErr"]:
        with pytest.raises(ProofInvalid):
            check()
    else:
        check()


@pytest.mark.parametrize("path", cases("inclusion"), ids=lambda p: str(p.relative_to(VECTORS)))
def test_inclusion(path):
    case = json.loads(path.read_text(encoding="utf-8"))
    proof = [unbase64(h) for h in case["proof"] or []]
    leaf, root = unbase64(case["leafHash"]), unbase64(case["root"])
    expect(case, lambda: verify_inclusion(case["leafIdx"], case["treeSize"], leaf, proof, root))


@pytest.mark.parametrize("path", cases("consistency"), ids=lambda p: str(p.relative_to(VECTORS)))
def test_consistency(path):
    case = json.loads(path.read_text(encoding="utf-8"))
    proof = [unbase64(h) for h in case["proof"] or []]
    roots = root(case["root1"]), root(case["root2"])
    expect(case, lambda: verify_consistency(case["size1"], case["size2"], *roots, proof))
