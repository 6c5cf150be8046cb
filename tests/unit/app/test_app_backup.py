"""Backups and restores of an installation whose processes do not run: what is in a copy, and what breaks off."""

import resource
import shutil
from contextlib import contextmanager

import pytest

from sekisho.app.backup import back_up, verify_backup
from sekisho.app.gateway import open_writer
from sekisho.app.ledger import make_publisher
from sekisho.app.restore import RESTORING, restore
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.kernel.files import FileLock, LockHeld
from sekisho.kernel.ids import IdSource
from sekisho.ledger.interfaces import EntryDraft
from sekisho.ledger.log_files import LogFiles
from sekisho.settings import DataDirectory, load_settings

DAY_US = 24 * 3_600_000_000


@pytest.fixture(scope="module")
def made(installation_template, tmp_path_factory):
    return shutil.copytree(installation_template, tmp_path_factory.mktemp("made") / "site")


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


def test_the_registries_files_come_along_to_where_nobody_could_fetch_them(directory, tmp_path):
    directory.registry.mkdir()
    (directory.registry / "delegated-apnic-extended-latest").write_text("2|apnic|20261124|0|19830613|20261124|+1000\n")
    back_up(directory.root, tmp_path / "backup", None)
    restored = DataDirectory(tmp_path / "restored")
    restore(tmp_path / "backup", restored.root, passphrase=None, site_key=directory.root / "keys" / "site.key")
    assert [path.name for path in restored.registry.iterdir()] == ["delegated-apnic-extended-latest"]


@pytest.fixture(scope="module")
def backup(made, tmp_path_factory):
    target = tmp_path_factory.mktemp("backups") / "backup"
    back_up(made, target, None)
    return target


@contextmanager
def files_of_at_most(size):
    """No file of this process grows beyond `size` bytes: a disk that takes no more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 1, 500, 2_000, 30_000])
def test_a_restore_that_broke_off_is_no_installation_and_is_begun_anew(made, backup, tmp_path, size):
    root, key = tmp_path / "new", made / "keys/site.key"
    with files_of_at_most(size), pytest.raises(SekishoError, match=r"broke off.*begins anew"):
        restore(backup, root, passphrase=None, site_key=key)
    assert not (root / "sekisho.toml").exists()
    (root / "left over").mkdir()
    done = restore(backup, root, passphrase=None, site_key=key)
    assert load_settings(root).installation.origin == done.origin
    assert not {RESTORING, "left over"} & {path.name for path in root.iterdir()}
    with pytest.raises(UsageError, match="not empty"):
        restore(backup, root, passphrase=None, site_key=key)


def test_nothing_is_cleared_away_but_what_a_restore_left(made, backup, tmp_path):
    """Neither somebody's files, nor an installation whose restore ended just before its mark was removed."""
    for number, names in enumerate((["file"], ["sekisho.toml", RESTORING])):
        root = tmp_path / str(number)
        root.mkdir()
        for name in names:
            (root / name).write_text("mine")
        with pytest.raises(UsageError, match="not empty"):
            restore(backup, root, passphrase=None, site_key=made / "keys/site.key")
        assert [(root / name).read_text() for name in names] == ["mine"] * len(names)


def test_two_restores_do_not_meet_in_one_directory(made, backup, tmp_path):
    root = tmp_path / "new"
    root.mkdir()
    with FileLock(root / RESTORING), pytest.raises(LockHeld, match="another restore"):
        restore(backup, root, passphrase=None, site_key=made / "keys/site.key")
    assert [path.name for path in root.iterdir()] == [RESTORING]


@pytest.mark.parametrize("with_keys", [False, True])
def test_files_outside_of_the_installation_are_named_and_left_out(directory, tmp_path, with_keys):
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("PEM")
    (directory.root / "ca.pem").write_text("PEM")
    named = {
        "tls_certificate_file": tmp_path / "cert.pem",
        "tls_key_file": "../key.pem",
        "tls_client_ca_file": "ca.pem",
    }
    lines = "".join(f'{name} = "{path}"\n' for name, path in named.items())
    settings = directory.settings.read_text()
    directory.settings.write_text(settings.replace("[gateway]\n", f"[gateway]\n{lines}"))
    made = back_up(directory.root, tmp_path / "backup", "correct horse battery" if with_keys else None)
    assert made.manifest["left_out"] == ["../key.pem", str(tmp_path / "cert.pem")]
    assert (tmp_path / "backup/files/ca.pem").read_text() == "PEM"
    assert not list((tmp_path / "backup").rglob("key.pem"))


@pytest.mark.parametrize("quotes", ['"', "'"])
def test_the_origin_may_be_written_in_any_way_and_be_spoken_of(directory, tmp_path, quotes):
    settings, origin = directory.settings.read_text(), load_settings(directory.root).installation.origin
    settings = settings.replace(f'origin = "{origin}"', f"origin={quotes}{origin}{quotes}  # was {origin}")
    directory.settings.write_text(f'# the log is "{origin}"\n{settings}')
    assert load_settings(directory.root).installation.origin == origin
    back_up(directory.root, tmp_path / "backup", None)
    done = restore(tmp_path / "backup", tmp_path / "new", passphrase=None, site_key=directory.site_key)
    assert load_settings(tmp_path / "new").installation.origin == done.origin != origin


@pytest.mark.parametrize("manifest", ["[]", "{}", "7", '{"format": 1}', '{"format": 2}', '{"format": "\\ud800"}', "x"])
def test_what_is_no_manifest_is_no_backup(tmp_path, manifest):
    (tmp_path / "backup.json").write_text(manifest)
    with pytest.raises(SekishoError, match="backup"):
        verify_backup(tmp_path, None)


@pytest.mark.parametrize("size", [0, 1, 500, 2_000, 30_000])
def test_a_backup_that_breaks_off_leaves_nothing_and_is_made_by_the_same_command(directory, tmp_path, size):
    target = tmp_path / "backups" / "monday"
    back_up(directory.root, tmp_path / "before", None)  # so that the ledger itself is at rest
    with files_of_at_most(size), pytest.raises((SekishoError, OSError)):
        back_up(directory.root, target, None)
    assert list(target.parent.iterdir()) == []
    (target.parent / ".monday.partial/ledger").mkdir(parents=True)  # of one that was killed
    back_up(directory.root, target, None)
    assert list(target.parent.iterdir()) == [target]
    verify_backup(target, None)


def test_two_backups_do_not_meet_in_one_directory(directory, tmp_path):
    partial = tmp_path / ".monday.partial"
    partial.mkdir()
    with FileLock(tmp_path / ".monday.lock"), pytest.raises(LockHeld, match="another backup"):
        back_up(directory.root, tmp_path / "monday", None)
    assert partial.is_dir()
