"""Looking back through the published log."""

import pytest
from ledger_fakes import World

from sekisho.kernel import canonical
from sekisho.ledger.browse import LogBrowser
from sekisho.ledger.errors import LogUnreadable

END = 2**63 - 1


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "ledger")


@pytest.fixture
def browser(world):
    browser = LogBrowser(world.root)
    yield browser
    browser.close()


def publish(world, count):
    """`count` answered requests, two entries each; their ids in order."""
    writer = world.writer()
    requests = [world.request(writer) for _ in range(count)]
    publisher = world.publisher()
    publisher.merge_once()
    while publisher.backlog:
        publisher.merge_once()
    publisher.close()
    return requests


def test_before_the_first_checkpoint_there_is_nothing(browser):
    assert browser.size() == 0
    assert list(browser.back_from(END, 4)) == []
    assert browser.of_requests(["x"], 4) == {"x": []}
    assert browser.watermark_us() is None


def test_entries_come_newest_first_over_bundles(world, browser):
    publish(world, 300)
    assert browser.size() == 600
    leaves = [published.leaf for published in browser.back_from(END, 99)]
    assert leaves == list(range(599, -1, -1))
    some = list(browser.back_from(257, 1))
    assert [published.leaf for published in some] == [256]
    assert browser.watermark_us() > 0


def test_no_more_bundles_are_read_than_asked_for(world, browser):
    publish(world, 300)
    assert [published.leaf for published in browser.back_from(600, 2)] == list(range(599, 255, -1))
    (world.root / "tile" / "entries" / "000").unlink()
    assert len(list(browser.back_from(600, 2))) == 344
    with pytest.raises(LogUnreadable, match="missing"):
        list(browser.back_from(600, 3))


def test_a_requests_entries_are_found_by_its_id(world, browser):
    requests = publish(world, 200)
    found = browser.of_requests([requests[0], requests[150], "unknown"], 9)
    for request in (requests[0], requests[150]):
        assert [canonical.decode(p.entry)["request"] for p in found[request]] == [request] * 2
    assert found["unknown"] == []
    assert len(browser.of_requests([requests[0]], 1)[requests[0]]) == 1


def test_a_merge_that_is_not_in_the_checkpoint_yet_is_not_published(world, browser):
    """A backup reads the checkpoint once this says that it covers what was written."""
    assert browser.published_until_us() is None
    publish(world, 3)
    assert browser.published_until_us() == browser.watermark_us()
    old = (world.root / "checkpoint").read_bytes()
    publish(world, 3)
    new = (world.root / "checkpoint").read_bytes()
    (world.root / "checkpoint").write_bytes(old)  # a look between the index and the checkpoint
    assert browser.published_until_us() is None
    (world.root / "checkpoint").write_bytes(new)
    assert browser.published_until_us() == browser.watermark_us()
