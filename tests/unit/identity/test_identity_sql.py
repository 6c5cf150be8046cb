"""What the SQLite register does beyond the contract: its file, its schema, many processes, damage."""

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sekisho.identity.errors import RegisterRewound, RegisterUnavailable, RegisterUnsupported
from sekisho.identity.sql import SCHEMA_VERSION, SqlIdentity
from sekisho.kernel.clock import SystemClock


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.sqlite"


@pytest.fixture
def open_register(path):
    opened = []

    def open_one():
        opened.append(SqlIdentity(path, SystemClock()))
        return opened[-1]

    yield open_one
    for register in opened:
        register.close()


def create(register):
    return register.create_key("default", "app", ("caller",), None, None, "operator")


def test_only_the_owner_may_read_its_files_whatever_the_umask(path, open_register):
    before = os.umask(0)
    try:
        create(open_register())
    finally:
        os.umask(before)
    modes = {name.name: stat.S_IMODE(name.stat().st_mode) for name in path.parent.iterdir()}
    assert modes == dict.fromkeys(("state.sqlite", "state.sqlite-wal", "state.sqlite-shm"), 0o600)


def test_commits_are_durable_and_readers_stand_beside_writers(open_register):
    register = open_register()
    with register._engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 5_000}


def test_a_path_with_signs_of_a_url_is_a_path(tmp_path):
    odd = tmp_path / "a?b#c%20"
    odd.mkdir()
    register = SqlIdentity(odd / "state.sqlite", SystemClock())
    create(register)
    register.close()
    assert (odd / "state.sqlite").stat().st_size > 0


def test_the_schema_before_stops_is_migrated_once_and_keeps_its_keys(path, open_register):
    register = open_register()
    key, _ = create(register)
    register.close()
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE identity_stops")
        database.execute("UPDATE identity_state SET value = 1 WHERE name = 'schema'")
    database.close()
    for _ in range(2):
        migrated = open_register()
        assert [one.id for one in migrated.list_keys()] == [key.id]
        migrated.set_stop("provider", "p", "", "operator")
        assert [stop.name for stop in migrated.changes_since(0).stops] == ["p"]
    with sqlite3.connect(path) as database:
        found = database.execute("SELECT value FROM identity_state WHERE name = 'schema'").fetchone()
    database.close()
    assert found == (SCHEMA_VERSION,)


def test_a_newer_schema_is_refused_and_left_alone(path, open_register):
    create(open_register())
    with sqlite3.connect(path) as database:
        database.execute("UPDATE identity_state SET value = ? WHERE name = 'schema'", (SCHEMA_VERSION + 1,))
    database.close()
    with pytest.raises(RegisterUnsupported, match=f"schema {SCHEMA_VERSION + 1}") as raised:
        open_register()
    assert "new" in raised.value.remedy


def test_tables_of_others_in_the_same_file_are_left_alone(path, open_register):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE others (value)")
        database.execute("INSERT INTO others VALUES (7)")
    database.close()
    create(open_register())
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT value FROM others").fetchall() == [(7,)]
    database.close()


def test_a_file_that_is_no_database_says_so(path):
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(RegisterUnavailable, match="not a database"):
        SqlIdentity(path, SystemClock())
    assert path.read_bytes() == b"this is not a database" * 100


def test_a_directory_that_is_not_there_says_so(tmp_path):
    with pytest.raises(RegisterUnavailable, match="No such file"):
        SqlIdentity(tmp_path / "nowhere" / "state.sqlite", SystemClock())


def test_an_older_copy_put_in_place_is_noticed(path, tmp_path, open_register):
    register = open_register()
    key, _ = create(register)
    copy = sqlite3.connect(tmp_path / "copy.sqlite")
    with sqlite3.connect(path) as database:
        database.backup(copy)
    database.close()
    copy.close()
    register.revoke_key(key.id, "operator")
    seen = register.changes_since(0).sequence
    older = SqlIdentity(tmp_path / "copy.sqlite", SystemClock())
    with pytest.raises(RegisterRewound):
        older.changes_since(seen)
    older.close()


def test_an_act_whose_telling_fails_has_not_happened(path, open_register):
    register = open_register()
    key, _ = create(register)
    before = register.changes_since(0)
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON identity_outbox BEGIN SELECT RAISE(ABORT, 'database is full'); END"
        )
    database.close()
    with pytest.raises(RegisterUnavailable, match="database is full"):
        create(register)
    with pytest.raises(RegisterUnavailable, match="database is full"):
        register.revoke_key(key.id, "operator")
    assert register.changes_since(0) == before
    assert len(register.pending(10)) == 1


SOURCE = str(Path(__file__).parents[3] / "src")
CREATE_TEN = """
import sys
from pathlib import Path
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import SystemClock
register = SqlIdentity(Path(sys.argv[1]), SystemClock())
for _ in range(10):
    key, _ = register.create_key("default", "app", ("caller",), None, None, "operator")
    register.revoke_key(key.id, "operator")
register.close()
"""


def test_several_processes_write_at_once_from_the_very_first_start(path, open_register):
    processes = [
        subprocess.Popen([sys.executable, "-c", CREATE_TEN, str(path)], env=os.environ | {"PYTHONPATH": SOURCE})
        for _ in range(3)
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    register = open_register()
    changes = register.changes_since(0)
    assert changes.sequence == 60
    assert len(changes.keys) == 30
    assert all(key.revoked_at is not None for key in changes.keys)
    assert len(register.pending(100)) == 60
