"""From declared deployments to endpoints that can be called."""

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

from sekisho import __version__
from sekisho.catalog.interfaces import CredentialReference, Deployment
from sekisho.gateway.declared import Declarations
from sekisho.gateway.dialects.upstreams import UPSTREAM_DIALECTS
from sekisho.gateway.entries import DecisionEncoder
from sekisho.gateway.http1.interfaces import ClientTls, Endpoint, Header
from sekisho.gateway.interfaces import InForce, Upstream
from sekisho.kernel.errors import SekishoError
from sekisho.snapshot.interfaces import Snapshot

Resolve = Callable[[CredentialReference], str]


def put_in_force(snapshot: Snapshot, root: Path, resolve: Resolve) -> InForce:
    """Prepare a snapshot for requests. Reads credentials: blocking, call it off the loop.

    A deployment whose credential can't be read stays in the snapshot (decisions don't depend on secrets) and fails
    when it is tried.
    """
    upstreams: dict[str, Upstream | SekishoError] = {}
    for name, deployment in snapshot.deployments.items():
        try:
            upstreams[name] = upstream_of(deployment, root, resolve)
        except SekishoError as error:
            upstreams[name] = error
    return InForce(snapshot, DecisionEncoder(snapshot.decider), upstreams, Declarations(snapshot))


def upstream_of(deployment: Deployment, root: Path, resolve: Resolve) -> Upstream:
    """How one deployment is reached. Reads its credential; raises SekishoError if that can't be had."""
    url = urlsplit(deployment.url)
    host = url.hostname
    if host is None:
        raise SekishoError(f"the URL of {deployment.name} names no host")
    headers: list[Header] = [
        (b"content-type", b"application/json"),
        (b"accept", b"application/json, text/event-stream"),
        (b"user-agent", f"sekisho/{__version__}".encode()),
    ]
    dialect = UPSTREAM_DIALECTS[deployment.dialect]
    if deployment.credential is not None:
        headers.append(dialect.key_header(resolve(deployment.credential)))
    endpoint = Endpoint(
        host=host,
        port=url.port or (443 if url.scheme == "https" else 80),
        tls=_tls(deployment, host, root) if url.scheme == "https" else None,
        networks=tuple(ip_network(network) for network in deployment.networks),
        connect_timeout_s=deployment.connect_timeout_ms / 1000,
        first_byte_timeout_s=deployment.first_byte_timeout_ms / 1000,
        idle_timeout_s=deployment.idle_timeout_ms / 1000,
        total_timeout_s=deployment.total_timeout_ms / 1000,
    )
    return Upstream(endpoint, dialect.targets(deployment), tuple(headers))


def _tls(deployment: Deployment, host: str, root: Path) -> ClientTls:
    tls = deployment.tls

    def absolute(name: str | None) -> str | None:
        return None if name is None else str(root / name)

    return ClientTls(
        server_name=tls.server_name or host,
        ca_file=absolute(tls.ca_file),
        client_certificate_file=absolute(tls.client_certificate_file),
        client_key_file=absolute(tls.client_key_file),
    )
