import fcntl
import os
import stat
from pathlib import Path

import pytest

from sekisho.kernel.files import LOOK_S_MAX, FileLock, LockHeld, write_durable


def test_a_file_is_replaced_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_durable(path, b"one", mode=0o600)
    write_durable(path, b"two", mode=0o600)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["key"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "target"
    path.mkdir()  # a directory can't be replaced by a file
    with pytest.raises(OSError):
        write_durable(path, b"data")
    assert os.listdir(tmp_path) == ["target"]


def test_a_lock_is_exclusive_until_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with FileLock(path).acquire(), pytest.raises(LockHeld):
        FileLock(path).acquire()
    FileLock(path).acquire().release()


def test_whether_a_lock_is_held_can_be_asked_without_taking_it(tmp_path):
    path = tmp_path / "lock"
    assert not FileLock.is_held(path)
    assert not path.exists()
    with FileLock(path):
        assert FileLock.is_held(path)
        with pytest.raises(LockHeld):
            FileLock(path).acquire_within(LOOK_S_MAX)
    assert not FileLock.is_held(path)
    FileLock(path).acquire_within(LOOK_S_MAX).release()


def test_who_is_patient_waits_for_someone_who_only_looks(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    path.touch()
    looker = os.open(path, os.O_RDONLY)
    fcntl.flock(looker, fcntl.LOCK_SH)
    monkeypatch.setattr("sekisho.kernel.files.time.sleep", lambda _: fcntl.flock(looker, fcntl.LOCK_UN))
    with FileLock(path).acquire_within(LOOK_S_MAX):
        assert FileLock.is_held(path)
    os.close(looker)
