"""Receipts for callers: whose they are, and from when on there is one."""

import secrets
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "ledger"))

from ledger_fakes import ORGANISATION_KEY, ORIGIN, World  # the ledger's units lend their world

from sekisho.app.keys import OrganisationKeys
from sekisho.app.receipts import LogReceipts
from sekisho.ledger.checkpoint import make_enrolment
from sekisho.ledger.interfaces import CommitmentKeyMissing
from sekisho.ledger.verify import VERIFIED, verify_receipt
from sekisho.settings import DataDirectory


class Site:
    """An installation's files as far as receipts need them, with a log that tests write."""

    def __init__(self, root):
        self.directory = DataDirectory(root)
        self.world = World(self.directory.ledger)
        self.directory.ledger.mkdir(parents=True)
        self.directory.organisation_keys.mkdir(parents=True)
        self.write_key("bank", ORGANISATION_KEY)
        self.directory.site_vkey.write_text(self.world.site_key.verifier.vkey)
        enrolment = make_enrolment(self.world.site_key, ORIGIN, self.world.log_key.verifier)
        self.directory.enrolment.write_text(enrolment)
        self.keys = OrganisationKeys(self.directory.organisation_keys)
        self.receipts = LogReceipts(self.directory, self.keys, self.world.clock)

    def write_key(self, organisation, key):
        path = self.directory.organisation_keys / f"{organisation}.key"
        path.write_text(key.hex())
        path.chmod(0o600)


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.receipts.close()


async def test_a_receipt_is_pending_until_its_outcome_is_published_and_then_verifies(site):
    writer = site.world.writer()
    publisher = site.world.publisher()
    request = site.world.request(writer, outcome=False)
    assert (await site.receipts.receipt(request, "bank")).state == "pending"
    publisher.merge_once()
    assert (await site.receipts.receipt(request, "bank")).state == "pending"
    writer.alive = False
    publisher.merge_once()
    answer = await site.receipts.receipt(request, "bank")
    assert answer.state == "complete"
    assert verify_receipt(answer.file, trusted=[site.world.site_key.verifier]).verdict == VERIFIED
    publisher.close()


async def test_what_is_running_for_one_organisation_is_unknown_to_another(site):
    publisher = site.world.publisher()
    request = site.world.request(site.world.writer(), outcome=False)
    publisher.merge_once()
    assert (await site.receipts.receipt(request, "stranger")).state == "unknown"
    assert site.receipts.state(request) == "pending"
    assert site.receipts.of_any(request) == b""
    publisher.close()


async def test_an_unknown_id_is_unknown(site):
    publisher = site.world.publisher()
    site.world.request(site.world.writer())
    publisher.merge_once()
    old = site.world.ids.new(site.world.clock.now_us() - 3_600_000_000)
    assert (await site.receipts.receipt(old, "bank")).state == "unknown"
    assert (await site.receipts.receipt(secrets.token_hex(16), "bank")).state == "unknown"
    publisher.close()


def test_the_console_is_told_how_it_stands_with_or_without_the_organisations_key(site):
    publisher = site.world.publisher()
    request = site.world.request(site.world.writer())
    publisher.merge_once()
    assert site.receipts.state(request) == "complete"
    assert verify_receipt(site.receipts.of_any(request), trusted=[site.world.site_key.verifier]).verdict == VERIFIED
    site.keys.forget("bank")
    assert (site.receipts.state(request), site.receipts.of_any(request)) == ("unlinked", b"")
    site.keys.renew("bank")
    site.keys._held.clear()
    assert (site.receipts.state(request), site.receipts.of_any(request)) == ("unlinked", b"")
    publisher.close()


def test_what_was_decided_is_told_though_the_key_is_missing_and_making_the_receipt_says_so(site):
    publisher = site.world.publisher()
    request = site.world.request(site.world.writer())
    publisher.merge_once()
    (site.directory.organisation_keys / "bank.key").unlink()
    assert site.receipts.state(request) == "complete"
    with pytest.raises(CommitmentKeyMissing, match="is missing"):
        site.receipts.of_any(request)
    publisher.close()
