"""A look at the register tells what the register tells, and leaves no trace."""

import sqlite3

import pytest

from sekisho.identity.errors import RegisterUnavailable, RegisterUnsupported
from sekisho.identity.register_look import look_at_register
from sekisho.identity.sql import SCHEMA_VERSION, SqlIdentity


class Clock:
    now = 1_000

    def now_us(self):
        self.now += 10
        return self.now


class NothingDemanded:
    def meet(self, connection, now_us):
        return None


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.sqlite"


@pytest.fixture
def register(path):
    register = SqlIdentity(path, Clock())
    yield register
    register.close()


def traces(path):
    return {one.name: (one.stat().st_mtime_ns, one.stat().st_size) for one in path.parent.iterdir()}


def test_it_tells_what_is_there(path, register):
    key, _ = register.create_key("default", "a", ("caller",), None, None, "operator")
    register.create_key("default", "b", ("caller",), None, None, "operator")
    register.revoke_key(key.id, "operator")
    kept = register.set_stop("provider", "p", "why", "operator")
    register.set_stop("deployment", "d", "", "operator")
    lifted = register.lift_stop("deployment", "d", "operator", NothingDemanded())
    look = look_at_register(path)  # beside the one that has it open
    assert look.live_keys == 1
    assert look.stops == register.list_stops() == (kept,)
    pending = register.pending(10)
    assert (look.waiting, look.waiting_since) == (6, pending[0].at)
    assert look.newest_at == lifted.lifted_at


def test_it_leaves_no_trace(path, register):
    register.create_key("default", "a", ("caller",), None, None, "operator")
    register.close()
    before = traces(path)
    assert set(before) == {"state.sqlite"}
    assert look_at_register(path).live_keys == 1
    assert traces(path) == before


def change(path, statement):
    database = sqlite3.connect(path)
    with database:
        database.execute(statement)
    database.close()


def test_an_older_schema_is_read_and_left_as_it_is(path, register):
    register.create_key("default", "a", ("caller",), None, None, "operator")
    register.close()
    change(path, "UPDATE identity_state SET value = 1 WHERE name = 'schema'")
    change(path, "DROP TABLE identity_stops")
    assert look_at_register(path).stops == ()
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        change(path, "SELECT * FROM identity_stops")


def test_a_newer_schema_is_refused(path, register):
    register.close()
    change(path, f"UPDATE identity_state SET value = {SCHEMA_VERSION + 1} WHERE name = 'schema'")
    with pytest.raises(RegisterUnsupported) as raised:
        look_at_register(path)
    assert raised.value.remedy


@pytest.mark.parametrize("content", [None, b"", b"no database" * 1000])
def test_what_is_no_register_is_said_and_not_made(path, content):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RegisterUnavailable):
        look_at_register(path)
    assert (path.read_bytes() if path.exists() else None) == content
