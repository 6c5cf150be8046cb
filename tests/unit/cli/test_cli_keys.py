import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sekisho.cli import keys
from sekisho.cli.keys import DeclaredNames
from sekisho.identity.api_keys import text_digest
from sekisho.identity.interfaces import Principal
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import SystemClock

SOURCE = str(Path(__file__).parents[3] / "src")


@pytest.fixture
def installation(tmp_path):
    (tmp_path / "sekisho.toml").touch()
    (tmp_path / "declarations" / "organisations").mkdir(parents=True)
    (tmp_path / "declarations" / "organisations" / "default.toml").touch()
    return tmp_path


def run(*words, **ports):
    parser = argparse.ArgumentParser()
    keys.add_arguments(parser)
    return keys.run(parser.parse_args([str(word) for word in words]), **ports)


def registered(installation):
    register = SqlIdentity(installation / "state.sqlite", SystemClock())
    try:
        return register.list_keys()
    finally:
        register.close()


def test_create_prints_the_key_alone_and_the_notice_apart(installation, capsys):
    assert run("create", installation, "--name", "app") == 0
    captured = capsys.readouterr()
    (key,) = registered(installation)
    assert key.digest == text_digest(captured.out.removesuffix("\n").encode())
    assert (key.name, key.principal.organisation, key.principal.roles) == ("app", "default", ("caller",))
    assert "only this once" in captured.err
    assert key.id in captured.err
    assert captured.out.strip() not in captured.err


def test_create_takes_roles_class_and_residency(installation):
    words = ("--name", "x", "--role", "ops", "--role", "caller", "--class", "internal", "--residency", "US, JP")
    assert run("create", "--dir", installation, *words) == 0
    (key,) = registered(installation)
    assert key.principal == Principal(f"key-{key.id}", "default", ("caller", "ops"), "internal", ("JP", "US"))


def test_the_actor_told_is_an_office_not_a_person(installation):
    assert run("create", installation, "--name", "app") == 0
    register = SqlIdentity(installation / "state.sqlite", SystemClock())
    assert [entry.actor for entry in register.pending(10)] == ["operator"]
    register.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--name", "a", "--organisation", "bank"), "declarations/organisations/"),
        (("--name", "a", "--class", "secret"), "there is: internal, public"),
        (("--name", "a", "--residency", "JP,XX"), "jurisdiction 'XX'"),
        (("--name", "a", "--residency", ","), "names no jurisdiction"),
        (("--name", ""), "can't be named"),
        (("--name", "a", "--role", "Caller"), "role"),
    ],
)
def test_create_refuses_what_is_not_declared_or_not_valid(installation, capsys, words, said):
    def declared(directory):
        assert directory == installation
        return DeclaredNames(frozenset({"default"}), frozenset({"internal", "public"}), frozenset({"JP", "US"}))

    assert run("create", installation, *words, declared=declared) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert registered(installation) == ()


def test_list_shows_every_key_in_aligned_columns(installation, capsys):
    run("create", installation, "--name", "経理部")
    run("create", installation, "--name", "app")
    run("revoke", registered(installation)[1].id, installation)
    capsys.readouterr()
    assert run("list", installation) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["id", "organisation", "name", "roles", "class", "residency", "created", "revoked"]
    assert first.split()[2:6] == ["経理部", "caller", "-", "-"]
    assert first.endswith("-")
    assert second.split()[7].endswith("Z")
    # The three wide characters take six columns, three more than they are letters.
    assert head.index("roles") == first.index("caller") + 3 == second.index("caller")


def test_list_as_json_is_for_programs(installation, capsys):
    run("create", installation, "--name", "経理部", "--residency", "JP")
    capsys.readouterr()
    assert run("list", "--json", installation) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert list(shown) == ["id", "organisation", "name", "roles", "class", "residency", "created", "revoked"]
    assert (shown["name"], shown["residency"], shown["revoked"]) == ("経理部", ["JP"], None)
    assert shown["created"].endswith("Z")


def test_revoke_ends_a_key_and_may_be_repeated(installation, capsys):
    run("create", installation, "--name", "app")
    (key,) = registered(installation)
    assert run("revoke", key.id, "--dir", installation) == 0
    assert run("revoke", key.id, installation) == 0
    assert key.id in capsys.readouterr().out
    assert registered(installation)[0].revoked_at is not None


def test_revoking_an_unknown_id_fails_and_says_where_ids_are(installation, capsys):
    assert run("revoke", "knosuchkey", installation) == 1
    assert "sekisho keys list" in capsys.readouterr().err


def test_a_directory_that_is_no_installation_is_left_as_it_is(tmp_path, capsys):
    assert run("list", tmp_path) == 2
    assert "sekisho init" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_two_directories_are_one_too_many(installation, capsys):
    assert run("list", installation, "--dir", installation / "other") == 2
    assert "Name one" in capsys.readouterr().err


def test_a_damaged_register_is_a_failure_with_a_remedy(installation, capsys):
    (installation / "state.sqlite").write_bytes(b"no database at all" * 100)
    assert run("list", installation) == 1
    assert "nothing was changed" in capsys.readouterr().err


def test_declaring_the_command_does_not_load_the_server_s_dependencies():
    script = "import sys, sekisho.cli.keys; sys.exit(any(name in sys.modules for name in ('sqlalchemy', 'msgspec')))"
    finished = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": SOURCE}, check=False)
    assert finished.returncode == 0
