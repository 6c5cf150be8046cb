"""Deployments: what they are signed in with and their TLS files; with `--connect`, whether their addresses answer."""

import asyncio
import contextlib
import ssl
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from sekisho.app.doctor.findings import Finding, bounded, ok, problem, warning
from sekisho.catalog.credentials import Credentials
from sekisho.catalog.errors import CredentialError
from sekisho.catalog.interfaces import CredentialReference, Deployment, EntraSignIn
from sekisho.gateway.assertions import signing_key
from sekisho.gateway.errors import CantSignIn
from sekisho.gateway.http1.addresses import Network, require_inside, resolve
from sekisho.gateway.http1.interfaces import ClientTls
from sekisho.gateway.http1.origins import origin_of
from sekisho.gateway.http1.tls import client_tls_context
from sekisho.gateway.upstreams import proxy_of, upstream_of
from sekisho.kernel.errors import SekishoError

SHOWN_MAX: Final = 20
CONNECT_S_MAX: Final = 5.0  # of one endpoint, its name and TLS included
CONNECTING_MAX: Final = 16  # at a time
ENDPOINTS_MAX: Final = 256  # looked at in one run: at most eighty seconds where none answers


class Reach(NamedTuple):
    """An endpoint to connect to. `proxied`: it is the egress proxy's, and says nothing of what lies behind."""

    host: str
    port: int
    tls: ClientTls | None
    networks: tuple[Network, ...]
    proxied: bool


class Reached(NamedTuple):
    """`failure` None: it took the connection, and TLS where there is any."""

    deployments: tuple[str, ...]
    reach: Reach
    failure: str | None


def references_of(value: object) -> Iterator[CredentialReference]:
    """Every reference to a secret in a declared value, wherever it stands."""
    if isinstance(value, CredentialReference):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from references_of(getattr(value, name))


def judge_credential(
    deployment: str, reference: CredentialReference, error: CredentialError | None, *, seen: bool, mode: int | None
) -> list[Finding]:
    """`seen`: the gateway's own environment was looked at, or the secret is in a file. `mode`: that file's."""
    if error is not None:
        if reference.kind == "env" and not seen:
            return [warning("credential.unseen", deployment=deployment, variable=reference.name)]
        return [problem("credential.missing", deployment=deployment, detail=error.message, remedy=error.remedy)]
    if reference.kind == "env":
        return [warning("credential.environment", deployment=deployment, variable=reference.name)]
    if mode is not None and mode & 0o070:
        return [warning("credential.group", deployment=deployment, path=reference.name, mode=f"{mode:04o}")]
    return []


def judge_reached(reached: Sequence[Reached], *, runs: bool, engines: frozenset[str]) -> list[Finding]:
    """`engines`: addresses ("host:port") of engines that `sekisho up` would start."""
    found = []
    for one in reached:
        address = f"{one.reach.host}:{one.reach.port}"
        values = {"address": address, "deployments": ", ".join(one.deployments)}
        if one.failure is None:
            found.append(ok("connect.proxy" if one.reach.proxied else "connect.ok", **values))
        elif not runs and address in engines:
            found.append(ok("connect.engine", **values))
        else:
            found.append(problem("connect.failed", **values, detail=one.failure))
    return found


# -- looking


def look_at_credentials(
    root: Path, deployments: Iterable[Deployment], environment: Mapping[str, str], *, seen: bool
) -> list[Finding]:
    """`environment`: the gateway's if `seen`, else what stands in for it. Blocking."""
    credentials = Credentials(root, environment)
    found: list[Finding] = []
    count = 0
    for deployment in deployments:
        count += 1
        for reference in references_of(deployment):
            error = None
            try:
                credentials.secret(reference)
            except CredentialError as raised:
                error = raised
            mode = _mode(root / reference.name) if reference.kind == "file" else None
            found += judge_credential(deployment.name, reference, error, seen=seen or mode is not None, mode=mode)
        found += _look_at_files(root, deployment, credentials)
    if not found:
        return [ok("credential.all", count=count)]
    return bounded(found, SHOWN_MAX, "credential.more")


def look_at_endpoints(
    root: Path, deployments: Iterable[Deployment], *, runs: bool, engines: frozenset[str]
) -> list[Finding]:
    """Connect to each endpoint and close it: a TLS greeting leaves, and no byte of a request."""
    by_reach: dict[Reach, list[str]] = {}
    for deployment in deployments:
        for reach in _reaches(root, deployment):
            by_reach.setdefault(reach, []).append(deployment.name)
    chosen = list(by_reach.items())[:ENDPOINTS_MAX]
    reached = asyncio.run(_reach_all(chosen))
    found = judge_reached(reached, runs=runs, engines=engines)
    if len(by_reach) > ENDPOINTS_MAX:
        found.append(warning("connect.more", count=len(by_reach) - ENDPOINTS_MAX))
    return found


def _mode(path: Path) -> int:
    """0 where it can't be seen: then reading it has failed, too."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0


def _look_at_files(root: Path, deployment: Deployment, credentials: Credentials) -> list[Finding]:
    """Whether its certificates and keys can be used: TLS towards it, its proxy and its token endpoint, and to sign."""
    sign_in, files, proxy = deployment.sign_in, deployment.tls, deployment.egress_proxy
    named = (files.ca_file, files.client_certificate_file, files.client_key_file)
    used: list[tuple[ClientTls | None, tuple[str | None, ...]]] = [(upstream_of(deployment, root).endpoint.tls, named)]
    if proxy is not None:
        used.append((proxy_of(proxy, root, None).tls, (proxy.ca_file,)))
    if isinstance(sign_in, EntraSignIn):
        used.append((origin_of(sign_in.authority, root, sign_in.ca_file).tls, (sign_in.ca_file,)))
    found = []
    for tls, names in used:
        try:
            if tls is not None:
                client_tls_context(tls)
        except OSError as error:  # ssl.SSLError is one
            shown = ", ".join(name for name in names if name)
            found.append(problem("credential.tls", deployment=deployment.name, files=shown, detail=_why(error)))
    if isinstance(sign_in, EntraSignIn) and sign_in.certificate_file is not None and sign_in.key_file is not None:
        try:
            signing_key(credentials.pem(sign_in.certificate_file), credentials.pem(sign_in.key_file))
        except CredentialError as error:
            found.append(
                problem("credential.missing", deployment=deployment.name, detail=error.message, remedy=error.remedy)
            )
        except CantSignIn as error:
            found.append(problem("credential.signing", deployment=deployment.name, detail=error.detail))
    return found


def _reaches(root: Path, deployment: Deployment) -> list[Reach]:
    """What a worker connects to for it: the deployment and its token endpoint, or the proxy that leads to both."""
    if deployment.egress_proxy is not None:
        proxy = proxy_of(deployment.egress_proxy, root, None)
        return [Reach(proxy.host, proxy.port, proxy.tls, (), True)]
    endpoint = upstream_of(deployment, root).endpoint
    found = [Reach(endpoint.host, endpoint.port, endpoint.tls, endpoint.networks, False)]
    if isinstance(deployment.sign_in, EntraSignIn):
        origin = origin_of(deployment.sign_in.authority, root, deployment.sign_in.ca_file)
        found.append(Reach(origin.host, origin.port, origin.tls, (), False))
    return found


async def _reach_all(chosen: Sequence[tuple[Reach, list[str]]]) -> list[Reached]:
    gate = asyncio.Semaphore(CONNECTING_MAX)

    async def one(reach: Reach, names: list[str]) -> Reached:
        async with gate:
            return Reached(tuple(names), reach, await _failure(reach))

    return list(await asyncio.gather(*(one(reach, names) for reach, names in chosen)))


async def _failure(reach: Reach) -> str | None:
    """What stands in the way of a connection, by the gateway's own checks; None: nothing."""
    try:
        async with asyncio.timeout(CONNECT_S_MAX):
            addresses = await resolve(reach.host, reach.port)
            require_inside(addresses, reach.networks, reach.host)
            context = None if reach.tls is None else client_tls_context(reach.tls)
            for address in addresses[:-1]:
                with contextlib.suppress(OSError, TimeoutError):  # the last one's failure is told
                    async with asyncio.timeout(CONNECT_S_MAX / len(addresses)):
                        await _connect(str(address), reach, context)
                        return None
            await _connect(str(addresses[-1]), reach, context)
    except TimeoutError:
        return f"no answer within {CONNECT_S_MAX:g} s"
    except SekishoError as error:
        return error.message
    except OSError as error:
        return _why(error)
    return None


async def _connect(address: str, reach: Reach, context: ssl.SSLContext | None) -> None:
    name = None if reach.tls is None else reach.tls.server_name
    _, writer = await asyncio.open_connection(address, reach.port, ssl=context, server_hostname=name)
    writer.transport.abort()  # nothing was sent and nothing is waited for


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return error.reason or "not usable for TLS"
    return error.strerror or str(error)
