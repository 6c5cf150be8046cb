"""For every test: journeys start real processes and run on one worker, while others run beside it."""

from pathlib import Path

import pytest

JOURNEYS = Path(__file__).parent / "journeys"


def pytest_collection_modifyitems(items):
    for item in items:
        if JOURNEYS in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("journeys"))
