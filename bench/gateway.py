"""The gateway under load, beside nginx `proxy_pass` in the same run.

One gateway worker is pinned to one core; wrk, the upstream (nginx with a fixed answer) and control, publisher
included, share the other. Three figures: governed non-streaming requests/s at 64 connections with 1 KB; latency added
at 1,000 requests/s; CPU per relayed chunk at 300 streams. Loopback only, bounded in time.

    python bench/gateway.py [--seconds 8] [--rounds 3] [--peer NAME='COMMAND {port} {upstream}']

A peer is any other proxy to be measured in the same run: its command is given the port to listen on and the
upstream's, and shares the gateway's core.
"""

import argparse
import asyncio
import contextlib
import os
import re
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httptools
import uvloop

GATEWAY_CORE, OTHER_CORE = "0", "1"
ANSWER = (
    '{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"bench","choices":[{"index":0,"message":'
    '{"role":"assistant","content":"' + "The quick brown fox jumps over the lazy dog. " * 12 + '"},'
    '"finish_reason":"stop"}],"usage":{"prompt_tokens":200,"completion_tokens":130,"total_tokens":330}}'
)
QUESTION = (
    '{"model":"bench","messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user",'
    '"content":"' + "Please summarise the following minutes of our meeting in a few sentences. " * 12 + '"}]}'
)
STREAMS, CHUNKS, CHUNK_INTERVAL_S = 300, 100, 0.05
DEPLOYMENT = 'model = "bench"\nprovider = "local"\ntype = "engine"\nsite = "local"\nurl = "{url}"\n'
MODEL = 'title = "Bench"\n'


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--only", choices=("throughput", "latency", "streams"))
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are needed: one for the gateway, one for everything else")
    os.sched_setaffinity(0, {int(OTHER_CORE)})
    with tempfile.TemporaryDirectory(prefix="sekisho-bench-") as temporary:
        bench(Path(temporary), arguments)


def bench(temporary: Path, arguments: argparse.Namespace) -> None:
    upstream, proxy, gateway, control, stream_port = (free_port() for _ in range(5))
    with contextlib.ExitStack() as running:
        running.enter_context(nginx(temporary / "upstream", upstream_conf(upstream), OTHER_CORE))
        running.enter_context(nginx(temporary / "proxy", proxy_conf(proxy, upstream), GATEWAY_CORE))
        running.enter_context(process([sys.executable, __file__, "--serve-streams", str(stream_port)], OTHER_CORE))
        root, key = installation(temporary, upstream, stream_port, gateway, control)
        sekisho = [sys.executable, "-m", "sekisho"]
        running.enter_context(process([*sekisho, "control", str(root)], OTHER_CORE))
        worker = running.enter_context(process([*sekisho, "gateway", str(root)], GATEWAY_CORE))
        await_ready(f"http://127.0.0.1:{gateway}/readyz")
        script = temporary / "post.lua"
        script.write_text(lua(key))
        if arguments.only in (None, "throughput"):
            ports = {"nginx proxy_pass": proxy, "sekisho": gateway}
            workers = {"sekisho": worker.pid}
            for peer in arguments.peer:
                name, _, command = peer.partition("=")
                ports[name] = free_port()
                words = shlex.split(command.format(port=ports[name], upstream=upstream))
                workers[name] = running.enter_context(process(words, GATEWAY_CORE)).pid
            time.sleep(1)
            throughput(script, ports, workers, arguments)
        if arguments.only in (None, "latency"):
            asyncio.run(latency({"direct": upstream, "nginx proxy_pass": proxy, "sekisho": gateway}, key, arguments))
        if arguments.only in (None, "streams"):
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(streams(gateway, key, worker.pid))


# -- governed requests per second


def throughput(script: Path, ports: dict[str, int], workers: dict[str, int], arguments: argparse.Namespace) -> None:
    print(f"non-streaming, 64 connections, {len(QUESTION)} B in, {len(ANSWER)} B out; requests/s (p99 ms)")
    figures: dict[str, list[float]] = {name: [] for name in ports}
    for number in range(arguments.rounds):
        for name, port in ports.items():
            before = cpu_s(workers[name]) if name in workers else 0.0
            rate, p99_ms = wrk(script, port, arguments.seconds)
            figures[name].append(rate)
            used = cpu_s(workers[name]) - before if name in workers else 0.0
            own = f", {used / rate / arguments.seconds * 1e6:.0f} µs CPU each" if used else ""
            print(f"  round {number + 1}  {name:<18} {rate:10,.0f}  ({p99_ms:.1f}){own}", flush=True)
    for name, rates in figures.items():
        print(f"  median   {name:<18} {statistics.median(rates):10,.0f}")


def wrk(script: Path, port: int, seconds: int, scheme: str = "http") -> tuple[float, float]:
    command = ["wrk", "-t1", "-c64", f"-d{seconds}s", "--latency", "-s", str(script)]
    output = subprocess.run(
        [*command, f"{scheme}://127.0.0.1:{port}/v1/chat/completions"], capture_output=True, text=True, check=True
    ).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        sys.exit(f"the run had errors:\n{output}")
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", output)
    p99 = re.search(r"99%\s+([0-9.]+)(us|ms|s)", output)
    assert rate
    assert p99
    return float(rate[1]), float(p99[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[p99[2]]


def lua(key: str) -> str:
    return (
        f'wrk.method = "POST"\nwrk.body = [==[{QUESTION}]==]\n'
        f'wrk.headers["Content-Type"] = "application/json"\nwrk.headers["Authorization"] = "Bearer {key}"\n'
    )


# -- added latency at a fixed rate


async def latency(ports: dict[str, int], key: str, arguments: argparse.Namespace) -> None:
    rate, seconds = 1000, arguments.seconds
    print(f"latency at {rate} requests/s for {seconds} s, open loop; ms p50 / p99")
    for name, port in ports.items():
        samples = sorted(await paced(port, key, rate, seconds))
        p50, p99 = samples[len(samples) // 2], samples[len(samples) * 99 // 100]
        print(f"  {name:<18} {p50 * 1000:6.2f} / {p99 * 1000:6.2f}", flush=True)
    print(f"  one fdatasync of 4 KiB on this disk: {fdatasync_ms()}")


async def paced(port: int, key: str, rate: int, seconds: int) -> list[float]:
    """Latencies from the moment a request was due: a slow server can't make the load wait for it."""
    pool = [await asyncio.open_connection("127.0.0.1", port) for _ in range(64)]
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for connection in pool:
        free.put_nowait(connection)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
    request = f"{head}content-type: application/json\r\ncontent-length: {len(QUESTION)}\r\n\r\n{QUESTION}".encode()
    samples: list[float] = []

    async def one(due: float) -> None:
        reader, writer = await free.get()
        writer.write(request)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        length = re.search(rb"(?i)content-length: ([0-9]+)", answer)
        assert length
        await reader.readexactly(int(length[1]))
        samples.append(time.perf_counter() - due)
        free.put_nowait((reader, writer))

    start = time.perf_counter() + 0.05
    tasks = []
    for number in range(rate * seconds):
        due = start + number / rate
        delay = due - time.perf_counter()
        if delay > 0:
            await asyncio.sleep(delay)
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    for _, writer in pool:
        writer.close()
    return samples[rate:]  # the first second warms up


def fdatasync_ms() -> str:
    with tempfile.NamedTemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, 4096 * 500)
        taken = []
        for number in range(500):
            os.pwrite(file.fileno(), b"x" * 4096, number * 4096)
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - begun) * 1000)
    taken.sort()
    return f"p50 {taken[250]:.2f} / p99 {taken[495]:.2f}"


# -- CPU per relayed chunk


async def streams(port: int, key: str, worker: int) -> None:
    body = QUESTION.replace('"model":"bench"', '"model":"bench-stream","stream":true')
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
    request = f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()

    async def one() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        events, tail = 0, b""
        while data := await reader.read(65536):
            events += data.count(b"data: ")
            tail = (tail + data)[-64:]
            if b"0\r\n\r\n" in tail:
                break
        assert b"[DONE]" in tail, tail
        writer.close()
        return events

    before, begun = cpu_s(worker), time.perf_counter()
    events = sum(await asyncio.gather(*(one() for _ in range(STREAMS))))
    used, wall = cpu_s(worker) - before, time.perf_counter() - begun
    per_s = events / used
    print(f"{STREAMS} streams of {CHUNKS} chunks, one each {CHUNK_INTERVAL_S * 1000:.0f} ms, {wall:.1f} s:")
    print(
        f"  {events:,} chunks, {used:.2f} CPU-s of the gateway: {used / events * 1e6:.1f} µs each, {per_s:,.0f}/s/core"
    )


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class StreamServer(asyncio.Protocol):
    """Answers each request with CHUNKS events at a steady pace."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        asyncio.get_running_loop().create_task(self.answer())

    async def answer(self) -> None:
        event = (
            b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
        )
        event += b'{"content":" token"},"finish_reason":null}]}\n\n'
        chunk = b"%x\r\n%b\r\n" % (len(event), event)
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for _ in range(CHUNKS):
            self.transport.write(chunk)
            await asyncio.sleep(CHUNK_INTERVAL_S)
        done = b"data: [DONE]\n\n"
        self.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(done), done))


async def serve_streams(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(StreamServer, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


# -- what runs


def installation(temporary: Path, upstream: int, stream_port: int, gateway: int, control: int) -> tuple[Path, str]:
    root = temporary / "installation"
    command = [sys.executable, "-m", "sekisho", "init", str(root)]
    command += ["--gateway", f"127.0.0.1:{gateway}", "--control", f"127.0.0.1:{control}"]
    key = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    declarations = root / "declarations"
    for model, port in (("bench", upstream), ("bench-stream", stream_port)):
        (declarations / "models" / f"{model}.toml").write_text(MODEL)
        url = f"http://127.0.0.1:{port}/v1"
        text = DEPLOYMENT.format(url=url).replace('"bench"', f'"{model}"')
        (declarations / "deployments" / f"{model}.toml").write_text(text)
    put_in_force(root)
    return root, key


def put_in_force(root: Path) -> None:
    """Before the worker starts, so that it needs not wait for control."""
    code = "import sys, pathlib; from sekisho.app.installation import put_declarations_in_force as p; "
    code += "from sekisho.settings import DataDirectory as D; p(D(pathlib.Path(sys.argv[1])))"
    subprocess.run([sys.executable, "-c", code, str(root)], check=True)


@contextlib.contextmanager
def process(command: list[str], core: str) -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(["taskset", "-c", core, *command], stderr=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(timeout=20)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


@contextlib.contextmanager
def nginx(folder: Path, conf: str, core: str) -> Iterator[None]:
    folder.mkdir()
    (folder / "nginx.conf").write_text(conf)
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    with process([*command, "-g", "daemon off;"], core):
        yield


_CONF = (
    "worker_processes 1; pid nginx.pid; error_log error.log;\nevents {{ worker_connections 4096; }}\n"
    "http {{ access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u;\n"
    "scgi_temp_path s; keepalive_requests 100000000; client_body_buffer_size 64k; {http}\n"
    "server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ {location} }} }} }}\n"
)


def upstream_conf(port: int, listen: str = "", http: str = "") -> str:
    """`listen` and `http` are added to the listening line and to the http block: for TLS."""
    location = f"default_type application/json; return 200 '{ANSWER}';"
    return _CONF.format(http=http, port=f"{port}{listen}", location=location)


def proxy_conf(port: int, upstream: int) -> str:
    http = f"upstream u {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; }}"
    location = 'proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection "";'
    return _CONF.format(http=http, port=port, location=location)


def await_ready(url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    sys.exit(f"{url} did not come up")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve-streams"]:
        uvloop.run(serve_streams(int(sys.argv[2])))
    else:
        main()
