"""What ends attempts from outside: stops, and rules that were replaced too long ago."""

import pytest

from sekisho.gateway.entries import Ended
from sekisho.gateway.errors import OrganisationStopped, Stopped, Superseded
from sekisho.gateway.halts import Halts, Passage
from sekisho.identity.interfaces import KeyChanges, Stop

OLD, NEW = object(), object()  # snapshots in force: only their identity counts


class Ends(list):
    """Passages that it makes and what each was told."""

    def __init__(self, halts):
        super().__init__()
        self.halts = halts

    def enter(self, name, organisation="o", deployment="d", provider="p", in_force=OLD):
        passage = Passage(organisation, deployment, provider, in_force, lambda halt: self.append((name, halt)))
        return self.halts.enter(passage)

    @property
    def names(self):
        return [name for name, _ in self]


@pytest.fixture
def halts():
    return Halts(outlives_s=10)


@pytest.fixture
def ends(halts):
    return Ends(halts)


def changes(*stops):
    return KeyChanges(0, (), tuple(Stop(kind, name, "", 1, lifted, n) for n, (kind, name, lifted) in enumerate(stops)))


@pytest.mark.parametrize(
    ("kind", "name", "ended", "error"),
    [
        ("organisation", "o", ["a", "b"], OrganisationStopped),
        ("provider", "p", ["a"], Stopped),
        ("deployment", "e", ["b"], Stopped),
        ("deployment", "p", [], None),
    ],
)
def test_a_stop_ends_what_runs_through_it_and_nothing_else(halts, ends, kind, name, ended, error):
    ends.enter("a")
    ends.enter("b", deployment="e", provider="q")
    ends.enter("c", organisation="other", deployment="f", provider="q")
    halts.apply(changes((kind, name, None)))
    assert sorted(ends.names) == ended
    assert all(isinstance(halt.error, error) and halt.ended is Ended.STOPPED for _, halt in ends)
    halts.apply(changes((kind, name, None)))
    assert sorted(ends.names) == ended  # once


def test_what_has_left_is_not_ended(halts, ends):
    halts.leave(ends.enter("a"))
    halts.leave(Passage("o", "d", "p", OLD, lambda halt: None))  # one that never entered, or was ended
    halts.apply(changes(("provider", "p", None)))
    assert ends == []


def test_while_a_stop_is_set_what_enters_is_told_why_it_must_not_go_on(halts, ends):
    halts.apply(changes(("organisation", "o", None), ("deployment", "d", None)))
    passage = ends.enter("a")
    assert isinstance(halts.why(passage).error, OrganisationStopped)
    with pytest.raises(OrganisationStopped):
        halts.require_organisation("o")
    halts.require_organisation("other")
    assert halts.stopped([("d", "p"), ("e", "p")]) == {"d"}
    assert halts.stops_set == 2


def test_a_lifted_stop_ends_nothing(halts, ends):
    passage = ends.enter("a")
    halts.apply(changes(("provider", "p", 5)))
    assert ends == []
    assert halts.why(passage) is None
    assert halts.stops_set == 0


def test_one_that_fails_keeps_no_other_alive(halts, ends):
    def broken(halt):
        raise RuntimeError("its fault")

    halts.enter(Passage("o", "d", "p", OLD, broken))
    ends.enter("a")
    halts.enter(Passage("o", "d", "p", OLD, broken))
    with pytest.raises(ExceptionGroup) as raised:
        halts.apply(changes(("provider", "p", None)))
    assert len(raised.value.exceptions) == 2
    assert ends.names == ["a"]


def test_a_passage_may_leave_while_it_is_being_ended(halts, ends):
    passage = ends.enter("a")
    end = passage.end
    passage.end = lambda halt: (halts.leave(passage), end(halt))
    halts.apply(changes(("provider", "p", None)))
    assert ends.names == ["a"]


def test_rules_that_were_replaced_are_outlived_from_the_moment_that_was_seen(halts, ends):
    ends.enter("old")
    ends.enter("new", in_force=NEW)
    halts.end_outliving(OLD, 1_000)  # in force: nothing is counted yet
    halts.end_outliving(NEW, 1_100)
    halts.end_outliving(NEW, 1_109.9)
    assert ends == []
    halts.end_outliving(NEW, 1_110)
    assert ends.names == ["old"]
    assert isinstance(ends[0][1].error, Superseded)
    assert ends[0][1].ended is Ended.SUPERSEDED
    halts.end_outliving(NEW, 9_999)
    assert ends.names == ["old"]


def test_where_no_rules_are_in_force_those_that_ended_are_outlived_too(halts, ends):
    ends.enter("a")
    halts.end_outliving(OLD, 0)
    halts.end_outliving(None, 1)
    halts.end_outliving(None, 10)
    assert ends == []
    halts.end_outliving(None, 11)
    assert ends.names == ["a"]


def test_each_is_told_in_an_error_of_its_own(halts, ends):
    for name in "ab":
        ends.enter(name)
    for now_s in (0, 10):
        halts.end_outliving(NEW, now_s)
    first, second = (halt.error for _, halt in ends)
    assert first is not second
