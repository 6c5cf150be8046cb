"""Keeping beside the requests: never waits, never raises, says what is lost."""

import threading

import pytest

from sekisho.content import keeper as module
from sekisho.content.interfaces import Content
from sekisho.content.keeper import BackgroundKeeper


class Store:
    def __init__(self):
        self.written = []
        self.error = None
        self.go = threading.Event()
        self.go.set()

    def write(self, content):
        self.go.wait(20)
        if self.error is not None:
            raise self.error
        self.written.append(content)


def content(size=1):
    return Content("default", "e", "r", 1, b"x" * size, b"")


def hand_over(keeper, size=1):
    """As requests do; whether there was room."""
    if not keeper.take(size):
        keeper.lose("r", "behind")
        return False
    keeper.keep(content(size))
    return True


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def lost():
    return []


@pytest.fixture
def keeper(store, lost):
    keeper = BackgroundKeeper(store, lost.append)
    yield keeper
    store.go.set()
    keeper.close()


def test_what_is_handed_over_is_written_before_it_closes(keeper, store, lost):
    hand_over(keeper)
    keeper.close()
    assert store.written == [content()]
    assert lost == []


def test_nobody_waits_for_a_slow_disk_and_what_does_not_fit_is_lost(keeper, store, lost, monkeypatch):
    monkeypatch.setattr(module, "ROOM_BYTES_MAX", 10)
    store.go.clear()
    for _ in range(3):
        hand_over(keeper, 4)
    assert lost == ["behind"]
    store.go.set()
    keeper.close()
    assert len(store.written) == 2


def test_room_is_given_back_when_it_is_written_or_given_up(keeper, monkeypatch):
    monkeypatch.setattr(module, "ROOM_BYTES_MAX", 10)
    assert keeper.take(10)
    assert not keeper.take(1)
    keeper.release(10)
    assert hand_over(keeper, 10)
    keeper.close()
    assert keeper._taken_bytes == 0


@pytest.mark.parametrize(
    ("error", "reason"), [(OSError(28, "No space left on device"), "disk"), (ZeroDivisionError(), "fault")]
)
def test_what_fails_loses_that_content_alone(keeper, store, lost, error, reason):
    store.error = error
    hand_over(keeper)
    hand_over(keeper)
    keeper.close()
    assert lost == [reason, reason]
    assert keeper._taken_bytes == 0


def test_after_it_closed_content_is_lost_and_said(keeper, lost):
    keeper.close()
    hand_over(keeper)
    assert lost == ["stopping"]
    assert keeper._taken_bytes == 0


def test_no_thread_is_started_before_anything_is_kept(keeper):
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("content")]
