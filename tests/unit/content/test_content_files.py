"""Kept content on disk: private, found, ended, forgotten."""

import os
import shutil
import stat

import pytest

from sekisho.content.errors import ContentKeyUnusable, ContentMissing, ContentNoRoom, ContentUnreadable
from sekisho.content.files import ContentFiles
from sekisho.content.interfaces import Content
from sekisho.kernel.ids import IdSource

NOW_US = 1_790_000_000_000_000
DAY_US = 86_400_000_000
IDS = IdSource()


@pytest.fixture
def root(tmp_path):
    (tmp_path / "keys").mkdir()
    return tmp_path


@pytest.fixture
def files(root):
    return ContentFiles(root / "content", root / "keys" / "content")


def content(organisation="default", days=1, text=b"asked"):
    return Content(organisation, IDS.new(NOW_US), IDS.new(NOW_US), NOW_US + days * DAY_US, text, b"answered")


def test_the_last_space_of_the_disk_is_the_ledgers(root):
    state = os.statvfs(root)
    free = state.f_bavail * state.f_frsize
    files = ContentFiles(root / "content", root / "keys" / "content", free_bytes_min=2 * free)
    with pytest.raises(ContentNoRoom, match="the ledger needs"):
        files.write(content())
    assert files.held() == []


def test_what_was_kept_is_read_until_its_end(files):
    kept = content()
    files.write(kept)
    assert files.read(kept.entry, kept.until - 1) == kept
    with pytest.raises(ContentMissing, match="reached its end"):
        files.read(kept.entry, kept.until)


def test_all_of_it_is_private_whatever_the_umask(files, root):
    before = os.umask(0)
    try:
        files.write(content())
    finally:
        os.umask(before)
    for path in [*(root / "content").rglob("*"), *(root / "keys" / "content").rglob("*"), root / "content"]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_no_text_is_on_the_disk(files, root):
    files.write(content(text="山田太郎の相談".encode()))
    on_disk = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert "山田".encode() not in on_disk
    assert b"answered" not in on_disk


def test_each_organisation_has_a_key_of_its_own(files, root):
    files.write(content("one"))
    files.write(content("two"))
    one, two = ((root / "keys" / "content" / f"{name}.key").read_bytes() for name in ("one", "two"))
    assert one != two
    files.write(content("one"))
    assert (root / "keys" / "content" / "one.key").read_bytes() == one
    assert [path.name for path in (root / "keys" / "content").iterdir() if path.name.startswith(".")] == []


def test_of_what_is_kept_only_what_has_reached_its_end_is_due(files):
    early, late, other = content(days=1), content(days=2), content("other", days=1)
    for one in (early, late, other):
        files.write(one)
    assert files.due(NOW_US + DAY_US - 1) == []
    assert {held.entry for held in files.due(NOW_US + DAY_US)} == {early.entry, other.entry}
    for held in files.due(NOW_US + DAY_US):
        files.delete(held)
        files.delete(held)  # another process was first
    assert [held.entry for held in files.held()] == [late.entry]


def test_a_day_with_nothing_left_leaves_no_directory(files, root):
    kept = content()
    files.write(kept)
    files.delete(files.find(kept.entry))
    assert list((root / "content" / "default").iterdir()) == []


def test_forgetting_an_organisation_makes_even_copies_unreadable(files, root):
    kept, other = content(), content("other")
    files.write(kept)
    files.write(other)
    (path,) = [path for path in (root / "content" / "default").rglob("*") if path.is_file()]
    copy = path.read_bytes()
    assert files.forget("default", NOW_US) == 1
    assert [held.organisation for held in files.held()] == ["other"]
    files.write(content())  # what is kept later has a new key
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(copy)
    with pytest.raises(ContentUnreadable):
        files.read(kept.entry, NOW_US)
    assert files.read(other.entry, NOW_US) == other


def test_a_forgetting_that_was_interrupted_leaves_nothing_readable_and_can_be_finished(files, root, monkeypatch):
    kept = content()
    files.write(kept)
    monkeypatch.setattr(type(root), "rename", lambda *_: (_ for _ in ()).throw(OSError("crash")))
    with pytest.raises(OSError, match="crash"):
        files.forget("default", NOW_US)
    monkeypatch.undo()
    with pytest.raises(ContentUnreadable, match="destroyed"):
        files.read(kept.entry, NOW_US)
    assert files.forget("default", NOW_US) == 1
    assert files.held() == []


def test_what_was_renamed_aside_is_swept(files, root):
    files.write(content())
    (root / "content" / "default").rename(root / "content" / ".forgotten-default-0123456789ab")
    assert files.held() == []
    files.sweep(NOW_US)
    assert list((root / "content").iterdir()) == []


def test_two_processes_can_sweep_at_once(files, root, monkeypatch):
    """Control sweeps every few seconds, and may meet what a command is just removing."""
    files.write(content())
    files.write(content("other"))
    aside = root / "content" / ".forgotten-default-0123456789ab"
    (root / "content" / "default").rename(aside)
    walk = os.walk

    def overtaken(path, *, topdown):
        found = list(walk(path, topdown=topdown))
        shutil.rmtree(aside)
        yield from found

    monkeypatch.setattr(os, "walk", overtaken)
    files.sweep(NOW_US)
    monkeypatch.undo()
    assert [path.name for path in (root / "content").iterdir()] == ["other"]


def test_a_directory_that_goes_while_it_is_looked_at_holds_nothing(files, root, monkeypatch):
    files.write(content("a"))
    files.write(content("b"))
    iterdir = type(root).iterdir

    def overtaken(path):
        if path.name == "a":
            shutil.rmtree(path)
        return iterdir(path)

    monkeypatch.setattr(type(root), "iterdir", overtaken)
    assert [held.organisation for held in files.held()] == ["b"]
    files.write(content("a"))
    files.sweep(NOW_US + 2 * DAY_US)
    assert [held.organisation for held in files.held()] == ["b"]


def test_what_a_crash_left_of_writing_goes_when_its_day_is_over(files, root):
    kept = content()
    files.write(kept)
    (path,) = [path for path in (root / "content").rglob("*") if path.is_file()]
    left = path.with_name(f".{path.name}.0123456789ab.new")
    left.write_bytes(path.read_bytes())
    files.sweep(kept.until)
    assert left.exists()  # it may be under way just now
    files.sweep(kept.until + DAY_US)
    assert not left.exists()
    assert path.exists()  # it is due, and told of before it goes
    files.delete(files.find(kept.entry))
    left.parent.mkdir()
    left.write_bytes(b"x")
    files.sweep(kept.until + DAY_US)
    assert list((root / "content" / "default").iterdir()) == []


def test_forgetting_leaves_no_other_name_of_the_key(files, root):
    """As it is after a crash between the key's two names."""
    files.write(content())
    keys = root / "keys" / "content"
    os.link(keys / "default.key", keys / ".default.key.0123456789ab.new")
    files.forget("default", NOW_US)
    assert list(keys.iterdir()) == []


def test_a_file_under_another_name_is_not_read(files, root):
    kept, other = content(), content()
    files.write(kept)
    files.write(other)
    paths = {path.name.partition("-")[2]: path for path in (root / "content").rglob("*") if path.is_file()}
    paths[kept.entry].write_bytes(paths[other.entry].read_bytes())
    with pytest.raises(ContentUnreadable, match="another name"):
        files.read(kept.entry, NOW_US)
    moved = paths[other.entry].with_name(f"{other.until + DAY_US}-{other.entry}")  # a later end, by its name
    paths[other.entry].rename(moved)
    with pytest.raises(ContentUnreadable, match="another name"):
        files.read(other.entry, NOW_US)


def test_a_key_that_others_can_read_is_not_used(files, root):
    files.write(content())
    (root / "keys" / "content" / "default.key").chmod(0o640)
    with pytest.raises(ContentKeyUnusable, match="others"):
        files.write(content())


@pytest.mark.parametrize("text", [b"", b"00", b"zz" * 32, b"\xff" * 64])
def test_a_key_that_is_none_is_not_replaced(files, root, text):
    files.write(content())
    path = root / "keys" / "content" / "default.key"
    path.write_bytes(text)
    with pytest.raises(ContentKeyUnusable, match="no key"):
        files.write(content())
    assert path.read_bytes() == text


@pytest.mark.parametrize("organisation", ["../x", "a/b", "", ".forgotten-x"])
def test_nothing_is_written_outside(files, organisation):
    with pytest.raises(ContentKeyUnusable, match="names no organisation"):
        files.write(content(organisation))
    with pytest.raises(ContentMissing):
        files.forget(organisation, NOW_US)


@pytest.mark.parametrize("entry", ["", "x", "../../keys", "01a20a17-737b-78b0-8e26-14a3746e95ae"])
def test_what_is_not_there_is_missing(files, entry):
    with pytest.raises(ContentMissing):
        files.read(entry, NOW_US)
    files.write(content())
    with pytest.raises(ContentMissing):
        files.find(entry)
