"""The fault matrix: whatever goes wrong between the gateway and a deployment, in each dialect, streamed and not.

All requests are made at the beginning, many at a time; the tests look at what came of each. The cases are in
fault_cases.py, and docs/faults.md tells users the same. What goes wrong between a caller and the gateway:
test_caller_faults.py.
"""

import asyncio
import contextlib
import datetime
import json
import os
import socket
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from journeys.fault_cases import (
    AGAIN,
    ANSWER,
    CASES,
    CLOSE,
    GOOD,
    GOOD_STREAM,
    GOOD_WHOLE,
    LARGE_BYTES,
    LEAK,
    SPEAKS_AT_ONCE,
    TOKENS,
    Case,
    Told,
    relayed,
)  # fmt: skip
from journeys.installation import Installation, free_port, get, until
from journeys.published_log import require_log_holds, require_well_formed, site_key
from journeys.scripted_upstream import Listener, ScriptedProcess
from sekisho.gateway.errors import CODES
from sekisho.ledger.verify import verify_receipt

AT_ONCE = 24
LOOPBACK = "http://127.0.0.1"
ANSWER_S_MAX = 30
HOSTS = "127.0.0.1 localhost\n127.0.0.1 both.test\n192.0.2.1 both.test\n"
NAMED = ("one-address-outside",)  # cases that need names of our own
MOVING = "moves"


class Dialect(NamedTuple):
    """A way to ask for the same: where, and the header that holds the key."""

    name: str
    path: str
    key_header: str


DIALECTS = (
    Dialect("openai", "/v1/chat/completions", "authorization: Bearer {key}"),
    Dialect("azure", "/openai/deployments/{model}/chat/completions?api-version=2024-10-21", "api-key: {key}"),
)


class Came(NamedTuple):
    """What a caller got, and what else there is about it. `next_status`: of the next request on its connection."""

    status: int
    head: str
    body: bytes
    next_status: int
    entries: list[dict]
    log: list[str]

    @property
    def outcomes(self) -> list[dict]:
        return [entry["body"] for entry in self.entries if entry["kind"] == "outcome"]


def tried_elsewhere(name: str, streamed: bool) -> bool:
    """Whether the fault is one after which another deployment is asked: the caller has nothing yet."""
    expected = told(name, streamed)
    return expected.code is not None and expected.ended != "complete" and not expected.event


def told(name: str, streamed: bool) -> Told:
    return CASES[name].told_stream if streamed else CASES[name].told_whole


@contextlib.contextmanager
def full_listener():
    """A port that lets connections wait for ever: its queue is full."""
    with contextlib.ExitStack() as sockets:
        full = sockets.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield full.getsockname()[1]


@pytest.fixture(scope="module")
def authorities():
    return {"engines": trustme.CA(), "strangers": trustme.CA()}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory, authorities):
    scripts = {name: case.whole for name, case in CASES.items()}
    scripts |= {f"{name}-stream": case.stream for name, case in CASES.items()}
    scripts |= {"good": GOOD_WHOLE, "good-stream": GOOD_STREAM, "elsewhere": GOOD_STREAM}
    scripts[MOVING] = [*GOOD_WHOLE[:-1], CLOSE]
    directory = tmp_path_factory.mktemp("scripted")
    engines = authorities["engines"]
    over = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    began = over - datetime.timedelta(days=1)
    engines.cert_pem.write_to_path(directory / "engines.pem")
    now = engines.issue_cert("engine.test")
    then = engines.issue_cert("engine.test", not_before=began, not_after=over)
    for name, certificate in (("now", now), ("then", then)):
        certificate.private_key_and_cert_chain_pem.write_to_path(directory / f"{name}.pem")
    listeners = {
        "tls": Listener(certificate=str(directory / "now.pem")),
        "tls-expired": Listener(certificate=str(directory / "then.pem")),
        "tls-mutual": Listener(certificate=str(directory / "now.pem"), client_ca=str(directory / "engines.pem")),
        **{name: Listener(script=script) for name, script in SPEAKS_AT_ONCE.items()},
    }
    with ScriptedProcess(directory, scripts, listeners) as upstream:
        yield upstream


class Names:
    """A file of names that only the installation sees in place of the machine's, where that can be had."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.tell(HOSTS)
        self.within = ("unshare", "-m", "sh", "-c", f'mount --bind {path} /etc/hosts && exec "$@"', "sh")
        tried = subprocess.run([*self.within, "true"], capture_output=True, text=True)
        self.unusable = tried.stderr.strip() if tried.returncode else ""
        if self.unusable:
            self.within = ()

    def tell(self, text: str) -> None:
        self._path.write_text(text)  # in place: what is mounted is this file


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    return Names(tmp_path_factory.mktemp("names") / "hosts")


@pytest.fixture(scope="module")
def running(tmp_path_factory, upstream, authorities, names):
    with Installation(tmp_path_factory.mktemp("faults") / "site") as installation, full_listener() as full_port:
        for name, authority in authorities.items():
            authority.cert_pem.write_to_path(installation.root / "keys" / f"{name}.pem")
        where = {
            "connect-refused": (LOOPBACK, free_port()),
            "connect-timeout": (LOOPBACK, full_port),
            "name-unknown": ("https://no-such-name.invalid", upstream.port),
            "address-outside": ("http://localhost", upstream.port),
            "one-address-outside": ("https://both.test", upstream.ports["tls"]),
        }
        numbers = iter(range(60_000, 3_600_000))  # endpoints that differ share no connections
        for name, case in CASES.items():
            for streamed in (False, True):
                script = f"{name}-stream" if streamed else name
                origin, port = where.get(name, (None, upstream.ports[case.listener]))
                declare(installation, script, script, case, next(numbers), origin, port)
                if tried_elsewhere(name, streamed):
                    declare(installation, f"{script}-or-good", script, case, next(numbers), origin, port)
                    good = "good-stream" if streamed else "good"
                    installation.deployment(f"good-{script}", upstream.port, f"{script}-or-good", path=f"/{good}")
        for number in (1, 2):  # a model with two deployments, both at their limit
            installation.deployment(f"limit-{number}", upstream.port, model="limits", path="/limit")
        installation.deployment("good", upstream.port, path="/good")
        inside = 'networks = ["127.0.0.0/8"]\n' + tls_of(("engines", "engine.test"))
        installation.deployment(MOVING, upstream.ports["tls"], path="/moves", origin="https://moves.test", extra=inside)
        installation.start(within=names.within)
        installation.sockets_at_rest = sockets(installation)
        yield installation


def sockets(installation) -> int:
    """How many sockets the gateway has open."""
    found = 0
    for descriptor in Path(f"/proc/{installation.children()['gateway']}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found += os.readlink(descriptor).startswith("socket:")
    return found


def declare(installation, model: str, script: str, case: Case, number: int, origin: str | None, port: int) -> None:
    extra = case.extra
    if "total_timeout_ms" not in extra:
        extra += f"total_timeout_ms = {number}\n"
    if "address" in script:
        extra += f'networks = ["{"192.0.2.0/24" if origin == "http://localhost" else "127.0.0.0/8"}"]\n'
    scheme = "https" if case.tls else "http"
    origin = origin or f"{scheme}://127.0.0.1"
    installation.deployment(model, port, path=f"/{script}", extra=extra + tls_of(case.tls), origin=origin)


def tls_of(tls: tuple[str, str] | None) -> str:
    return "" if tls is None else f'[tls]\nca_file = "keys/{tls[0]}.pem"\nserver_name = "{tls[1]}"\n'


@pytest.fixture(scope="module")
def came(running):
    """Everything that is asked: (dialect, case, streamed) to what came of it."""
    return asyncio.run(ask_all(running))


async def ask_all(running) -> dict[tuple[str, str, bool], Came]:
    small, large = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(1)  # large bodies are inspected one at a time
    wanted = [
        (dialect, name, streamed)
        for dialect in DIALECTS
        for streamed in (False, True)
        for name in (*CASES, "limits", *(f"{name}-or-good" for name in CASES if tried_elsewhere(name, streamed)))
    ]

    async def one(dialect: Dialect, name: str, streamed: bool) -> tuple[str, bytes, int]:
        case = name.removesuffix("-or-good")
        is_large = case in CASES and CASES[case].large
        model = name.replace(case, f"{case}-stream") if streamed and case in CASES else name
        content = "x" * LARGE_BYTES if is_large else "hello"
        try:
            async with large if is_large else small, asyncio.timeout(ANSWER_S_MAX):
                return await ask_and_ask_again(running, dialect, model, streamed, content)
        except (OSError, EOFError) as error:
            raise AssertionError(f"{dialect.name}, {name}, {streamed}: no answer") from error

    answers = await asyncio.gather(*(one(*which) for which in wanted))
    until(lambda: b"sekisho_requests_in_flight 0" in get(f"{running.base}/metrics")[1], what="the end of all requests")
    key, lines = site_key(running.root), running.log.read_text().splitlines()
    found = {}
    for (dialect, name, streamed), (head, body, next_status) in zip(wanted, answers, strict=True):
        identifier = header(head, "x-sekisho-receipt")
        receipt = running.receipt(identifier)
        verify_receipt(receipt, trusted=[key])
        entries = [item["entry"] for item in json.loads(receipt)["entries"]]
        log = [line for line in lines if identifier in line]
        found[dialect.name, name, streamed] = Came(int(head.split(" ")[1]), head, body, next_status, entries, log)
    return found


async def ask_and_ask_again(running, dialect: Dialect, model: str, streamed: bool, content: str):
    """(head, body, status of a good request that follows on the same connection)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.gateway_port)
    try:
        await ask(writer, running.key, dialect, model, streamed, content)
        head, body = await read(reader)
        await ask(writer, running.key, dialect, "good", False, "hello")
        again, _ = await read(reader)
        return head, body, int(again.split(" ")[1])
    finally:
        writer.close()


async def ask(writer, key: str, dialect: Dialect, model: str, streamed: bool, content: str) -> None:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": content}], "stream": streamed}).encode()
    lines = [
        f"POST {dialect.path.format(model=model)} HTTP/1.1", "host: gateway", dialect.key_header.format(key=key),
        "content-type: application/json", f"content-length: {len(body)}",
    ]  # fmt: skip
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()


async def read(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """(head, body) of an answer that comes to its proper end; raises IncompleteReadError of one that does not."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    if "transfer-encoding: chunked" not in head:
        return head, await reader.readexactly(int(header(head, "content-length")))
    pieces = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        pieces.append((await reader.readexactly(size + 2))[:-2])
    assert await reader.readexactly(2) == b"\r\n"
    return head, b"".join(pieces)


def header(head: str, name: str) -> str:
    return next(line.split(": ", 1)[1] for line in head.split("\r\n") if line.startswith(f"{name}: "))


every_case = pytest.mark.parametrize(
    ("dialect", "name", "streamed"),
    [
        pytest.param(dialect.name, name, streamed, id=f"{dialect.name}-{name}-{'stream' if streamed else 'whole'}")
        for dialect in DIALECTS
        for name in CASES
        for streamed in (False, True)
    ],
)


@every_case
def test_the_caller_is_told(came, names, dialect, name, streamed):
    got, expected = came[dialect, name, streamed], told(name, streamed)
    if name in NAMED and names.unusable:
        pytest.skip(f"no names of our own can be had here: {names.unusable}")
    assert got.status == expected.status, got.body
    assert LEAK.encode() not in got.body
    assert LEAK not in got.head
    assert got.next_status == 200
    for line in CASES[name].answer_headers if not streamed or expected != GOOD else ():
        assert line in got.head
    if expected.code is None:
        require_good(got, name, streamed)
    elif expected.event:
        assert b"[DONE]" not in got.body
        *_, last, nothing = got.body.split(b"\n\n")
        assert nothing == b""
        told_by_upstream = expected.code == "upstream_error_event"
        require_error(json.loads(last.removeprefix(b"data: ")), dialect, None if told_by_upstream else expected.code)
    else:
        script = CASES[name].stream if streamed else CASES[name].whole
        says = any("as the deployment says" in step.get("send", "") for step in script)
        passed_on = expected.ended == "complete" and says
        require_error(json.loads(got.body), dialect, None if passed_on else expected.code)


def require_good(got: Came, name: str, streamed: bool) -> None:
    if not streamed:
        assert got.body.decode() == ANSWER
        return
    expected = relayed(CASES[name].stream)
    if expected is None:
        assert got.body.endswith(b"data: [DONE]\n\n")
        assert b"five" in got.body
    else:
        assert got.body == expected


def require_error(document: dict, dialect: str, code: str | None) -> None:
    """The dialect's own shape; where `code` is None, as the deployment said it."""
    error = document["error"]
    assert "None" not in error.values()
    assert error["message"]
    if code is None:
        assert (error["message"], error["code"]) == ("as the deployment says", "y")
        return
    assert (code if not code.startswith("upstream_status_") else "upstream_status_") in CODES
    assert set(error) == {"message", "type", "param", "code"} | ({"innererror"} if dialect == "azure" else set())
    assert (error["innererror"]["code"] if dialect == "azure" else error["code"]) == code


@every_case
def test_the_receipt_says_so_too(came, names, dialect, name, streamed):
    got, expected = came[dialect, name, streamed], told(name, streamed)
    if name in NAMED and names.unusable:
        pytest.skip(f"no names of our own can be had here: {names.unusable}")
    (outcome,) = got.outcomes
    error = expected.code if expected.receipt is None else expected.receipt or None
    assert (outcome["ended"], outcome["error"]) == (expected.ended, error)
    assert outcome["written"] == CASES[name].written
    if name == "usage-chunk" and streamed:
        assert outcome["usage"] == {"prompt": 7, "completion": 3, "source": "upstream"}
    if expected == GOOD and not streamed:
        assert outcome["usage"]["prompt"] == TOKENS["prompt_tokens"]


@every_case
def test_the_operator_finds_the_reason_under_the_requests_id(came, names, dialect, name, streamed):
    got, expected = came[dialect, name, streamed], told(name, streamed)
    if name in NAMED and names.unusable:
        pytest.skip(f"no names of our own can be had here: {names.unusable}")
    text = "\n".join(got.log)
    assert LEAK not in text
    if expected.code is not None and expected.ended != "complete":
        assert CASES[name].log
        assert CASES[name].log in text


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", [dialect.name for dialect in DIALECTS])
def test_what_fails_before_the_caller_has_anything_is_tried_elsewhere(came, dialect, streamed):
    attempts = Counter()
    for name in CASES:
        if not tried_elsewhere(name, streamed):
            continue
        got, expected = came[dialect, f"{name}-or-good", streamed], told(name, streamed)
        assert got.status == 200, (name, got.body)
        *before, last = got.outcomes
        assert last["ended"] == "complete", name
        assert all(outcome["ended"] == expected.ended for outcome in before), name
        attempts[len(got.outcomes)] += 1
    assert attempts[2] > 0
    assert set(attempts) <= {1, 2}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", [dialect.name for dialect in DIALECTS])
def test_when_all_are_at_their_limit_the_caller_hears_it_from_the_last(came, dialect, streamed):
    got = came[dialect, "limits", streamed]
    assert got.status == 429
    assert "retry-after: 7" in got.head
    assert [(o["ended"], o["error"]) for o in got.outcomes] == [
        ("upstream_refused", "upstream_status_429"), ("complete", None),
    ]  # fmt: skip


def test_a_redirect_is_never_followed(came, upstream):
    assert came
    assert not [seen for seen in upstream.seen() if any("/elsewhere" in request for request in seen["requests"])]


def test_every_fault_is_counted_once_under_its_code(came, running):
    samples = dict(line.rsplit(" ", 1) for line in get(f"{running.base}/metrics")[1].decode().splitlines())
    faults, errors = Counter(), Counter()
    for (_, name, streamed), got in came.items():
        if name in CASES and (expected := told(name, streamed)).code and expected.ended != "complete":
            faults[expected.code] += 1
        errors.update(outcome["error"] for outcome in got.outcomes if outcome["error"])
    for metric, counted in (("sekisho_faults_total", faults), ("sekisho_attempt_errors_total", errors)):
        assert {key: int(n) for key, n in samples.items() if key.startswith(metric)} == {
            f'{metric}{{code="{code}"}}': n for code, n in counted.items()
        }


def test_nothing_is_left_over(came, running, upstream):
    """Every connection that can't be used again has been ended."""
    assert came
    expected = {name for name, case in CASES.items() if is_used_up(case.whole)}
    expected |= {f"{name}-stream" for name, case in CASES.items() if is_used_up(case.stream)}
    expected -= {script for name, case in CASES.items() if not case.written for script in (name, f"{name}-stream")}

    def left() -> set[str]:
        return expected - {request.split("/", 2)[1] for seen in upstream.seen() for request in seen["requests"]}

    until(lambda: not left(), what="the end of all connections")
    log = running.log.read_text()
    for word in ("Traceback", LEAK, "hello", running.key):  # whole, not only the lines that name a request
        assert word not in log


def is_used_up(script: list[dict]) -> bool:
    """Whether a connection is over after this script, and the script would see that."""
    return bool(script) and script[-1] != AGAIN and "sleep" not in script[-1]


def test_a_name_that_moves_is_followed_only_within_the_declared_networks(came, running, names):
    if names.unusable:
        pytest.skip(f"no names of our own can be had here: {names.unusable}")

    def answered(hosts: str) -> tuple[int, str | None, dict | None]:
        names.tell(HOSTS + hosts)
        head, _ = asyncio.run(ask_once())
        receipt = running.receipt(header(head, "x-sekisho-receipt"))
        outcome = json.loads(receipt)["entries"][-1]["entry"]["body"]
        return int(head.split(" ")[1]), outcome["error"], outcome["peer"]

    async def ask_once():
        reader, writer = await asyncio.open_connection("127.0.0.1", running.gateway_port)
        await ask(writer, running.key, DIALECTS[0], MOVING, False, "hello")
        answer = await read(reader)
        writer.close()
        return answer

    assert answered("127.0.0.1 moves.test\n")[:2] == (200, None)
    assert answered("192.0.2.1 moves.test\n") == (502, "upstream_address", None)
    assert answered("127.0.0.1 moves.test\n192.0.2.1 moves.test\n") == (502, "upstream_address", None)
    assert answered("") == (502, "upstream_connect", None)
    status, error, peer = answered("127.0.0.1 moves.test\n")
    assert (status, error, peer["address"]) == (200, None, "127.0.0.1")


def test_with_the_deployments_gone_no_connection_is_left(came, running, upstream):
    assert came
    assert sockets(running) > running.sockets_at_rest  # those that are kept for the next request
    upstream.stop()
    until(lambda: sockets(running) <= running.sockets_at_rest, what="the end of the gateway's connections")


def test_each_decision_has_one_outcome_and_the_log_verifies(came, running):
    assert running.stop() == 0
    evidence = require_well_formed(require_log_holds(running.root))
    assert len(evidence.decisions) >= 2 * len(came)
    assert {outcome["body"]["ended"] for outcome in evidence.outcomes.values()} == {
        "complete", "upstream_failed", "upstream_refused",
    }  # fmt: skip
