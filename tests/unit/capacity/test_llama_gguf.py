"""The head of a GGUF file: what it says, and what is wrong with one that is none."""

import struct

import pytest

from sekisho.capacity.errors import ModelFileError
from sekisho.capacity.llama.gguf import read_head
from sekisho.capacity.llama.options import CONTEXT_DEFAULT, EngineOptions, context_of
from tiny_gguf import CONTEXT, write_tiny_gguf


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_what_the_file_says_of_itself(whole):
    head = read_head(whole)
    assert (head.architecture, head.name, head.context_trained) == ("llama", "Tiny", CONTEXT)
    assert head.has_chat_template
    assert not head.pools
    assert head.file_bytes == whole.stat().st_size < 5_000_000


def test_the_same_arguments_give_the_same_model(whole, tmp_path):
    assert write_tiny_gguf(tmp_path / "again.gguf").read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: b"", "is empty"),
        (lambda data: b"hello", "is not a GGUF file"),
        (lambda data: data[:4] + struct.pack("<I", 99) + data[8:], "version 99"),
        (lambda data: data[:8] + b"\xff" * 8 + data[16:], "claims 18446744073709551615"),
        (lambda data: data[:16] + b"\xff" * 8 + data[24:], "claims 18446744073709551615"),
        (lambda data: data[:24] + b"\xff" * 8 + data[32:], "damaged"),
        (lambda data: data.replace(b"general.architecture", b"general.architectura"), "does not name its architecture"),
        (lambda data: data[:24] + struct.pack("<Q", 1) + b"a" + struct.pack("<I", 77) + data, "value of type 77"),
    ],
    ids=["empty", "text", "version", "tensors", "pairs", "key", "architecture", "type"],
)
def test_what_is_wrong_is_said(whole, tmp_path, change, says):
    file = tmp_path / "bad.gguf"
    file.write_bytes(change(whole.read_bytes()))
    with pytest.raises(ModelFileError, match=says) as raised:
        read_head(file)
    assert str(file) in raised.value.message


def test_a_file_cut_anywhere_in_its_head_or_before_its_last_tensor_is_truncated(whole, tmp_path):
    data = whole.read_bytes()
    file = tmp_path / "cut.gguf"
    for length in [*range(5, 400), *range(400, len(data) // 2, 997)]:
        file.write_bytes(data[:length])
        with pytest.raises(ModelFileError, match="truncated"):
            read_head(file)


def test_what_is_no_file(tmp_path):
    with pytest.raises(ModelFileError, match="does not exist"):
        read_head(tmp_path / "none.gguf")
    with pytest.raises(ModelFileError, match="is not a file"):
        read_head(tmp_path)


def test_the_context_is_bounded_by_what_was_trained(whole):
    head = read_head(whole)
    assert context_of(EngineOptions(whole, "tiny"), head) == CONTEXT_DEFAULT
    assert context_of(EngineOptions(whole, "tiny"), head._replace(context_trained=512)) == 512
    assert context_of(EngineOptions(whole, "tiny"), head._replace(context_trained=None)) == CONTEXT_DEFAULT
    assert context_of(EngineOptions(whole, "tiny", context=CONTEXT), head) == CONTEXT
    with pytest.raises(ModelFileError, match="trained on") as raised:
        context_of(EngineOptions(whole, "tiny", context=CONTEXT + 1), head)
    assert str(CONTEXT) in raised.value.remedy
