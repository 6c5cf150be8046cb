"""An HTTP proxy that opens tunnels (CONNECT) and writes down what it was asked, byte for byte.

`behaviour` is what it does with the next requests: "open", "silent", a status to refuse with, or the raw bytes of an
answer. `after` are bytes that it puts into a tunnel of its own accord. `routes` says where a name leads, as a resolver
would; other names don't resolve.
"""

import asyncio
import base64
import contextlib
import socket
import ssl
import threading
from dataclasses import dataclass

READ_BYTES_MAX = 64 * 1024
OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@dataclass
class Asked:
    """One connection to the proxy: the head of its request, and how many bytes went up through the tunnel."""

    head: bytes = b""
    up: bytes = b""

    @property
    def authority(self) -> str:
        return self.head.split(b" ")[1].decode()

    @property
    def credentials(self) -> str:
        for line in self.head.split(b"\r\n"):
            if line.startswith(b"proxy-authorization: Basic "):
                return base64.b64decode(line.split(b" ")[2]).decode()
        return ""


class ConnectProxy:
    def __init__(self, tls: ssl.SSLContext | None = None, routes: dict[str, int] | None = None) -> None:
        self.asked: list[Asked] = []
        self.behaviour: str | int | bytes = "open"
        self.credentials = ""  # "user:password" that it demands
        self.after = b""
        self.routes = routes or {}
        self._tls = tls
        self._tasks: set[asyncio.Task] = set()

    async def __aenter__(self) -> "ConnectProxy":
        sock = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = sock.getsockname()[1]
        self._server = await asyncio.start_server(self._serve, sock=sock, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        asked = Asked()
        self.asked.append(asked)
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
                asked.head = await reader.readuntil(b"\r\n\r\n")
                await self._answer(asked, reader, writer)
        finally:
            self._tasks.discard(asyncio.current_task())
            await _cut(writer)

    async def _answer(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behaviour = self.behaviour
        if self.credentials and asked.credentials != self.credentials:
            behaviour = 407
        if behaviour == "silent":
            await reader.read()
        elif isinstance(behaviour, bytes):
            writer.write(behaviour)
            await reader.read()
        elif isinstance(behaviour, int):
            writer.write(f"HTTP/1.1 {behaviour} No\r\ncontent-length: 9\r\n\r\nforbidden".encode())
            await reader.read()
        elif asked.authority not in self.routes:
            writer.write(b"HTTP/1.1 502 Unknown name\r\ncontent-length: 0\r\n\r\n")
            await reader.read()
        else:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.routes[asked.authority])
            try:
                writer.write(OPENED + self.after)
                await asyncio.gather(_copy(reader, up_writer, asked), _copy(up_reader, writer))
            finally:
                await _cut(up_writer)


async def _cut(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: Asked | None = None) -> None:
    while data := await reader.read(READ_BYTES_MAX):
        if asked is not None:
            asked.up += data
        writer.write(data)
        await writer.drain()
    writer.close()


class InThread:
    """Runs an async context manager in a loop and thread of its own: `with InThread(ConnectProxy()) as proxy`."""

    def __init__(self, manager) -> None:
        self._manager = manager
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    async def _run(self) -> None:
        self._stop = asyncio.Event()
        async with self._manager as value:
            self._value = value
            self._ready.set()
            await self._stop.wait()

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(20)
        return self._value

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()
