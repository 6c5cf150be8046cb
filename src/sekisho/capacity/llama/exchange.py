"""One HTTP exchange with the model process, over its Unix socket. Leaving it early ends the generation there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import h11

from sekisho.capacity.errors import CapacityError

_READ_BYTES: Final = 64 * 1024


class ModelGone(CapacityError):
    """The model process went away before its answer was complete."""


class Answer:
    """Status and media type, then the body in pieces as they come."""

    def __init__(self, reader: asyncio.StreamReader, connection: h11.Connection) -> None:
        self._reader = reader
        self._connection = connection
        self.status = 0
        self.media_type = ""

    async def begin(self) -> None:
        """Read the head. Raises ModelGone."""
        event = await self._next()
        if not isinstance(event, h11.Response):
            raise ModelGone("the model process answered out of turn")
        self.status = event.status_code
        self.media_type = next((value.decode() for name, value in event.headers if name == b"content-type"), "")

    async def pieces(self) -> AsyncIterator[bytes]:
        """Raises ModelGone if the body is not complete."""
        while not isinstance(event := await self._next(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                yield bytes(event.data)

    async def _next(self) -> h11.Event:
        try:
            while (event := self._connection.next_event()) is h11.NEED_DATA:
                self._connection.receive_data(await self._reader.read(_READ_BYTES))
        except (OSError, h11.ProtocolError) as error:
            raise ModelGone(f"the model process went away: {error}") from None
        if not isinstance(event, h11.Event) or isinstance(event, h11.ConnectionClosed):
            raise ModelGone("the model process went away")
        return event


@asynccontextmanager
async def post(socket: Path, path: str, body: bytes) -> AsyncIterator[Answer]:
    """Send a request and give its answer, whose head has been read. Raises ModelGone.

    llama.cpp looks whether its caller is still there and stops computing when it isn't, so closing is enough.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError as error:
        raise ModelGone(f"the model process can't be reached: {error}") from None
    try:
        connection = h11.Connection(h11.CLIENT)
        headers = [("host", "model"), ("content-type", "application/json"), ("content-length", str(len(body)))]
        request = h11.Request(method="POST", target=path, headers=[*headers, ("connection", "close")])
        writer.write(connection.send(request) or b"")
        writer.write(connection.send(h11.Data(data=body)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        answer = Answer(reader, connection)
        await answer.begin()
        yield answer
    finally:
        writer.transport.abort()
