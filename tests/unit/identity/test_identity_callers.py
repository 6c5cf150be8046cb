"""Tokens and client certificates become principals, of one organisation and for as long as they are declared."""

import base64
import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer_keys import CERTIFICATE_ENDS, certificate, certificate_digest, jwk, key_set, token
from sekisho.catalog.interfaces import (
    Boundary,
    Catalogue,
    ClientCertificate,
    DataClass,
    Issuer,
    Organisation,
    RequiredClaim,
    RoleMapping,
)
from sekisho.identity.api_keys import text_digest
from sekisho.identity.callers import Callers
from sekisho.identity.errors import (
    AuthenticationError,
    CertificateRefused,
    CredentialsConflict,
    KeyMissing,
    KeyRevoked,
    KeyUnknown,
    TokenBadSignature,
    TokenClaimsRefused,
    TokenExpired,
    TokenMalformed,
    TokenNotYetValid,
    TokenUnknownIssuer,
    TokenUnknownKey,
    TokenWrongAudience,
)
from sekisho.identity.interfaces import ApiKey, KeyChanges, Principal
from sekisho.identity.key_set import read_key_set
from sekisho.identity.keyring import Keyring
from sekisho.identity.pseudonyms import pseudonym

BANK, MAKER = "https://bank.example", "https://maker.example"
NOW_S = 1_800_000_000
BOUNDARY = Boundary(
    ("JP",), ("JP", "US"), (DataClass("public", "", ""), DataClass("internal", "", "")), "public", ("JP",)
)
ROBOT = certificate(("CN", "robot-7"))
APP = certificate(("CN", "app"), serial=5)


def issuer(url=BANK, **changes):
    return Issuer(url, ("api://gateway",), ("ES256",), **({"roles": ("caller",)} | changes))


BANKS, MAKERS = (issuer(),), (issuer(MAKER),)


def catalogue(bank=BANKS, maker=MAKERS, certificates=()):
    organisations = (
        Organisation("bank", "B", issuers=tuple(bank), certificates=tuple(certificates)),
        Organisation("maker", "M", issuers=tuple(maker)),
    )
    return Catalogue(BOUNDARY, organisations, (), (), (), ())


class PublishedKeys:
    """`FindsKeys` over key sets by issuer. `found` counts questions: one per signature that is verified."""

    def __init__(self):
        self.sets = {
            BANK: read_key_set(key_set(jwk("ES256"))),
            MAKER: read_key_set(key_set(jwk("ES256", which=1))),
        }
        self.found = 0
        self.used = None

    def find(self, source, key_id, algorithm):
        self.found += 1
        key = self.sets[source.issuer].find(key_id, algorithm)
        if key is None:
            raise TokenUnknownKey("no such key")
        return key

    def use(self, sources):
        self.used = {source.issuer for source in sources}


class World:
    def __init__(self, declared=None, **bounds):
        self.declared = catalogue() if declared is None else declared
        self.now_s = NOW_S
        self.keys = PublishedKeys()
        self.keyring = Keyring()
        self.callers = Callers(self.keyring, self.keys, lambda: self.declared, str.encode, self, **bounds)
        self.key = Principal("key-k1", "bank", ("caller",), None, None)
        row = ApiKey("k1", text_digest(b"sk-1"), "app", self.key, 1, None, 1)
        self.keyring.apply(KeyChanges(1, (row,)))

    def now_us(self):
        return int(self.now_s * 1_000_000)

    def ask(self, text=None, *, api_key=None, shown=None):
        return self.callers.authenticate(None if text is None else b"Bearer " + text, api_key, shown)

    def revoke_key(self):
        row = ApiKey("k1", text_digest(b"sk-1"), "app", self.key, 1, 2, 2)
        self.keyring.apply(KeyChanges(2, (row,)))


def signed(iss=BANK, which=0, algorithm="ES256", key_id="k1", header=None, **changes):
    claims = {"iss": iss, "sub": "taro", "aud": "api://gateway", "exp": NOW_S + 600} | changes
    return token(
        {name: value for name, value in claims.items() if value is not None}, algorithm, key_id, which, header=header
    )


# -- tokens


def test_a_token_becomes_a_pseudonymous_principal_of_the_organisation_that_declares_its_issuer():
    principal = World().ask(signed())
    assert principal == Principal(
        pseudonym("oidc-", b"bank", BANK, "taro"),
        "bank",
        ("caller",),
        None,
        None,
        '["bank","issuer","https://bank.example",["api://gateway"],[]]',
    )
    assert "taro" not in repr(principal)


def test_the_same_subject_of_two_issuers_is_two_principals():
    world = World(catalogue(bank=[issuer(), issuer(MAKER)], maker=[]))
    one, other = world.ask(signed()), world.ask(signed(MAKER, 1))
    assert (one.organisation, other.organisation) == ("bank", "bank")
    assert one.id != other.id


def test_claims_give_roles_class_and_residency():
    mapped = issuer(
        roles=("base",),
        roles_claim=("realm_access", "roles"),
        roles_map=(RoleMapping("ai-admin", ("caller", "ops")),),
        data_class_claim=("class",),
        residency_claim=("where",),
    )
    principal = World(catalogue(bank=[mapped])).ask(
        signed(realm_access={"roles": ["ai-admin"]}, where=["US", "JP"], **{"class": "internal"})
    )
    assert principal[2:5] == (("base", "caller", "ops"), "internal", ("JP", "US"))


def test_one_organisations_issuer_never_authenticates_into_another():
    """Not by naming the other in `iss`, not by using its key id, not by another audience or claim."""
    world = World()
    assert world.ask(signed(MAKER, 1)).organisation == "maker"
    with pytest.raises(TokenBadSignature):
        world.ask(signed(BANK, 1))
    with pytest.raises(TokenBadSignature):
        world.ask(signed(MAKER, 0))


def test_an_issuer_that_two_organisations_declare_lets_in_where_the_audience_says():
    world = World(catalogue(maker=[Issuer(BANK, ("api://maker",), ("ES256",), roles=("caller",))]))
    assert world.ask(signed()).organisation == "bank"
    assert world.ask(signed(aud="api://maker")).organisation == "maker"
    assert world.ask(signed()).id != world.ask(signed(aud="api://maker")).id
    with pytest.raises(TokenClaimsRefused, match="more than one"):
        world.ask(signed(aud=["api://gateway", "api://maker"]))


REFUSED = {
    "unknown issuer": (TokenUnknownIssuer, {"iss": "https://evil.example"}),
    "issuer with a slash more": (TokenUnknownIssuer, {"iss": BANK + "/"}),
    "no issuer": (TokenUnknownIssuer, {"iss": None}),
    "issuer that is no text": (TokenUnknownIssuer, {"iss": [BANK]}),
    "issuer that is an object": (TokenUnknownIssuer, {"iss": {}}),
    "wrong audience": (TokenWrongAudience, {"aud": "api://other"}),
    "no audience": (TokenMalformed, {"aud": None}),
    "expired": (TokenExpired, {"exp": NOW_S - 60}),
    "no end": (TokenMalformed, {"exp": None}),
    "an end too large for a float": (TokenMalformed, {"exp": 10**400}),
    "not yet valid": (TokenNotYetValid, {"nbf": NOW_S + 61}),
    "issued in the future": (TokenNotYetValid, {"iat": NOW_S + 61}),
    "unknown kid": (TokenUnknownKey, {"key_id": "k9"}),
    "an algorithm that is not declared": (TokenMalformed, {"algorithm": "RS256"}),
    "none": (TokenMalformed, {"header": b'{"alg": "none"}'}),
    "HS256": (TokenMalformed, {"header": b'{"alg": "HS256", "kid": "k1"}'}),
    "another key of the same id": (TokenBadSignature, {"which": 2}),
    "a key that the header brings": (TokenMalformed, {"header": b'{"alg": "ES256", "kid": "k1", "jku": "https://e"}'}),
    "no subject": (TokenClaimsRefused, {"sub": None}),
    "bound to a key": (TokenClaimsRefused, {"cnf": {"jkt": "x"}}),
}


@pytest.mark.parametrize(("error", "changes"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_count_is_refused_each_time_and_not_remembered(error, changes):
    world, text = World(), signed(**changes)
    for _ in range(2):
        with pytest.raises(error) as raised:
            world.ask(text)
        assert isinstance(raised.value, AuthenticationError)
        assert "taro" not in str(raised.value)
        assert raised.value.code.startswith("token_")
    assert world.ask(signed()).organisation == "bank"


def test_no_signature_is_looked_at_for_a_token_that_would_not_do():
    world = World()
    for changes in ({"iss": "https://e"}, {"aud": "x"}, {"exp": 1}, {"algorithm": "EdDSA"}):
        with pytest.raises(AuthenticationError):
            world.ask(signed(**changes))
    assert world.keys.found == 0


GOOD = signed()


@given(st.data())
def test_any_changed_byte_of_a_remembered_token_is_refused(data):
    text = bytearray(GOOD)
    position = data.draw(st.integers(0, len(text) - 1))
    text[position] = data.draw(st.integers(33, 126).filter(lambda value: value != text[position]))
    world = World()
    assert world.ask(GOOD)
    with pytest.raises(AuthenticationError):
        world.ask(bytes(text))


def test_a_verified_token_is_remembered_until_it_ends():
    world = World()
    for seconds in (0, 300, 659):
        world.now_s = NOW_S + seconds
        world.ask(GOOD)
    assert world.keys.found == 1
    world.now_s = NOW_S + 660  # 600 and the skew
    for _ in range(2):
        with pytest.raises(TokenExpired):
            world.ask(GOOD)


def test_a_changed_key_set_has_tokens_verified_again():
    world = World()
    world.ask(GOOD)
    world.keys.sets[BANK] = read_key_set(key_set(jwk("ES256", "k2", which=3)))
    assert world.ask(GOOD), "known until the key set says that it has changed"
    world.callers.forget_tokens()
    with pytest.raises(TokenUnknownKey):
        world.ask(GOOD)


def test_what_is_remembered_is_bounded():
    world = World(remembered_max=3)
    texts = [signed(sub=f"s{number}") for number in range(4)]
    for text in texts[:3]:
        world.ask(text)
    world.ask(texts[0])
    world.ask(texts[3])  # the one not seen for longest, the second, has to go
    assert world.keys.found == 4
    world.ask(texts[0])
    assert world.keys.found == 4
    world.ask(texts[1])
    assert world.keys.found == 5


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER   "])
def test_the_scheme_is_read_in_any_case(scheme):
    assert World().callers.authenticate(scheme + GOOD, None, None).organisation == "bank"


def test_tokens_come_as_bearers_only():
    world = World()
    with pytest.raises(TokenMalformed, match="api-key"):
        world.ask(api_key=GOOD)
    with pytest.raises(CredentialsConflict):
        world.ask(GOOD, api_key=b"sk-1")
    with pytest.raises(KeyMissing):
        world.callers.authenticate(b"Basic " + GOOD, None, None)
    with pytest.raises(KeyMissing):
        world.callers.authenticate(GOOD, None, None)


# -- keys beside them


def test_keys_are_asked_for_as_before():
    world = World()
    assert world.ask(b"sk-1") == world.ask(api_key=b"sk-1") == world.key
    for text, error in ((b"sk-2", KeyUnknown), (None, KeyMissing), (b"a.b", KeyUnknown)):
        with pytest.raises(error):
            world.ask(text)
    world.revoke_key()
    with pytest.raises(KeyRevoked):
        world.ask(b"sk-1")


# -- certificates

HOLDER = ClientCertificate(("robot",), subject=(("CN", "robot-*"),), data_class="internal", residency=("JP",))
DECLARED = {"certificates": [HOLDER]}


def test_a_declared_certificate_alone_is_a_principal():
    world = World(catalogue(**DECLARED))
    principal = world.ask(shown=ROBOT)
    assert principal[1:5] == ("bank", ("robot",), "internal", ("JP",))
    assert principal.id == pseudonym("cert-", b"bank", "subject", "CN=robot-7")
    assert world.ask(shown=certificate(("CN", "robot-7"), serial=9)).id == principal.id, "renewed"


def test_an_undeclared_certificate_alone_is_refused_and_beside_a_header_it_says_nothing():
    world = World(catalogue(**DECLARED))
    for _ in range(2):
        with pytest.raises(CertificateRefused, match="Nobody declares"):
            world.ask(shown=APP)
    assert world.ask(GOOD, shown=APP).id.startswith("oidc-")
    assert world.ask(b"sk-1", shown=APP) == world.key


def test_a_header_counts_before_a_certificate_of_the_same_organisation():
    world = World(catalogue(**DECLARED))
    assert world.ask(GOOD, shown=ROBOT).id.startswith("oidc-")
    assert world.ask(api_key=b"sk-1", shown=ROBOT) == world.key


def test_a_certificate_of_one_organisation_and_a_token_of_another_are_refused():
    world = World(catalogue(**DECLARED))
    with pytest.raises(CredentialsConflict, match="different organisations"):
        world.ask(signed(MAKER, 1), shown=ROBOT)


def test_a_bad_token_is_not_helped_by_a_good_certificate():
    world = World(catalogue(**DECLARED))
    with pytest.raises(TokenExpired):
        world.ask(signed(exp=1), shown=ROBOT)
    with pytest.raises(KeyUnknown):
        world.ask(b"sk-2", shown=ROBOT)


def test_a_connection_does_not_outlive_its_certificate():
    world = World(catalogue(**DECLARED))
    world.now_s = CERTIFICATE_ENDS.timestamp() - 1
    world.ask(shown=ROBOT)
    world.now_s = CERTIFICATE_ENDS.timestamp()
    with pytest.raises(CertificateRefused, match="expired"):
        world.ask(shown=ROBOT)


def test_a_revoked_certificate_is_refused_beside_a_key_too():
    revoked = ClientCertificate(("robot",), subject=(("CN", "robot-*"),), revoked=(certificate_digest(ROBOT),))
    world = World(catalogue(certificates=[revoked]))
    for text in (None, b"sk-1", GOOD):
        with pytest.raises(CertificateRefused, match="revoked"):
            world.ask(text, shown=ROBOT)


def test_a_bound_token_needs_its_certificate_each_time():
    """RFC 8705 section 3: also when the token is remembered."""
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(APP).digest()).rstrip(b"=").decode()
    world, bound = World(), signed(cnf={"x5t#S256": thumbprint})
    for shown in (None, ROBOT):
        with pytest.raises(TokenClaimsRefused, match="bound to a client certificate"):
            world.ask(bound, shown=shown)
    assert world.ask(bound, shown=APP).organisation == "bank"
    for shown in (None, ROBOT):
        with pytest.raises(TokenClaimsRefused, match="bound to a client certificate"):
            world.ask(bound, shown=shown)


# -- ends


def test_dropping_the_declaration_ends_what_runs_and_refuses_what_comes():
    world, ended = World(), []
    principal, other = world.ask(GOOD), world.ask(signed(MAKER, 1))
    world.callers.watch(principal, ended.append)
    world.callers.watch(principal, ended.append)
    given_back = world.callers.watch(principal, ended.append)
    world.callers.watch(other, ended.append)
    world.callers.unwatch(given_back)
    world.declared = catalogue(bank=[])
    world.callers.follow()
    assert not world.callers.is_live(principal)
    assert ended == [principal.id] * 2, "both relays, once each, and not the other organisation's"
    assert world.callers.is_live(other)
    with pytest.raises(TokenUnknownIssuer):
        world.ask(GOOD)
    with pytest.raises(TokenClaimsRefused):
        world.callers.watch(principal, ended.append)
    world.callers.follow()
    assert len(ended) == 2
    assert world.keys.used == {MAKER}


TEST_TENANT, NEWS = (RequiredClaim("tid", ("test\n", True)),), ("api://news",)


@pytest.mark.parametrize("changes", [{"audience": NEWS}, {"require": TEST_TENANT}])
def test_declarations_of_one_issuer_end_each_by_itself(changes):
    other = msgspec.structs.replace(issuer(require=(RequiredClaim("tid", ("bank",)),)), **changes)
    kept = issuer(require=(RequiredClaim("tid", ("bank",)),))
    world, ended = World(catalogue(bank=[kept, other])), []
    stays = world.ask(signed(tid="bank"))
    claims = {"tid": "test\n"} if "require" in changes else {"tid": "bank", "aud": "api://news"}
    goes = world.ask(signed(**claims))
    for principal in (stays, goes):
        world.callers.watch(principal, lambda _, standing=principal.standing: ended.append(standing))
    world.declared = catalogue(bank=[kept])
    world.callers.follow()
    assert ended == [goes.standing]
    assert (world.callers.is_live(stays), world.callers.is_live(goes)) == (True, False)


def test_an_issuer_and_a_certificate_of_one_name_end_each_by_itself():
    named = ClientCertificate(("robot",), uri=BANK)
    world = World(catalogue(certificates=[named]))
    principal = world.ask(GOOD)
    world.declared = catalogue(bank=[], certificates=[named])
    world.callers.follow()
    assert not world.callers.is_live(principal)


def test_between_two_looks_a_caller_is_asked_nothing_and_hears_nothing_of_others():
    world = World()

    def fails(_):
        raise ZeroDivisionError

    gone, other = world.ask(GOOD), world.ask(signed(MAKER, 1))
    world.callers.watch(gone, fails)
    world.declared = catalogue(bank=[])
    assert world.ask(signed(MAKER, 1)) == other, "not another's watcher's fault"
    with pytest.raises(TokenClaimsRefused):
        world.callers.watch(gone, fails)
    del world.declared  # the epoch is over: nothing is in force
    assert world.callers.is_live(other)
    world.callers.unwatch(world.callers.watch(other, fails))
    with pytest.raises(ExceptionGroup):
        world.callers.follow()  # whoever hangs on what is gone hears of it even now
    world.declared = catalogue(bank=[])
    world.callers.follow()


def test_following_alone_tells_who_hangs_on_what_is_gone():
    world, ended = World(catalogue(**DECLARED)), []
    world.callers.watch(world.ask(shown=ROBOT), ended.append)
    world.declared = catalogue()
    world.callers.follow()
    assert [name[:5] for name in ended] == ["cert-"]
    with pytest.raises(CertificateRefused):
        world.ask(shown=ROBOT)


def test_revoking_a_certificate_ends_what_runs_with_it_and_not_its_fellows():
    world, ended = World(catalogue(**DECLARED)), []
    fellow = certificate(("CN", "robot-8"), serial=8)
    robot, other = world.ask(shown=ROBOT), world.ask(shown=fellow)
    for principal in (robot, other):
        world.callers.watch(principal, ended.append)
    revoked = ClientCertificate(("robot",), subject=(("CN", "robot-*"),), revoked=(certificate_digest(ROBOT),))
    world.declared = catalogue(certificates=[revoked])
    world.callers.follow()
    assert ended == [robot.id]
    assert (world.callers.is_live(robot), world.callers.is_live(other)) == (False, True)


def test_a_changed_declaration_counts_for_the_next_request_and_ends_nothing():
    world, ended = World(), []
    watch = world.callers.watch(world.ask(GOOD), ended.append)
    world.declared = catalogue(bank=[issuer(roles=("ops",))])
    assert world.ask(GOOD).roles == ("ops",)
    assert ended == []
    world.callers.unwatch(watch)


def test_one_watchers_fault_does_not_keep_another_alive():
    world, ended = World(), []

    def fails(_):
        raise ZeroDivisionError

    principal = world.ask(GOOD)
    world.callers.watch(principal, fails)
    world.callers.watch(principal, ended.append)
    world.declared = catalogue(bank=[])
    with pytest.raises(ExceptionGroup):
        world.callers.follow()
    assert ended == [principal.id]


def test_a_keys_watch_is_the_keyrings():
    world, ended = World(), []
    watch = world.callers.watch(world.key, ended.append)
    assert world.callers.is_live(world.key)
    world.callers.unwatch(watch)
    world.callers.watch(world.key, ended.append)
    world.revoke_key()
    assert ended == ["key-k1"]
    assert not world.callers.is_live(world.key)
    with pytest.raises(KeyRevoked):
        world.callers.watch(world.key, ended.append)


def test_a_token_that_ran_out_still_counts_for_the_request_it_came_with():
    world = World()
    principal = world.ask(GOOD)
    world.now_s = NOW_S + 10_000
    assert world.callers.is_live(principal)
