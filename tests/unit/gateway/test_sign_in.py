"""What a worker presents at its deployments, from when to when, and when another token is due."""

import base64
import gc

import msgspec
import pytest
import trustme

from gateway_fakes import in_force
from sekisho.catalog.interfaces import (
    ApiKeySignIn,
    BasicSignIn,
    BearerSignIn,
    CredentialReference,
    EgressProxy,
    EntraSignIn,
    ManagedIdentitySignIn,
)
from sekisho.gateway.errors import CantSignIn
from sekisho.gateway.sign_in import (
    JITTER,
    MARGIN_US_MAX,
    REFUSED_US_MIN,
    RENEW_AFTER,
    RETRY_AFTER_US_MAX,
    RETRY_US_MAX,
    Reloaded,
    SignIns,
    TokenCredential,
    identity_of,
)
from sekisho.gateway.tokens import Material, Token
from sekisho.kernel.errors import SekishoError

NOW = 1_800_000_000_000_000
S = 1_000_000
FILE = CredentialReference("file", "keys/a")
ENTRA = EntraSignIn("t", "app", "api://x/.default", "https://login.example", secret=FILE)
IDENTITY = ManagedIdentitySignIn("api://x", "http://169.254.169.254/t")
PROXY = EgressProxy("http://proxy.example:3128", None, "user", CredentialReference("file", "keys/proxy"))


class Clock:
    now = NOW

    def now_us(self):
        return self.now


class Files:
    """Implements `Secrets` over a dictionary."""

    def __init__(self, **held):
        self.held = {"keys/a": "one", "keys/proxy": "pass", **held}

    def secret(self, reference):
        return self._held(reference.name)

    def pem(self, name):
        return self._held(name)

    def _held(self, name):
        if name not in self.held:
            raise SekishoError(f"{name} can't be read")
        return self.held[name]


def deployment(**changes):
    return msgspec.structs.replace(in_force(("a",)).snapshot.deployments["a"], **changes)


def sign_ins(files=None):
    return SignIns(files or Files(), Clock())


@pytest.mark.parametrize(
    ("declared", "header"),
    [
        ({"credential": FILE}, (b"authorization", b"Bearer one")),
        ({"credential": FILE, "dialect": "azure"}, (b"api-key", b"one")),
        ({"sign_in": BearerSignIn(FILE)}, (b"authorization", b"Bearer one")),
        ({"sign_in": BearerSignIn(FILE), "dialect": "azure"}, (b"authorization", b"Bearer one")),
        ({"sign_in": ApiKeySignIn(FILE, "x-api-key")}, (b"x-api-key", b"one")),
        ({"sign_in": BasicSignIn("me", FILE)}, (b"authorization", b"Basic " + base64.b64encode(b"me:one"))),
    ],
)
def test_a_secret_goes_into_one_header(declared, header):
    assert sign_ins().of(deployment(**declared)).headers(NOW) == (header,)


def test_a_deployment_without_sign_in_has_nothing_to_present():
    assert sign_ins().of(deployment()) is None
    assert sign_ins().of_proxy(EgressProxy("http://proxy.example")) is None
    assert sign_ins().of_proxy(PROXY).value() == b"Basic " + base64.b64encode(b"user:pass")


def test_what_is_declared_alike_is_one_credential_and_is_forgotten_with_its_users():
    known = sign_ins()
    one, same = known.of(deployment(sign_in=ENTRA)), known.of(deployment(name="b", sign_in=ENTRA))
    assert one is same
    others = [
        known.of(deployment(**declared))
        for declared in (
            {"sign_in": msgspec.structs.replace(ENTRA, scope="api://y/.default")},
            {"sign_in": ENTRA, "egress_proxy": PROXY},
            {"credential": FILE},
            {"credential": FILE, "dialect": "azure"},
        )
    ]
    assert len({id(item) for item in (one, *others)}) == 5
    assert len(known.all()[0]) == 5
    del one, same, others
    gc.collect()
    assert known.all() == ([], [])


def test_an_identity_differs_with_everything_that_is_shown():
    declared = [
        {"credential": FILE},
        {"credential": FILE, "dialect": "azure"},
        {"sign_in": BearerSignIn(FILE)},
        {"sign_in": ENTRA},
        {"egress_proxy": PROXY},
        {},
    ]
    identities = [identity_of(deployment(**one)) for one in declared]
    assert len(set(identities)) == len(identities)
    assert identity_of(deployment(dialect="azure")) == identity_of(deployment())


def test_a_changed_file_counts_after_a_look_and_a_spoilt_one_does_not():
    files = Files()
    known = sign_ins(files)
    credential = known.of(deployment(sign_in=BearerSignIn(FILE)))
    files.held["keys/a"] = "two"
    assert credential.headers(NOW) == ((b"authorization", b"Bearer one"),)
    credential.reload()
    assert credential.headers(NOW) == ((b"authorization", b"Bearer two"),)
    del files.held["keys/a"]
    credential.reload()
    assert credential.headers(NOW) == ((b"authorization", b"Bearer two"),)
    assert [str(reason) for reason in known.stale()] == ["keys/a can't be read"]
    assert known.missing() == 0


def test_a_secret_that_could_never_be_read_is_missing_not_stale():
    files = Files()
    files.held.clear()
    known = sign_ins(files)
    kept = known.of(deployment(sign_in=BearerSignIn(FILE))), known.of_proxy(PROXY), known.of(deployment(sign_in=ENTRA))
    assert (known.missing(), known.stale()) == (3, [])
    for ask in (lambda: kept[0].headers(NOW), kept[1].value, lambda: kept[2].material.value()):
        with pytest.raises(SekishoError, match="can't be read"):
            ask()
    files.held |= Files().held
    for item in kept:
        item.reload()
    assert known.missing() == 1  # the token is yet to be fetched
    assert kept[2].material.value() == Material(secret="one")


def test_a_certificate_signs_for_entra():
    made = trustme.CA().issue_cert("app.test", key_type=trustme.KeyType.RSA)
    files = Files(c=made.cert_chain_pems[0].bytes(), k=made.private_key_pem.bytes())
    sign_in = msgspec.structs.replace(ENTRA, secret=None, certificate_file="c", key_file="k")
    credential = sign_ins(files).of(deployment(sign_in=sign_in))
    assert credential.material.value().pair is not None
    assert credential.material.reload() is False  # the same content is no change


def test_a_token_endpoint_is_reached_by_the_deployments_proxy_but_the_metadata_service_is_not():
    known = sign_ins()
    credential = known.of(deployment(sign_in=ENTRA, egress_proxy=PROXY))
    assert (credential.proxy, credential.proxy_credential) == (PROXY, known.of_proxy(PROXY))
    assert known.of(deployment(sign_in=IDENTITY, egress_proxy=PROXY)).proxy is None


def tokens(life_s=3600, renew_s=None, chance=0.0):
    credential = TokenCredential(ENTRA, Material, b"")
    credential.fetched(Token("t1", life_s, renew_s), NOW, chance)
    return credential


def test_before_the_first_token_it_is_due_and_can_not_be_used():
    credential = TokenCredential(ENTRA, Material, b"")
    assert credential.due(NOW)
    assert credential.untried
    with pytest.raises(CantSignIn, match="no token has been fetched yet"):
        credential.headers(NOW)
    credential.fetching = True
    assert not credential.due(NOW)


@pytest.mark.parametrize(("life_s", "margin_us"), [(3600, MARGIN_US_MAX), (60, 6 * S)])
def test_a_token_counts_until_shortly_before_its_end(life_s, margin_us):
    credential = tokens(life_s)
    last = NOW + life_s * S - margin_us
    assert credential.headers(last - 1) == ((b"authorization", b"Bearer t1"),)
    assert (credential.usable(last - 1), credential.usable(last)) == (True, False)
    with pytest.raises(CantSignIn, match="has ended"):
        credential.headers(last)


@pytest.mark.parametrize(("renew_s", "chance"), [(None, 0.0), (None, 1.0), (600, 0.0), (5000, 0.0)])
def test_it_is_renewed_while_a_quarter_of_its_life_is_left_or_when_it_is_advised(renew_s, chance):
    credential = tokens(3600, renew_s, chance)
    expected = min(3600 * RENEW_AFTER, renew_s or 3600) * (1 - JITTER * chance) * S
    assert not credential.due(NOW + int(expected) - 1)
    assert credential.due(NOW + int(expected))


def test_failures_are_tried_again_ever_more_slowly_and_leave_the_token_in_use():
    credential = tokens()
    waits = []
    for _ in range(12):
        credential.failed("no answer", NOW, 1.0)
        waits.append(credential.due_us - NOW)
    assert waits[:7] == [1 * S, 2 * S, 4 * S, 8 * S, 16 * S, 32 * S, RETRY_US_MAX]
    assert set(waits[7:]) == {RETRY_US_MAX}
    assert credential.headers(NOW)
    with pytest.raises(CantSignIn, match="no answer"):
        credential.headers(NOW + 3600 * S)
    credential.fetched(Token("t2", 3600, None), NOW, 0.0)
    credential.failed("again", NOW, 1.0)
    assert credential.due_us - NOW == 1 * S


@pytest.mark.parametrize(("asked_s", "wait_us"), [(17, 17 * S), (0, S), (10**6, RETRY_AFTER_US_MAX)])
def test_a_token_endpoint_may_ask_for_time_within_bounds(asked_s, wait_us):
    credential = tokens()
    credential.failed("busy", NOW, 1.0, asked_s)
    assert credential.due_us - NOW == wait_us


def test_a_refused_token_is_renewed_at_once_and_once():
    credential = tokens()
    shown = credential.headers(NOW)
    later = NOW + 100 * S
    for _ in range(3):
        credential.refused(shown, later)
    assert credential.due(later)
    credential.fetched(Token("t2", 3600, None), later, 0.0)
    credential.refused(shown, later + REFUSED_US_MIN)  # a request that was under way for long, with the old one
    assert not credential.due(later + REFUSED_US_MIN)
    # A deployment that refuses the new one as well must not have us ask without end.
    credential.refused(credential.headers(later), later + S)
    assert not credential.due(later + S)
    credential.refused(credential.headers(later), later + REFUSED_US_MIN)
    assert credential.due(later + REFUSED_US_MIN)


def test_a_refusal_does_not_shorten_the_wait_after_a_failure():
    credential = tokens()
    credential.failed("busy", NOW, 1.0, 60)
    credential.refused(credential.headers(NOW), NOW + S)
    assert not credential.due(NOW + S)


def test_other_keys_are_tried_at_once():
    files = Files()
    credential = sign_ins(files).of(deployment(sign_in=ENTRA))
    credential.fetched(Token("t1", 3600, None), NOW, 0.0)
    credential.reload()
    assert not credential.due(NOW)
    files.held["keys/a"] = "two"
    credential.reload()
    assert credential.due(NOW)
    assert credential.headers(NOW)


def test_missing_counts_tokens_that_have_ended():
    known = sign_ins()
    credential = known.of(deployment(sign_in=ENTRA))
    assert known.missing() == 1
    credential.fetched(Token("t1", 3600, None), NOW, 0.0)
    assert known.missing() == 0
    known.clock.now = NOW + 3600 * S
    assert known.missing() == 1


def test_nothing_that_is_shown_tells_the_secret():
    reloaded = Reloaded(lambda: "a-secret")
    assert "a-secret" not in repr(reloaded)
    assert "t1" not in repr(tokens())
