"""An outsider's check of a real installation: what it wrote is accepted, and nothing of it with a byte changed."""

import asyncio
import json

import pytest

from journeys.callers import Callers, ask
from journeys.installation import Installation, free_port, get
from journeys.published_log import log_key, outsider, require_log_holds, require_well_formed, site_key
from journeys.recording_upstream import RecordingUpstream
from sekisho.ledger.audit import audit_integrity
from sekisho.ledger.errors import AuditFinding, ReceiptInvalid
from sekisho.ledger.verify import verify_receipt

REQUESTS = 180  # an entry each for decision and outcome: more than the 256 of a full tile
CHANGES_PER_FILE = 40
CONFIDENTIAL = "x-sekisho-data-class: confidential\r\nx-sekisho-residency: US\r\n"  # permitted nowhere at home


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """An installation after traffic, stopped: (its root, receipts by request id)."""
    directory = tmp_path_factory.mktemp("outsider")
    with RecordingUpstream(free_port(), directory / "seen") as upstream, Installation(directory / "site") as site:
        site.deployment("record", upstream.port)
        site.apply()
        site.start()
        with Callers(site.gateway_port, site.key, "record", 8, 3, REQUESTS) as callers:
            callers.join()
        document = {"model": "record", "messages": [{"role": "user", "content": "hi"}]}
        denied = asyncio.run(ask(site.gateway_port, site.key, document, CONFIDENTIAL))
        assert denied.status == 403
        assert [answer.status for answer in callers.answers] == [200] * REQUESTS
        wanted = [denied.receipt, *(answer.receipt for answer in callers.answers)]
        receipts = {identifier: site.receipt(identifier) for identifier in wanted}
        assert get(f"{site.base}/receipts/{denied.receipt}")[0] == 401
        assert site.stop() == 0
        yield site.root, receipts, denied.receipt


def rejects_receipt(root, data: bytes) -> bool:
    """Whether both refuse it; a malformed value may also trip the outsider over its own type."""
    try:
        outsider.check_receipt(data, site_key(root).vkey)
        return False
    except (outsider.Rejected, KeyError, TypeError, AttributeError, ValueError):
        pass
    try:
        verify_receipt(data, trusted=[site_key(root)])
        return False
    except ReceiptInvalid:
        return True


def rejects_log(root) -> bool:
    try:
        outsider.check_log(root / "ledger", log_key(root).vkey)
        return False
    except (outsider.Rejected, KeyError, TypeError, AttributeError, ValueError):
        pass
    try:
        audit_integrity(root / "ledger", log_key(root))
        return False
    except AuditFinding:
        return True


def test_the_log_is_accepted_by_three_verifiers_and_well_formed(stopped):
    root, receipts, denied = stopped
    evidence = require_well_formed(require_log_holds(root))
    assert len(evidence.entries) > 300
    assert evidence.decisions.keys() == receipts.keys()
    assert evidence.decisions[denied][0]["body"]["chosen"] is None


def test_every_receipt_is_accepted_and_holds_what_the_log_holds(stopped):
    root, receipts, _ = stopped
    entries = require_log_holds(root)
    for identifier, data in receipts.items():
        receipt = outsider.check_receipt(data, site_key(root).vkey)
        assert verify_receipt(data, trusted=[site_key(root)]).request == identifier
        held = [part["entry"] for part in receipt["entries"]]
        assert held == [entry for entry in entries if entry.get("request") == identifier]


@pytest.mark.parametrize("which", ["denied", "answered"])
def test_every_changed_byte_of_a_receipt_is_rejected_by_both(stopped, which):
    root, receipts, denied = stopped
    identifier = denied if which == "denied" else next(key for key in receipts if key != denied)
    good = receipts[identifier]
    for offset in range(len(good)):
        changed = bytearray(good)
        changed[offset] ^= 0x20 if offset % 5 == 0 else 0x01  # the letters' case, or the last bit
        assert rejects_receipt(root, bytes(changed)), f"byte {offset} of {len(good)}"
    for changed in (good[:-1], good + b"\n", b" " + good, good.replace(b'{"actor"', b'{ "actor"', 1)):
        assert rejects_receipt(root, changed)


def test_a_receipt_with_an_entry_left_out_or_of_another_request_is_rejected(stopped):
    root, receipts, denied = stopped
    first, second = [json.loads(receipts[key]) for key in receipts if key != denied][:2]
    for entries in (first["entries"][:1], first["entries"][1:], first["entries"][::-1], []):
        assert rejects_receipt(root, outsider.canonical(first | {"entries": entries}))
    assert rejects_receipt(root, outsider.canonical(first | {"entries": second["entries"]}))
    assert rejects_receipt(root, outsider.canonical(first | {"request": second["request"]}))


def covered_files(root):
    """What the checkpoint covers: itself, bundles and tiles."""
    ledger = root / "ledger"
    size, _ = outsider.open_checkpoint((ledger / "checkpoint").read_text(), outsider.Key(log_key(root).vkey))
    found, level = [], 0
    for n, width in enumerate(outsider.widths(size)):
        found.append(ledger / outsider.tile_path("entries", n, width))
    while size:
        found += [ledger / outsider.tile_path(level, n, width) for n, width in enumerate(outsider.widths(size))]
        size, level = size // 256, level + 1
    return found


def require_changes_rejected(root, path, offsets) -> None:
    good = path.read_bytes()
    try:
        for offset in offsets(len(good)):
            changed = bytearray(good)
            changed[offset] ^= 0x01
            path.write_bytes(changed)
            assert rejects_log(root), f"{path}: byte {offset}"
        for changed in (good[:-1], good + b"\0"):
            path.write_bytes(changed)
            assert rejects_log(root), f"{path}: {len(changed)} bytes"
    finally:
        path.write_bytes(good)


def test_every_changed_byte_of_the_checkpoint_is_rejected(stopped):
    root, _, _ = stopped
    require_changes_rejected(root, root / "ledger" / "checkpoint", range)
    require_log_holds(root)


@pytest.mark.parametrize("many", [False, pytest.param(True, marks=pytest.mark.long)], ids=["sampled", "many"])
def test_changed_bytes_of_bundles_and_tiles_are_rejected(stopped, many):
    root, _, _ = stopped
    files = covered_files(root)
    assert len(files) >= 5  # two bundles, two tiles, and one above them
    for path in files:

        def offsets(size: int) -> range:
            # Each change costs a check of the whole log. An odd step over longer files meets lengths, text and
            # hashes alike; tests/outsider tries every byte of a small log.
            count = CHANGES_PER_FILE * (10 if many else 1)
            return range(0, size, max(1, size // count) | 1)

        require_changes_rejected(root, path, offsets)
    require_log_holds(root)
