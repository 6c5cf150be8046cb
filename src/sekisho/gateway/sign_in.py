"""How a worker signs in at its deployments: secrets as they are on disk now, tokens as they were fetched last.

A request takes what is in memory. `sign_in_keeper` reads files again and fetches tokens, beside the request path.
Nothing here opens a file or a socket of its own. No error and no representation holds a secret.
"""

import base64
import threading
import weakref
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from sekisho.catalog.interfaces import (
    ApiKeySignIn,
    BasicSignIn,
    BearerSignIn,
    CredentialReference,
    Deployment,
    EgressProxy,
    EntraSignIn,
    ManagedIdentitySignIn,
)
from sekisho.gateway.assertions import signing_key
from sekisho.gateway.dialects.upstreams import UPSTREAM_DIALECTS
from sekisho.gateway.errors import CantSignIn
from sekisho.gateway.http1.interfaces import Header
from sekisho.gateway.tokens import Material, Token
from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import SekishoError

# A token is renewed after this part of its life, which leaves a quarter of it for failures.
RENEW_AFTER: Final = 0.75
JITTER: Final = 0.1  # of the time to the renewal: workers that started together must not renew together
RETRY_US_MIN: Final = 1_000_000  # after a failure, doubling …
RETRY_US_MAX: Final = 60_000_000  # … up to a minute: an operator who mends it waits no longer
RETRY_AFTER_US_MAX: Final = 300_000_000  # what a token endpoint may ask us to wait
# A deployment that goes on refusing what we present must not make us ask for tokens without end.
REFUSED_US_MIN: Final = 30_000_000
# A token is not used any more shortly before its end: clocks differ, and a request takes its time to arrive.
MARGIN_US_MAX: Final = 30_000_000
MARGIN_SHARE: Final = 10  # of a short life, no more than one part in so many

Value = TypeVar("Value")


class Secrets(Protocol):
    """Where secrets are read. Both block for a small file, and raise a SekishoError that never holds the secret."""

    def secret(self, reference: CredentialReference) -> str: ...
    def pem(self, name: str) -> bytes: ...


class Reloaded(Generic[Value]):
    """A value out of files. Once read it is kept, and used on, while they can't be read any more."""

    def __init__(self, read: Callable[[], Value]) -> None:
        self._read = read
        self._value: Value | None = None
        self._error: SekishoError | None = None  # of the last reading
        self.reload()

    @property
    def stale(self) -> SekishoError | None:
        """Why the last reading failed although an earlier value is in use."""
        return self._error if self._value is not None else None

    @property
    def missing(self) -> bool:
        """Whether no reading ever succeeded."""
        return self._value is None

    def reload(self) -> bool:
        """Read again, blocking; whether the value changed."""
        try:
            value = self._read()
        except SekishoError as error:
            self._error = error
            return False
        self._error = None
        if value == self._value:
            return False
        self._value = value
        return True

    def value(self) -> Value:
        """Raises the SekishoError of the last reading if none ever succeeded."""
        if self._value is not None:
            return self._value
        raise self._error or AssertionError("never read")


class StaticCredential:
    """A secret that is presented as it is."""

    def __init__(self, read: Callable[[], tuple[Header, ...]]) -> None:
        self._headers = Reloaded(read)

    @property
    def stale(self) -> SekishoError | None:
        return self._headers.stale

    def reload(self) -> None:
        self._headers.reload()

    def headers(self, now_us: int) -> tuple[Header, ...]:
        """Raises a SekishoError if there is nothing to present."""
        return self._headers.value()

    @property
    def missing(self) -> bool:
        return self._headers.missing

    def refused(self, headers: tuple[Header, ...], now_us: int) -> None:
        """The deployment answered 401: nothing else can be presented until the file changes."""


class TokenCredential:
    """A token that is fetched, renewed ahead of its end, and fetched anew when it is refused. Times in µs UTC."""

    def __init__(
        self,
        sign_in: EntraSignIn | ManagedIdentitySignIn,
        read: Callable[[], Material],
        identity: bytes,
        proxy: EgressProxy | None = None,
        proxy_credential: "ProxyCredential | None" = None,
    ) -> None:
        """`proxy`: through which the token endpoint is reached as well."""
        self.sign_in = sign_in
        self.identity = identity
        self.proxy = proxy
        self.proxy_credential = proxy_credential
        self.material = Reloaded(read)
        self.due_us = 0  # when to fetch next
        self.fetching = False
        self._headers: tuple[Header, ...] = ()
        self._usable_until_us = 0
        self._refused_us = -REFUSED_US_MIN  # when a refusal last had a token fetched
        self._failures = 0
        self._error = "no token has been fetched yet"

    @property
    def stale(self) -> SekishoError | None:
        return self.material.stale

    def reload(self) -> None:
        if self.material.reload():
            self.due_us = self._failures = 0  # other keys: find out soon whether they are good

    def headers(self, now_us: int) -> tuple[Header, ...]:
        """Raises CantSignIn if there is no token, or its end has come."""
        if now_us < self._usable_until_us:
            return self._headers
        raise CantSignIn("the gateway has no valid token for the deployment", detail=self._error)

    @property
    def untried(self) -> bool:
        return not self._headers and not self._failures

    def usable(self, now_us: int) -> bool:
        return now_us < self._usable_until_us

    def due(self, now_us: int) -> bool:
        return not self.fetching and now_us >= self.due_us

    def fetched(self, token: Token, now_us: int, chance: float) -> None:
        """`now_us`: when the request for it began; `chance`: from 0 to 1, spreads renewals."""
        life_us = token.life_s * 1_000_000
        renew_us = life_us * RENEW_AFTER
        if token.renew_s is not None:
            renew_us = min(renew_us, token.renew_s * 1_000_000)
        self._headers = ((b"authorization", b"Bearer " + token.text.encode("ascii")),)
        self._usable_until_us = now_us + life_us - min(MARGIN_US_MAX, life_us // MARGIN_SHARE)
        self.due_us = now_us + int(renew_us * (1 - JITTER * chance))
        self._failures = 0
        self._error = "the token has ended, and no new one came"

    def failed(self, error: str, now_us: int, chance: float, retry_after_s: int = 0) -> None:
        """The token in use, if any, stays until its end."""
        wait_us = min(RETRY_US_MIN << min(self._failures, 16), RETRY_US_MAX)
        asked_us = min(retry_after_s * 1_000_000, RETRY_AFTER_US_MAX)
        self._failures += 1
        self._error = error
        self.due_us = now_us + max(asked_us, int(wait_us * (0.5 + chance / 2)))

    def refused(self, headers: tuple[Header, ...], now_us: int) -> None:
        """The deployment answered 401 to `headers`: have another token soon, once for all requests that are refused."""
        is_old = headers is not self._headers
        if is_old or self._failures or now_us < self._refused_us + REFUSED_US_MIN:
            return
        self._refused_us = now_us
        self.due_us = min(self.due_us, now_us)


Credential = StaticCredential | TokenCredential
ProxyCredential = Reloaded[bytes]
_NOTHING: Final[tuple[Header, ...]] = ()


class SignIns:
    """The credentials of one worker, each shared by all deployments that declare it alike, over all snapshots.

    Snapshots are prepared in threads, so this may be asked in any; what nobody uses any more is forgotten.
    """

    def __init__(self, secrets: Secrets, clock: Clock) -> None:
        self.clock = clock
        self._secrets = secrets
        self._lock = threading.Lock()
        self._credentials: weakref.WeakValueDictionary[bytes, Credential] = weakref.WeakValueDictionary()
        self._proxies: weakref.WeakValueDictionary[bytes, ProxyCredential] = weakref.WeakValueDictionary()

    def of(self, deployment: Deployment) -> Credential | None:
        """What to present at a deployment; None for one without sign-in. Blocking: may read files."""
        if deployment.credential is None and deployment.sign_in is None:
            return None
        key = identity_of(deployment)
        with self._lock:
            known = self._credentials.get(key)
        made = known or self._made(deployment, key)
        with self._lock:
            return self._credentials.setdefault(key, made)

    def of_proxy(self, proxy: EgressProxy) -> ProxyCredential | None:
        """The value of Proxy-Authorization (RFC 9110 section 11.7.2); None for a proxy that asks for none. Blocking."""
        user, password = proxy.user, proxy.password
        if user is None or password is None:
            return None
        key = msgspec.json.encode(proxy)
        with self._lock:
            known = self._proxies.get(key)
        made = known or Reloaded(lambda: _basic(user, self._secrets.secret(password)))
        with self._lock:
            return self._proxies.setdefault(key, made)

    def all(self) -> tuple[list[Credential], list[ProxyCredential]]:
        """Those in use now."""
        with self._lock:
            return list(self._credentials.values()), list(self._proxies.values())

    def stale(self) -> list[SekishoError]:
        """Why files can't be read of which an earlier reading is in use."""
        credentials, proxies = self.all()
        return [reason for item in (*credentials, *proxies) if (reason := item.stale) is not None]

    def missing(self) -> int:
        """Sign-ins whose deployments can't be used: a secret that could never be read, no valid token."""
        now_us = self.clock.now_us()
        credentials, proxies = self.all()
        tokens = [item for item in credentials if isinstance(item, TokenCredential)]
        secrets = [item for item in credentials if isinstance(item, StaticCredential)]
        without = sum(not item.usable(now_us) for item in tokens)
        return without + sum(item.missing for item in secrets) + sum(item.missing for item in proxies)

    def _made(self, deployment: Deployment, identity: bytes) -> Credential:
        secret = self._secrets.secret
        reference, sign_in, proxy = deployment.credential, deployment.sign_in, deployment.egress_proxy
        if reference is not None:
            key_header = UPSTREAM_DIALECTS[deployment.dialect].key_header
            return StaticCredential(lambda: (key_header(secret(reference)),))
        match sign_in:
            case None:
                raise AssertionError("nothing to present")
            case BearerSignIn():
                return StaticCredential(lambda: ((b"authorization", b"Bearer " + secret(sign_in.secret).encode()),))
            case ApiKeySignIn():
                return StaticCredential(lambda: ((sign_in.header.encode(), secret(sign_in.secret).encode()),))
            case BasicSignIn():
                return StaticCredential(lambda: ((b"authorization", _basic(sign_in.user, secret(sign_in.password))),))
            case ManagedIdentitySignIn():
                return TokenCredential(sign_in, Material, identity)  # the machine's own service: never by a proxy
            case EntraSignIn():
                proxy_credential = None if proxy is None else self.of_proxy(proxy)
                return TokenCredential(sign_in, lambda: self._material(sign_in), identity, proxy, proxy_credential)

    def _material(self, sign_in: EntraSignIn) -> Material:
        if sign_in.secret is not None:
            return Material(secret=self._secrets.secret(sign_in.secret))
        if sign_in.certificate_file is None or sign_in.key_file is None:
            raise AssertionError("declared with neither a secret nor a certificate")
        pem = self._secrets.pem
        return Material(pair=signing_key(pem(sign_in.certificate_file), pem(sign_in.key_file)))


def identity_of(deployment: Deployment) -> bytes:
    """Who we are there and by which way: connections and tokens are shared only where this is equal. No secret."""
    shown_as = None if deployment.credential is None else deployment.dialect
    return msgspec.json.encode((shown_as, deployment.credential, deployment.sign_in, deployment.egress_proxy))


def _basic(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())
