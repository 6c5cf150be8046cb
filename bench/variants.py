"""What it costs to govern a request in other circumstances: each beside the plain one, in the same run.

As in `bench/gateway.py` one worker has one core, everything else the other. CPU per request is the figure to compare:
it depends less than the rate on who else is busy. Loopback only, bounded in time and in requests.

    python bench/variants.py [--seconds 6] [--rounds 2] [--only tls|oidc|scale|memory] [--requests 1000000]
"""

import argparse
import contextlib
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

import trustme

from gateway import (
    DEPLOYMENT,
    GATEWAY_CORE,
    MODEL,
    OTHER_CORE,
    await_ready,
    cpu_s,
    free_port,
    installation,
    lua,
    nginx,
    process,
    put_in_force,
    upstream_conf,
    wrk,
)

DEPLOYMENTS, KEYS = 1_000, 10_000
SEKISHO = [sys.executable, "-m", "sekisho"]
_VARIANTS = ("plain", "tls", "oidc", "scale")
VERIFICATIONS = 300  # of each algorithm


class Running:
    """An installation with one worker, ready to be loaded."""

    def __init__(self, root: Path, port: int, key: str, script: Path, scheme: str) -> None:
        self.root, self.port, self.key, self.script, self.scheme = root, port, key, script, scheme
        self.worker = 0

    def load(self, seconds: int) -> tuple[float, float, float]:
        """(requests per second, p99 in ms, CPU seconds of the worker per request)."""
        before = cpu_s(self.worker)
        rate, p99_ms = wrk(self.script, self.port, seconds, self.scheme)
        return rate, p99_ms, (cpu_s(self.worker) - before) / rate / seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=("tls", "oidc", "scale", "memory"))
    parser.add_argument("--requests", type=int, default=1_000_000, help="of the memory run")
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are needed: one for the gateway, one for everything else")
    os.sched_setaffinity(0, {int(OTHER_CORE)})
    with tempfile.TemporaryDirectory(prefix="sekisho-bench-") as temporary:
        if arguments.only != "memory":
            names = _VARIANTS if arguments.only is None else ("plain", arguments.only)
            compare(Path(temporary), names, arguments)
            if "oidc" in names:
                verifications()
        if arguments.only in (None, "memory"):
            memory(Path(temporary), arguments)


def compare(temporary: Path, names: tuple[str, ...], arguments: argparse.Namespace) -> None:
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    for number in range(arguments.rounds):
        for name in names:
            with started(temporary / f"{name}-{number}", name) as running:
                rate, p99_ms, cpu = running.load(arguments.seconds)
            figures[name].append((rate, p99_ms, cpu))
            print(
                f"  round {number + 1}  {name:<8} {rate:8,.0f}/s  p99 {p99_ms:6.1f} ms  {cpu * 1e6:5.0f} µs", flush=True
            )
    for name, rows in figures.items():
        rates, _, cpus = zip(*rows, strict=True)
        print(
            f"  median   {name:<8} {statistics.median(rates):8,.0f}/s  {statistics.median(cpus) * 1e6:5.0f} µs CPU each"
        )


def verifications() -> None:
    """What a token costs when it comes first, by how it is signed, and when it is known."""
    from issuer_keys import jwk, key_set, token
    from sekisho.catalog.interfaces import TOKEN_ALGORITHMS, Boundary, Catalogue, Issuer, Organisation
    from sekisho.identity.callers import Callers
    from sekisho.identity.key_set import read_key_set
    from sekisho.identity.keyring import Keyring
    from sekisho.kernel.clock import SystemClock

    class Published:
        """A key set in memory."""

        def __init__(self, document: bytes) -> None:
            self._keys = read_key_set(document)

        def find(self, source: object, key_id: str | None, algorithm: str):
            return self._keys.find(key_id, algorithm)

        def use(self, sources: object) -> None: ...

    def cost_us(callers: Callers, header: bytes, *, known: bool) -> float:
        taken_s = []
        for _ in range(VERIFICATIONS):
            if not known:
                callers.forget_tokens()
            began_s = time.perf_counter()
            callers.authenticate(header, None, None)
            taken_s.append(time.perf_counter() - began_s)
        return statistics.median(taken_s) * 1e6

    for algorithm in TOKEN_ALGORITHMS:
        issuer = Issuer("https://idp.example", ("bench",), (algorithm,), roles=("caller",))
        organisation = Organisation("default", "D", issuers=(issuer,))
        catalogue = Catalogue(Boundary(("JP",), ("JP",), (), "", ("JP",)), (organisation,), (), (), (), ())
        published = Published(key_set(jwk(algorithm)))
        callers = Callers(Keyring(), published, lambda held=catalogue: held, str.encode, SystemClock())
        header = b"Bearer " + token(claims(issuer.issuer), algorithm)
        first, then = cost_us(callers, header, known=False), cost_us(callers, header, known=True)
        print(f"  token    {algorithm:<6} {first:7.1f} µs when it comes first, {then:5.1f} µs when it is known")


def claims(issuer: str) -> dict[str, object]:
    return {"iss": issuer, "sub": "bench", "aud": "bench", "exp": int(time.time()) + 86_400}


def with_token(root: Path) -> str:
    """Declare an issuer by a file of keys; a token of it, for ES256."""
    from issuer_keys import jwk, key_set, token

    (root / "keys" / "idp.json").write_bytes(key_set(jwk("ES256")))
    text = 'title = "Bench"\n[[issuers]]\nissuer = "https://idp.example"\naudience = ["bench"]\n'
    text += 'algorithms = ["ES256"]\njwks_file = "keys/idp.json"\nroles = ["caller"]\n'
    (root / "declarations" / "organisations" / "default.toml").write_text(text)
    return token(claims("https://idp.example"), "ES256").decode()


def memory(temporary: Path, arguments: argparse.Namespace) -> None:
    """Resident memory of a worker: idle, warm, and after many requests."""
    with started(temporary / "memory", "plain") as running:
        print(f"  idle worker: {resident_mib(running.worker):.1f} MiB")
        done, rows = 0.0, []
        while done < arguments.requests:
            rate, _, _ = running.load(10)
            done += rate * 10
            rows.append((done, resident_mib(running.worker)))
            print(f"  after {done:12,.0f} requests: {rows[-1][1]:.1f} MiB", flush=True)


def resident_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+([0-9]+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


@contextlib.contextmanager
def started(folder: Path, name: str):
    folder.mkdir()
    upstream, gateway, control, unused = (free_port() for _ in range(4))
    with contextlib.ExitStack() as stack:
        root, key = installation(folder, upstream, unused, gateway, control)
        if name == "oidc":
            key = with_token(root)
        script = folder / "post.lua"
        script.write_text(lua(key))
        running = Running(root, gateway, key, script, "https" if name == "tls" else "http")
        listen = http = ""
        if name == "tls":
            listen, http = with_tls(folder, root, upstream)
        if name == "scale":
            many(root, upstream)
        put_in_force(root)
        stack.enter_context(nginx(folder / "upstream", upstream_conf(upstream, listen, http), OTHER_CORE))
        stack.enter_context(process([*SEKISHO, "control", str(root)], OTHER_CORE))
        running.worker = stack.enter_context(process([*SEKISHO, "gateway", str(root)], GATEWAY_CORE)).pid
        if name == "tls":
            time.sleep(5)
        else:
            await_ready(f"http://127.0.0.1:{gateway}/readyz")
        running.load(1)
        yield running


def with_tls(folder: Path, root: Path, upstream: int) -> tuple[str, str]:
    """The gateway serves TLS, the deployment is reached over TLS with an authority of its own."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    (folder / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    (folder / "certificate.pem").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    for name in ("key.pem", "certificate.pem"):
        (root / "keys" / name).write_bytes((folder / name).read_bytes())
    authority.cert_pem.write_to_path(root / "keys" / "ca.pem")
    settings = root / "sekisho.toml"
    tls = '[gateway]\ntls_certificate_file = "keys/certificate.pem"\ntls_key_file = "keys/key.pem"\n'
    settings.write_text(settings.read_text().replace("[gateway]\n", tls))
    text = DEPLOYMENT.format(url=f"https://127.0.0.1:{upstream}/v1") + '[tls]\nca_file = "keys/ca.pem"\n'
    (root / "declarations" / "deployments" / "bench.toml").write_text(text)
    certificates = f"ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;"
    return " ssl", certificates


def many(root: Path, upstream: int) -> None:
    """Declare a thousand deployments of as many models, and register ten thousand keys."""
    from sekisho.identity.sql import SqlIdentity
    from sekisho.kernel.clock import SystemClock
    from sekisho.settings import DataDirectory

    declare(root, upstream, DEPLOYMENTS)
    register = SqlIdentity(DataDirectory(root).state, SystemClock())
    for number in range(KEYS):
        register.create_key("default", f"key {number}", ("caller",), None, None, "bench")
    register.close()


def declare(root: Path, upstream: int, count: int) -> None:
    """So many models, with a deployment each."""
    declarations = root / "declarations"
    for number in range(count):
        (declarations / "models" / f"m{number}.toml").write_text(MODEL)
        text = DEPLOYMENT.format(url=f"http://127.0.0.1:{upstream}/v1").replace('"bench"', f'"m{number}"')
        (declarations / "deployments" / f"m{number}.toml").write_text(text)


if __name__ == "__main__":
    main()
