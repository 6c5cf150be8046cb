"""One inspector for all tests of a worker: compiling the rules takes a third of a second."""

import pytest

from sekisho.inspection.rules import compile_inspector, rules_bytes


@pytest.fixture(scope="session")
def inspector():
    return compile_inspector(rules_bytes(("jp",)))
