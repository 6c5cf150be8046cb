"""The folder of the model process's socket; the process itself is a matter of journeys."""

import tempfile

import pytest

from sekisho.capacity.errors import ModelFailed
from sekisho.capacity.llama.model_process import ModelProcess
from sekisho.capacity.llama.options import EngineOptions


@pytest.fixture
def model(tmp_path):
    return ModelProcess(EngineOptions(tmp_path / "m.gguf", "m"), 1, lambda error: None)


def test_the_folder_is_there_only_while_it_is_used(model, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    with model:
        folder = model.socket.parent
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_a_start_that_fails_leaves_no_folder(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    model = ModelProcess(EngineOptions(tmp_path / "m.gguf", "m"), 1, lambda error: None)
    with pytest.raises(ModelFailed, match="too long for a socket"), model:
        pass
    assert list(long.iterdir()) == []
