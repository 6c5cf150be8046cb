"""Backups and restores of an installation whose processes do not run: what is in a copy, and what breaks off."""

import shutil

import pytest

from sekisho.app.backup import back_up
from sekisho.app.gateway import open_writer
from sekisho.app.installation import Listen, create_installation
from sekisho.app.ledger import make_publisher
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.ids import IdSource
from sekisho.ledger.interfaces import EntryDraft
from sekisho.ledger.log_files import LogFiles
from sekisho.settings import DataDirectory, load_settings

DAY_US = 24 * 3_600_000_000


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made") / "site"
    create_installation(root, Listen())
    return root


@pytest.fixture
def directory(made, tmp_path):
    return DataDirectory(shutil.copytree(made, tmp_path / "site"))


class AheadClock:
    """A publisher's clock that had jumped ahead."""

    def now_us(self) -> int:
        return SystemClock().now_us() + DAY_US


async def test_what_was_written_before_is_in_a_backup_whatever_the_clocks_say(directory, tmp_path):
    settings, clock, ids = load_settings(directory.root), SystemClock(), IdSource()
    publisher = make_publisher(directory, settings, AheadClock(), ids)
    publisher.start()
    publisher.merge_once()
    publisher.close()
    writer = open_writer(directory, settings, clock, ids)
    identifier = ids.new(clock.now_us())
    await writer.append(EntryDraft("change", identifier, clock.now_us(), "tester", b'{"act":"key.revoke"}'))
    await writer.close()
    made = back_up(directory.root, tmp_path / "backup", None)
    entries = [
        e for _, bundle in LogFiles(tmp_path / "backup/ledger").entries(0, made.manifest["size"]) for e in bundle
    ]
    assert any(identifier.encode() in entry for entry in entries)
