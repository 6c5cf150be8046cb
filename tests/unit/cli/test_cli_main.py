"""The program: commands, help, exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sekisho import __version__
from sekisho.cli import main as program
from sekisho.cli import verify

SOURCE = str(Path(verify.__file__).parents[2])
# Every import of a package that the base install does not bring fails, as if it were not there.
BLOCK = """
import sys
SERVER = "cedarpy fastapi hyperscan jwt msgspec orjson sqlalchemy uvicorn uvloop".split()
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in SERVER:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])
sys.meta_path.insert(0, Absent())
from sekisho.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("words", [[], ["--help"], ["help"], ["-h"]])
def test_the_overview_lists_every_command(words, capsys):
    assert program.main(words) == 0
    printed = capsys.readouterr().out
    assert all(f"  {command.name} " in printed for command in program.COMMANDS)


def test_the_version(capsys):
    assert program.main(["--version"]) == 0
    assert capsys.readouterr().out == f"sekisho {__version__}\n"


def test_an_unknown_command_is_a_matter_of_usage(capsys):
    assert program.main(["improve"]) == program.EXIT_USAGE
    assert "improve" in capsys.readouterr().err


@pytest.mark.parametrize("name", [command.name for command in program.COMMANDS])
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as ended:
        program.main([name, "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: sekisho {name}" in printed
    assert max(map(len, printed.splitlines())) <= 120
    assert " api " not in printed


def test_errors_say_what_to_do_and_end_with_1(tmp_path, capsys):
    assert program.main(["up", str(tmp_path)]) == program.EXIT_FAILED
    assert "sekisho init" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["init", "--gateway", "0.0.0.0:1"], ["init", "--control", "nowhere"]])
def test_init_begins_on_loopback_only_and_leaves_nothing_behind(words, tmp_path, capsys):
    assert program.main([*words, str(tmp_path / "new")]) == program.EXIT_USAGE
    assert "127.0.0.1" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["up", "."],
        ["gateway", "."],
        ["control", "."],
        ["check", "."],
        ["init", "new"],
        ["demo"],
        ["keys", "list"],
        ["console", "token", "."],
        ["explain", "."],
    ],
)
def test_without_the_servers_dependencies_a_command_says_what_to_install(words, tmp_path):
    (tmp_path / "sekisho.toml").touch()
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    done = subprocess.run(
        [sys.executable, "-c", BLOCK, *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == program.EXIT_FAILED, done.stderr
    assert "pip install 'sekisho[server]'" in done.stderr
    assert "Traceback" not in done.stderr
