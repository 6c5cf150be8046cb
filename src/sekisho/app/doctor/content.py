"""Kept content: whether what has reached its end is deleted."""

from typing import Final

from sekisho.app.doctor.findings import Finding, ok, problem, warning
from sekisho.content.files import ContentFiles
from sekisho.settings import DataDirectory

OVERDUE_US: Final = 60_000_000  # control looks every few seconds


def look_at_content(directory: DataDirectory, now_us: int, *, control_runs: bool) -> list[Finding]:
    """Nothing is written. Raises OSError."""
    if not directory.content.is_dir():
        return []
    overdue = ContentFiles(directory.content, directory.content_keys).due(now_us - OVERDUE_US)
    if not overdue:
        return [ok("content.ends")]
    # Nobody may read it any more, so while control is down it waits; while control runs, something keeps it.
    make = problem if control_runs else warning
    code = "content.overdue" if control_runs else "content.waits"
    return [make(code, count=len(overdue), end_at=min(held.until for held in overdue))]
