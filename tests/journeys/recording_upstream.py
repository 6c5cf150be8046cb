"""An OpenAI-like upstream in a process of its own that writes down every request before it answers.

`python recording_upstream.py PORT FILE` prints `ready`. A request becomes one line of FILE, by one write, before the
first byte of its answer: `{"id": x-request-id, "body": text}`. A body with "stream":true is answered in a few events
with pauses between them, so that streams are under way when something is killed; others at once.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

EVENTS = 5
PAUSE_S = 0.02
USAGE = {"prompt_tokens": 5, "completion_tokens": EVENTS, "total_tokens": 5 + EVENTS}


class Recorder:
    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                line = json.dumps({"id": headers.get("x-request-id", ""), "body": body.decode()})
                os.write(self._descriptor, line.encode() + b"\n")
                if json.loads(body).get("stream"):
                    await self._stream(writer)
                else:
                    answer = json.dumps({"choices": [{"message": {"content": "yes"}}], "usage": USAGE}).encode()
                    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(answer)}\r\n\r\n"
                    writer.write(head.encode() + answer)
                await writer.drain()
        writer.close()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number in range(EVENTS):
            event: dict = {"choices": [{"index": 0, "delta": {"content": f"{number} "}}]}
            if number == EVENTS - 1:
                event["usage"] = USAGE
            _chunk(writer, b"data: " + json.dumps(event).encode() + b"\n\n")
            await writer.drain()
            await asyncio.sleep(PAUSE_S)
        _chunk(writer, b"data: [DONE]\n\n")
        _chunk(writer, b"")


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


class RecordingUpstream:
    """Starts the program; `seen()` reads what it wrote down."""

    def __init__(self, port: int, file: Path) -> None:
        self.port = port
        self._file = file

    def __enter__(self) -> "RecordingUpstream":
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self.port), str(self._file)], stdout=subprocess.PIPE
        )
        assert self._process.stdout.readline() == b"ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def seen(self) -> list[dict]:
        return [json.loads(line) for line in self._file.read_text().splitlines()]


async def main(port: int, path: str) -> None:
    server = await asyncio.start_server(Recorder(path).serve, "127.0.0.1", port, backlog=512)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
