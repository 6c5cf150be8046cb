"""For every test: the journeys of a file share its installation, so one worker runs them in order; none is timed."""

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


class JourneysByFile(LoadScopeScheduling):
    """A file of journeys is one scope, any other test is one by itself.

    xdist's own groups (`--dist loadgroup`) mean nothing to pytest from 9.2 on, which keeps a test's id elsewhere.
    """

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0] if nodeid.startswith("tests/journeys/") else nodeid


@pytest.hookimpl
def pytest_xdist_make_scheduler(config, log):
    return JourneysByFile(config, log)


@pytest.fixture(scope="session")
def installation_template(tmp_path_factory):
    """A new installation, to be copied and never changed: made once, because policies take a second to compile."""
    from sekisho.app.installation import Listen, create_installation

    root = tmp_path_factory.mktemp("template") / "site"
    create_installation(root, Listen())
    return root
