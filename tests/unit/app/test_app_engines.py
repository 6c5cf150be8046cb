"""Declaring a GGUF file as an engine: everything it needs, or nothing."""

import errno
import hashlib
import tomllib

import pytest

from sekisho.app import engines
from sekisho.app.engines import Wish, add_engine
from sekisho.app.installation import Listen, check_declarations, create_installation
from sekisho.capacity.errors import ModelFileError
from sekisho.catalog.files import read_declarations
from sekisho.catalog.interfaces import Grade
from sekisho.cli.up import engine_arguments
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.settings import DataDirectory, load_settings
from tiny_gguf import write_tiny_gguf

LISTEN = "127.0.0.1:8499"


@pytest.fixture
def model(tmp_path):
    return write_tiny_gguf(tmp_path / "Tiny-LLM.Q8_0.gguf", name='A "tiny" model\nof noise')


@pytest.fixture
def directory(tmp_path):
    create_installation(tmp_path / "site", Listen())
    return DataDirectory(tmp_path / "site")


def tree(directory):
    return {path: path.read_bytes() for path in directory.root.rglob("*") if path.is_file()}


def test_the_engine_is_declared_with_its_digest_and_facts(directory, model):
    before = directory.settings.read_text()
    added = add_engine(directory, Wish(model, listen=LISTEN, context=2048, parallel=2, embeddings=True))
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    assert (added.name, added.sha256) == ("tiny-llm-q8_0", digest)
    assert check_declarations(directory).mistakes == []
    deployment = next(
        one for one in read_declarations(directory.declarations).catalogue.deployments if one.model == added.name
    )
    assert (deployment.deployment_type, deployment.url) == ("engine", f"http://{LISTEN}/v1")
    assert deployment.facts["processing"].value == deployment.facts["storage"].value == ("JP",)
    assert deployment.facts["storage"].grade is Grade.DECLARED
    assert digest in deployment.facts["storage"].source
    assert deployment.facts["support_staff"].grade is Grade.UNKNOWN
    text = directory.settings.read_text()
    assert text.startswith(before)
    engine = load_settings(directory.root).engines[added.name]
    assert (engine.kind, engine.context, engine.parallel, engine.embeddings) == ("llama.cpp", 2048, 2, True)
    assert (directory.root / engine.file).read_bytes() == model.read_bytes()
    arguments = engine_arguments(directory.root, engine)
    assert arguments[:4] == ["-m", "sekisho", "engine", "serve"]
    assert arguments[-1] == str(directory.root / engine.file)
    assert {"--exit-with-parent", "--embeddings", "--context"} <= set(arguments)
    assert "--threads" not in arguments


def test_a_file_of_the_installation_stays_where_it_is(directory, tmp_path):
    (directory.root / "weights").mkdir()
    file = write_tiny_gguf(directory.root / "weights" / "x.gguf")
    added = add_engine(directory, Wish(file, listen=LISTEN))
    assert (added.file, added.copied) == ("weights/x.gguf", "")
    title = tomllib.loads((directory.declarations / "models" / "x.toml").read_text())["title"]
    assert title == "Tiny"


@pytest.mark.parametrize(
    ("wish", "error", "says"),
    [
        ({"name": "manual"}, SekishoError, "nothing is overwritten"),
        ({"name": "Big Model"}, UsageError, "can't be a name"),
        ({"name": "a.b"}, UsageError, "can't be a name"),
        ({"listen": "127.0.0.1:8400"}, SekishoError, "taken"),
        ({"listen": "127.0.0.1:8402"}, SekishoError, "taken"),
        ({"context": 10_000_000}, ModelFileError, "trained on"),
    ],
)
def test_what_can_not_be_leaves_everything_as_it_was(directory, model, wish, error, says):
    before = tree(directory)
    with pytest.raises(error, match=says):
        add_engine(directory, Wish(model, **{"listen": LISTEN, **wish}))
    assert tree(directory) == before


def test_twice_is_refused(directory, model):
    add_engine(directory, Wish(model, listen=LISTEN))
    before = tree(directory)
    with pytest.raises(SekishoError, match="declared already"):
        add_engine(directory, Wish(model, listen="127.0.0.1:8498"))
    assert tree(directory) == before


def test_a_bad_file_or_a_bad_tree_is_refused(directory, model, tmp_path):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(model.read_bytes()[:1000])
    before = tree(directory)
    with pytest.raises(ModelFileError, match="truncated"):
        add_engine(directory, Wish(cut, listen=LISTEN))
    assert tree(directory) == before
    (directory.declarations / "models" / "broken.toml").write_text("title = \n")
    before = tree(directory)
    with pytest.raises(SekishoError, match="mistakes"):
        add_engine(directory, Wish(model, listen=LISTEN))
    assert tree(directory) == before


@pytest.mark.parametrize("room_for", [0, 1, 2])
def test_a_disk_that_gets_full_leaves_everything_as_it_was(directory, model, monkeypatch, room_for):
    before, write_durable, written = tree(directory), engines.write_durable, []

    def on_a_full_disk(path, data):
        if len(written) == room_for:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        write_durable(path, data)

    monkeypatch.setattr(engines, "write_durable", on_a_full_disk)
    with pytest.raises(OSError, match="No space left"):
        add_engine(directory, Wish(model, listen=LISTEN))
    assert len(written) == room_for
    assert tree(directory) == before
