"""TLS contexts of upstreams: what is declared no more concerns nobody."""

import trustme

from sekisho.gateway.http1.client import POOL_UNUSED_S_MAX, HttpClient
from sekisho.gateway.http1.interfaces import ClientTls, Endpoint, Proxy
from sekisho.gateway.http1.tls import ClientContexts


def client_tls(folder, name):
    path = folder / f"{name}.pem"
    trustme.CA().cert_pem.write_to_path(path)
    return ClientTls(f"{name}.example", str(path)), path


def test_files_of_what_is_kept_alone_can_be_stale(tmp_path):
    contexts = ClientContexts()
    (kept, kept_file), (dropped, dropped_file) = client_tls(tmp_path, "kept"), client_tls(tmp_path, "dropped")
    of_kept = contexts.context_for(kept)
    contexts.context_for(dropped)
    kept_file.unlink()
    dropped_file.unlink()
    contexts.reload()
    assert len(contexts.stale) == 2
    contexts.keep([kept])
    contexts.reload()
    (stale,) = contexts.stale
    assert "kept.example" in stale
    assert contexts.context_for(kept) is of_kept


async def test_a_client_keeps_those_of_its_endpoints_and_their_proxies(tmp_path):
    client = HttpClient()
    (upstream, _), (proxy, _), (gone, _) = (client_tls(tmp_path, name) for name in ("upstream", "proxy", "gone"))
    behind = Endpoint("upstream.example", 443, upstream, proxy=Proxy("proxy.example", 8443, proxy))
    for endpoint in (behind, Endpoint("gone.example", 443, gone)):
        client.exchange(endpoint)
        for tls in endpoint.all_tls:
            client._contexts.context_for(tls)
    client._pools[Endpoint("gone.example", 443, gone)].used_at -= POOL_UNUSED_S_MAX + 1
    client._sweep()
    assert set(client._contexts._made) == {upstream, proxy}
    await client.close()
