"""For every test: journeys start real processes and run on one worker, while others run beside it."""

import pytest
from xdist.scheduler import LoadScopeScheduling


class JourneysTogether(LoadScopeScheduling):
    """All journeys are one scope, any other test is one by itself.

    xdist's own groups (`--dist loadgroup`) mean nothing to pytest from 9.2 on, which keeps a test's id elsewhere.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "journeys" if nodeid.startswith("tests/journeys/") else nodeid


@pytest.hookimpl
def pytest_xdist_make_scheduler(config, log):
    return JourneysTogether(config, log)
