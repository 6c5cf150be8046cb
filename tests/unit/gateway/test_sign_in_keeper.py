"""The keeper: what it asks of whom and when, and that no failure of one sign-in is another's. The client is a port."""

import asyncio
import json
import random
from pathlib import Path

import msgspec
import pytest

from gateway_fakes import in_force
from sekisho.catalog.interfaces import CredentialReference, EgressProxy, EntraSignIn, ManagedIdentitySignIn
from sekisho.gateway.errors import CantSignIn
from sekisho.gateway.http1.errors import UpstreamClosed, UpstreamUnreachable
from sekisho.gateway.http1.interfaces import ClientTls, ResponseHead
from sekisho.gateway.metrics import Metrics
from sekisho.gateway.sign_in import SignIns
from sekisho.gateway.sign_in_keeper import FETCHES_MAX, SignInKeeper
from sekisho.kernel.errors import SekishoError

NOW = 1_800_000_000_000_000
FILE = CredentialReference("file", "keys/a")
ENTRA = EntraSignIn("t", "app", "api://x/.default", "https://login.example", secret=FILE, ca_file="keys/ca.pem")
IDENTITY = ManagedIdentitySignIn("api://x", "http://127.0.0.1:50342/t")
PROXY = EgressProxy("https://proxy.example:8443", "keys/proxy-ca.pem", "u", FILE)
GOOD = {"access_token": "t1", "token_type": "Bearer", "expires_in": 3600}


class Clock:
    def __init__(self):
        self.now = NOW

    def now_us(self):
        return self.now


class Secrets:
    def __init__(self):
        self.value: str | None = "s"

    def secret(self, reference):
        if self.value is None:
            raise SekishoError("keys/a can't be read")
        return self.value

    def pem(self, name):
        raise AssertionError("not asked for here")


class Client:
    """Answers by host: a pair of status and document, an error to raise, or None for silence; or a list of these.

    `reused`: whether exchanges are over connections that were kept alive.
    """

    reused = False

    def __init__(self):
        self.answers = {}
        self.sent = []
        self.aborted = 0

    def exchange(self, endpoint):
        return Exchange(self, endpoint)

    async def close(self): ...


class Exchange:
    def __init__(self, client, endpoint):
        self.client, self.endpoint, self.reused = client, endpoint, client.reused

    async def send(self, method, target, headers, body):
        self.client.sent.append((self.endpoint, method, target))
        self.answer = self.client.answers.get(self.endpoint.host, (200, GOOD))
        if isinstance(self.answer, list):
            self.answer = self.answer.pop(0)
        if self.answer is None:
            await asyncio.get_running_loop().create_future()
        if isinstance(self.answer, Exception):
            raise self.answer
        return ResponseHead(self.answer[0], {})

    async def read(self, bytes_max):
        return json.dumps(self.answer[1]).encode()

    def abort(self):
        self.client.aborted += 1


class World:
    def __init__(self):
        self.clock, self.secrets, self.client, self.metrics = Clock(), Secrets(), Client(), Metrics()
        self.sign_ins = SignIns(self.secrets, self.clock)
        self.stale_tls: list[str] = []
        self.looks = 0
        self.keeper = SignInKeeper(
            self.sign_ins, self.client, self.reload, Path("/data"), random.Random(1), self.metrics, 0.01
        )  # fmt: skip

    async def reload(self):
        self.looks += 1
        return self.stale_tls

    def of(self, sign_in=ENTRA, **changes):
        base = in_force(("a",)).snapshot.deployments["a"]
        return self.sign_ins.of(msgspec.structs.replace(base, sign_in=sign_in, **changes))

    def other(self, number):
        """A sign-in at a token endpoint of its own."""
        return self.of(msgspec.structs.replace(ENTRA, authority=f"https://login{number}.example"))


async def looked(world, times):
    """Wait until the running keeper has looked so often more."""
    wanted = world.looks + times
    async with asyncio.timeout(20):
        while world.looks < wanted:
            await asyncio.sleep(0.01)


async def test_the_first_token_is_fetched_where_it_is_declared():
    world = World()
    credential = world.of()
    await world.keeper.fetch_first_in_loop(5)
    assert credential.headers(NOW) == ((b"authorization", b"Bearer t1"),)
    ((endpoint, method, target),) = world.client.sent
    assert (endpoint.host, endpoint.port, method, target) == ("login.example", 443, "POST", "/t/oauth2/v2.0/token")
    assert endpoint.tls == ClientTls("login.example", "/data/keys/ca.pem")
    assert endpoint.proxy is None
    assert endpoint.identity == credential.identity
    assert world.metrics.token_fetches == {"fetched": 1}
    await world.keeper.fetch_first_in_loop(5)
    assert len(world.client.sent) == 1  # it is good for an hour


async def test_a_proxy_is_on_the_way_to_entra_and_never_to_the_metadata_service():
    world = World()
    kept = world.of(egress_proxy=PROXY), world.of(IDENTITY, egress_proxy=PROXY)
    await world.keeper.fetch_first_in_loop(5)
    by_host = {endpoint.host: endpoint for endpoint, _, _ in world.client.sent}
    proxy = by_host["login.example"].proxy
    assert (proxy.host, proxy.port, proxy.tls.ca_file) == ("proxy.example", 8443, "/data/keys/proxy-ca.pem")
    assert proxy.authorization() == b"Basic dTpz"
    service = by_host["127.0.0.1"]
    assert (service.port, service.tls, service.proxy) == (50342, None, None)
    assert all(one.usable(NOW) for one in kept)


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ((401, {"error": "invalid_client", "error_description": "free text"}), "refused", "401 invalid_client"),
        ((200, {}), "refused", "holds no access_token"),
        (UpstreamUnreachable("login.example can't be reached", phase="connect"), "unreachable", "can't be reached"),
        (RuntimeError("a bug"), "fault", "a fault of the gateway"),
    ],
)
async def test_a_failure_is_counted_said_and_tried_again_later(answer, kind, said, caplog):
    world = World()
    credential = world.of()
    world.client.answers["login.example"] = answer
    await world.keeper.fetch_first_in_loop(5)
    assert world.metrics.token_fetches == {kind: 1}
    with pytest.raises(CantSignIn, match=said):
        credential.headers(NOW)
    assert f"no new token from https://login.example: {credential._error}" in caplog.text
    assert "free text" not in caplog.text
    assert not credential.due(NOW)
    assert credential.due(NOW + 1_000_000)
    assert not credential.fetching


async def test_a_secret_that_can_not_be_read_asks_nobody():
    world = World()
    world.secrets.value = None
    kept = world.of()
    await world.keeper.fetch_first_in_loop(5)
    assert world.client.sent == []
    assert world.metrics.token_fetches == {"unreadable": 1}
    assert not kept.usable(NOW)


@pytest.mark.parametrize(("reused", "fetched"), [(True, {"fetched": 1}), (False, {"unreachable": 1})])
async def test_a_connection_that_had_gone_stale_is_no_failure(reused, fetched):
    world = World()
    credential = world.of()
    world.client.reused = reused
    world.client.answers["login.example"] = [UpstreamClosed("gone", phase="head"), (200, GOOD)]
    await world.keeper.fetch_first_in_loop(5)
    assert world.metrics.token_fetches == fetched
    assert credential.usable(NOW) is reused


async def test_waiting_for_first_tokens_ends_although_one_never_comes():
    world = World()
    silent, good = world.of(), world.other(1)
    world.client.answers["login.example"] = None
    await world.keeper.fetch_first_in_loop(0.05)
    assert good.usable(NOW)
    assert silent.fetching
    await world.keeper.close()
    assert world.client.aborted == 2
    await world.keeper.fetch_first_in_loop(5)
    assert len(world.client.sent) == 2  # nothing begins after the end


async def test_no_more_than_so_many_are_asked_at_a_time_and_all_in_the_end():
    world = World()
    kept = [world.other(number) for number in range(FETCHES_MAX + 3)]
    for number in range(FETCHES_MAX):
        world.client.answers[f"login{number}.example"] = None
    await world.keeper.fetch_first_in_loop(0.05)
    assert len(world.client.sent) == FETCHES_MAX
    await world.keeper.close()
    other = World()
    kept = [other.other(number) for number in range(FETCHES_MAX + 3)]
    await other.keeper.fetch_first_in_loop(5)
    assert all(one.usable(NOW) for one in kept)


async def test_a_thread_may_wait_for_first_tokens():
    world = World()
    kept = world.of()
    await asyncio.to_thread(world.keeper.fetch_first)
    assert kept.usable(NOW)


async def test_running_it_takes_changed_files_over_renews_what_is_due_and_says_once_what_is_spoilt(caplog):
    caplog.set_level("INFO")
    world = World()
    credential = world.of()
    running = asyncio.create_task(world.keeper.run())
    await looked(world, 2)
    assert len(world.client.sent) == 1
    world.clock.now += 3_000_000_000
    await looked(world, 2)
    assert len(world.client.sent) == 2
    world.secrets.value = "another"
    await looked(world, 2)
    assert credential.material.value().secret == "another"
    assert len(world.client.sent) == 3
    world.secrets.value, world.stale_tls = None, ["the TLS files for x can't be used"]
    await looked(world, 3)
    assert world.keeper.files_stale == 2
    world.secrets.value, world.stale_tls = "another", []
    await looked(world, 2)
    assert world.keeper.files_stale == 0
    for reason in ("keys/a can't be read", "the TLS files for x can't be used"):
        assert caplog.text.count(f"the last good reading stays in use: {reason}") == 1
        assert caplog.text.count(f"in order again: {reason}") == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_fault_while_looking_at_files_ends_nothing(caplog):
    world = World()
    kept = world.of()
    looks = 0

    async def reload():
        nonlocal looks
        looks += 1
        if looks == 1:
            raise RuntimeError("a bug")
        world.looks += 1
        return []

    world.keeper._reload_tls_files = reload
    running = asyncio.create_task(world.keeper.run())
    await looked(world, 1)
    assert "credential files can't be looked at" in caplog.text
    assert kept.usable(NOW)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_fault_while_seeing_what_is_due_ends_nothing(caplog, monkeypatch):
    world = World()
    kept = world.of()
    due, calls = world.keeper._fetch_what_is_due, 0

    def faulty():
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("a bug")
        due()

    monkeypatch.setattr(world.keeper, "_fetch_what_is_due", faulty)
    running = asyncio.create_task(world.keeper.run())
    async with asyncio.timeout(10):
        while not kept.usable(NOW):
            await asyncio.sleep(0.001)
    assert "tokens can't be fetched" in caplog.text
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
