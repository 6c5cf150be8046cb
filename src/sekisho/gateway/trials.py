"""What a few small calls to a deployment tell about it: the work behind `sekisho providers test`.

The text that leaves is fixed and says nothing. Whoever calls this records in the ledger first that it will leave.
"""

import asyncio
import datetime
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import orjson
from cryptography import x509

from sekisho.gateway.dialects.answers import json_object
from sekisho.gateway.http1.addresses import resolve
from sekisho.gateway.http1.ask import ask_whole
from sekisho.gateway.http1.errors import (
    UpstreamError,
    UpstreamForbiddenAddress,
    UpstreamProxyError,
    UpstreamTimeout,
    UpstreamTlsError,
    UpstreamUnreachable,
)
from sekisho.gateway.http1.interfaces import Endpoint, Exchange, Header, Peer, UpstreamClient
from sekisho.gateway.sse import EventSplitter

TEXT: Final = "ping"
ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024  # a list of a few thousand models fits
MODELS_MAX: Final = 1_000  # names kept of a list of models
TEXT_SHOWN_MAX: Final = 300  # of what a provider says of an error
EXPIRY_WARNING: Final = datetime.timedelta(days=21)  # long enough to have a certificate renewed by people
# The smallest bound that every model takes: reasoning models refuse one token, and spend some before they answer.
REASONING_TOKENS_MAX: Final = 16

NOTE, WARNING, FAILURE = "note", "warning", "failure"


class Finding(NamedTuple):
    """`severity`: "note" (worth knowing), "warning" (it works, but look at it), "failure" (it does not answer)."""

    severity: str
    code: str
    message: str
    remedy: str = ""


class Certificate(NamedTuple):
    subject: str
    issuer: str
    expires: datetime.datetime
    sha256: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask of one deployment. Targets are paths with their query; None: it has no such resource."""

    upstream_model: str
    endpoint: Endpoint
    headers: tuple[Header, ...]
    models_target: str | None
    chat_target: str | None = None
    embeddings_target: str | None = None  # asked instead of chat where it is set
    stream: bool = True
    timeout_s: float = 30.0  # of each call, from its beginning to the end of its answer


@dataclass(slots=True)
class Learned:
    """What the calls told. Times are milliseconds; `usage` names the fields that were reported."""

    addresses: tuple[str, ...] = ()
    peer: Peer | None = None
    certificate: Certificate | None = None
    models: tuple[str, ...] | None = None  # None: it lists none
    status: int | None = None
    latency_ms: int | None = None
    usage: tuple[str, ...] = ()
    streams: bool | None = None  # None: not asked
    stream_usage: bool = False
    calls: list[str] = field(default_factory=list)  # what was sent, in order
    findings: list[Finding] = field(default_factory=list)

    @property
    def answers(self) -> bool:
        return not any(finding.severity == FAILURE for finding in self.findings)

    def note(self, severity: str, code: str, message: str, remedy: str = "") -> None:
        self.findings.append(Finding(severity, code, message, remedy))


class Answer(NamedTuple):
    status: int
    headers: dict[bytes, bytes]
    body: bytes
    latency_ms: int

    @property
    def document(self) -> dict[str, Any]:
        """The body as a JSON object, empty where it is none."""
        return json_object(self.body) or {}


async def try_deployment(client: UpstreamClient, plan: Plan, now: datetime.datetime) -> Learned:
    """Ask, and say what was learned; what goes wrong upstream is a finding. Sends a few small requests."""
    learned = Learned()
    caller = _Caller(client, plan, learned)
    try:
        await caller.look_up()
        if plan.models_target is not None:
            _read_models(learned, plan, await caller.call("models", "GET", plan.models_target))
        await _ask(learned, plan, caller)
    except UpstreamError as error:
        learned.findings.append(_failure(error, plan.endpoint))
    _look_at_peer(learned, plan.endpoint, now)
    return learned


class _Caller:
    """Sends one request at a time, each within the plan's time, and keeps the peer."""

    def __init__(self, client: UpstreamClient, plan: Plan, learned: Learned) -> None:
        limit = plan.timeout_s
        self._client = client
        self._plan = plan
        self._learned = learned
        self._endpoint = replace(
            plan.endpoint,
            connect_timeout_s=min(limit, plan.endpoint.connect_timeout_s),
            first_byte_timeout_s=min(limit, plan.endpoint.first_byte_timeout_s),
            idle_timeout_s=min(limit, plan.endpoint.idle_timeout_s),
        )

    async def look_up(self) -> None:
        """Every address of the name, unless an egress proxy looks it up. Raises UpstreamUnreachable."""
        endpoint = self._endpoint
        if endpoint.proxy is not None:
            return
        try:
            async with asyncio.timeout(endpoint.connect_timeout_s):
                found = await resolve(endpoint.host, endpoint.port)
        except TimeoutError:
            raise UpstreamUnreachable(f"the name {endpoint.host} was not resolved in time", phase="connect") from None
        self._learned.addresses = tuple(map(str, found))

    async def call(self, name: str, method: str, target: str, document: dict[str, Any] | None = None) -> Answer:
        """One exchange, whole. Raises UpstreamError."""
        exchanges: list[Exchange] = []

        def new_exchange() -> Exchange:
            self._learned.calls.append(name)
            exchanges.append(self._client.exchange(self._endpoint))
            return exchanges[-1]

        began = time.monotonic()
        body = b"" if document is None else orjson.dumps(document)
        try:
            async with asyncio.timeout(self._plan.timeout_s):
                head, answer = await ask_whole(new_exchange, method, target, self._plan.headers, body, ANSWER_BYTES_MAX)
        except TimeoutError:
            problem = f"the answer to {name} did not end within {self._plan.timeout_s:g} s"
            raise UpstreamTimeout(problem, phase="body") from None
        finally:
            self._learned.peer = exchanges[-1].peer or self._learned.peer
        return Answer(head.status, head.headers, answer, round((time.monotonic() - began) * 1000))


async def _ask(learned: Learned, plan: Plan, caller: _Caller) -> None:
    if plan.embeddings_target is not None:
        document: dict[str, Any] = {"model": plan.upstream_model, "input": TEXT}
        answer = await caller.call("embeddings", "POST", plan.embeddings_target, document)
        _read_answer(learned, plan, answer, "data")
        return
    if plan.chat_target is None:
        return
    document = {"model": plan.upstream_model, "messages": [{"role": "user", "content": TEXT}], "max_tokens": 1}
    answer = await caller.call("chat", "POST", plan.chat_target, document)
    if answer.status == 400 and b"max_completion_tokens" in answer.body:
        del document["max_tokens"]
        document["max_completion_tokens"] = REASONING_TOKENS_MAX
        learned.note(NOTE, "max_completion_tokens", "the model refuses max_tokens and wants max_completion_tokens")
        answer = await caller.call("chat", "POST", plan.chat_target, document)
    _read_answer(learned, plan, answer, "choices")
    if plan.stream and learned.answers:
        answer = await caller.call("stream", "POST", plan.chat_target, document | {"stream": True})
        _read_stream(learned, answer)


# -- reading what came


def _read_models(learned: Learned, plan: Plan, answer: Answer) -> None:
    data = answer.document.get("data")
    if answer.status in (401, 403):
        return  # the request proper will tell
    if answer.status != 200 or not isinstance(data, list):
        learned.note(NOTE, "no_model_list", f"it lists no models ({plan.models_target} answers {answer.status})")
        return
    names = [item["id"] for item in data if isinstance(item, dict) and isinstance(item.get("id"), str)]
    names = [name for name in names if name.isprintable()]
    learned.models = tuple(names[:MODELS_MAX])
    if plan.upstream_model not in names:
        offered = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        problem = f"{plan.upstream_model!r} is not among the models it lists: {offered or 'none'}"
        learned.note(WARNING, "model_not_offered", problem, "Name one of them as upstream_model")


def _read_answer(learned: Learned, plan: Plan, answer: Answer, expected: str) -> None:
    learned.status, learned.latency_ms = answer.status, answer.latency_ms
    document = answer.document
    if answer.status != 200:
        learned.findings.append(_refusal(answer, plan))
        return
    if not isinstance(document.get(expected), list):
        problem = f"it answers 200, but not in OpenAI's shape: a JSON object with {expected!r}"
        learned.note(FAILURE, "not_openai", problem, "Look at the url: it ends before /chat/completions, mostly in /v1")
        return
    usage = document.get("usage")
    learned.usage = tuple(sorted(usage)) if isinstance(usage, dict) else ()
    if "prompt_tokens" not in learned.usage:
        learned.note(WARNING, "no_usage", "it reports no usage", "Tokens will be counted by estimate")
    named = document.get("model")
    if isinstance(named, str) and not named.startswith(plan.upstream_model):
        said = _plain(named, plan.headers)
        learned.note(NOTE, "other_model", f"asked for {plan.upstream_model!r}, the answer says {said!r}")


def _read_stream(learned: Learned, answer: Answer) -> None:
    kind = answer.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    splitter = EventSplitter()
    events = splitter.feed(answer.body) + splitter.end()
    payloads = [line[5:].strip() for event in events for line in event.splitlines() if line.startswith(b"data:")]
    done = b"[DONE]" in payloads[-1:]
    learned.streams = answer.status == 200 and kind == b"text/event-stream" and done and len(payloads) > 1
    learned.stream_usage = any(isinstance((json_object(payload) or {}).get("usage"), dict) for payload in payloads)
    if not learned.streams:
        problem = f"streaming does not work: {answer.status}, {kind.decode('latin-1') or 'no content type'}, "
        problem += f"{len(payloads)} events, {'with' if done else 'without'} [DONE]"
        learned.note(WARNING, "no_stream", problem, "Callers that stream will get errors from this deployment")


# -- saying what went wrong


def _refusal(answer: Answer, plan: Plan) -> Finding:
    status = answer.status
    said = _said(answer, plan.headers)
    if status in (401, 403):
        remedy = "Look at the credential: the right one, for this provider, with the right to call this model"
        return Finding(FAILURE, "credential_refused", f"it refuses the credential ({status}){said}", remedy)
    if status in (404, 405):
        remedy = "Look at upstream_model and at the url, which ends before /chat/completions; or it is for --embeddings"
        return Finding(FAILURE, "not_found", f"it has no such model or path ({status}){said}", remedy)
    if 300 <= status < 400:
        return Finding(FAILURE, "redirect", f"it redirects ({status}); that is never followed", "Give the url it means")
    if status == 429:
        return Finding(FAILURE, "limited", f"it limits us ({status}){said}", "Try later, or raise the quota there")
    if status >= 500:
        return Finding(FAILURE, "upstream_error", f"it fails ({status}){said}", "Try later, or ask the provider")
    remedy = "Look at upstream_model; a model for embeddings is tested with --embeddings"
    return Finding(FAILURE, "refused", f"it refuses the request ({status}){said}", remedy)


def _said(answer: Answer, headers: Sequence[Header]) -> str:
    error = answer.document.get("error", answer.document.get("message"))
    message = error.get("message") if isinstance(error, dict) else error
    return f": {_plain(message, headers)}" if isinstance(message, str) and message else ""


def _plain(text: str, headers: Sequence[Header]) -> str:
    """Foreign text as it may be shown: one short line, and never a secret of ours that it echoes."""
    for name, value in headers:
        if name not in (b"content-type", b"accept", b"user-agent", b"x-request-id"):
            for secret in value.decode("latin-1").split(" "):
                text = text.replace(secret, "…") if len(secret) >= 4 else text
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= TEXT_SHOWN_MAX else text[: TEXT_SHOWN_MAX - 1] + "…"


def _failure(error: UpstreamError, endpoint: Endpoint) -> Finding:
    if isinstance(error, UpstreamForbiddenAddress):
        remedy = "Add the networks that the provider names to `networks`, or find out why the name leads elsewhere"
        return Finding(FAILURE, "networks", str(error), remedy)
    if isinstance(error, UpstreamProxyError):
        remedy = "Look at [egress_proxy]: its url, ca_file, user and password; and whether it lets this host through"
        return Finding(FAILURE, "egress_proxy", str(error), remedy)
    if isinstance(error, UpstreamTlsError):
        remedy = "An authority of your own goes into [tls] ca_file, another name in the certificate into server_name"
        return Finding(FAILURE, "tls", str(error), remedy)
    if isinstance(error, UpstreamUnreachable):
        where = f"{endpoint.host}:{endpoint.port}"
        return Finding(FAILURE, "unreachable", str(error), f"Is the server running, and {where} open from here?")
    if isinstance(error, UpstreamTimeout):
        return Finding(
            FAILURE, "timeout", str(error), "Try again with a longer --timeout; the first call loads a model"
        )
    return Finding(FAILURE, "broken", str(error), "What answers there may be no HTTP/1.1 server; look at the url")


def _look_at_peer(learned: Learned, endpoint: Endpoint, now: datetime.datetime) -> None:
    peer = learned.peer
    if peer is None or peer.certificate is None:
        return
    try:
        parsed = x509.load_der_x509_certificate(peer.certificate)
    except (ValueError, x509.InvalidVersion) as error:  # TLS takes more than can be told of
        learned.note(NOTE, "certificate_unreadable", f"the certificate of {endpoint.host} can't be told of: {error}")
        return
    expires = parsed.not_valid_after_utc
    learned.certificate = Certificate(
        _plain(parsed.subject.rfc4514_string(), ()),
        _plain(parsed.issuer.rfc4514_string(), ()),
        expires,
        hashlib.sha256(peer.certificate).hexdigest(),
    )
    if expires - now < EXPIRY_WARNING:
        problem = f"the certificate of {endpoint.host} ends on {expires:%Y-%m-%d}"
        learned.note(WARNING, "certificate_ends", problem, "Whoever runs the endpoint must renew it")
