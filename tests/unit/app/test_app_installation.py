"""What the ledger is told of an installation's making: an audit has from there alone what was in force when."""

import json
from contextlib import closing

from sekisho.app.installation import Listen, create_installation, put_declarations_in_force, snapshot_store
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import SystemClock
from sekisho.settings import DataDirectory


def told(directory):
    """The outbox, as (actor, body)."""
    with closing(SqlIdentity(directory.state, SystemClock())) as register:
        return [(entry.actor, json.loads(entry.body)) for entry in register.pending(100)]


def test_the_ledger_begins_with_the_first_snapshot_and_is_told_of_each_put_in_force_without_control(tmp_path):
    directory = DataDirectory(tmp_path / "site")
    create_installation(directory.root, Listen())
    first = snapshot_store(directory).current()
    begun = [("init", {"act": "snapshot.activate", "before": None, "snapshot": first})]
    assert told(directory)[:1] == begun
    assert put_declarations_in_force(directory) == first
    assert len(told(directory)) == 2, "nothing changed: the snapshot and the first key"
    (directory.declarations / "organisations" / "other.toml").write_text('title = "Others"\n')
    second = put_declarations_in_force(directory)
    assert told(directory)[2:] == [("operator", {"act": "snapshot.activate", "before": first, "snapshot": second})]
    assert snapshot_store(directory).current() == second
