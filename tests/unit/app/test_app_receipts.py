"""What is told of a receipt without making it."""

from types import SimpleNamespace

from sekisho.app.keys import OrganisationKeys
from sekisho.app.receipts import LogReceipts
from sekisho.kernel.clock import SystemClock
from sekisho.settings import DataDirectory


def test_the_state_is_known_without_the_organisations_key(tmp_path):
    """Whoever destroyed it to unlink the entries still sees what was decided."""
    directory = DataDirectory(tmp_path)
    directory.ledger.mkdir()
    receipts = LogReceipts(directory, OrganisationKeys(tmp_path / "destroyed"), SystemClock())
    receipts._reader.close()
    receipts._reader = SimpleNamespace(state=lambda *_: SimpleNamespace(state="complete"), close=lambda: None)
    assert receipts.state("01a21113-e2b0-72ac-a15a-ba5ff5ee0d73") == "complete"
    receipts.close()
