"""One round of probes as far as it goes without a socket: addresses given as literals, and what they say."""

import asyncio
import ipaddress

import msgspec
import pytest

from sekisho.app import probing
from sekisho.app.prober import PROBED_MAX
from sekisho.app.probing import ProbeOptions, probe_of
from sekisho.app.round import ROUND_S_MAX
from sekisho.catalog.delegations import Delegations
from sekisho.catalog.evidence import LIGHT_CONNECT, MANAGEMENT_API, NETWORKS
from sekisho.catalog.interfaces import CredentialReference, EgressProxy, EntraSignIn, Management
from sekisho.kernel.clock import SystemClock
from sekisho.settings import DataDirectory
from support_decide import catalogue, declared, deployment

HEAD = "2|apnic|20261124|3|19830613|20261124|+1000\n"
TEXT = HEAD + (
    "apnic|JP|ipv4|1.0.16.0|4096|20110412|allocated|A\n"
    "apnic|JP|ipv6|2001:200::|35|19990813|allocated|B\n"
    "apnic|AP|ipv4|43.224.0.0|256|20140707|assigned|C\n"
)
APNIC = Delegations([("registry/apnic", TEXT.encode().splitlines())])


def at(url, **changes):
    return msgspec.structs.replace(deployment("d", processing=declared("JP")), url=url, **changes)


async def never(_):
    raise AssertionError("no request was to be sent")


async def taken(tmp_path, one, *, delegations=APNIC, method=NETWORKS):
    options = ProbeOptions(1_800, frozenset({method}))
    probe = probe_of(DataDirectory(tmp_path), "home", options, {}, SystemClock())
    return await probe(catalogue(one), delegations, [one], never)


@pytest.mark.parametrize("url", ["https://1.0.16.1/v1", "https://[2001:200::1]/v1", "https://[::ffff:1.0.16.1]/v1"])
async def test_an_address_tells_where_its_holder_is_registered(tmp_path, url):
    [one] = await taken(tmp_path, at(url))
    assert one.reading.values == {"network": ("JP",)}
    assert one.reading.evidence["registry"] == "apnic of 2026-11-24"
    assert one.reading.until - one.reading.at == 1_800_000_000
    assert not one.reading.contradicts


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "169.254.1.1", "[fd00::1]",
             "192.0.2.1", "[::ffff:127.0.0.1]"],
)  # fmt: skip
async def test_loopback_private_and_special_addresses_say_nothing_of_a_country(tmp_path, host):
    [one] = await taken(tmp_path, at(f"https://{host}/v1"))
    assert one.reading.values == {}
    assert one.reading.evidence == {"addresses": 1, "not global": 1}


@pytest.mark.parametrize("host", ["43.224.0.1", "8.8.8.8"])
async def test_a_block_of_no_country_or_of_another_registry_says_nothing(tmp_path, host):
    [one] = await taken(tmp_path, at(f"https://{host}/v1"))
    assert one.reading.values == {}
    assert one.reading.evidence["not known"] == 1


async def test_of_many_addresses_what_is_known_is_told_beside_what_is_not(tmp_path, monkeypatch):
    addresses = [ipaddress.ip_address(one) for one in ("1.0.16.1", "8.8.8.8", "2001:200::1")]

    async def look_up(_):
        return addresses

    monkeypatch.setattr(probing, "look_up", look_up)
    [one] = await taken(tmp_path, at("https://name.example/v1"))
    assert one.reading.values == {"network": ("JP", "unknown")}
    assert one.reading.evidence["not known"] == 1


async def test_a_deployment_whose_methods_are_all_slow_takes_no_more_than_its_time(tmp_path, monkeypatch):
    """A round of hundreds of them must end before it is given up, with what the others read."""
    monkeypatch.setattr(probing, "PROBE_S_MAX", 0.0)
    options = ProbeOptions(1_800, frozenset({NETWORKS, LIGHT_CONNECT}))
    probe = probe_of(DataDirectory(tmp_path), "home", options, {}, SystemClock())
    monkeypatch.setattr(probing, "look_up", lambda _: asyncio.Event().wait())
    one = at("https://name.example/v1")
    assert [row.failed for row in await probe(catalogue(one), APNIC, [one], never)] == ["timeout", "timeout"]


def test_a_round_of_slow_deployments_ends_in_time():
    turns = -(-PROBED_MAX // probing.PROBED_AT_ONCE)
    assert turns * probing.PROBE_S_MAX + probing.TOKENS_S_MAX < ROUND_S_MAX


async def test_without_a_registrys_file_there_is_no_reading(tmp_path):
    [one] = await taken(tmp_path, at("https://1.0.16.1/v1"), delegations=Delegations([]))
    assert (one.reading, one.failed) == (None, "no-registry")


async def test_behind_an_egress_proxy_no_address_is_asked_for(tmp_path):
    assert await taken(tmp_path, at("https://1.0.16.1/v1", egress_proxy=EgressProxy("https://p.example"))) == []


async def test_a_management_api_that_nobody_can_sign_in_at_fails_alone(tmp_path):
    """Its secret isn't there; another deployment of the same round is looked at all the same."""
    sign_in = EntraSignIn("t", "c", "s/.default", "https://127.0.0.1:1", CredentialReference("file", "keys/none"))
    api = Management("azure", "/r", "d", sign_in, "https://127.0.0.1:1", "2025-09-01")
    one, other = at("https://1.0.16.1/v1", management=api), msgspec.structs.replace(at("https://1.0.16.2/v1"), name="e")
    options = ProbeOptions(1_800, frozenset({NETWORKS, MANAGEMENT_API}))
    probe = probe_of(DataDirectory(tmp_path), "home", options, {}, SystemClock())
    rows = await probe(catalogue(one, other), APNIC, [one, other], never)
    found = {(row.deployment, row.method): row for row in rows}
    assert found["d", MANAGEMENT_API].failed == "sign-in"
    assert "keys/none" in found["d", MANAGEMENT_API].detail or "token" in found["d", MANAGEMENT_API].detail
    assert found["d", NETWORKS].reading.values == found["e", NETWORKS].reading.values == {"network": ("JP",)}
