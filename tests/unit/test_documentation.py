"""What the documents say is so: commands exist, links lead somewhere, and nothing of one machine is in the files."""

import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:\.venv/bin/)?sekisho ([a-z]+)\b")
MAKE = re.compile(r"\bmake ([a-z-]+)")
BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)

# Written in two parts, so that this file does not hold what it looks for.
REGISTRIES = tuple("".join(parts) for parts in (("pypi", ".org"), ("files.python", "hosted"), ("registry.npm", "js")))
MACHINE_PATHS = re.compile(
    "|".join(("/" + "root/", "/" + "work/", "/" + "tmp/wt", "/" + "home/[a-z]", "/opt/" + "pypi"))
)


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def shell_lines(document):
    """The commands that a document's console blocks tell to type, without their comments."""
    for block in BLOCK.findall(read(document)):
        for line in block.splitlines():
            if line.startswith("$ "):
                yield line[2:]


def commands_named(document):
    """Every `sekisho WORD` and `make WORD` in code, in blocks or in line."""
    code = "\n".join([*shell_lines(document), *re.findall(r"`([^`\n]+)`", read(document))])
    return set(COMMAND.findall(code)), set(MAKE.findall(code))


@pytest.fixture
def command_line():
    if importlib.util.find_spec("sekisho.cli.main") is None:
        pytest.skip("this tree has no sekisho.cli.main")
    return importlib.import_module("sekisho.cli.main")


def test_the_main_documents_are_there():
    expected = {"README.md", "README.ja.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"}
    assert expected <= set(DOCUMENTS)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_between_files_resolve(document):
    for target in LINK.findall(read(document)):
        if "://" not in target and not target.startswith("#"):
            assert (ROOT / document).parent.joinpath(target.partition("#")[0]).exists(), target


def test_the_first_screen_shows_how_to_begin():
    first_screen = "\n".join(read("README.md").splitlines()[:20])
    for words in ("docs/overview.svg", "make demo", "make test", "sekisho init", "sekisho up", "sekisho verify"):
        assert words in first_screen


def test_both_readmes_tell_the_same_commands():
    english, japanese = commands_named("README.md"), commands_named("README.ja.md")
    assert english == japanese
    assert {"init", "up", "verify", "keys", "check"} <= english[0]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_named_exist(document):
    assert commands_named(document)[1] <= set(TARGET.findall(read("Makefile")))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_named_exist(document, command_line):
    assert commands_named(document)[0] <= {command.name for command in command_line.COMMANDS}


def test_every_command_is_in_the_readme(command_line):
    assert {command.name for command in command_line.COMMANDS} <= commands_named("README.md")[0]


@pytest.mark.parametrize("document", ["README.md", "README.ja.md"])
def test_every_path_that_callers_know_is_in_the_readme(document):
    paths = importlib.import_module("sekisho.gateway.paths")
    azure = [f"/openai/deployments/{{model}}{call.operation.path}" for call in paths.calls_by_path().values()]
    for path in (*paths.calls_by_path(), *paths.MODELS_PATHS, *azure):
        assert re.search(re.escape(path) + r"[`?]", read(document)), path


@pytest.mark.parametrize("document", ["README.md", "README.ja.md"])
def test_command_lines_to_type_are_understood(document, command_line):
    parsed = 0
    for line in shell_lines(document):
        program, *words = shlex.split(line.partition(" > ")[0], comments=True)
        if program.removeprefix(".venv/bin/") != "sekisho":
            continue
        name, *rest = words
        if importlib.util.find_spec(f"sekisho.cli.{name}") is None:
            pytest.skip(f"this tree has no sekisho.cli.{name}")
        command_line.build_parser(name).parse_args(rest)
        parsed += 1
    assert parsed >= 7


def tracked_texts():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git work tree")
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file():
            yield name, path.read_bytes().decode("utf-8", errors="replace")


def test_no_file_names_a_package_registry():
    for name, text in tracked_texts():
        assert not [host for host in REGISTRIES if host in text], name


def test_no_file_holds_a_path_of_one_machine():
    for name, text in tracked_texts():
        assert MACHINE_PATHS.search(text) is None, name


def test_the_lock_holds_every_dependency_by_hash_and_no_address():
    lock = read("requirements/lock.txt")
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\\n +--hash=sha256:[0-9a-f]{64}", lock, re.MULTILINE))
    stated = subprocess.run(
        [sys.executable, "requirements/inputs.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    names = {re.split(r"[=<>~\[]", requirement)[0] for requirement in stated}
    assert names <= set(pinned)
    assert all(pinned[name] == version for name, _, version in (r.partition("==") for r in stated) if version)
    assert re.search(r"://|^-", lock, re.MULTILINE) is None
    assert len(re.findall("^[a-z]", lock, re.MULTILINE)) == len(pinned)


def test_the_glossary_has_ten_words():
    glossary = read("README.md").partition("## Ten words")[2]
    assert len(re.findall(r"^\| \*\*", glossary, re.MULTILINE)) == 10


@pytest.mark.parametrize("document", ["docs/operating.md", "docs/operating.ja.md"])
def test_every_metric_is_in_the_page_on_operating(document):
    metrics = importlib.import_module("sekisho.gateway.metrics")
    named = set(re.findall(r"^\| `(sekisho_\w+)` \|", read(document), re.MULTILINE))
    assert named == set(metrics.METRICS)


@pytest.mark.parametrize("document", ["docs/witness.md", "docs/witness.ja.md"])
def test_every_metric_of_witnesses_is_in_their_page(document):
    witnessing = importlib.import_module("sekisho.app.witnessing")
    assert set(re.findall(r"`(sekisho_witness_\w+)`", read(document))) == set(witnessing.METRICS)


def test_how_attempts_end_and_what_administrators_do_is_in_the_architecture():
    entries = importlib.import_module("sekisho.gateway.entries")
    text = read("ARCHITECTURE.md")
    for word in (*entries.Ended, "stop.set", "stop.lift", "snapshot.activate", "provider.test", "monitored"):
        assert f"`{word}`" in text, word
