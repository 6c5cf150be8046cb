"""An upstream that plays a script of bytes and pauses, and says what it saw.

A script is a list of steps, played for one connection; a list of scripts serves one connection each, the last one
all further ones. Or scripts have names, and the first word of a request's path says which one is played after it was
read. Steps:

    {"read": "request"}            a head, and a body of its content-length
    {"read": "head"}               a head only
    {"read": "body"}               the body of the head that was read last
    {"send": "text", "times": 3}   Latin-1 text; `times` sends it again and again, as fast as it is taken;
                                   `pause`: seconds between two of them; `split`: in pieces of so many bytes
    {"sleep": 0.1}                 seconds
    {"wait": "eof"}                until the other end has closed or reset the connection
    {"close": true}, {"reset": true}
    {"cut": true}                  end the sending half without TLS's own closing
    {"again": true}                play the script from its beginning (keep-alive); with names, serve another request

As a program, `python scripted_upstream.py PARTS.json SEEN` listens in several ways ({"scripts": {name: script},
"listeners": {name: Listener}}), prints their ports, and writes a line of JSON to SEEN per ended connection.
`ScriptedProcess` runs it.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

READ_BYTES_MAX = 64 * 1024


@dataclass
class Seen:
    """One connection: what came, how many bytes were handed to the kernel, and how it ended."""

    requests: list[str] = field(default_factory=list)
    received: int = 0
    sent: int = 0
    ended: str = ""  # "eof", "reset" (by the other end), "closed" (by the script)


@dataclass
class Listener:
    """A way to listen. `script` is played at once; without one, the script that each request names.

    `certificate`: a PEM file with key and chain, for TLS. `client_ca`: whose client certificates are demanded.
    """

    script: list[dict] | None = None
    certificate: str = ""
    client_ca: str = ""


def answer(body: str, *headers: str, status: str = "200 OK") -> str:
    """A whole answer with content-length, as text for `send`."""
    return "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", body])


class ScriptedUpstream:
    def __init__(self, *scripts: list[dict], named: dict | None = None, ssl=None, receive_buffer: int = 0) -> None:
        self.seen: list[Seen] = []
        self.changed = asyncio.Condition()
        self._scripts = scripts
        self._named = named
        self._ssl = ssl
        self._receive_buffer = receive_buffer
        self._tasks: set[asyncio.Task] = set()

    async def __aenter__(self):
        return await self.start(0)

    async def __aexit__(self, *_):
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def start(self, port: int):
        sock = socket.create_server(("127.0.0.1", port))
        if self._receive_buffer:  # small kernel buffers make a reader's slowness felt soon
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        self._server = await asyncio.start_server(self._serve, sock=sock, ssl=self._ssl, backlog=512)
        self.port = sock.getsockname()[1]
        return self

    async def until(self, condition, timeout_s: float = 10.0) -> None:
        """Wait until `condition(self.seen)` holds; a TimeoutError is the test's failure."""
        async with asyncio.timeout(timeout_s), self.changed:
            await self.changed.wait_for(lambda: condition(self.seen))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        seen = Seen()
        script = self._scripts[min(len(self.seen), len(self._scripts) - 1)] if self._scripts else [{"named": True}]
        self.seen.append(seen)
        await self._tell()
        try:
            await self._play(script, seen, reader, writer)
            seen.ended = seen.ended or "closed"
        except asyncio.IncompleteReadError:
            seen.ended = "eof"
        except OSError:
            seen.ended = "reset"
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(Exception):
                await self._tell()

    async def _play(self, script, seen, reader, writer) -> None:
        position = 0
        while position < len(script):
            step = script[position]
            position += 1
            if "named" in step:
                await self._read("head", seen, reader)
                name = seen.requests[-1].split("/", 2)[1].split(" ")[0]
                script = [step, *self._named[name]]
            elif "read" in step:
                await self._read(step["read"], seen, reader)
            elif "send" in step:
                await self._send(step, seen, writer)
            elif "sleep" in step:
                await asyncio.sleep(step["sleep"])
            elif "wait" in step:
                await self._wait_for_end(seen, reader)
            elif "reset" in step:
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            elif "cut" in step:
                writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
            elif "again" in step:
                position = 0
            await self._tell()

    async def _read(self, what, seen, reader) -> None:
        if what == "body":
            length = next(
                int(line[15:]) for line in seen.requests[-1].lower().split("\r\n") if "content-length:" in line
            )
            seen.received += len(await reader.readexactly(length))
            return
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        seen.received += len(head)
        length = next((int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")), 0)
        body = await reader.readexactly(length) if what == "request" else b""
        seen.received += len(body)
        seen.requests.append(head + body.decode("latin-1"))

    async def _send(self, step, seen, writer) -> None:
        data = step["send"].encode("latin-1")
        size = step.get("split", len(data))
        for _ in range(step.get("times", 1)):
            for start in range(0, len(data), size):
                writer.write(data[start : start + size])
                await writer.drain()
                seen.sent += len(data[start : start + size])
            if "pause" in step:
                await asyncio.sleep(step["pause"])

    async def _wait_for_end(self, seen, reader) -> None:
        while data := await reader.read(READ_BYTES_MAX):
            seen.received += len(data)
        seen.ended = "eof"

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()


class ScriptedProcess:
    """The upstream as a process of its own; `ports` by the listeners' names, `port` that of "plain".

    `seen()`: the connections that have ended, as dicts of `Seen`.
    """

    def __init__(
        self, directory: Path, named: dict[str, list[dict]], listeners: dict[str, Listener] | None = None
    ) -> None:
        self._parts, self._told = directory / "parts.json", directory / "seen"
        listeners = {"plain": Listener()} | (listeners or {})
        described = {name: asdict(listener) for name, listener in listeners.items()}
        self._parts.write_text(json.dumps({"scripts": named, "listeners": described}))
        self.ports: dict[str, int] = {}

    @property
    def port(self) -> int:
        return self.ports["plain"]

    def __enter__(self) -> "ScriptedProcess":
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self._parts), str(self._told)], stdout=subprocess.PIPE
        )
        self.ports = json.loads(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._process.stdout.close()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def seen(self) -> list[dict]:
        return [json.loads(line) for line in self._told.read_text().splitlines(keepends=True) if line.endswith("\n")]


async def main(parts: str, told: str) -> None:
    with open(parts) as file:
        described = json.load(file)
    upstreams = {}
    for name, fields in described["listeners"].items():
        listener = Listener(**fields)
        scripts = [] if listener.script is None else [listener.script]
        upstream = ScriptedUpstream(
            *scripts, named=described["scripts"], ssl=context_of(listener), receive_buffer=65536
        )
        upstreams[name] = await upstream.start(0)
    with open(told, "w", buffering=1) as file:
        print(json.dumps({name: upstream.port for name, upstream in upstreams.items()}), flush=True)
        await asyncio.gather(*(tell_ended(upstream, file) for upstream in upstreams.values()))


def context_of(listener: Listener) -> ssl.SSLContext | None:
    if not listener.certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(listener.certificate)
    if listener.client_ca:
        context.load_verify_locations(listener.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def tell_ended(upstream: ScriptedUpstream, file: TextIO) -> None:
    written: set[int] = set()

    def ended() -> list[int]:
        return [number for number, seen in enumerate(upstream.seen) if seen.ended and number not in written]

    while True:
        async with upstream.changed:
            await upstream.changed.wait_for(ended)
        for number in ended():
            written.add(number)
            file.write(json.dumps(asdict(upstream.seen[number])) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
