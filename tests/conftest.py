"""For every test: journeys start real processes and run on one worker, while others run beside it."""

from pathlib import Path

import pytest

JOURNEYS = Path(__file__).parent / "journeys"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups, or they mean nothing
def pytest_collection_modifyitems(items):
    for item in items:
        if JOURNEYS in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("journeys"))
