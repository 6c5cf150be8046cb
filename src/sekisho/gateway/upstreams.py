"""From declared deployments to endpoints that can be called."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import NamedTuple

from sekisho import __version__
from sekisho.catalog.interfaces import Deployment, EgressProxy, UpstreamTls
from sekisho.gateway.declared import Declarations
from sekisho.gateway.dialects.upstreams import UPSTREAM_DIALECTS
from sekisho.gateway.entries import DecisionEncoder
from sekisho.gateway.http1.interfaces import ClientTls, Endpoint, Header, Proxy
from sekisho.gateway.http1.origins import origin_of
from sekisho.gateway.interfaces import InForce, Upstream
from sekisho.gateway.sign_in import Credential, ProxyCredential, SignIns, identity_of
from sekisho.kernel.errors import SekishoError
from sekisho.snapshot.interfaces import Snapshot


class _Prepared(NamedTuple):
    """What of an upstream stays the same while its credentials change."""

    upstream: Upstream
    credential: Credential | None
    proxy_credential: ProxyCredential | None


class Upstreams(Mapping[str, Upstream | SekishoError]):
    """Each deployment's upstream as it can be used now, with the credentials that are in memory at this moment."""

    def __init__(self, prepared: dict[str, _Prepared | SekishoError], sign_ins: SignIns) -> None:
        self._prepared = prepared
        self._clock = sign_ins.clock

    def __getitem__(self, name: str) -> Upstream | SekishoError:
        prepared = self._prepared[name]
        if isinstance(prepared, SekishoError):
            return prepared
        upstream, credential, proxy_credential = prepared
        try:
            if proxy_credential is not None:
                proxy_credential.value()
            if credential is None:
                return upstream
            headers = credential.headers(self._clock.now_us())
        except SekishoError as error:
            return error
        return upstream._replace(
            headers=(*upstream.headers, *headers), refused=lambda: credential.refused(headers, self._clock.now_us())
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._prepared)

    def __len__(self) -> int:
        return len(self._prepared)


def put_in_force(snapshot: Snapshot, root: Path, sign_ins: SignIns) -> InForce:
    """Prepare a snapshot for requests. Reads credentials: blocking, call it off the loop.

    A deployment whose credential can't be read stays in the snapshot (decisions don't depend on secrets) and fails
    while it is tried without.
    """
    upstreams = upstreams_of(snapshot.deployments.values(), root, sign_ins)
    return InForce(snapshot, DecisionEncoder(snapshot.decider), upstreams, Declarations(snapshot))


def upstreams_of(deployments: Iterable[Deployment], root: Path, sign_ins: SignIns) -> Upstreams:
    """How each is reached, by name; blocking. Credentials stay in `sign_ins` for as long as this is held."""
    prepared: dict[str, _Prepared | SekishoError] = {}
    for deployment in deployments:
        try:
            prepared[deployment.name] = _prepared(deployment, root, sign_ins)
        except SekishoError as error:
            prepared[deployment.name] = error
    return Upstreams(prepared, sign_ins)


def _prepared(deployment: Deployment, root: Path, sign_ins: SignIns) -> _Prepared:
    declared = deployment.egress_proxy
    proxy_credential = None if declared is None else sign_ins.of_proxy(declared)
    proxy = None if declared is None else proxy_of(declared, root, proxy_credential)
    return _Prepared(upstream_of(deployment, root, proxy), sign_ins.of(deployment), proxy_credential)


def proxy_of(declared: EgressProxy, root: Path, credential: ProxyCredential | None) -> Proxy:
    """A declared egress proxy, as the client uses it."""
    origin = origin_of(declared.url, root, declared.ca_file)
    return Proxy(*origin, authorization=None if credential is None else credential.value)


def upstream_of(deployment: Deployment, root: Path, proxy: Proxy | None = None) -> Upstream:
    """How one deployment is reached, by `proxy` if one is declared; what it is shown to sign in is not yet among it."""
    host, port, tls = origin_of(deployment.url, root, deployment.tls.ca_file)
    headers: list[Header] = [
        (b"content-type", b"application/json"),
        (b"accept", b"application/json, text/event-stream"),
        (b"user-agent", f"sekisho/{__version__}".encode()),
    ]
    dialect = UPSTREAM_DIALECTS[deployment.dialect]
    endpoint = Endpoint(
        host=host,
        port=port,
        tls=None if tls is None else _as_declared(tls, deployment.tls, root),
        networks=tuple(ip_network(network) for network in deployment.networks),
        connect_timeout_s=deployment.connect_timeout_ms / 1000,
        first_byte_timeout_s=deployment.first_byte_timeout_ms / 1000,
        idle_timeout_s=deployment.idle_timeout_ms / 1000,
        total_timeout_s=deployment.total_timeout_ms / 1000,
        proxy=proxy,
        identity=identity_of(deployment),
    )
    return Upstream(endpoint, dialect.targets(deployment), tuple(headers))


def _as_declared(tls: ClientTls, declared: UpstreamTls, root: Path) -> ClientTls:
    def absolute(name: str | None) -> str | None:
        return None if name is None else str(root / name)

    return replace(
        tls,
        server_name=declared.server_name or tls.server_name,
        client_certificate_file=absolute(declared.client_certificate_file),
        client_key_file=absolute(declared.client_key_file),
        pins=declared.pins,
    )
