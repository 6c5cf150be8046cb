"""One round of probes over declared deployments: what each method read, and what it means. Nothing is put in force.

`prober.Prober` does this again and again in control, `sekisho probe` once. Bounded: PROBED_AT_ONCE deployments at a
time, each within PROBE_S_MAX; what answers at one address is connected to once however many deployments it serves.
"""

import asyncio
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast
from urllib.parse import urlsplit

import msgspec
from cryptography import x509

from sekisho.catalog.azure_management import told
from sekisho.catalog.credentials import Credentials
from sekisho.catalog.delegations import Delegations
from sekisho.catalog.deployment_types import ENGINE
from sekisho.catalog.errors import ManagementError
from sekisho.catalog.evidence import LIGHT_ANSWER, LIGHT_CONNECT, MANAGEMENT_API, NETWORKS, TLS_CHAIN, TLS_PIN
from sekisho.catalog.interfaces import UNKNOWN, Catalogue, Deployment, Reading
from sekisho.catalog.light import claim_km, judge
from sekisho.catalog.observations import about, methods_of
from sekisho.catalog.places import extents_of
from sekisho.gateway.dialects.operations import CHAT
from sekisho.gateway.http1.client import HttpClient
from sekisho.gateway.http1.errors import UpstreamError, UpstreamForbiddenAddress, UpstreamTlsError
from sekisho.gateway.http1.interfaces import Endpoint
from sekisho.gateway.http1.pins import key_digest
from sekisho.gateway.interfaces import Upstream
from sekisho.gateway.metrics import Metrics
from sekisho.gateway.probes import Connected, connect, least_answer, look_up, read_azure
from sekisho.gateway.sign_in import SignIns
from sekisho.gateway.sign_in_keeper import SignInKeeper
from sekisho.gateway.upstreams import Upstreams, upstream_of, upstreams_of
from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import SekishoError
from sekisho.settings import DataDirectory

PROBED_AT_ONCE: Final = 16  # deployments: most of the time is spent waiting for those that don't answer
PROBE_S_MAX: Final = 100.0  # of one deployment, all methods together; each waits for less unless all are slow
TOKENS_S_MAX: Final = 20.0  # for all token endpoints together, before the first management API is asked
BLOCKS_MAX: Final = 16  # in a reading

log = logging.getLogger(__name__)

Value = TypeVar("Value")


BeforeAnswer = Callable[[Deployment], Awaitable[None]]  # before each request is sent; raises SekishoError: none is


class Taken(NamedTuple):
    """What one method gave: a reading, or why there is none, as a code and in words."""

    deployment: str
    method: str
    reading: Reading | None
    failed: str = ""
    detail: str = ""


class ProbeOptions(NamedTuple):
    """`methods` None: all but LIGHT_ANSWER, which sends a request. `valid_s`: for how long a reading raises."""

    valid_s: int
    methods: frozenset[str] | None = None

    def wanted(self, method: str) -> bool:
        return method != LIGHT_ANSWER if self.methods is None else method in self.methods


class Probe(Protocol):
    async def __call__(
        self, catalogue: Catalogue, delegations: Delegations, chosen: list[Deployment], before_answer: BeforeAnswer
    ) -> list[Taken]:
        """One round over the `chosen` deployments of a catalogue, as `Round.probe`."""
        ...


def probe_of(
    directory: DataDirectory, here: str, options: ProbeOptions, environment: Mapping[str, str], clock: Clock
) -> Probe:
    """Rounds from the site called `here`."""

    async def probe(
        catalogue: Catalogue, delegations: Delegations, chosen: list[Deployment], before_answer: BeforeAnswer
    ) -> list[Taken]:
        async with Round(directory, catalogue, here, delegations, options, environment, clock) as probes:
            return await probes.probe(chosen, before_answer)

    return probe


class Failed(SekishoError):
    """A method that gives no reading now; `code` goes to the ledger, the message stays here."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Round:
    """One round; use it as an asynchronous context manager. Belongs to its event loop."""

    def __init__(
        self,
        directory: DataDirectory,
        catalogue: Catalogue,
        here: str,
        delegations: Delegations,
        options: ProbeOptions,
        environment: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self._root = directory.root
        self._here = next((site for site in catalogue.sites if site.name == here), None)
        self._sites = {site.name: site for site in catalogue.sites}
        self._extents = extents_of(catalogue.boundary.extents)
        self._delegations = delegations
        self._options = options
        self._clock = clock
        self._client = HttpClient()
        self._sign_ins = SignIns(Credentials(directory.root, environment), clock)
        chance = random.Random()  # noqa: S311 - spreads renewals, guards nothing
        self._keeper = SignInKeeper(
            self._sign_ins, self._client, self._client.reload_tls_files, directory.root, chance, Metrics()
        )
        self._shared: dict[Hashable, asyncio.Task[Any]] = {}
        self._upstreams: Upstreams | None = None
        self._management: Upstreams | None = None

    async def __aenter__(self) -> "Round":
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._shared.values():
            task.cancel()
        await asyncio.gather(*self._shared.values(), return_exceptions=True)
        await self._keeper.close()
        await self._client.close()

    async def probe(self, deployments: Iterable[Deployment], before_answer: BeforeAnswer) -> list[Taken]:
        """Every wanted method that says something of each."""
        chosen = list(deployments)
        await asyncio.to_thread(self._prepare, chosen)
        await self._keeper.fetch_first_in_loop(TOKENS_S_MAX)
        at_once = asyncio.Semaphore(PROBED_AT_ONCE)

        async def one(deployment: Deployment) -> list[Taken]:
            async with at_once:
                return await self._probe_one(deployment, before_answer)

        return [taken for row in await asyncio.gather(*map(one, chosen)) for taken in row]

    def _prepare(self, deployments: list[Deployment]) -> None:
        """Blocking: reads the credentials that will be presented, and no others."""
        if self._options.wanted(LIGHT_ANSWER):
            self._upstreams = upstreams_of(deployments, self._root, self._sign_ins)
        if self._options.wanted(MANAGEMENT_API):
            apis = [
                msgspec.structs.replace(one, url=api.url, credential=None, sign_in=api.sign_in, networks=(),
                                        tls=msgspec.structs.replace(one.tls, ca_file=api.ca_file, server_name=None,
                                        client_certificate_file=None, client_key_file=None, pins=()))
                for one in deployments
                if (api := one.management) is not None
            ]  # fmt: skip
            self._management = upstreams_of(apis, self._root, self._sign_ins)

    async def _probe_one(self, deployment: Deployment, before_answer: BeforeAnswer) -> list[Taken]:
        digest = about(deployment, self._here, self._claim_km(deployment))
        looks: dict[str, Callable[[], Awaitable[Reading]]] = {
            MANAGEMENT_API: lambda: self._by_management(deployment, digest),
            NETWORKS: lambda: self._by_networks(deployment, digest),
            TLS_CHAIN: lambda: self._by_chain(deployment, digest),
            TLS_PIN: lambda: self._by_pin(deployment, digest),
            LIGHT_CONNECT: lambda: self._by_connect(deployment, digest),
            LIGHT_ANSWER: lambda: self._by_answer(deployment, digest, before_answer),
        }
        taken = []
        deadline = asyncio.get_running_loop().time() + PROBE_S_MAX
        for method in methods_of(deployment):
            if self._options.wanted(method):
                taken.append(await self._take(deployment.name, method, looks[method], deadline))
        return taken

    async def _take(self, name: str, method: str, look: Callable[[], Awaitable[Reading]], deadline: float) -> Taken:
        try:
            async with asyncio.timeout_at(deadline):
                return Taken(name, method, await look())
        except Failed as error:
            return Taken(name, method, None, error.code, error.message)
        except ManagementError as error:
            return Taken(name, method, None, "management", str(error))
        except UpstreamError as error:
            return Taken(name, method, None, _code(error), error.message)
        except SekishoError as error:
            return Taken(name, method, None, "refused", str(error))
        except TimeoutError:
            return Taken(name, method, None, "timeout", f"all methods took more than {PROBE_S_MAX:.0f} s")
        except Exception as error:
            # Drift of the others must be seen whatever this one does.
            log.exception("probing %s by %s", name, method)
            return Taken(name, method, None, "fault", f"a fault of the program, {error!r}")

    async def _once(self, key: Hashable, look: Callable[[], Awaitable[Value]]) -> Value:
        """What was asked in this round already is not asked again."""
        task = self._shared.get(key)
        if task is None:
            task = self._shared[key] = asyncio.ensure_future(look())
        return cast(Value, await asyncio.shield(task))

    def _reading(self, deployment: Deployment, method: str, digest: str, **fields: Any) -> Reading:
        now_us = self._clock.now_us()
        until = now_us + self._options.valid_s * 1_000_000
        return Reading(deployment.name, method, digest, now_us, until, **fields)

    # -- the methods

    async def _by_management(self, deployment: Deployment, digest: str) -> Reading:
        api = deployment.management
        upstream = None if self._management is None or api is None else self._management[deployment.name]
        if upstream is None or api is None:
            raise AssertionError("a deployment without a management API was asked for")
        if isinstance(upstream, SekishoError):
            raise Failed("sign-in", str(upstream))
        headers = tuple(header for header in upstream.headers if header[0] != b"content-type")
        host = urlsplit(deployment.url).hostname or ""
        account = msgspec.structs.replace(api, deployment="")
        read = await self._once(account, lambda: read_azure(self._client, upstream.endpoint, headers, api))
        said = told(*read, api.deployment, host)
        evidence: dict[str, Any] = {"region": ", ".join(said.regions), "sku": said.skus[0]}
        if len(said.skus) > 1:
            evidence["spills over to"] = ", ".join(said.skus[1:])
        values = {"processing": said.processing, "key_holder": (said.key_holder,)}
        return self._reading(deployment, MANAGEMENT_API, digest, values=values, evidence=evidence)

    async def _by_networks(self, deployment: Deployment, digest: str) -> Reading:
        endpoint = self._endpoint(deployment)
        addresses = await self._once(("name", endpoint.host), lambda: look_up(endpoint))
        evidence: dict[str, Any] = {"addresses": len(addresses)}
        special = sum(not address.is_global for address in addresses)
        if special:
            # Loopback, private and special addresses are everywhere: they say nothing of a country.
            return self._reading(deployment, NETWORKS, digest, evidence=evidence | {"not global": special})
        oldest = self._delegations.oldest
        if oldest is None:
            raise Failed("no-registry", "there is no registry's file of delegations in registry/")
        found = [self._delegations.find(address) for address in addresses]
        blocks = sorted({one.block for one in found if one is not None})
        evidence |= {"blocks": tuple(blocks[:BLOCKS_MAX]), "registry": f"{oldest.registry} of {oldest.date}"}
        countries = tuple(sorted({one.country for one in found if one is not None}))
        if None in found:
            # What is known can still differ from what is declared.
            evidence["not known"] = found.count(None)
            countries = (*countries, UNKNOWN) if countries else ()
        if not countries:
            return self._reading(deployment, NETWORKS, digest, evidence=evidence)
        return self._reading(deployment, NETWORKS, digest, values={"network": countries}, evidence=evidence)

    async def _by_chain(self, deployment: Deployment, digest: str) -> Reading:
        chains = (await self._connected(deployment)).chains
        found = tuple(dict.fromkeys(one for chain in chains for one in chain))
        evidence: dict[str, Any] = {
            "certificates": len(found),
            "chain_sha256": tuple(hashlib.sha256(one).hexdigest() for one in found),
            "ends": f"{min(_certificate(one).not_valid_after_utc for one in found):%Y-%m-%d}",
        }
        return self._reading(deployment, TLS_CHAIN, digest, evidence=evidence)

    async def _by_pin(self, deployment: Deployment, digest: str) -> Reading:
        chains = [{key_digest(one) for one in chain} for chain in (await self._connected(deployment)).chains]
        keys = set().union(*chains)
        evidence: dict[str, Any] = {"keys": len(keys), "pinned": len(keys.intersection(deployment.tls.pins))}
        somebody_else = any(chain.isdisjoint(deployment.tls.pins) for chain in chains)
        return self._reading(deployment, TLS_PIN, digest, contradicts=somebody_else, evidence=evidence)

    async def _by_connect(self, deployment: Deployment, digest: str) -> Reading:
        connected = await self._connected(deployment)
        if connected.least_us is None:
            return self._reading(deployment, LIGHT_CONNECT, digest, evidence={"loopback": 1})
        # What answers a connection may be an entrance: only of what we run ourselves is it the machine.
        claim = self._claim_km(deployment) if deployment.deployment_type == ENGINE else None
        return self._light(deployment, LIGHT_CONNECT, digest, connected.connects, connected.least_us, claim)

    async def _by_answer(self, deployment: Deployment, digest: str, before: BeforeAnswer) -> Reading:
        upstream = None if self._upstreams is None else self._upstreams[deployment.name]
        if not isinstance(upstream, Upstream):
            raise Failed("sign-in", str(upstream))
        count, least_us = await least_answer(
            self._client,
            upstream.endpoint,
            upstream.headers,
            upstream.targets[CHAT.name],
            deployment.upstream_model,
            lambda: before(deployment),
        )
        return self._light(deployment, LIGHT_ANSWER, digest, count, least_us, self._claim_km(deployment))

    def _light(
        self, deployment: Deployment, method: str, digest: str, tries: int, least_us: int, claim: float | None
    ) -> Reading:
        contradicts, figures = judge(tries, least_us, claim)
        return self._reading(deployment, method, digest, contradicts=contradicts, evidence=figures)

    # -- what they share

    def _claim_km(self, deployment: Deployment) -> float | None:
        return claim_km(deployment, self._here, self._sites.get(deployment.site or ""), self._extents)

    def _endpoint(self, deployment: Deployment) -> Endpoint:
        return upstream_of(deployment, self._root).endpoint  # nothing is presented, so no credential is needed

    async def _connected(self, deployment: Deployment) -> Connected:
        endpoint = self._endpoint(deployment)

        async def look() -> Connected:
            addresses = await self._once(("name", endpoint.host), lambda: look_up(endpoint))
            return await connect(endpoint, addresses)

        return await self._once((endpoint.host, endpoint.port, endpoint.tls, endpoint.networks), look)


def _certificate(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion) as error:  # TLS takes more than can be told of
        raise Failed("certificate", f"a certificate of the chain can't be read: {error}") from None


def _code(error: UpstreamError) -> str:
    if isinstance(error, UpstreamForbiddenAddress):
        return "networks"  # an address outside the declared ones: the gateway doesn't connect to it either
    return "tls" if isinstance(error, UpstreamTlsError) else "unreachable"
