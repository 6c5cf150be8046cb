"""`[[issuers]]` and `[[certificates]]` of an organisation: what they mean, and every mistake in them."""

import pytest

from sekisho.catalog.callers import CERTIFICATES_MAX, CLAIM_DEPTH_MAX, ISSUERS_MAX, MAPPINGS_MAX, ROLES_MAX
from sekisho.catalog.declarations import catalogue_of
from sekisho.catalog.interfaces import TOKEN_ALGORITHMS, ClientCertificate, Issuer, RequiredClaim, RoleMapping

ISSUER = {"issuer": "https://idp.example", "audience": ["api://g"], "algorithms": ["RS256"], "roles": ["caller"]}
DIGEST = "ab" * 32


def read(**organisations):
    """The catalogue and the mistakes of organisations declared like this."""
    boundary = {
        "home": ["JP"],
        "classes": [{"name": "public"}],
        "default_class": "public",
        "default_residency": ["JP"],
        "packs": [],
    }
    boundary["jurisdictions"] = ["JP", "US"]
    files = {f"organisations/{name}.toml": table for name, table in organisations.items()}
    return catalogue_of({"boundary.toml": boundary, "sites/local.toml": {"jurisdiction": "JP"}} | files)


def only_issuer(**changes):
    table = {key: value for key, value in (ISSUER | changes).items() if value is not None}
    catalogue, mistakes = read(bank={"issuers": [table]})
    assert mistakes == ()
    return catalogue.organisations[0].issuers[0]


def only_certificate(**table):
    catalogue, mistakes = read(bank={"certificates": [{"roles": ["caller"]} | table]})
    assert mistakes == ()
    return catalogue.organisations[0].certificates[0]


def mistakes_of(kind, table):
    table = {key: value for key, value in table.items() if value is not None}
    _, mistakes = read(bank={kind: [table]})
    assert all(mistake.remedy and mistake.file == "organisations/bank.toml" for mistake in mistakes)
    return {mistake.key: mistake for mistake in mistakes}


def test_the_least_issuer():
    assert only_issuer() == Issuer("https://idp.example", ("api://g",), ("RS256",), roles=("caller",))


def test_everything_that_can_be_said_of_an_issuer():
    declared = only_issuer(
        audience=["b", "a"],
        algorithms=["RS256", "ES256"],
        jwks_url="https://idp.example/keys?v=2?/",
        ca_file="keys/ca.pem",
        refresh_seconds=60,
        clock_skew_seconds=0,
        subject_claim="oid",
        roles=["base"],
        roles_claim=["realm_access", "roles"],
        roles_map={"b": ["ops"], "a": ["ops", "caller"]},
        require={"tid": "t", "azp": ["y", "x"], "email_verified": True},
        data_class="public",
        data_class_claim="class",
        residency=["US", "JP"],
        residency_claim=["a", "where"],
    )
    assert declared == Issuer(
        issuer="https://idp.example",
        audience=("a", "b"),
        algorithms=("ES256", "RS256"),
        jwks_url="https://idp.example/keys?v=2?/",
        ca_file="keys/ca.pem",
        refresh_seconds=60,
        clock_skew_seconds=0,
        subject_claim=("oid",),
        roles=("base",),
        roles_claim=("realm_access", "roles"),
        roles_map=(RoleMapping("a", ("caller", "ops")), RoleMapping("b", ("ops",))),
        require=(
            RequiredClaim("azp", ("x", "y")),
            RequiredClaim("email_verified", (True,)),
            RequiredClaim("tid", ("t",)),
        ),
        data_class="public",
        data_class_claim=("class",),
        residency=("JP", "US"),
        residency_claim=("a", "where"),
    )


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://localhost:9/realms/x", "https://idp.example/a/"])
def test_an_issuer_is_taken_to_the_letter(url):
    assert only_issuer(issuer=url).issuer == url


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"issuer": None}, "issuer"),
        ({"issuer": "http://idp.example"}, "issuer"),
        ({"issuer": "idp.example"}, "issuer"),
        ({"issuer": "https://u:p@idp.example"}, "issuer"),
        ({"issuer": "https://idp.example?x=1"}, "issuer"),
        ({"audience": None}, "audience"),
        ({"audience": []}, "audience"),
        ({"audience": "api://g"}, "audience"),
        ({"algorithms": None}, "algorithms"),
        ({"algorithms": []}, "algorithms"),
        ({"algorithms": ["none"]}, "algorithms"),
        ({"algorithms": ["None", "RS256"]}, "algorithms"),
        ({"algorithms": ["HS256"]}, "algorithms"),
        ({"algorithms": ["RS265"]}, "algorithms"),
        ({"algorithms": ["rs256"]}, "algorithms"),
        ({"jwks_file": "keys/a.json", "jwks_url": "https://i/k"}, "jwks_url"),
        ({"jwks_file": "keys/a.json", "ca_file": "keys/ca.pem"}, "ca_file"),
        ({"jwks_file": "../a.json"}, "jwks_file"),
        ({"jwks_file": "/etc/a.json"}, "jwks_file"),
        ({"jwks_url": "http://idp.example/keys"}, "jwks_url"),
        ({"jwks_url": "https://idp.example/keys?v=2#f"}, "jwks_url"),
        ({"jwks_url": "https://u:p@idp.example/keys?v=2"}, "jwks_url"),
        ({"issuer": "https://idp.example/?realm=a"}, "issuer"),
        ({"ca_file": "/etc/ca.pem"}, "ca_file"),
        ({"refresh_seconds": 5}, "refresh_seconds"),
        ({"refresh_seconds": 100_000}, "refresh_seconds"),
        ({"clock_skew_seconds": 301}, "clock_skew_seconds"),
        ({"clock_skew_seconds": -1}, "clock_skew_seconds"),
        ({"subject_claim": ""}, "subject_claim"),
        ({"subject_claim": []}, "subject_claim"),
        ({"subject_claim": ["a"] * (CLAIM_DEPTH_MAX + 1)}, "subject_claim"),
        ({"subject_claim": ["a", 1]}, "subject_claim"),
        ({"roles": None}, "roles"),
        ({"roles": ["Has Space"]}, "roles"),
        ({"roles": [f"r{number}" for number in range(ROLES_MAX + 1)]}, "roles"),
        ({"roles_map": {"a": ["caller"]}}, "roles_map"),
        ({"roles_claim": "roles"}, "roles_claim"),
        ({"roles_claim": "roles", "roles_map": {}}, "roles_map"),
        ({"roles_claim": "r", "roles_map": {str(n): ["x"] for n in range(MAPPINGS_MAX + 1)}}, "roles_map"),
        ({"require": {"tid": 1}}, "require.tid"),
        ({"require": {"tid": []}}, "require.tid"),
        ({"require": {"tid": [str(number) for number in range(MAPPINGS_MAX + 1)]}}, "require.tid"),
        ({"data_class": "secret"}, "data_class"),
        ({"residency": ["Japan"]}, "residency"),
        ({"residency": []}, "residency"),
        ({"audiences": ["x"]}, "audiences"),
    ],
)
def test_a_mistake_about_an_issuer_is_named_with_its_place_and_remedy(changes, key):
    assert f"issuers[0].{key}" in mistakes_of("issuers", ISSUER | changes)


@pytest.mark.parametrize("name", ["none", "HS256", "hs512"])
def test_algorithms_that_let_callers_make_tokens_are_told_so(name):
    mistake = mistakes_of("issuers", ISSUER | {"algorithms": [name]})["issuers[0].algorithms"]
    assert "make tokens of their own" in mistake.problem
    assert not {name, "none", "HS256"} & set(TOKEN_ALGORITHMS)


def test_a_mistyped_algorithm_is_told_what_was_meant():
    assert "RS256" in mistakes_of("issuers", ISSUER | {"algorithms": ["RS265"]})["issuers[0].algorithms"].remedy


def test_too_many_issuers_and_certificates():
    many = [ISSUER | {"issuer": f"https://i{number}.example"} for number in range(ISSUERS_MAX + 1)]
    certificates = [{"roles": ["x"], "dns": f"d{number}.example"} for number in range(CERTIFICATES_MAX + 1)]
    for kind, tables in (("issuers", many), ("certificates", certificates)):
        _, mistakes = read(bank={kind: tables})
        assert [mistake.key for mistake in mistakes] == [kind]
        assert read(bank={kind: tables[:-1]})[1] == ()


@pytest.mark.parametrize(
    ("table", "read_as"),
    [
        ({"sha256": DIGEST.upper()}, {"sha256": DIGEST}),
        ({"sha256": ":".join(["AB"] * 32)}, {"sha256": DIGEST}),
        ({"dns": "*.Robots.example"}, {"dns": "*.robots.example"}),
        ({"uri": "spiffe://td/*"}, {"uri": "spiffe://td/*"}),
        ({"subject": {"O": "Maker", "CN": "robot-*"}}, {"subject": (("CN", "robot-*"), ("O", "Maker"))}),
        ({"dns": "a.example", "revoked": [DIGEST]}, {"dns": "a.example", "revoked": (DIGEST,)}),
        ({"dns": "a.example", "data_class": "public", "residency": ["JP"]},
         {"dns": "a.example", "data_class": "public", "residency": ("JP",)}),
    ],
)  # fmt: skip
def test_certificates(table, read_as):
    assert only_certificate(**table) == ClientCertificate(("caller",), **read_as)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"roles": ["caller"]}, ""),
        ({"roles": ["caller"], "dns": "a.example", "uri": "spiffe://a"}, ""),
        ({"dns": "a.example"}, "roles"),
        ({"dns": "a.example", "roles": []}, "roles"),
        ({"sha256": "ab", "roles": ["x"]}, "sha256"),
        ({"sha256": 7, "roles": ["x"]}, "sha256"),
        ({"dns": "*", "roles": ["x"]}, "dns"),
        ({"dns": "*.*.example", "roles": ["x"]}, "dns"),
        ({"uri": "*", "roles": ["x"]}, "uri"),
        ({"subject": {}, "roles": ["x"]}, "subject"),
        ({"subject": {"EMAIL": "x"}, "roles": ["x"]}, "subject.EMAIL"),
        ({"subject": {"CN": "*"}, "roles": ["x"]}, "subject.CN"),
        ({"dns": "a.example", "roles": ["x"], "revoked": ["x"]}, "revoked"),
        ({"dns": "a.example", "roles": ["x"], "revoked": []}, "revoked"),
        ({"dns": "a.example", "roles": ["x"], "data_class": "secret"}, "data_class"),
    ],
)
def test_a_mistake_about_a_certificate_is_named(table, key):
    place = f"certificates[0].{key}" if key else "certificates[0]"
    assert place in mistakes_of("certificates", table)


def test_two_declarations_that_one_token_could_fit_are_a_mistake():
    tid = {"require": {"tid": ["a", "b"]}}
    for one, other in (({}, {}), ({}, tid), (tid, {"require": {"tid": "b"}}), ({"audience": ["x", "api://g"]}, {})):
        _, mistakes = read(bank={"issuers": [ISSUER | one]}, maker={"issuers": [ISSUER | other]})
        assert [(m.file, m.key) for m in mistakes] == [("organisations/bank.toml", "issuers[0]")], (one, other)
        assert "organisations/maker.toml" in mistakes[0].problem
    _, mistakes = read(bank={"issuers": [ISSUER, ISSUER]})
    assert [m.key for m in mistakes] == ["issuers[0]"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"audience": ["x"]}, {}),
        ({"require": {"tid": "a"}}, {"require": {"tid": ["b", "c"]}}),
        ({"require": {"email_verified": True}}, {"require": {"email_verified": False}}),
        ({"issuer": "https://idp.example/"}, {}),
    ],
)
def test_declarations_that_no_token_can_fit_both_are_none(one, other):
    assert read(bank={"issuers": [ISSUER | one]}, maker={"issuers": [ISSUER | other]})[1] == ()


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ({"dns": "*.a.example"}, {"dns": "b.a.example"}, True),
        ({"dns": "*.a.example"}, {"dns": "*.b.example"}, False),
        ({"dns": "*.a.example"}, {"uri": "spiffe://a"}, False),
        ({"sha256": DIGEST}, {"sha256": DIGEST}, True),
        ({"sha256": DIGEST}, {"sha256": "cd" * 32}, False),
        ({"subject": {"CN": "robot-*"}}, {"subject": {"O": "Maker"}}, True),
        ({"subject": {"CN": "robot-*", "O": "A"}}, {"subject": {"CN": "robot-*", "O": "B"}}, False),
    ],
)
def test_certificates_that_could_be_anothers(one, other, overlap):
    tables = [{"certificates": [{"roles": ["x"]} | table]} for table in (one, other)]
    _, mistakes = read(bank=tables[0], maker=tables[1])
    assert [m.key for m in mistakes] == (["certificates[0]"] if overlap else [])
