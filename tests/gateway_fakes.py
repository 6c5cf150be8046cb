"""Fakes of the gateway's ports. They implement the ports; nothing of ours is patched."""

import asyncio
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import orjson

from sekisho.catalog.interfaces import Boundary, Catalogue, DataClass, Deployment, Fact, Grade, Model, Organisation
from sekisho.content.interfaces import Keeper
from sekisho.gateway.attempt import Recorder
from sekisho.gateway.declared import Declarations
from sekisho.gateway.dialects.operations import CHAT, COMPLETIONS, EMBEDDINGS, OPERATIONS, Operation
from sekisho.gateway.dialects.surfaces import OPENAI, Call
from sekisho.gateway.entries import DecisionEncoder
from sekisho.gateway.halts import Halts
from sekisho.gateway.http1.interfaces import BodyReceiver, Endpoint, Header, InboundRequest, Peer, ResponseHead
from sekisho.gateway.interfaces import InForce, Upstream
from sekisho.gateway.metrics import Metrics
from sekisho.gateway.pipeline import Pipeline
from sekisho.gateway.routing import Router
from sekisho.identity.interfaces import AuthenticationError, Principal
from sekisho.inspection.interfaces import BodyInspection, BodyRedaction
from sekisho.kernel.canonical import encode
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.ids import IdSource
from sekisho.ledger.interfaces import CommitmentKeyForgotten, EntryDraft, LedgerFull
from sekisho.policy.interfaces import (
    SEND_RAW,
    SEND_REDACTED,
    Answering,
    Decision,
    DecisionInput,
    PolicyTitle,
    Retention,
    Verdict,
)
from sekisho.snapshot.interfaces import Snapshot


class FakeReservation:
    def __init__(self, writer: "FakeWriter") -> None:
        self.writer = writer
        writer.reserved += 1
        self.held = True

    def release(self) -> None:
        if self.held:
            self.held = False
            self.writer.reserved -= 1


class FakeWriter:
    """An EntryWriter in memory. `durable` False: appends never become durable. `full`: reserve refuses."""

    name = "w-test"

    def __init__(self, trace: list[str]) -> None:
        self.trace = trace
        self.entries: list[EntryDraft] = []
        self.durable = True
        self.full = False
        self.reserved = 0

    def reserve(self, bytes_max: int) -> FakeReservation:
        if self.full:
            raise LedgerFull("the disk is full")
        return FakeReservation(self)

    def append(self, draft: EntryDraft, reservation: Any = None) -> asyncio.Future[None]:
        if self.full and reservation is None:
            raise LedgerFull("the disk is full")
        self._note(draft)
        future = asyncio.get_running_loop().create_future()
        if self.durable:
            asyncio.get_running_loop().call_soon(self._sync, future)
        return future

    def append_written(self, draft: EntryDraft, reservation: Any = None) -> None:
        self._note(draft)

    def append_batched(self, draft: EntryDraft, reservation: Any = None) -> asyncio.Future[None]:
        self._note(draft)
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(self._sync, future, "written")
        return future

    async def close(self) -> None: ...

    def bodies(self, kind: str) -> list[dict[str, Any]]:
        return [orjson.loads(entry.body) for entry in self.entries if entry.kind == kind]

    def _note(self, draft: EntryDraft) -> None:
        assert encode(orjson.loads(draft.body)) == draft.body, "an entry's body must be canonical"
        self.entries.append(draft)
        self.trace.append(draft.kind)

    def _sync(self, future: asyncio.Future[None], step: str = "durable") -> None:
        if not future.done():
            self.trace.append(step)
            future.set_result(None)


class Script:
    """What an upstream does: raise, answer with a head and a body, or hang."""

    def __init__(
        self,
        status: int = 200,
        body: bytes = b"",
        chunks: Sequence[bytes | Exception] = (),
        headers: dict[bytes, bytes] | None = None,
        error: Exception | None = None,
        hang: bool = False,
        reused: bool = False,
    ) -> None:
        self.status = status
        self.body = body
        self.chunks = chunks
        self.headers = headers or {}
        self.error = error
        self.hang = hang
        self.reused = reused


class FakeExchange:
    def __init__(self, client: "FakeClient", endpoint: Endpoint, script: Script) -> None:
        self.client = client
        self.endpoint = endpoint
        self.script = script
        self.written = False
        self.peer: Peer | None = None
        self.reused = script.reused
        self.aborted = False
        self.paused = False
        self.sent = b""
        self.target = ""

    async def send(self, method: str, target: str, headers: Sequence[Header], body: bytes) -> ResponseHead:
        self.peer = Peer("192.0.2.1", 443, b"certificate")
        self.written = True
        self.sent = body
        self.target = target
        self.client.trace.append(f"send {self.endpoint.host}")
        if self.script.hang:
            await asyncio.get_running_loop().create_future()
        if self.script.error is not None:
            raise self.script.error
        return ResponseHead(self.script.status, self.script.headers)

    async def read(self, bytes_max: int) -> bytes:
        return self.script.body

    def relay_to(self, receiver: BodyReceiver) -> None:
        loop = asyncio.get_running_loop()
        for chunk in self.script.chunks:
            if isinstance(chunk, Exception):
                loop.call_soon(receiver.failed, chunk)
                return
            loop.call_soon(receiver.data, chunk)
        if self.script.chunks and self.script.chunks[-1] == b"":
            return  # stays open: the test goes on by hand
        loop.call_soon(receiver.end)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def abort(self) -> None:
        self.aborted = True


class FakeClient:
    """Answers by script, per host (the deployment's name)."""

    def __init__(self, trace: list[str]) -> None:
        self.trace = trace
        self.scripts: dict[str, list[Script]] = {}
        self.exchanges: list[FakeExchange] = []

    def exchange(self, endpoint: Endpoint) -> FakeExchange:
        exchange = FakeExchange(self, endpoint, self.scripts[endpoint.host].pop(0))
        self.exchanges.append(exchange)
        return exchange

    async def close(self) -> None: ...


class FakeResponder:
    def __init__(self, trace: list[str]) -> None:
        self.trace = trace
        self.started = False
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.ended = False
        self.aborted = False
        self.slow = False

    def respond(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        self.start_stream(status, headers)
        self.write(body)
        self.end()

    def start_stream(self, status: int, headers: Sequence[Header]) -> None:
        assert not self.started
        self.started, self.status, self.headers = True, status, dict(headers)

    def write(self, data: bytes) -> bool:
        assert data
        assert not self.ended
        self.body += data
        self.trace.append(f"caller {data[:12].decode(errors='replace')}")
        return not self.slow

    def on_writable(self, callback: Callable[[], None]) -> None:
        self.writable = callback

    def end(self) -> None:
        self.ended = True
        self.trace.append("end")

    def abort(self) -> None:
        self.aborted = True


class FakeKeys:
    def __init__(self) -> None:
        self.principal = Principal("key-k1", "default", ("caller",), None, None)
        self.live = True
        self.watchers: list[Callable[[str], None]] = []

    def authenticate(self, authorization: bytes | None, api_key: bytes | None, certificate: bytes | None) -> Principal:
        if authorization != b"Bearer sk-good" and api_key != b"sk-good":
            raise AuthenticationError("This API key is not known here")
        return self.principal

    def is_live(self, principal: Principal) -> bool:
        return self.live

    def watch(self, principal: Principal, ended: Callable[[str], None]) -> Callable[[str], None]:
        self.watchers.append(ended)
        return ended

    def unwatch(self, watch: Callable[[str], None]) -> None:
        self.watchers.remove(watch)


class FakeInspector:
    """Finds the word SECRET in message contents; `opaque` content is not redactable."""

    large_bytes = 256 * 1024
    rules_digest = "0" * 64

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def labels(self) -> tuple[str, ...]:
        return ("secret",)

    def inspect(self, body: Any) -> BodyInspection:
        self.threads.add(threading.get_ident())
        text = orjson.dumps(body)
        return BodyInspection(("secret",) if b"SECRET" in text else (), b"OPAQUE" not in text)

    def redact(self, body: Any) -> BodyRedaction:
        return BodyRedaction(orjson.loads(orjson.dumps(body).replace(b"SECRET", b"[secret]")), ())


class FakeDecider:
    """Permits what it is told to; reasons point to the one policy."""

    policies = (PolicyTitle("test.rule", "Rule", "規則", "permit", "test.cedar"),)
    engine = {"name": "fake", "version": "1"}  # noqa: RUF012 - the port asks for a mapping
    schema_digest = "1" * 64
    retains = False
    exemptions: Mapping[str, str] = MappingProxyType({})
    kept: Retention | None = None
    answers = False
    answered: Answering | None = None

    def __init__(self, raw: tuple[str, ...], redacted: tuple[str, ...]) -> None:
        self.raw = raw
        self.redacted = redacted
        self.inputs: list[DecisionInput] = []

    def decide(self, decision_input: DecisionInput) -> Decision:
        self.inputs.append(decision_input)
        verdicts = [Verdict(name, SEND_RAW, True, (0,), ()) for name in self.raw]
        verdicts += [Verdict(name, SEND_REDACTED, True, (0,), ()) for name in self.redacted]
        return Decision(decision_input, tuple(verdicts), self.raw, self.redacted, b"{}", b"[]")

    def retention(self, decision_input: DecisionInput, deployment: str, labels: tuple[str, ...]) -> Retention | None:
        assert self.retains, "asked though no policy retains"
        self.labels = labels
        return self.kept

    def answering(self, decision_input: DecisionInput, deployment: str, action: str) -> Answering | None:
        assert self.answers, "asked though no policy is about answers"
        return self.answered


class FakeCommitments:
    """`forgotten`: the fields from which on the organisation's key is destroyed."""

    def __init__(self) -> None:
        self.forgotten: set[str] = set()

    def commit(self, organisation: str, entry_id: str, field: str, data: bytes) -> dict[str, int | str]:
        if field in self.forgotten:
            raise CommitmentKeyForgotten("the key was destroyed")
        return {"bytes": len(data), "salt_sha256": "0" * 64, "sha256": "0" * 64}

    def stream(self, organisation: str, entry_id: str, field: str) -> "FakeStreamCommitment":
        return FakeStreamCommitment()


class FakeStreamCommitment:
    def __init__(self) -> None:
        self.data = b""

    def update(self, data: bytes) -> None:
        self.data += data

    def finish(self) -> dict[str, int | str]:
        return {"bytes": len(self.data), "salt_sha256": "0" * 64, "sha256": "0" * 64}


def in_force(raw: tuple[str, ...], redacted: tuple[str, ...] = ()) -> InForce:
    """A snapshot with the model `m` on deployments `a`, `b`, `c`."""
    boundary = Boundary(("JP",), ("JP", "US"), (DataClass("public", "Public", "公開"),), "public", ("JP",))
    facts = {"processing": Fact(("JP",), Grade.DECLARED)}
    deployments = tuple(
        Deployment(name, "m", "p", f"http://{name}/v1", "openai", "engine", facts, f"{name}-m") for name in "abc"
    )
    catalogue = Catalogue(boundary, (Organisation("default", "D"),), (), (), (Model("m", "M"),), deployments)
    decider = FakeDecider(raw, redacted)
    snapshot = Snapshot(
        digest="2" * 64,
        catalogue=catalogue,
        decider=decider,
        inspector=FakeInspector(),
        inspector_aside=FakeInspector(),
        epoch_from=0,
        epoch_until=None,
        deployments={deployment.name: deployment for deployment in deployments},
        deployments_by_model={"m": deployments},
        organisations={"default": catalogue.organisations[0]},
        class_ranks={"public": 0},
    )
    targets = {operation.name: f"/v1{operation.path}" for operation in OPERATIONS}
    upstreams = {name: Upstream(Endpoint(name, 80, None), targets, ()) for name in "abc"}
    return InForce(snapshot, DecisionEncoder(decider), dict(upstreams), Declarations(snapshot))


class World:
    """A pipeline among fakes. `trace` is the order in which things happened."""

    def __init__(self, raw: tuple[str, ...] = ("a",), redacted: tuple[str, ...] = (), in_flight_max: int = 10) -> None:
        self.trace: list[str] = []
        self.keys = FakeKeys()
        self.in_force = in_force(raw, redacted)
        self.writer = FakeWriter(self.trace)
        self.client = FakeClient(self.trace)
        self.responder = FakeResponder(self.trace)
        self.metrics = Metrics()
        self.ids = IdSource()
        self.in_flight_max = in_flight_max
        self.keeper: Keeper | None = None
        self.commitments = FakeCommitments()
        self.halts = Halts()
        self.use(Recorder(self.writer, SystemClock(), self.ids, self.metrics))

    def use(self, recorder: Recorder) -> None:
        """Make the pipeline anew, with this recorder."""
        self.pipeline = Pipeline(
            keys=self.keys,
            in_force=lambda: self.in_force,
            recorder=recorder,
            commitments=self.commitments,
            client=self.client,
            router=Router(random.Random(1)),
            in_flight_max=self.in_flight_max,
            explain=lambda _, __: ["Because."],
            keeper=self.keeper,
            halts=self.halts,
        )

    def script(self, deployment: str, *scripts: Script) -> None:
        self.client.scripts[deployment] = list(scripts)

    async def chat(self, text: str = "hi", *, stream: bool = False, key: bytes = b"Bearer sk-good") -> int:
        return await self.ask(Call(CHAT, OPENAI), text, stream=stream, key=key)

    async def ask(
        self, call: Call, text: str = "hi", *, stream: bool = False, key: bytes = b"Bearer sk-good", **fields: object
    ) -> int:
        """Any operation over `text`; `fields` go into the body."""
        document = asking(call.operation, text) | {"stream": stream} | fields
        return await self.send(call, orjson.dumps(document), key=key)

    async def send(
        self, call: Call, body: bytes, *, key: bytes = b"Bearer sk-good", headers: Mapping[bytes, bytes] | None = None
    ) -> int:
        path = f"/v1{call.operation.path}"
        sent = {b"authorization": key, **(headers or {})}
        request = InboundRequest("POST", path, "", sent, body, Peer("127.0.0.1", 1, None))
        return await self.pipeline.serve(call, self.ids.new(1_700_000_000_000_000), request, self.responder)


def asking(operation: Operation, text: str) -> dict[str, Any]:
    """The least body of an operation that holds `text`."""
    return {
        CHAT: {"model": "m", "messages": [{"role": "user", "content": text}]},
        COMPLETIONS: {"model": "m", "prompt": text},
        EMBEDDINGS: {"model": "m", "input": text},
    }[operation]
