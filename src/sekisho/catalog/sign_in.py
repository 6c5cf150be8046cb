"""Reading how a gateway signs in at a deployment, and the egress proxy on the way there. Secrets only by reference."""

import re
import urllib.parse
from collections.abc import Callable
from typing import Final, NamedTuple

from sekisho.catalog.interfaces import (
    ApiKeySignIn,
    BasicSignIn,
    BearerSignIn,
    CredentialReference,
    EgressProxy,
    EntraSignIn,
    ManagedIdentitySignIn,
    SignIn,
)
from sekisho.catalog.table import Table, looks_like_credential, shown
from sekisho.catalog.urls import is_link_local, is_loopback, take_path, take_url

API_KEY_HEADERS: Final = ("api-key", "ocp-apim-subscription-key", "x-api-key")
# Microsoft recommends PS256 for assertions; RS256 is for keys that can't pad with PSS.
ALGORITHMS: Final = ("PS256", "RS256")
ENTRA_AUTHORITY: Final = "https://login.microsoftonline.com"
ENTRA_SCOPE: Final = "https://cognitiveservices.azure.com/.default"
METADATA_URL: Final = "http://169.254.169.254/metadata/identity/oauth2/token"
METADATA_RESOURCE: Final = "https://cognitiveservices.azure.com"
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-]{0,127}", re.ASCII)  # an id, or one of the tenant's domain names
_CLIENT_ID = re.compile(r"[A-Za-z0-9\-]{1,64}", re.ASCII)
_URI = re.compile(r"[!-~]{1,512}", re.ASCII)
_USER = re.compile(r"[!-9;-~]{1,128}", re.ASCII)  # RFC 7617 section 2: no colon, which ends it


class TokenTarget(NamedTuple):
    """What a token is asked for where nothing is declared: Entra's scope, and a managed identity's resource."""

    scope: str = ENTRA_SCOPE
    resource: str = METADATA_RESOURCE


DEPLOYMENT: Final = TokenTarget()


def take_reference(table: Table, key: str, *, required: bool = False) -> CredentialReference | None:
    """Where a secret is: `{ file = … }` or `{ env = … }`; a literal one is a mistake."""
    remedy = f'Refer to it: {key} = {{ file = "keys/name" }} or {key} = {{ env = "NAME" }}'
    given = table.take(key)
    if given is None:
        if required:
            table.missing(key, remedy)
        return None
    if isinstance(given, str):
        table.mistake(key, "is given literally", remedy)
        return None
    inner = table.take_table(key)
    if inner is None:
        return None
    file, variable = inner.take("file"), inner.take("env")
    inner.finish()
    if (file is None) == (variable is None):
        table.mistake(key, "names no file and no environment variable, or both", remedy)
        return None
    if file is not None:
        path = take_path(inner, "file")
        return None if path is None else CredentialReference("file", path)
    if not isinstance(variable, str) or not _ENVIRONMENT_NAME.fullmatch(variable) or looks_like_credential(variable):
        inner.mistake("env", "is not the name of an environment variable", remedy)
        return None
    return CredentialReference("env", variable)


def read_sign_in(table: Table, target: TokenTarget = DEPLOYMENT) -> SignIn | None:
    """The `[sign_in]` table of a deployment, or None with mistakes noted (none where it isn't there)."""
    inner = table.take_table("sign_in")
    if inner is None:
        return None
    kind = inner.take_choice("kind", KINDS, f"a way to sign in ({', '.join(KINDS)})")
    if kind is None:
        return None  # which keys belong there depends on it, so there is nothing more to say
    sign_in = KINDS[kind](inner, target)
    inner.finish()
    if "credential" in table.values:
        table.mistake("credential", "stands beside [sign_in]", 'Keep one of them: credential means kind = "bearer"')
    return sign_in


def _bearer(table: Table, _: TokenTarget) -> SignIn | None:
    secret = take_reference(table, "secret", required=True)
    return None if secret is None else BearerSignIn(secret)


def _api_key(table: Table, _: TokenTarget) -> SignIn | None:
    secret = take_reference(table, "secret", required=True)
    header = table.take_choice("header", API_KEY_HEADERS, "a header for keys", required=False) or API_KEY_HEADERS[0]
    return None if secret is None else ApiKeySignIn(secret, header)


def _basic(table: Table, _: TokenTarget) -> SignIn | None:
    user = _take_matching(table, "user", _USER, "a user name in visible ASCII without a colon", required=True)
    password = take_reference(table, "password", required=True)
    return None if user is None or password is None else BasicSignIn(user, password)


def _entra(table: Table, target: TokenTarget) -> SignIn | None:
    tenant = _take_matching(table, "tenant", _TENANT, "a tenant's id or domain name", required=True)
    client_id = _take_matching(table, "client_id", _CLIENT_ID, "an application's (client) id", required=True)
    scope = _take_matching(table, "scope", _URI, "a scope") or target.scope
    if not scope.endswith("/.default"):
        remedy = "Client credentials ask for all that was granted to the application: end it with /.default"
        table.mistake("scope", f"{shown(scope)} is no scope for client credentials", remedy)
    authority = (take_url(table, "authority") or ENTRA_AUTHORITY).rstrip("/")
    secret = take_reference(table, "secret")
    certificate_file, key_file = take_path(table, "certificate_file"), take_path(table, "key_file")
    algorithm = table.take_choice("algorithm", ALGORITHMS, "an algorithm for assertions", required=False)
    ca_file = take_path(table, "ca_file")
    has_certificate = "certificate_file" in table.values or "key_file" in table.values
    if has_certificate == ("secret" in table.values):
        remedy = "Give either `secret`, or `certificate_file` and `key_file`"
        table.mistake("secret", "and a certificate are both there, or neither", remedy)
    elif has_certificate and (certificate_file is None or key_file is None):
        table.mistake("certificate_file", "and key_file belong together", "Give both, as PEM files")
    if ca_file is not None and authority.startswith("http://"):
        table.mistake("ca_file", "is declared for an http authority", "Use https, or remove the key")
    if tenant is None or client_id is None:
        return None
    return EntraSignIn(
        tenant, client_id, scope, authority, secret, certificate_file, key_file, algorithm or ALGORITHMS[0], ca_file
    )


def _managed_identity(table: Table, target: TokenTarget) -> SignIn | None:
    resource = _take_matching(table, "resource", _URI, "the URI of a resource") or target.resource
    url = take_url(table, "url", may_be_plain=lambda host: is_loopback(host) or is_link_local(host)) or METADATA_URL
    client_id = _take_matching(table, "client_id", _CLIENT_ID, "the client id of a user-assigned identity")
    return ManagedIdentitySignIn(resource, url.rstrip("/"), client_id)


KINDS: Final[dict[str, Callable[[Table, TokenTarget], SignIn | None]]] = {
    "api-key": _api_key,
    "basic": _basic,
    "bearer": _bearer,
    "entra": _entra,
    "managed-identity": _managed_identity,
}


def read_egress_proxy(table: Table, url: str | None, sign_in: SignIn | None) -> EgressProxy | None:
    """The `[egress_proxy]` table of the deployment at `url`, or None with mistakes noted."""
    inner = table.take_table("egress_proxy")
    if inner is None:
        return None
    proxy_url = take_url(
        inner, "url", remedy="Give a URL, like https://proxy.example.com:3128", may_be_plain=lambda host: True
    )
    ca_file = take_path(inner, "ca_file")
    user = _take_matching(inner, "user", _USER, "a user name in visible ASCII without a colon")
    password = take_reference(inner, "password")
    inner.finish()
    if ("user" in inner.values) != ("password" in inner.values):
        inner.mistake("user", "and password belong together", "Give both, or neither")
    if "networks" in table.values:
        remedy = "Remove networks: the proxy resolves the name, so the endpoint's address can't be checked here"
        table.mistake("networks", "can't be checked through an egress proxy", remedy)
    if proxy_url is None:
        return None
    proxy_url = proxy_url.rstrip("/")
    parts = urllib.parse.urlsplit(proxy_url)
    if parts.path:
        inner.mistake("url", "holds a path", "Give scheme, host and port only, like http://proxy.example.com:3128")
    if ca_file is not None and parts.scheme == "http":
        inner.mistake("ca_file", "is declared for an http proxy", "Use an https proxy, or remove the key")
    if not is_loopback(parts.hostname or ""):
        authority = sign_in.authority if isinstance(sign_in, EntraSignIn) else None
        for what, reached, shown_there in (
            ("deployment", url, "the request"),
            ("authority of [sign_in]", authority, "the secret"),
        ):
            if reached is not None and reached.startswith("http:"):
                problem = (
                    f"is another machine, and the {what} is plain http: to a loopback address, which is that one's"
                )
                inner.mistake("url", problem, f"Use https, or no proxy: {shown_there} would be readable there")
    return EgressProxy(proxy_url, ca_file, user, password)


def _take_matching(
    table: Table, key: str, pattern: re.Pattern[str], what: str, *, required: bool = False
) -> str | None:
    text = table.take_text(key, remedy=f"Give {what}" if required else None)
    if text is not None and not pattern.fullmatch(text):
        table.mistake(key, f"{shown(text)} is not {what}", "Write it as the provider shows it")
        return None
    return text
