"""The canonical form of a decision's input: one value, one form, and nothing else is accepted."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.policy.decision_input import canonical, from_canonical
from sekisho.policy.errors import DecisionInputError
from sekisho.policy.interfaces import STALENESS_ROLES, Decision, PrincipalInput, Verdict
from sekisho.policy.memo import DecisionMemo
from support_decide import DIGEST, decision_input

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789._-", min_size=1, max_size=8)
SETS = st.sets(NAMES, max_size=4).map(lambda found: tuple(sorted(found)))
INPUTS = st.builds(
    decision_input,
    epoch_from=st.integers(0, 2**53 - 1),
    model=NAMES,
    principal=st.builds(PrincipalInput, NAMES, NAMES, SETS),
    data_class=NAMES,
    residency=SETS,
    labels_raw=SETS,
    labels_redacted=SETS,
    redactable=st.booleans(),
    staleness=st.one_of(
        st.just(()), st.integers(0, 999).map(lambda days: tuple((role, days) for role in STALENESS_ROLES))
    ),
)


@settings(max_examples=100, deadline=None)
@given(INPUTS)
def test_it_reads_back_as_it_was(value):
    assert from_canonical(canonical(value)) == value


@settings(max_examples=50, deadline=None)
@given(INPUTS, INPUTS)
def test_two_values_share_bytes_only_if_they_are_equal(one, other):
    assert (canonical(one) == canonical(other)) is (one == other)


def test_the_form_is_fixed():
    assert canonical(decision_input(labels_raw=("opaque",), residency=("JP", "US"))) == (
        b'{"class":"internal","epoch_from":0,"labels_raw":["opaque"],"labels_redacted":[],"model":"m",'
        b'"principal":{"id":"key-1","organisation":"default","roles":["caller"]},"redactable":true,'
        b'"residency":["JP","US"],"snapshot":"' + DIGEST.encode() + b'","staleness":{},"v":1}'
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": True},
        {"snapshot": "x"},
        {"epoch_from": -1},
        {"epoch_from": 2**53},
        {"redactable": 1},
        {"residency": ("US", "JP")},
        {"labels_raw": ("opaque", "opaque")},
        {"model": None},
        {"staleness": (("policy", 0),)},
    ],
)
def test_what_is_malformed_has_no_form(changes):
    with pytest.raises(DecisionInputError):
        canonical(decision_input(**changes))


def test_bytes_with_anything_unknown_missing_or_out_of_order_are_refused():
    plain = json.loads(canonical(decision_input()))
    variants = [
        plain | {"extra": 1},
        {key: value for key, value in plain.items() if key != "class"},
        plain | {"principal": plain["principal"] | {"name": "x"}},
        plain | {"residency": ["US", "JP"]},
        plain | {"residency": "JP"},
        plain | {"staleness": []},
    ]
    for variant in variants:
        with pytest.raises(DecisionInputError):
            from_canonical(json.dumps(variant, sort_keys=True, separators=(",", ":")).encode())
    with pytest.raises(DecisionInputError):
        from_canonical(canonical(decision_input()) + b" ")


def test_the_memo_is_bounded_and_keeps_what_is_used():
    def remembered(number):
        value = decision_input(epoch_from=number)
        return Decision(value, (Verdict("d", "sendRaw", True, (), ()),), ("d",), (), b"", b"")

    memo = DecisionMemo(weight_max=50)
    used = remembered(0)
    memo.put(used)
    for number in range(1, 200):
        memo.put(remembered(number))
        assert memo.get(used.input) is used
        assert len(memo) <= 20
    assert memo.get(remembered(1).input) is None
