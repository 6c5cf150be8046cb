"""What readings make of declared facts: they raise for a while, lower without an end, and never permit more."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.catalog.evidence import (
    BY_NAME,
    LIGHT_ANSWER,
    LIGHT_CONNECT,
    MANAGEMENT_API,
    METHODS,
    NETWORKS,
    PROBE,
    TLS_CHAIN,
    TLS_PIN,
    earned,
)
from sekisho.catalog.interfaces import (
    EgressProxy,
    Fact,
    Grade,
    ManagedIdentitySignIn,
    Management,
    ObservedFact,
    Reading,
    UpstreamTls,
)
from sekisho.catalog.observations import about, applicable, is_lowered, kept, methods_of, observed_facts, steps, telling
from support_decide import ANYWHERE, UNKNOWN_FACT, catalogue, deployment

AT, UNTIL = 1_000_000, 90_000_000
API = Management("azure", "/r", "d", ManagedIdentitySignIn("r", "u"), "https://m.example", "2025-09-01")
TOKYO = msgspec.structs.replace(
    deployment("tokyo", processing=Fact(("JP",), Grade.CONTRACTUAL, "contract", expires=80_000_000)),
    management=API,
    tls=UpstreamTls(pins=("ab" * 32,)),
)
HERE = catalogue(TOKYO).sites[0]


def reading(method=MANAGEMENT_API, of=TOKYO, at=AT, until=UNTIL, digest=None, **fields):
    return Reading(of.name, method, digest or about(of, HERE), at, until, **fields)


def observed(*readings, of=TOKYO):
    found = observed_facts(catalogue(of), readings, "home")
    return {name: fact for (deployment, name), fact in found.items() if deployment == of.name}


def says(*places, **fields):
    return reading(values={"processing": places}, evidence={"sku": "Standard"}, **fields)


def test_a_reading_within_what_is_declared_raises_it_until_it_ends():
    fact = observed(says("JP"))["processing"]
    assert (fact.value, fact.grade, fact.observed_at, fact.method) == (("JP",), Grade.OBSERVED, AT, MANAGEMENT_API)
    assert fact.source == "management-api: sku Standard"
    assert fact.expires == 80_000_000  # the declared fact ends before the reading
    assert not is_lowered(fact)
    assert list(steps(fact)) == [(0, fact), (80_000_000, None)]


def test_afterwards_it_is_as_declared_again():
    fact = observed(says("JP", until=50_000_000))["processing"]
    assert list(steps(fact)) == [(0, fact), (50_000_000, TOKYO.facts["processing"]), (80_000_000, None)]


def test_a_declared_fact_that_is_wider_stands_and_is_supported():
    wide = msgspec.structs.replace(TOKYO, facts=TOKYO.facts | {"processing": Fact(("JP", "US"), Grade.DECLARED)})
    fact = observed(reading(of=wide, values={"processing": ("JP",)}), of=wide)["processing"]
    assert (fact.value, fact.grade) == (("JP", "US"), Grade.OBSERVED)


def test_drift_counts_both_and_has_no_end_of_its_own():
    fact = observed(says("anywhere"))["processing"]
    assert (fact.value, fact.grade, fact.lowered) == (ANYWHERE, Grade.DECLARED, True)
    assert fact.source.endswith("; declared: JP")
    assert fact.expires == 80_000_000  # what it was held against ends; then nothing is known
    assert list(steps(fact)) == [(0, fact), (80_000_000, None)]
    assert observed(says("US"))["processing"].value == ("JP", "US")


@pytest.mark.parametrize("places", [("unknown",), ("FR",), ("JP", "FR")])
def test_what_policies_can_not_name_is_unknown_to_them(places):
    """A country outside `jurisdictions` would be no entity: the snapshot could not be loaded."""
    fact = observed(says(*places))["processing"]
    assert (fact.value, fact.grade, fact.lowered, fact.expires) == (("unknown",), Grade.UNKNOWN, True, None)


def test_a_word_that_differs_is_unknown_and_one_that_nobody_declared_is_taken():
    own = msgspec.structs.replace(TOKYO, facts=TOKYO.facts | {"key_holder": Fact(("customer",), Grade.DECLARED)})
    fact = observed(reading(of=own, values={"key_holder": ("provider",)}), of=own)["key_holder"]
    assert (fact.value, fact.grade, fact.lowered) == (("unknown",), Grade.UNKNOWN, True)
    fact = observed(reading(values={"key_holder": ("provider",)}))["key_holder"]
    assert (fact.value, fact.grade, fact.otherwise) == (("provider",), Grade.OBSERVED, None)
    assert list(steps(fact)) == [(0, fact), (UNTIL, None)]
    assert observed(reading(values={"key_holder": ("the janitor",)})) == {}
    assert observed(reading(values={"key_holder": ("unknown",)})) == {}


def test_a_method_reads_only_what_the_table_gives_it():
    assert observed(reading(NETWORKS, values={"network": ("JP",)}))["network"].grade is Grade.OBSERVED
    for method in (one.name for one in METHODS if one.by == PROBE):
        values = dict.fromkeys(TOKYO.facts, ("JP",))
        for name, fact in observed(reading(method, values=values)).items():
            assert name in BY_NAME[method].facts
            assert fact.grade == earned(method, name)


def test_a_contradiction_takes_what_its_method_can_take():
    assert set(observed(reading(LIGHT_ANSWER, contradicts=True))) == {"processing"}
    everything = msgspec.structs.replace(TOKYO, facts=dict.fromkeys(TOKYO.facts, Fact(("JP",), Grade.DECLARED)))
    taken = observed(reading(TLS_PIN, of=everything, contradicts=True), of=everything)
    assert set(taken) == set(everything.facts)
    assert {(fact.value, fact.expires) for fact in taken.values()} == {(("unknown",), None)}
    assert observed(reading(TLS_CHAIN, contradicts=True)) == {}


def test_what_lowers_counts_before_what_raises():
    fact = observed(says("JP"), reading(LIGHT_ANSWER, contradicts=True))["processing"]
    assert (fact.method, fact.value) == (LIGHT_ANSWER, ("unknown",))
    fact = observed(says("anywhere"), reading(LIGHT_ANSWER, contradicts=True))["processing"]
    assert fact.value == ("unknown",)


def test_under_another_declaration_a_reading_raises_nothing_and_goes_on_lowering():
    assert observed(says("JP", digest="0" * 64)) == {}
    assert observed(says("anywhere", digest="0" * 64))["processing"].lowered
    assert observed(reading(TLS_PIN, digest="0" * 64, contradicts=True))["processing"].lowered


def test_a_declaration_that_says_what_is_so_ends_the_drift():
    honest = msgspec.structs.replace(TOKYO, facts=TOKYO.facts | {"processing": Fact(ANYWHERE, Grade.DECLARED)})
    assert observed(says("anywhere"), of=honest) == {}


def test_what_a_digest_is_about():
    assert about(TOKYO, HERE) == about(msgspec.structs.replace(TOKYO, connect_timeout_ms=1), HERE)
    for changed in (
        msgspec.structs.replace(TOKYO, url="https://b.example/v1"),
        msgspec.structs.replace(TOKYO, management=None),
        msgspec.structs.replace(TOKYO, facts=TOKYO.facts | {"processing": UNKNOWN_FACT}),
    ):
        assert about(changed, HERE) != about(TOKYO, HERE)
    assert about(TOKYO, None) != about(TOKYO, HERE)
    assert about(TOKYO, HERE, 400.5) != about(TOKYO, HERE)
    assert about(TOKYO, HERE, 400.5) == about(TOKYO, HERE, 400.4)


def test_methods_follow_from_the_declaration_and_a_proxy_hides_the_address():
    assert methods_of(TOKYO) == (MANAGEMENT_API, NETWORKS, LIGHT_CONNECT, TLS_CHAIN, TLS_PIN, LIGHT_ANSWER)
    proxied = msgspec.structs.replace(TOKYO, egress_proxy=EgressProxy("https://p.example"))
    assert methods_of(proxied) == (MANAGEMENT_API, LIGHT_ANSWER)
    plain = msgspec.structs.replace(deployment("plain"), url="http://127.0.0.1:1/v1")
    assert methods_of(plain) == (NETWORKS, LIGHT_CONNECT, LIGHT_ANSWER)


def test_readings_of_what_is_gone_are_dropped():
    rows = [says("JP"), reading(TLS_PIN, of=deployment("other"), contradicts=True), reading(NETWORKS)]
    assert applicable(rows, catalogue(TOKYO)) == (rows[0], rows[2])
    assert applicable(rows, catalogue(msgspec.structs.replace(TOKYO, management=None))) == (rows[2],)


def test_a_reading_that_says_the_same_stays_until_half_of_its_time_is_left():
    first = says("JP", at=0, until=100)
    again = says("JP", at=49, until=149)
    assert kept([first], [again], now_us=49) == (first,)
    late = says("JP", at=51, until=151)
    assert kept([first], [late], now_us=51) == (late,)
    other = says("US", at=10, until=110)
    assert kept([first], [other], now_us=10) == (other,)


def test_a_reading_that_outlasts_new_ones_is_renewed():
    """`valid_seconds` were a week, and are an hour now: nothing shall count for the rest of the week."""
    assert kept([says("JP", at=0, until=700)], [says("JP", at=1, until=101)], now_us=1)[0].until == 101


def test_silence_takes_the_place_of_nothing_that_lowers():
    drift, quiet = says("anywhere"), reading(at=2)
    of = catalogue(TOKYO)
    assert telling([drift], [quiet], of, "home") == ()
    assert telling([drift], [says("JP", at=2)], of, "home") == (says("JP", at=2),)
    assert telling([drift], [reading(at=2, digest="0" * 64)], of, "home") != ()  # of another declaration
    assert telling([says("JP")], [quiet], of, "home") == (quiet,)  # what raises ends
    far = reading(LIGHT_ANSWER, contradicts=True)
    assert telling([far], [reading(LIGHT_ANSWER, at=2)], of, "home") == ()
    stranger = reading(TLS_PIN, contradicts=True)
    assert telling([stranger], [reading(TLS_PIN, at=2)], of, "home") == (reading(TLS_PIN, at=2),)


def test_of_networks_that_are_partly_known_what_is_known_can_only_lower():
    declared_jp = msgspec.structs.replace(TOKYO, facts=TOKYO.facts | {"network": Fact(("JP",), Grade.CONTRACTUAL)})
    partly = reading(NETWORKS, of=declared_jp, values={"network": ("US", "unknown")})
    fact = observed(partly, of=declared_jp)["network"]
    assert (fact.value, fact.grade, fact.lowered) == (("JP", "US"), Grade.DECLARED, True)
    inside = reading(NETWORKS, of=declared_jp, values={"network": ("JP", "unknown")})
    assert observed(inside, of=declared_jp) == {}
    assert observed(reading(NETWORKS, values={"network": ("JP", "unknown")})) == {}


def test_what_is_taken_over_is_taken_over_together():
    """A thousand deployments whose readings end one after the other would make a thousand snapshots a day."""
    other = msgspec.structs.replace(TOKYO, name="osaka")
    old = [reading(NETWORKS, of=one, at=0, until=100, values={"network": ("JP",)}) for one in (TOKYO, other)]
    new = [reading(NETWORKS, of=one, at=10, until=110, values={"network": ("JP",)}) for one in (TOKYO, other)]
    assert kept(old, new, now_us=10) == tuple(sorted(old, key=lambda one: one.deployment))
    new[1] = reading(NETWORKS, of=other, at=10, until=110, values={"network": ("US",)})
    assert kept(old, new, now_us=10) == (new[1], new[0])
    silent = reading(LIGHT_CONNECT, at=10, until=110)
    assert kept(old, [silent], now_us=10) == (old[1], old[0])


def test_a_reading_that_says_nothing_takes_the_place_of_one_that_did():
    assert kept([says("JP")], [reading(at=2_000_000)], now_us=2_000_000) == ()
    assert kept([reading(TLS_PIN, contradicts=True)], [reading(TLS_PIN)], now_us=AT) == ()
    assert kept([says("anywhere")], [], now_us=10**15) == (says("anywhere"),)  # no answer heals nothing


PLACES = st.sampled_from([("JP",), ("JP", "US"), ("US",), ANYWHERE, ("unknown",)])
READ = st.sampled_from([("JP",), ("US",), ("anywhere",), ("unknown",), ("FR",), None])


@given(
    declared=PLACES,
    grade=st.sampled_from([Grade.DECLARED, Grade.CONTRACTUAL]),
    read=READ,
    contradicts=st.booleans(),
    method=st.sampled_from([one.name for one in METHODS if one.by == PROBE]),
    stale=st.booleans(),
)
def test_no_reading_permits_what_the_declaration_did_not(declared, grade, read, contradicts, method, stale):
    """However readings come, a set of places only ever grows or becomes unknown, where anything was declared."""
    fact = UNKNOWN_FACT if declared == ("unknown",) else Fact(declared, grade)
    of = msgspec.structs.replace(TOKYO, facts=TOKYO.facts | {"processing": fact})
    values = {} if read is None else {"processing": read}
    one = reading(method, of=of, values=values, contradicts=contradicts, digest="0" * 64 if stale else None)
    found = observed(one, of=of).get("processing")
    if found is None or declared == ("unknown",):
        return
    assert isinstance(found, ObservedFact)
    assert found.value == ("unknown",) or set(found.value) >= set(declared)
    if found.lowered:
        assert found.grade < max(grade, Grade.CONTRACTUAL)
        assert found.otherwise is None
    else:
        assert found.value == declared
        assert not stale
