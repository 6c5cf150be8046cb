"""`sekisho probe`: the methods that it offers are those that there are (their table needs the server's packages)."""

from sekisho.catalog.evidence import METHODS, PROBE
from sekisho.cli import probe


def test_every_method_of_probing_may_be_asked_for():
    assert tuple(sorted(one.name for one in METHODS if one.by == PROBE)) == probe.METHODS
