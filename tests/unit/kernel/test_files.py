import os
import stat
from pathlib import Path

import pytest

from sekisho.kernel.files import FileLock, LockHeld, write_durable


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
