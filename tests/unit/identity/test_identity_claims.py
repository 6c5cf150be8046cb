import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.catalog.interfaces import Issuer, RequiredClaim, RoleMapping
from sekisho.identity.claims import (
    SECONDS_MAX,
    SUBJECT_LENGTH_MAX,
    VALUES_MAX,
    Vocabulary,
    choose_issuer,
    read_claims,
    require_time,
)
from sekisho.identity.errors import (
    TokenClaimsRefused,
    TokenExpired,
    TokenMalformed,
    TokenNotYetValid,
    TokenWrongAudience,
)

VOCABULARY = Vocabulary(frozenset({"public", "internal"}), frozenset({"JP", "US"}))
NOW_S = 1_800_000_000.0


def issuer(**changes):
    return Issuer("https://idp.example", ("api://gateway",), ("RS256",), **({"roles": ("caller",)} | changes))


def bearer(claims, **changes):
    return read_claims({"sub": "s"} | claims, issuer(**changes), NOW_S, VOCABULARY)


# -- for which organisation


@pytest.mark.parametrize("audience", ["api://gateway", ["api://gateway"], ["other", "api://gateway"]])
def test_an_audience_is_a_text_or_a_list_that_holds_ours(audience):
    declared = issuer()
    assert choose_issuer({"aud": audience}, [("org", declared)]) == ("org", declared)


@pytest.mark.parametrize(
    "audience", ["other", ["other"], "API://GATEWAY", "api://gateway/", "api://", " api://gateway"]
)
def test_a_token_for_another_audience_is_refused(audience):
    with pytest.raises(TokenWrongAudience):
        choose_issuer({"aud": audience}, [("org", issuer())])


@pytest.mark.parametrize(
    "claims", [{}, {"aud": None}, {"aud": []}, {"aud": 1}, {"aud": ["api://gateway", 1]}, {"aud": {}}]
)
def test_a_token_without_a_readable_audience_is_refused(claims):
    with pytest.raises(TokenMalformed):
        choose_issuer(claims, [("org", issuer())])


def test_organisations_that_share_an_issuer_are_told_apart_by_audience_and_required_claims():
    bank = issuer(require=(RequiredClaim("tid", ("bank",)),))
    maker = issuer(require=(RequiredClaim("tid", ("maker", "maker-2")),))
    other = Issuer("https://idp.example", ("api://other",), ("RS256",))
    declared = [("bank", bank), ("maker", maker), ("third", other)]
    assert choose_issuer({"aud": "api://gateway", "tid": "bank"}, declared) == ("bank", bank)
    assert choose_issuer({"aud": "api://gateway", "tid": "maker-2"}, declared) == ("maker", maker)
    assert choose_issuer({"aud": "api://other", "tid": "bank"}, declared) == ("third", other)
    for claims in ({}, {"tid": "hospital"}, {"tid": ["hospital"]}, {"tid": None}, {"tid": {"bank": 1}}):
        with pytest.raises(TokenClaimsRefused, match="lacks a claim"):
            choose_issuer({"aud": "api://gateway"} | claims, declared)
    for claims in (
        {"aud": "api://gateway", "tid": ["bank", "maker"]},
        {"aud": ["api://gateway", "api://other"], "tid": "bank"},
    ):
        with pytest.raises(TokenClaimsRefused, match="more than one organisation"):
            choose_issuer(claims, declared)


@pytest.mark.parametrize("value", ["true", 1, [1], "True", None, False, [False], {"a": True}])
def test_a_required_true_is_met_by_true_alone(value):
    verified = issuer(require=(RequiredClaim("email_verified", (True,)),))
    assert choose_issuer({"aud": "api://gateway", "email_verified": True}, [("o", verified)])
    with pytest.raises(TokenClaimsRefused):
        choose_issuer({"aud": "api://gateway", "email_verified": value}, [("o", verified)])


def test_every_required_claim_must_be_there():
    both = issuer(require=(RequiredClaim("tid", ("t",)), RequiredClaim("azp", ("a", "b"))))
    assert choose_issuer({"aud": "api://gateway", "tid": "t", "azp": "b"}, [("o", both)])
    for claims in ({"tid": "t"}, {"azp": "a"}, {"tid": "t", "azp": "c"}):
        with pytest.raises(TokenClaimsRefused):
            choose_issuer({"aud": "api://gateway"} | claims, [("o", both)])


# -- when


@given(st.integers(0, 300), st.floats(-400, 400))
def test_a_token_ends_when_its_time_and_the_skew_are_over(skew, ago):
    def ends():
        return require_time({"exp": NOW_S - ago}, issuer(clock_skew_seconds=skew), NOW_S)

    if NOW_S - ago + skew <= NOW_S:
        with pytest.raises(TokenExpired):
            ends()
    else:
        assert ends() == NOW_S - ago + skew


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_a_token_of_the_future_is_not_valid_yet_beyond_the_skew(name):
    declared = issuer(clock_skew_seconds=60)
    claims = {"exp": NOW_S + 3600}
    assert require_time(claims | {name: NOW_S + 60}, declared, NOW_S) == NOW_S + 3660
    with pytest.raises(TokenNotYetValid, match=name):
        require_time(claims | {name: NOW_S + 61}, declared, NOW_S)


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value", ["1900000000", True, [1], -1, SECONDS_MAX + 2, 10**400, {}, float("inf"), float("nan")]
)
def test_times_that_are_no_times_are_refused(name, value):
    with pytest.raises(TokenMalformed):
        require_time({"exp": NOW_S + 60} | {name: value}, issuer(), NOW_S)


@pytest.mark.parametrize("claims", [{}, {"exp": None}])
def test_a_token_without_end_is_refused(claims):
    with pytest.raises(TokenMalformed, match="never end"):
        require_time(claims, issuer(), NOW_S)


# -- for whom


def test_constants_count_where_no_claim_is_named():
    read = bearer({}, roles=("ops", "caller"), data_class="internal", residency=("JP",))
    assert read == ("s", ("caller", "ops"), "internal", ("JP",), NOW_S, None)
    assert bearer({})[2:4] == (None, None)


MAPPED = {
    "roles": (),
    "roles_claim": ("realm_access", "roles"),
    "roles_map": (RoleMapping("ai-user", ("caller",)), RoleMapping("ai-admin", ("caller", "ops"))),
}


@pytest.mark.parametrize(
    ("held", "roles"),
    [(["ai-user"], ("caller",)), (["x", "ai-admin"], ("caller", "ops")), ("ai-user", ("caller",))],
)
def test_roles_are_those_that_the_map_gives(held, roles):
    assert bearer({"realm_access": {"roles": held}}, **MAPPED).roles == roles


def test_mapped_roles_are_added_to_constant_ones():
    assert bearer({"realm_access": {"roles": ["ai-admin"]}}, **(MAPPED | {"roles": ("base",)})).roles == (
        "base",
        "caller",
        "ops",
    )
    assert bearer({}, **(MAPPED | {"roles": ("base",)})).roles == ("base",)


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"realm_access": {}},
        {"realm_access": {"roles": []}},
        {"realm_access": {"roles": ["caller", "AI-USER", "ai-user "]}},
        {"realm_access": {"roles": "ai-user ai-admin"}},
        {"realm_access": ["ai-user"]},
        {"realm_access.roles": ["ai-user"]},
        {"roles": ["ai-user"]},
        {"realm_access": {"roles": ["ai-user", 1]}},
        {"realm_access": {"roles": {"ai-user": True}}},
        {"realm_access": {"roles": ["ai-user"] * (VALUES_MAX + 1)}},
    ],
)
def test_who_has_no_mapped_role_is_refused(claims):
    with pytest.raises(TokenClaimsRefused):
        bearer(claims, **MAPPED)


@pytest.mark.parametrize("name", ["scope", "scp"])
def test_scopes_are_separated_by_spaces(name):
    mapping = {"roles": (), "roles_claim": (name,), "roles_map": (RoleMapping("ai", ("caller",)),)}
    assert bearer({name: "openid ai"}, **mapping).roles == ("caller",)
    with pytest.raises(TokenClaimsRefused):
        bearer({name: "openid ai2"}, **mapping)


@pytest.mark.parametrize("subject", [None, "", 7, ["s"], "s" * (SUBJECT_LENGTH_MAX + 1), "a\nb", "a\0b"])
def test_a_token_without_a_readable_subject_is_refused(subject):
    with pytest.raises(TokenClaimsRefused, match="subject"):
        bearer({"sub": subject})


def test_the_subject_may_be_another_claim():
    assert bearer({"oid": "o"}, subject_claim=("oid",)).subject == "o"
    with pytest.raises(TokenClaimsRefused):
        bearer({}, subject_claim=("oid",))


def test_class_and_residency_come_from_claims_where_they_are_named():
    named = {"data_class_claim": ("class",), "residency_claim": ("where",)}
    read = bearer({"class": "public", "where": ["US", "JP", "US"]}, **named)
    assert (read.data_class, read.residency) == ("public", ("JP", "US"))
    assert bearer({"class": "public", "where": "anywhere"}, **named).residency == ("anywhere",)
    # Without the claim the constant counts, if there is one.
    constants = {"data_class": "internal", "residency": ("JP",)}
    assert bearer({}, **named, **constants)[2:4] == ("internal", ("JP",))


@pytest.mark.parametrize(
    "claims",
    [
        {"where": "JP"},
        {"class": "secret", "where": "JP"},
        {"class": 1, "where": "JP"},
        {"class": ["public"], "where": "JP"},
        {"class": "public"},
        {"class": "public", "where": []},
        {"class": "public", "where": "FR"},
        {"class": "public", "where": ["JP", "FR"]},
        {"class": "public", "where": "JP US"},
        {"class": "public", "where": 1},
    ],
)
def test_unknown_classes_and_residencies_are_refused(claims):
    with pytest.raises(TokenClaimsRefused):
        bearer(claims, data_class_claim=("class",), residency_claim=("where",))


def test_a_constant_does_not_stand_for_a_claim_that_says_something_unknown():
    constants = {"data_class": "internal", "residency": ("JP",)}
    for claims in ({"class": "secret"}, {"where": "FR"}, {"where": []}, {"class": ""}):
        with pytest.raises(TokenClaimsRefused):
            bearer(claims, data_class_claim=("class",), residency_claim=("where",), **constants)


# -- bound to a certificate


def test_a_confirmation_by_a_certificates_digest_is_kept():
    assert bearer({"cnf": {"x5t#S256": "abc"}}).certificate_sha256 == "abc"


@pytest.mark.parametrize(
    "confirmation",
    [
        {},
        {"jkt": "x"},
        {"jwk": {}},
        {"x5t#S256": "a", "jkt": "b"},
        {"x5t": "a"},
        "x5t#S256",
        [],
        True,
        {"x5t#S256": None},
    ],
)
def test_a_confirmation_that_can_not_be_checked_refuses_the_token(confirmation):
    with pytest.raises((TokenClaimsRefused, TokenMalformed)):
        bearer({"cnf": confirmation})
