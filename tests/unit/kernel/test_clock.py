"""Times in words."""

import pytest

from sekisho.kernel.clock import MINUTES, RFC3339, utc


@pytest.mark.parametrize(
    ("at_us", "form", "text"),
    [
        (0, None, "1970-01-01 00:00:00 UTC"),
        (1_790_000_000_999_999, None, "2026-09-21 14:13:20 UTC"),  # cut off and not rounded
        (1_790_000_000_999_999, MINUTES, "2026-09-21 14:13 UTC"),
        (1_790_000_000_999_999, RFC3339, "2026-09-21T14:13:20Z"),
        (2**62, None, ""),
        (2**62, RFC3339, ""),
    ],
)
def test_times_are_told_in_utc(at_us, form, text):
    assert (utc(at_us) if form is None else utc(at_us, form)) == text
