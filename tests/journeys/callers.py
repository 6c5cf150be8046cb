"""Callers for journeys: a bounded number of connections, one request after another on each, in a thread of its own."""

import asyncio
import json
import random
import threading
from dataclasses import dataclass

REQUEST_S_MAX = 20


@dataclass
class Answer:
    """What a caller got. `whole`: the answer came to its proper end (of a stream: `[DONE]`)."""

    status: int
    receipt: str
    body: bytes
    whole: bool
    sent: bytes
    headers: dict[str, str]


async def ask(port: int, key: str, document: dict, headers: str = "", reader=None, writer=None) -> Answer:
    """One request over a connection of its own, or over one that is given. Raises OSError or EOFError if cut off."""
    own = writer is None
    if own:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps(document).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\n{headers}"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    try:
        async with asyncio.timeout(REQUEST_S_MAX):
            writer.write(head.encode() + body)
            await writer.drain()
            return await _read(reader, body)
    finally:
        if own:
            writer.close()


async def _read(reader: asyncio.StreamReader, sent: bytes) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines if line)
    status, receipt = int(first.split(" ")[1]), headers.get("x-sekisho-receipt", "")
    if headers.get("transfer-encoding") != "chunked":
        body = await reader.readexactly(int(headers["content-length"]))
        return Answer(status, receipt, body, True, sent, headers)
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return Answer(status, receipt, body, body.endswith(b"data: [DONE]\n\n"), sent, headers)


class Callers:
    """Load until `stop`: every other request streams. A caller that is cut off connects again."""

    def __init__(self, port: int, key: str, model: str, connections: int, seed: int, requests_max: int) -> None:
        self.answers: list[Answer] = []
        self.cut_off = 0
        self._port, self._key, self._model = port, key, model
        self._connections = connections
        self._chance = random.Random(seed)
        self._left = requests_max
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="callers")

    def __enter__(self) -> "Callers":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Returns when every request under way has ended."""
        self._stop.set()
        self._thread.join()

    @property
    def exhausted(self) -> bool:
        return self._left <= 0

    def join(self) -> None:
        """Returns when `requests_max` requests were made."""
        self._thread.join()

    async def _run(self) -> None:
        await asyncio.gather(*(self._call() for _ in range(self._connections)))

    async def _call(self) -> None:
        connection: tuple = ()
        while not self._stop.is_set() and self._left > 0:
            self._left -= 1
            content = f"question {self._chance.getrandbits(64):x}"
            document = {"model": self._model, "messages": [{"role": "user", "content": content}]}
            document["stream"] = self._chance.random() < 0.5
            document["max_tokens"] = 50
            try:
                connection = connection or await asyncio.open_connection("127.0.0.1", self._port)
                self.answers.append(await ask(self._port, self._key, document, "", *connection))
            except (OSError, EOFError, TimeoutError):
                self.cut_off += 1
                if connection:
                    connection[1].close()
                connection = ()
            await asyncio.sleep(self._chance.random() * 0.04)
        if connection:
            connection[1].close()
