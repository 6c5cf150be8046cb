"""Explaining only reads: a register that is at rest, or of an older program, stays as it is."""

import json
import sqlite3

import pytest

from sekisho.app.explanation import Explainer, chat_body
from sekisho.app.installation import Listen, create_installation
from sekisho.console.interfaces import ExplainAsked
from sekisho.gateway.explanation import explanation_bytes
from sekisho.identity.errors import RegisterUnavailable
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import UsageError
from sekisho.settings import DataDirectory

BODY = chat_body("manual", "hello")


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """Where it is, its explainer, and two keys of it: the second is revoked."""
    directory = DataDirectory(tmp_path_factory.mktemp("explain") / "site")
    create_installation(directory.root, Listen())
    register = SqlIdentity(directory.state, SystemClock())
    made = [
        register.create_key("default", name, ("caller", "b"), "internal", ("JP",), "init")[0] for name in ("x", "y")
    ]
    register.revoke_key(made[1].id, "init")
    register.set_stop("provider", "local", "a test", "init")
    register.close()
    return directory, Explainer(directory, SystemClock()), made


def files(directory):
    return {path: path.read_bytes() for path in directory.root.rglob("*") if path.is_file()}


def test_nothing_of_the_installation_is_changed(installation):
    directory, explainer, (key, _) = installation
    before = files(directory)
    explained = json.loads(explanation_bytes(explainer.explain(ExplainAsked(BODY, key.id))))
    assert explained["outcome"]["stopped"] == ["manual-local"]
    assert explained["principal"]["id"] == key.principal.id
    assert explained["principal"]["roles"] == ["b", "caller"]
    assert [one["value"] for one in explained["class"]["from"] if one["by"] == "key"] == ["internal"]
    assert [one["value"] for one in explained["residency"]["from"] if one["by"] == "key"] == [["JP"]]
    assert files(directory) == before


def test_keys_that_can_not_ask(installation):
    _, explainer, (_, revoked) = installation
    with pytest.raises(UsageError, match="is revoked"):
        explainer.explain(ExplainAsked(BODY, revoked.id))
    with pytest.raises(UsageError, match="there is no key"):
        explainer.explain(ExplainAsked(BODY, "k0000"))


def test_a_register_of_an_older_program_stays_one(installation):
    directory, explainer, (key, _) = installation
    whole = directory.state.read_bytes()
    try:
        connection = sqlite3.connect(directory.state)
        connection.executescript(
            "PRAGMA journal_mode = DELETE; DROP TABLE identity_stops;"
            "UPDATE identity_state SET value = 1 WHERE name = 'schema';"
        )
        connection.close()
        before = files(directory)
        assert not explainer.explain(ExplainAsked(BODY, key.id))["outcome"]["stopped"]
        assert files(directory) == before
    finally:
        directory.state.write_bytes(whole)


def test_a_register_that_is_not_there_is_not_made(installation):
    directory, explainer, _ = installation
    away = directory.state.rename(directory.root / "away")
    try:
        with pytest.raises(RegisterUnavailable):
            explainer.explain(ExplainAsked(BODY))
        assert not directory.state.exists()
    finally:
        away.rename(directory.state)
    assert explainer.explain(ExplainAsked(BODY))["outcome"]
