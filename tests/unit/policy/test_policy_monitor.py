"""Monitor mode lifts denials by policy, as little as it can, and never what could not be decided."""

from hypothesis import given
from hypothesis import strategies as st

from sekisho.policy.interfaces import SEND_RAW, SEND_REDACTED, Decision, PolicyTitle, Verdict
from sekisho.policy.monitor import monitored


def policies(*always):
    return [PolicyTitle(f"p.{n}", "T", "題", "forbid", "p.cedar", one) for n, one in enumerate(always)]


def decision(*verdicts):
    return Decision(None, verdicts, (), (), b"", b"")


def denied(deployment, action=SEND_RAW, reasons=(0,), errors=()):
    return Verdict(deployment, action, False, reasons, errors)


POLICIES = st.lists(st.booleans(), min_size=1, max_size=5)
DENIED = st.just(False)


@st.composite
def decided(draw, permitted=DENIED):
    always = draw(POLICIES)
    verdict = st.builds(
        Verdict,
        st.sampled_from("abcd"),
        st.sampled_from((SEND_RAW, SEND_REDACTED)),
        permitted,
        st.sets(st.integers(0, len(always) - 1)).map(lambda found: tuple(sorted(found))),
        st.sampled_from([(), ("it could not be decided",)]),
    )
    verdicts = draw(st.lists(verdict, max_size=10, unique_by=lambda one: one[:2]))
    return decision(*verdicts), policies(*always)


@given(decided())
def test_what_is_lifted_is_denied_by_policies_alone_that_may_be_lifted(case):
    made, titles = case
    found = monitored(made, titles)
    may = [one for one in made.verdicts if not one.errors and not any(titles[reason].always for reason in one.reasons)]
    if not may:
        assert found is None
        return
    action = SEND_REDACTED if any(one.action == SEND_REDACTED for one in may) else SEND_RAW  # the least that leaves
    fewest = min(len(one.reasons) for one in may if one.action == action)
    best = [one for one in may if one.action == action and len(one.reasons) == fewest]
    names = tuple(one.deployment for one in best)
    assert (found.permitted_raw, found.permitted_redacted) == (((), names) if action == SEND_REDACTED else (names, ()))
    assert found.broken == tuple(sorted({titles[reason].id for one in best for reason in one.reasons}))


@given(decided(permitted=st.booleans()))
def test_where_anything_is_permitted_it_counts_for_nothing(case):
    made, titles = case
    if any(one.permitted for one in made.verdicts):
        assert monitored(made, titles) is None


def test_an_error_is_never_lifted_whatever_stands_beside_it():
    assert monitored(decision(denied("a", errors=("no such class",))), policies(False)) is None
    found = monitored(decision(denied("a", errors=("x",)), denied("b")), policies(False))
    assert found.permitted_raw == ("b",)


def test_one_policy_that_is_always_enforced_keeps_a_candidate_denied():
    assert monitored(decision(denied("a", reasons=(0, 1))), policies(False, True)) is None
    assert monitored(decision(denied("a", reasons=(0,))), policies(False, True)).broken == ("p.0",)


def test_a_denial_because_nothing_permits_is_lifted_and_breaks_no_rule():
    found = monitored(decision(denied("a", reasons=())), policies(False))
    assert (found.permitted_raw, found.broken) == (("a",), ())


def test_no_candidate_is_no_permission():
    assert monitored(decision(), policies(False)) is None
