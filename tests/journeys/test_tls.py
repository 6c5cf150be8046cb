"""TLS on both sides: callers reach the gateway over TLS, deployments prove who they are to an exclusive CA."""

import asyncio
import json
import ssl
import threading

import httpx
import pytest
import trustme

from journeys.installation import Installation, free_port, sekisho, until
from journeys.scripted_upstream import ScriptedUpstream, answer

ANSWER = json.dumps({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
SCRIPT = [{"read": "request"}, {"send": answer(ANSWER, "content-type: application/json")}, {"again": True}]
DEPLOYMENT = """
model = "{name}"
provider = "local"
site = "local"
type = "engine"
url = "https://127.0.0.1:{port}/v1"
[tls]
ca_file = "keys/{ca}.pem"
server_name = "engine.test"
{more}
"""


class TlsUpstream:
    """A scripted upstream behind TLS, in a thread of its own; demands a client certificate of `client_ca`."""

    def __init__(self, authority: trustme.CA, client_ca: trustme.CA | None = None) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("engine.test").configure_cert(self.context)
        if client_ca is not None:
            client_ca.configure_trust(self.context)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.port = free_port()
        self.upstream: ScriptedUpstream | None = None
        self._stop: asyncio.Event | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        upstream = ScriptedUpstream(SCRIPT, ssl=self.context)
        await upstream.start(self.port)
        self.upstream = upstream
        await self._stop.wait()
        await upstream.__aexit__(None, None, None)

    def __enter__(self) -> "TlsUpstream":
        self._thread.start()
        until(lambda: self.upstream is not None, what="the TLS upstream")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    callers, engines, strangers = trustme.CA(), trustme.CA(), trustme.CA()
    root = tmp_path_factory.mktemp("tls") / "site"
    with TlsUpstream(engines) as plain, TlsUpstream(engines, engines) as mutual, Installation(root) as installation:
        keys = root / "keys"
        callers.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(keys / "gateway.pem")
        engines.cert_pem.write_to_path(keys / "engines.pem")
        strangers.cert_pem.write_to_path(keys / "strangers.pem")
        own = engines.issue_cert("gateway@site.test")
        own.private_key_and_cert_chain_pem.write_to_path(keys / "own.pem")
        mine = 'client_certificate_file = "keys/own.pem"\nclient_key_file = "keys/own.pem"'
        for name, port, ca, more in (
            ("trusted", plain.port, "engines", ""),
            ("untrusted", plain.port, "strangers", ""),
            ("mutual", mutual.port, "engines", mine),
            ("anonymous", mutual.port, "engines", ""),
        ):
            installation.declare("models", name, f'title = "{name}"\n')
            installation.declare("deployments", name, DEPLOYMENT.format(name=name, port=port, ca=ca, more=more))
        assert "no mistakes" in sekisho("check", root).stdout
        installation.apply()
        installation.setting("gateway", "tls_certificate_file", "keys/gateway.pem")
        installation.setting("gateway", "tls_key_file", "keys/gateway.pem")
        installation.start("gateway")
        trust = ssl.create_default_context()
        callers.configure_trust(trust)
        with httpx.Client(verify=trust, trust_env=False, timeout=20) as client:
            until(lambda: answers(client, installation), 60, f"the gateway; see {installation.log}")
            yield installation, client


def answers(client: httpx.Client, installation: Installation) -> bool:
    try:
        return client.get(f"https://127.0.0.1:{installation.gateway_port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def ask(world, model: str) -> httpx.Response:
    installation, client = world
    return client.post(
        f"https://127.0.0.1:{installation.gateway_port}/v1/chat/completions",
        json={"model": model, "messages": [{"role": "user", "content": "hello"}]},
        headers={"authorization": f"Bearer {installation.key}"},
    )


@pytest.mark.parametrize("model", ["trusted", "mutual"])
def test_a_deployment_that_proves_itself_is_used(world, model):
    response = ask(world, model)
    assert (response.status_code, response.text) == (200, ANSWER)


@pytest.mark.parametrize("model", ["untrusted", "anonymous"])
def test_a_handshake_that_fails_is_502_and_says_nothing_secret(world, model):
    response = ask(world, model)
    assert response.status_code == 502
    assert "keys/" not in response.text
    assert response.headers["x-sekisho-receipt"]


def test_plain_http_gets_no_answer_from_a_tls_gateway(world):
    installation, _ = world
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{installation.gateway_port}/healthz", trust_env=False)
