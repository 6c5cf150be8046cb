"""Tokens for one sign-in, and the sessions they open."""

import json
import sqlite3

import pytest

from sekisho.identity.console_sign_in import (
    OPERATOR,
    SESSION_LIFE_US,
    SESSIONS_LIVE_MAX,
    TOKEN_LIFE_US,
    TOKENS_LIVE_MAX,
)
from sekisho.identity.console_sql import SqlConsole
from sekisho.identity.errors import RegisterUnsupported, SignInRefused
from sekisho.identity.sql import SqlIdentity


class Clock:
    def __init__(self):
        self.time_us = 1_790_000_000_000_000

    def now_us(self):
        return self.time_us


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.sqlite"


@pytest.fixture
def register(path, clock):
    register = SqlIdentity(path, clock)
    yield register
    register.close()


@pytest.fixture
def console(register, clock):
    return SqlConsole(register, clock)


def acts(register):
    return [(entry.actor, json.loads(entry.body)) for entry in register.pending(100)]


def test_a_token_opens_one_session_and_no_second(console):
    token = console.issue("operator", "operator")
    session, secret = console.sign_in(token)
    assert session.role == OPERATOR
    assert console.session(secret) == session
    with pytest.raises(SignInRefused, match="does not open"):
        console.sign_in(token)


def test_a_token_lasts_minutes_and_a_session_hours(console, clock):
    late = console.issue("operator", "operator")
    token = console.issue("auditor", "operator")
    _, secret = console.sign_in(token)
    clock.time_us += TOKEN_LIFE_US
    with pytest.raises(SignInRefused):
        console.sign_in(late)
    assert console.session(secret) is not None
    clock.time_us += SESSION_LIFE_US - TOKEN_LIFE_US - 1
    assert console.session(secret) is not None
    clock.time_us += 1
    assert console.session(secret) is None


@pytest.mark.parametrize("token", ["", "x", "あ" * 43, "A" * 43, "A" * 100_000])
def test_what_is_no_token_opens_nothing(console, token):
    console.issue("operator", "operator")
    with pytest.raises(SignInRefused, match="does not open"):
        console.sign_in(token)
    assert console.session(token) is None


def test_signing_out_ends_the_session(console):
    _, secret = console.sign_in(console.issue("operator", "operator"))
    console.sign_out(secret)
    assert console.session(secret) is None
    console.sign_out(secret)


def test_only_an_operator_counts_as_one(console, clock):
    console.sign_in(console.issue("auditor", "operator"))
    assert not console.has_operator()
    console.sign_in(console.issue("operator", "operator"))
    assert console.has_operator()
    clock.time_us += SESSION_LIFE_US
    assert not console.has_operator()


def test_an_unknown_role_and_too_many_tokens_are_refused(console, register):
    with pytest.raises(SignInRefused, match="no role"):
        console.issue("admin", "operator")
    for _ in range(TOKENS_LIVE_MAX):
        console.issue("operator", "operator")
    with pytest.raises(SignInRefused, match="too many"):
        console.issue("operator", "operator")
    assert len(acts(register)) == TOKENS_LIVE_MAX


def test_too_many_sessions_are_refused_and_told_why(console, clock):
    for _ in range(SESSIONS_LIVE_MAX):
        console.sign_in(console.issue("operator", "operator"))
    with pytest.raises(SignInRefused, match="too many are signed in"):
        console.sign_in(console.issue("operator", "operator"))
    clock.time_us += SESSION_LIFE_US
    console.sign_in(console.issue("operator", "operator"))


def test_each_act_is_told_once_and_names_nothing_secret(console, register):
    token = console.issue("operator", "operator")
    session, secret = console.sign_in(token)
    console.sign_out(secret)
    told = acts(register)
    assert [body["act"] for _, body in told] == ["console.token.issue", "console.sign_in", "console.sign_out"]
    assert told[0][1]["token"] == told[1][1]["token"]
    assert {told[1][0], told[1][1]["session"], told[2][1]["session"]} == {session.id}
    assert token not in str(told)
    assert secret not in str(told)


def test_neither_token_nor_cookie_is_on_the_disk(console, register, path):
    token = console.issue("operator", "operator")
    _, secret = console.sign_in(console.issue("operator", "operator"))
    register.close()
    kept = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert token.encode() not in kept
    assert secret.encode() not in kept


def test_tables_of_a_newer_program_are_refused(console, register, clock, path):
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE console_state SET schema = 9")
    connection.close()
    with pytest.raises(RegisterUnsupported, match="schema 9"):
        SqlConsole(register, clock)
