"""A published log as a test reads it: checked by the product, by the outsider and by pymerkle, then taken apart."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import pymerkle

from sekisho.kernel.notes import NoteVerifier
from sekisho.ledger.audit import audit_integrity
from sekisho.ledger.checkpoint import open_enrolment


def load_outsider():
    """The outsider's verifier, which lives beside its own tests."""
    path = Path(__file__).parents[1] / "outsider" / "outsider.py"
    spec = importlib.util.spec_from_file_location("outsider_of_the_journeys", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


outsider = load_outsider()


def site_key(root: Path) -> NoteVerifier:
    return NoteVerifier.parse((root / "site.vkey").read_text())


def log_key(root: Path) -> NoteVerifier:
    return open_enrolment((root / "ledger" / "enrolment").read_text(), site_key(root)).log


def require_log_holds(root: Path) -> list[dict]:
    """The whole log of an installation, in order; three verifiers agree on it."""
    verifier = log_key(root)
    report = audit_integrity(root / "ledger", verifier)
    entries = outsider.check_log(root / "ledger", verifier.vkey)
    assert report.size == len(entries)
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for entry in entries:
        tree.append_entry(entry)
    assert tree.get_root() == report.checkpoint.root
    return [json.loads(entry) for entry in entries]


@dataclass
class Evidence:
    """Decisions and outcomes by request id and decision id."""

    decisions: dict[str, list[dict]]
    outcomes: dict[str, dict]
    entries: list[dict]


def require_well_formed(entries: list[dict]) -> Evidence:
    """No duplicate, no gap in any writer's numbers, and each permitted decision has exactly one outcome."""
    ids = [entry["id"] for entry in entries]
    assert len(ids) == len(set(ids)), "an entry stands twice in the log"
    numbers: dict[str, list[int]] = {}
    for entry in entries:
        numbers.setdefault(entry["writer"], []).append(entry["seq"])
    for writer, found in numbers.items():
        assert found == list(range(len(found))), f"{writer}: its numbers have a gap"
    decisions: dict[str, list[dict]] = {}
    outcomes: dict[str, dict] = {}
    permitted = set()
    for entry in entries:
        if entry["kind"] == "decision":
            decisions.setdefault(entry["request"], []).append(entry)
            if entry["body"]["chosen"] is not None:
                permitted.add(entry["id"])
        elif entry["kind"] == "outcome":
            of = entry["body"]["decision"]
            assert of in permitted, "an outcome without a permitted decision before it"
            assert of not in outcomes, "a decision has two outcomes"
            outcomes[of] = entry
    assert permitted == set(outcomes), "a permitted decision has no outcome"
    for found in decisions.values():
        assert [entry["body"]["attempt"] for entry in found] == list(range(1, len(found) + 1))
    for of, outcome in outcomes.items():
        if outcome["body"]["ended"] == "interrupted":
            usage = outcome["body"]["usage"]
            assert usage["source"] == "upper_bound"
            decision = next(d for d in decisions[outcome["request"]] if d["id"] == of)
            assert usage["prompt"] == decision["body"]["sent"]["bytes"]
    return Evidence(decisions, outcomes, entries)
