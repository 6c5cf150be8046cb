"""Redaction reads a body a few times, however many values are in it and wherever they stand."""

from collections import Counter

import pytest

from sekisho.inspection import redaction
from sekisho.inspection.redaction import COMPARED_MAX

COUNT = 400
PAD = "これは日本語の文章です。" * 20  # so that so many are no flood


class Watched(bytes):
    """Bytes that count how many of them were read."""

    read = 0

    def __getitem__(self, key):
        found = bytes.__getitem__(self, key)
        Watched.read += len(found) if isinstance(key, slice) else 1
        return found


@pytest.fixture
def work(monkeypatch):
    """Bytes read and texts looked for, of all scans of a test, and how long what was scanned is."""
    found = Counter()

    class Scanned(redaction._ScannedTexts):
        __slots__ = ()

        def __init__(self, inspector, texts):
            super().__init__(inspector, texts)
            self._data = Watched(self._data)
            found["scanned"] += len(self._data)

        def index_of(self, value):
            found["looked for"] += 1
            return super().index_of(value)

    monkeypatch.setattr(redaction, "_ScannedTexts", Scanned)
    monkeypatch.setattr(Watched, "read", 0)
    return found


def address(number):
    return f"taro{number}@example.jp"


BODIES = {
    "one text": {"messages": [{"content": "".join(f"{address(number)} {PAD}" for number in range(COUNT))}]},
    "many texts": {"messages": [{"content": f"{address(number)} {PAD}"} for number in range(COUNT)]},
    "many parts": {
        "messages": [{"content": [{"type": "text", "text": f"{address(number)} {PAD}"} for number in range(COUNT)]}]
    },
}


@pytest.mark.parametrize("kind", BODIES)
def test_many_values_are_redacted_in_a_few_passes(inspector, work, kind):
    assert inspector.inspect(BODIES[kind]).redactable
    redacted = inspector.redact_reversibly(BODIES[kind], frozenset({"email"}))
    assert list(redacted.values.values()) == [address(number) for number in range(COUNT)]
    assert redacted.labels == ()
    assert Watched.read <= 3 * work["scanned"]
    assert work["looked for"] <= 10 * COUNT


def test_values_that_run_on_over_parts_are_compared_within_a_bound(inspector):
    def runs_on(count):
        texts = [text for number in range(count) for text in (f"taro{number}@example.co", ".jp " + PAD)]
        return {"messages": [{"content": [{"type": "text", "text": text} for text in texts]}]}

    assert inspector.inspect(runs_on(20)) == (("email",), True)
    too_many = int(COMPARED_MAX**0.5) + 1
    assert inspector.inspect(runs_on(too_many)) == (("email",), False)
