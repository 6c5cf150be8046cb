"""`sekisho stop`: its exit codes; what it does to what runs is a matter of journeys."""

import json
import shutil

import pytest

from sekisho.cli.main import main


@pytest.fixture
def installation(installation_template, tmp_path):
    return shutil.copytree(installation_template, tmp_path / "site")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("provider", "local"), 0, ""),
        (("list",), 0, ""),
        (("provider", "lokal"), 2, "No provider 'lokal' is declared"),
        (("provider", "Odd Name", "--force"), 2, "names no provider"),
        (("lift", "provider", "Odd Name"), 2, "names no provider"),
        (("provider", "local", "--reason", "x" * 201), 2, "at most 200"),
        (("lift", "provider", "local"), 1, "is not stopped"),
    ],
)
def test_exit_codes(installation, capsys, words, code, says):
    assert main(["stop", *words, "--dir", str(installation)]) == code
    said = capsys.readouterr().err
    assert says in said
    assert said.startswith("sekisho stop: ") == (code != 0)


def test_what_is_set_is_listed(installation, capsys):
    assert main(["stop", "provider", "local", "--dir", str(installation), "--reason", "why"]) == 0
    capsys.readouterr()
    assert main(["stop", "list", "--json", "--dir", str(installation)]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["kind"], row["name"], row["reason"]) == ("provider", "local", "why")
    assert row["set"].endswith("Z")
