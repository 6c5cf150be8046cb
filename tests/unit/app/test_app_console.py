"""What control and gateways say of themselves, asked. No sockets: what the library raises is what is tested."""

import http.client
import io
import urllib.error
import urllib.request

import pytest

from sekisho.app.console import GatewayState, ask_control
from sekisho.settings import ControlSettings, GatewaySettings, InstallationSettings, Settings

ODD = "not a gateway's answer"
READY = b'{"status": "ready", "reasons": [], "notes": [], "snapshot": "2"}'
FULL = b'{"status": "not ready", "reasons": ["the ledger is full"]}'
URL = "http://127.0.0.1:8400/readyz"


class Answers:
    """In place of the library's opener: gives or raises `answer`, and remembers what it was asked."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def open(self, request, timeout):
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return io.BytesIO(self.answer)


class CutShort(io.BytesIO):
    def read(self, *_):
        raise http.client.IncompleteRead(b"{", 9)


def refused(code, body):
    return urllib.error.HTTPError(URL, code, "", {}, io.BytesIO(body))


def settings(public_host=""):
    return Settings(InstallationSettings("o"), GatewaySettings(), ControlSettings(public_host=public_host))


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (READY, ("ready", ())),
        (refused(503, FULL), ("not ready", ("the ledger is full",))),
        (refused(404, b'{"detail": "Not Found"}'), ("unknown", (ODD,))),
        (refused(503, b"<html>"), ("unknown", (ODD,))),
        (b"", ("unknown", (ODD,))),
        (b"[]", ("unknown", (ODD,))),
        (b"\xff", ("unknown", (ODD,))),
        (http.client.BadStatusLine("\x15\x03\x01"), ("unknown", (ODD,))),  # an alert: TLS was expected there
        (ConnectionRefusedError(111, "Connection refused"), ("unknown", ("[Errno 111] Connection refused",))),
    ],
)
def test_what_a_gateway_answers(answer, state):
    gateway = GatewayState(settings())
    gateway._opener = Answers(answer)
    assert gateway.ask() == state


def test_an_answer_that_is_cut_short():
    gateway = GatewayState(settings())
    gateway._opener = Answers(b"")
    gateway._opener.open = lambda *_, **__: CutShort()
    assert gateway.ask() == ("unknown", (ODD,))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'{"declarations": "in force"}', {"declarations": "in force"}),
        (b"[]", None),
        (b"<html>", None),
        (refused(403, b"not this name"), None),
        (http.client.BadStatusLine("\x15"), None),
        (TimeoutError(), None),
    ],
)
def test_what_control_answers(monkeypatch, answer, said):
    monkeypatch.setattr(urllib.request, "build_opener", lambda *_: Answers(answer))
    assert ask_control(settings()) == said


@pytest.mark.parametrize("public_host", ["", "console.example.jp"])
def test_control_is_asked_by_the_name_it_answers_to(monkeypatch, public_host):
    opener = Answers(b"{}")
    monkeypatch.setattr(urllib.request, "build_opener", lambda *_: opener)
    ask_control(settings(public_host))
    (request,) = opener.asked
    assert request.host == "127.0.0.1:8401"
    assert request.get_header("Host") == (public_host or None)
