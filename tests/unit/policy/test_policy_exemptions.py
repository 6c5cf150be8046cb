"""An exemption turns the denials that it names, for the requests that it names, and nothing else."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.catalog.interfaces import Exemption, Organisation, PolicyText
from sekisho.kernel import canonical
from sekisho.policy.check import check_policies, compile_policies
from sekisho.policy.engine import CedarDecider
from sekisho.policy.exemptions import NOTES_MAX, ExemptionsInForce, Lift, exemption_notes, exemption_rows
from sekisho.policy.explain import explain
from sekisho.policy.interfaces import RETAIN, SEND_RAW, SEND_REDACTED, PolicyParts, PolicyTitle, PrincipalInput, Verdict
from support_decide import CLASSES, DIGEST, LABELS, catalogue, decision_input, declared, deployment

TOKYO = deployment("tokyo", processing=declared("JP"), storage=declared("JP"))
OREGON = deployment("oregon", processing=declared("US"), storage=declared("US"))
ELSEWHERE = deployment("elsewhere", model="n", processing=declared("US"), storage=declared("US"))
OWN = PolicyText(
    "policies/own.cedar",
    """
    @id("own.never") @title("Never") @title_ja("常に禁止") @enforce("always")
    forbid (principal, action, resource) when { context.labels.contains(Label::"secret.private_key") };
    @id("own.restricted") @title("Restricted") @title_ja("制限")
    forbid (principal, action, resource) when { context.class == DataClass::"restricted" };
    @id("own.kept") @title("Kept") @title_ja("保存") @retain_days("30")
    permit (principal, action == Action::"retain", resource);
    """,
)
POLICIES = (
    "jp-residency.processing",
    "jp-residency.storage",
    "jp-residency.my-number",
    "jp-residency.api-key",
    "own.restricted",
)


def exemption(**changes):
    value = Exemption(
        name="trial",
        sha256="cd" * 32,
        organisation="default",
        policies=("jp-residency.processing",),
        classes=("internal",),
        until=1_000,
        why="w",
        compensating_control="c",
        deployments=("oregon",),
    )
    return msgspec.structs.replace(value, **changes)


def decider(*exemptions, epoch_from=0, compiled=True):
    declared_ = msgspec.structs.replace(catalogue(TOKYO, OREGON, ELSEWHERE), exemptions=exemptions)
    parts = compile_policies(declared_, (OWN,), LABELS)
    return CedarDecider(parts, snapshot=DIGEST, epoch_from=epoch_from, compiled=compiled)


def by_route(decision):
    return {(one.deployment, one.action): one for one in decision.verdicts}


def test_a_named_denial_of_a_named_request_is_turned_and_says_by_what():
    before = by_route(decider().decide(decision_input()))["oregon", SEND_RAW]
    found = decider(exemption())
    decision = found.decide(decision_input())
    verdict = by_route(decision)["oregon", SEND_RAW]
    assert (before.permitted, verdict.permitted) == (False, True)
    assert verdict.exempted == before.reasons
    assert verdict.exemptions == ("trial",)
    assert [found.policies[index].id for index in verdict.reasons] == ["jp-residency.callers"]
    assert decision.permitted_raw == ("oregon", "tokyo")
    assert found.exemptions == {"trial": "cd" * 32}
    group = next(one for one in canonical.decode(decision.candidates_bytes) if one["deployments"] == ["oregon"])
    assert (group["exempted"], group["exemptions"]) == (list(before.reasons), ["trial"])


def test_decisions_without_an_exemption_look_as_they_always_did():
    groups = canonical.decode(decider(exemption()).decide(decision_input(data_class="public")).candidates_bytes)
    assert all(one.keys() == {"action", "deployments", "errors", "permitted", "reasons"} for one in groups)


@pytest.mark.parametrize(
    "asked",
    [
        {"principal": PrincipalInput("key-1", "other", ("caller",))},
        {"data_class": "public"},
        {"data_class": "confidential"},  # also another forbid: storage
        {"labels_raw": ("jp.my_number",)},
        {"residency": ()},  # an error denies
        {"principal": PrincipalInput("key-1", "default", ("guest",))},  # nothing permits
    ],
)
def test_what_it_does_not_name_stays_denied(asked):
    verdict = by_route(decider(exemption()).decide(decision_input(**asked)))["oregon", SEND_RAW]
    assert (verdict.permitted, verdict.exempted, verdict.exemptions) == (False, (), ())


def test_a_caller_that_demands_less_than_its_organisation_is_not_excused_from_its_own_demand():
    wide = catalogue(TOKYO, OREGON)
    organisations = (Organisation("default", "Default", default_residency=("JP", "SG")), *wide.organisations[1:])
    wide = msgspec.structs.replace(wide, exemptions=(exemption(),), organisations=organisations)
    found = CedarDecider(compile_policies(wide, (OWN,), LABELS), snapshot=DIGEST, epoch_from=0)
    assert not by_route(found.decide(decision_input(residency=("JP",))))["oregon", SEND_RAW].permitted
    assert by_route(found.decide(decision_input(residency=("JP", "SG"))))["oregon", SEND_RAW].permitted


def test_roles_narrow_it():
    asked = decision_input(principal=PrincipalInput("key-1", "default", ("caller", "trial")))
    narrowed = decider(exemption(roles=("trial",)))
    assert by_route(narrowed.decide(asked))["oregon", SEND_RAW].permitted
    assert not by_route(narrowed.decide(decision_input()))["oregon", SEND_RAW].permitted


def test_a_model_names_all_its_deployments():
    found = decider(exemption(deployments=(), models=("n",)))
    assert by_route(found.decide(decision_input(model="n")))["elsewhere", SEND_RAW].permitted
    assert not by_route(found.decide(decision_input()))["oregon", SEND_RAW].permitted


def test_it_is_gone_from_its_end_on():
    assert by_route(decider(exemption(), epoch_from=999).decide(decision_input(epoch_from=999)))[
        "oregon", SEND_RAW
    ].permitted
    ended = decider(exemption(), epoch_from=1_000)
    assert not by_route(ended.decide(decision_input(epoch_from=1_000)))["oregon", SEND_RAW].permitted
    assert ended.exemptions == {}


def test_labels_are_those_of_the_body_as_it_would_leave():
    """What redaction takes out does not keep the redacted body from being covered, nor does it cover the raw one."""
    asked = decision_input(labels_raw=("jp.my_number",))
    found = by_route(decider(exemption()).decide(asked))
    assert not found["oregon", SEND_RAW].permitted
    assert found["oregon", SEND_REDACTED].permitted
    both = exemption(policies=("jp-residency.my-number", "jp-residency.processing"), labels=("jp.my_number",))
    assert by_route(decider(both).decide(asked))["oregon", SEND_RAW].permitted
    unnamed = msgspec.structs.replace(both, labels=())
    assert not by_route(decider(unnamed).decide(asked))["oregon", SEND_RAW].permitted


@pytest.mark.parametrize(
    ("changes", "lifted"),
    [
        ({}, True),
        ({"errors": ("it could not be decided",)}, False),
        ({"action": RETAIN}, False),
        ({"reasons": ()}, False),
        ({"reasons": (0, 1)}, False),
        ({"permitted": True}, False),
    ],
)
def test_what_of_a_verdict_is_lifted(changes, lifted):
    with_it = msgspec.structs.replace(catalogue(OREGON), exemptions=(exemption(),))
    titles = [PolicyTitle(name, "T", "題", "forbid", "p.cedar") for name in ("jp-residency.processing", "other")]
    in_force = ExemptionsInForce(canonical.decode(canonical.encode(exemption_rows(with_it))), titles, 0)
    verdict = Verdict("oregon", SEND_RAW, False, (0,), ())._replace(**changes)
    assert in_force.lift(decision_input(), verdict, ()) == (Lift((0,), ("trial",)) if lifted else None)


def test_two_exemptions_may_lift_a_denial_together_and_both_are_told():
    asked = decision_input(data_class="restricted")
    one = exemption(policies=("jp-residency.processing", "jp-residency.storage"), classes=("restricted",))
    other = exemption(name="other", policies=("own.restricted",), classes=("restricted",))
    assert not by_route(decider(one).decide(asked))["oregon", SEND_RAW].permitted
    assert by_route(decider(one, other).decide(asked))["oregon", SEND_RAW].exemptions == ("other", "trial")


def test_nobody_is_excused_from_a_policy_that_is_always_enforced():
    """`check` refuses to name one; stored parts that name one change nothing either."""
    plain = catalogue(TOKYO, OREGON)
    widest = exemption(policies=("jp-residency.processing", "jp-residency.private-key", "own.never"), labels=LABELS)
    parts = compile_policies(plain, (OWN,), LABELS)
    stored = canonical.decode(parts.policies)
    stored |= {"exemptions": exemption_rows(msgspec.structs.replace(plain, exemptions=(widest,)))}
    forged = PolicyParts(canonical.encode(stored), parts.schema, parts.entities)
    found = CedarDecider(forged, snapshot=DIGEST, epoch_from=0)
    asked = decision_input(labels_raw=("secret.private_key",))
    assert not by_route(found.decide(asked))["oregon", SEND_RAW].permitted


def test_nothing_is_kept_by_way_of_an_exemption():
    every = exemption(policies=POLICIES, labels=LABELS)
    asked = decision_input()
    assert decider(every).retention(asked, "tokyo", ()) is not None
    assert decider(every).retention(asked, "oregon", ()) is None


def test_what_it_may_name():
    def mistakes(**changes):
        declared_ = msgspec.structs.replace(catalogue(TOKYO, OREGON), exemptions=(exemption(**changes),))
        return check_policies(declared_, (OWN,), LABELS).mistakes

    assert mistakes() == ()
    (mistake,) = mistakes(policies=("jp-residency.procesing",))
    assert (mistake.file, mistake.key) == ("exemptions/trial.toml", "policies")
    assert "jp-residency.processing" in mistake.remedy
    (mistake,) = mistakes(policies=("jp-residency.callers",))
    assert "permit" in mistake.problem
    (mistake,) = mistakes(policies=("own.never",))
    assert "always" in mistake.problem
    (mistake,) = mistakes(labels=("jp.my_numbr",))
    assert "jp.my_number" in mistake.remedy


def test_it_is_explained_in_both_languages():
    found = decider(exemption())
    decision = found.decide(decision_input())
    assert any("permitted by the exemption trial" in line and "[jp-residency.processing]" in line
               for line in explain(decision, found))  # fmt: skip
    assert any("適用除外 trial により許可" in line for line in explain(decision, found, "ja"))


def test_those_in_force_are_told_with_their_ends_and_not_without_bound():
    ends = [exemption(name=f"e{number}", until=number * 1_000_000) for number in range(1, NOTES_MAX + 4)]
    notes = exemption_notes(ends[::-1], 1_000_000)
    assert len(notes) == NOTES_MAX + 1
    assert notes[0] == (
        "exemption e2 excuses default from jp-residency.processing until 1970-01-01T00:00:02Z, which is soon"
    )
    assert notes[-1] == "2 more exemptions: sekisho exemptions list"
    assert exemption_notes(ends[:1], 1_000_000) == []


SUBSETS = {
    "policies": st.sets(st.sampled_from(POLICIES), min_size=1),
    "classes": st.sets(st.sampled_from(CLASSES), min_size=1),
    "labels": st.sets(st.sampled_from(LABELS)),
    "roles": st.sets(st.sampled_from(("caller", "trial"))),
    "deployments": st.sets(st.sampled_from(("tokyo", "oregon")), min_size=1),
}
EXEMPTIONS = st.lists(
    st.builds(
        lambda until, organisation, **sets: exemption(
            until=until, organisation=organisation, **{key: tuple(sorted(value)) for key, value in sets.items()}
        ),
        st.sampled_from((500, 2_000)),
        st.sampled_from(("default", "other")),
        **SUBSETS,
    ),
    min_size=1,
    max_size=3,
).map(lambda found: tuple(msgspec.structs.replace(one, name=f"e{n}") for n, one in enumerate(found)))
ASKED = st.builds(
    lambda organisation, roles, data_class, residency, raw, redacted: decision_input(
        epoch_from=1_000,
        principal=PrincipalInput("key-1", organisation, tuple(sorted(roles))),
        data_class=data_class,
        residency=residency,
        labels_raw=tuple(sorted(raw)),
        labels_redacted=tuple(sorted(raw & redacted)),
    ),
    st.sampled_from(("default", "other", "undeclared")),
    st.sets(st.sampled_from(("caller", "trial"))),
    st.sampled_from((*CLASSES, "undeclared")),
    st.sampled_from(((), ("JP",), ("JP", "US"))),
    st.sets(st.sampled_from(LABELS)),
    st.sets(st.sampled_from(LABELS)),
)


@settings(max_examples=60, deadline=None)
@given(EXEMPTIONS, st.lists(ASKED, min_size=1, max_size=12))
def test_without_it_the_only_differences_are_denials_by_what_it_names_of_what_it_names(exemptions, requests):
    with_, without = decider(*exemptions, epoch_from=1_000), decider(epoch_from=1_000)
    for asked in requests:
        before, after = without.decide(asked).verdicts, with_.decide(asked).verdicts
        assert [one[:2] for one in before] == [one[:2] for one in after]
        for old, new in zip(before, after, strict=True):
            if old == new:
                continue
            assert (old.permitted, old.errors) == (False, ())
            assert (new.permitted, new.errors) == (True, ())
            assert new.exempted == old.reasons != ()
            labels = asked.labels_raw if new.action == SEND_RAW else asked.labels_redacted
            used = [one for one in exemptions if one.name in new.exemptions]
            for one in used:
                assert one.until > 1_000
                assert one.organisation == asked.principal.organisation
                assert asked.data_class in one.classes
                assert old.deployment in one.deployments
                assert set(labels) <= set(one.labels)
                assert "JP" in asked.residency
                assert not one.roles or set(one.roles) & set(asked.principal.roles)
            named = {identifier for one in used for identifier in one.policies}
            assert {without.policies[index].id for index in old.reasons} <= named
            assert new.action != RETAIN


@pytest.mark.parametrize("data_class", CLASSES)
@pytest.mark.parametrize("labels", [(), ("jp.my_number",), ("opaque",)])
def test_what_the_compiled_form_denies_is_lifted_as_what_the_engine_denies(data_class, labels):
    trial = exemption(policies=POLICIES, classes=CLASSES, labels=("jp.my_number",))
    compiled, engine = decider(trial), decider(trial, compiled=False)
    asked = decision_input(data_class=data_class, labels_raw=labels, labels_redacted=())
    made, again = compiled.decide(asked), engine.decide(asked)
    assert (made.compiled is None, again.compiled) == (False, None)
    assert made.candidates_bytes == again.candidates_bytes
    assert ("oregon" in made.permitted_raw) == ("opaque" not in labels)
