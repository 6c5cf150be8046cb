"""What `sekisho up` says when it is ready, and when that is."""

import io
import urllib.request

import pytest

from sekisho.app import console
from sekisho.app.console import issue_token
from sekisho.cli import up
from sekisho.console.interfaces import BUILDING, CHANGED, FAILED, GIT, IN_FORCE, REFUSED
from sekisho.identity.register_look import look_at_register
from sekisho.settings import ControlSettings, DataDirectory, GatewaySettings, InstallationSettings, Settings

SETTINGS = Settings(InstallationSettings("o"), GatewaySettings(), ControlSettings())
READY = "http://127.0.0.1:8400/readyz"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def directory(tmp_path):
    directory = DataDirectory(tmp_path)
    issue_token(directory, "auditor")  # makes the register
    return directory


def invited(directory, monkeypatch, stderr):
    """What is printed, and how many acts it was."""
    before = look_at_register(directory.state).waiting
    monkeypatch.setattr("sys.stderr", stderr)
    up._invite(directory, SETTINGS)
    return stderr.getvalue(), look_at_register(directory.state).waiting - before


def test_a_token_is_for_a_person_at_a_terminal(directory, monkeypatch):
    said, acts = invited(directory, monkeypatch, Terminal())
    assert "http://127.0.0.1:8401/sign-in#" in said
    assert acts == 1


def test_a_services_log_gets_the_command_and_no_token(directory, monkeypatch):
    said, acts = invited(directory, monkeypatch, io.StringIO())
    assert said == f"sign in  sekisho console token {directory.root}\n"
    assert acts == 0


@pytest.mark.parametrize(
    ("state", "ready"),
    [(IN_FORCE, True), (REFUSED, True), (GIT, True), (FAILED, True), (CHANGED, False), (BUILDING, False)],
)
def test_it_is_ready_once_what_is_declared_is_dealt_with(monkeypatch, state, ready):
    """A git lock, mistakes and full disks may last: then what was in force before is served."""
    monkeypatch.setattr(console, "ask_control", lambda settings: {"declarations": state, "snapshot": "2"})
    assert up._is_ready(SETTINGS, None) == ready


@pytest.mark.parametrize(
    ("answer", "ready"),
    [(b'{"snapshot": "2"}', True), (b'{"snapshot": "1"}', False), (b"[]", False), (b"<", False), (OSError(), False)],
)
def test_it_is_ready_once_the_gateway_serves_with_it(monkeypatch, answer, ready):
    class Opener:
        def open(self, url, timeout):
            assert url == READY
            if isinstance(answer, Exception):
                raise answer
            return io.BytesIO(answer)

    monkeypatch.setattr(console, "ask_control", lambda settings: {"declarations": IN_FORCE, "snapshot": "2"})
    monkeypatch.setattr(urllib.request, "build_opener", lambda *_: Opener())
    assert up._is_ready(SETTINGS, READY) == ready


def test_it_is_not_ready_while_control_does_not_answer(monkeypatch):
    monkeypatch.setattr(console, "ask_control", lambda settings: None)
    assert not up._is_ready(SETTINGS, None)
