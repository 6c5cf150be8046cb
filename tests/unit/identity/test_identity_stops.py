"""Emergency stops in memory: whatever order their rows come in, the last word counts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.identity.errors import StopRequestInvalid
from sekisho.identity.interfaces import STOP_KINDS, KeyChanges, Stop
from sekisho.identity.stops import REASON_LENGTH_MAX, Stops, require_stop, told


def stop(kind, name, sequence, *, lifted=False):
    return Stop(kind, name, "", 1, 2 if lifted else None, sequence)


@st.composite
def histories(draw):
    """Rows of the register as they were one after the other, and the same in another order, some of them twice."""
    rows = []
    for sequence in range(1, draw(st.integers(1, 12)) + 1):
        kind, name = draw(st.sampled_from(STOP_KINDS)), draw(st.sampled_from("ab"))
        rows.append(stop(kind, name, sequence, lifted=draw(st.booleans())))
    again = draw(st.lists(st.sampled_from(rows), max_size=6))
    return rows, draw(st.permutations([*rows, *again]))


def applied(rows, batch=1):
    stops, new = Stops(), []
    for start in range(0, len(rows), batch):
        new += stops.apply(KeyChanges(0, (), tuple(rows[start : start + batch])))
    return stops, new


def states(stops):
    deployments = [(deployment, provider) for deployment in "ab" for provider in "ab"]
    return (
        [stops.organisation(name) for name in "ab"],
        [stops.deployment(*one) for one in deployments],
        stops.of(deployments),
        stops.count(),
    )


@given(histories(), st.integers(1, 5))
def test_neither_order_nor_repetition_matters(history, batch):
    rows, shuffled = history
    last = {(row.kind, row.name): row for row in rows}
    in_order, new = applied(rows)
    assert states(in_order) == states(applied(shuffled, batch)[0])
    assert in_order.count() == sum(row.lifted_at is None for row in last.values())
    assert [row for row in rows if row.lifted_at is None] == new  # each is told of once, so that what runs can end
    for (kind, name), row in last.items():
        if kind == "organisation":
            assert in_order.organisation(name) == (row.lifted_at is None)


def test_a_stopped_provider_stops_all_its_deployments_and_no_others():
    stops, _ = applied([stop("provider", "p", 1), stop("deployment", "a", 2)])
    assert stops.of([("a", "q"), ("b", "p"), ("c", "q")]) == {"a", "b"}
    assert not stops.organisation("p")


def test_while_nothing_is_stopped_nothing_is_looked_at():
    stops, _ = applied([stop("organisation", "o", 1), stop("provider", "p", 2), stop("provider", "p", 3, lifted=True)])

    def never():
        raise AssertionError("looked at")
        yield

    assert stops.of(never()) == frozenset()


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("model", "a", ""),
        ("deployment", "", ""),
        ("deployment", "A", ""),
        ("deployment", "../a", ""),
        ("deployment", "a" * 65, ""),
        ("deployment", "a", "x" * (REASON_LENGTH_MAX + 1)),
        ("deployment", "a", "two\nlines"),
        ("deployment", "a", "\x1b[2J"),
    ],
)
def test_what_can_be_no_stop(kind, name, reason):
    with pytest.raises(StopRequestInvalid) as raised:
        require_stop(kind, name, reason)
    assert raised.value.remedy


def test_the_ledger_is_told_of_the_act_and_not_of_its_reason():
    require_stop("provider", "p.q-r_1", "障害のため")
    assert json.loads(told("stop.set", "provider", "p")) == {"act": "stop.set", "kind": "provider", "name": "p"}
