"""Reading the head of a GGUF file: enough to say what it is, or why it can't be served. No weights are read.

Layout (ggml's docs/gguf.md): magic "GGUF", version, count of tensors, count of key-value pairs, the pairs, one
description per tensor, padding, tensor data. All little-endian.
"""

import struct
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from sekisho.capacity.errors import ModelFileError

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)  # 1 was never widely used and llama.cpp refuses it
PAIRS_MAX: Final = 65_536  # real files have some dozens
TENSORS_MAX: Final = 1_000_000  # the largest models have some thousands
KEY_BYTES_MAX: Final = 65_535  # the format's own bound
STRING_BYTES_MAX: Final = 16 * 1024 * 1024  # chat templates have some KiB
ITEMS_MAX: Final = 16 * 1024 * 1024  # of an array; the largest vocabularies have some hundred thousand
DIMENSIONS_MAX: Final = 8

_SCALARS: Final = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_STRING: Final = 8
_ARRAY: Final = 9
_DOWNLOAD_AGAIN: Final = "Fetch the file again and compare its size or SHA-256 with the publisher's"


class ModelHead(NamedTuple):
    """`context_trained` in tokens, None where the file doesn't say. `pools`: it says how embeddings are pooled."""

    architecture: str
    name: str
    context_trained: int | None
    has_chat_template: bool
    pools: bool
    file_bytes: int


def read_head(path: Path) -> ModelHead:
    """What the file says of itself. Raises ModelFileError, which says what is wrong with it."""
    if not path.exists():
        raise ModelFileError(f"{path} does not exist")
    if not path.is_file():
        raise ModelFileError(f"{path} is not a file")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _head(path, file, size)
    except PermissionError:
        raise ModelFileError(f"{path} can't be read: permission denied") from None


def _head(path: Path, file: BinaryIO, size: int) -> ModelHead:
    magic = file.read(len(MAGIC))
    if magic != MAGIC:
        what = "is empty" if not magic else "is not a GGUF file"
        raise ModelFileError(f"{path} {what}", remedy="Give a model in llama.cpp's format, usually named *.gguf")
    reader = _Reader(path, file, size)
    version = reader.scalar(4)
    if version not in VERSIONS:
        raise ModelFileError(f"{path} is GGUF of version {version}, and versions 2 and 3 can be read")
    tensors = reader.count(TENSORS_MAX)
    pairs = {}
    for _ in range(reader.count(PAIRS_MAX)):
        key = reader.string(KEY_BYTES_MAX)
        pairs[key] = reader.value(reader.scalar(4))
    reader.skip_tensors(tensors)
    architecture = pairs.get("general.architecture")
    if not isinstance(architecture, str):
        raise ModelFileError(f"{path} does not name its architecture", remedy=_DOWNLOAD_AGAIN)
    context = pairs.get(f"{architecture}.context_length")
    name = pairs.get("general.name")
    return ModelHead(
        architecture=architecture,
        name=name if isinstance(name, str) else "",
        context_trained=context if type(context) is int and context > 0 else None,
        has_chat_template="tokenizer.chat_template" in pairs,
        pools=f"{architecture}.pooling_type" in pairs,
        file_bytes=size,
    )


class _Reader:
    """Sequential reads that fail with the file's name instead of running off its end."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self._path = path
        self._file = file
        self._size = size

    def scalar(self, kind: int) -> Any:
        layout = _SCALARS[kind]
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def count(self, most: int) -> int:
        number: int = self.scalar(10)
        if number > most:
            raise ModelFileError(f"{self._path} is damaged: it claims {number} items", remedy=_DOWNLOAD_AGAIN)
        return number

    def string(self, most: int) -> str:
        return self._take(self.count(most)).decode("utf-8", errors="replace")

    def value(self, kind: int) -> Any:
        """A value of this type; arrays are passed over and give None."""
        if kind in _SCALARS:
            return self.scalar(kind)
        if kind == _STRING:
            return self.string(STRING_BYTES_MAX)
        if kind != _ARRAY:
            raise ModelFileError(f"{self._path} is damaged: it holds a value of type {kind}", remedy=_DOWNLOAD_AGAIN)
        item, length = self.scalar(4), self.count(ITEMS_MAX)
        if item in _SCALARS:
            self._skip(length * struct.calcsize(_SCALARS[item]))
        elif item == _STRING:
            for _ in range(length):
                self._skip(self.count(STRING_BYTES_MAX))
        else:
            raise ModelFileError(f"{self._path} is damaged: an array of type {item}", remedy=_DOWNLOAD_AGAIN)
        return None

    def skip_tensors(self, tensors: int) -> None:
        """Pass over the descriptions, and see that each tensor begins within the file."""
        furthest = 0
        for _ in range(tensors):
            self._skip(self.count(KEY_BYTES_MAX))
            dimensions: int = self.scalar(4)
            if dimensions > DIMENSIONS_MAX:
                raise ModelFileError(f"{self._path} is damaged: {dimensions} dimensions", remedy=_DOWNLOAD_AGAIN)
            self._skip(8 * dimensions + 4)
            furthest = max(furthest, self.scalar(10))
        if tensors and self._file.tell() + furthest >= self._size:
            self._truncated()

    def _take(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            self._truncated()
        return data

    def _skip(self, count: int) -> None:
        self._file.seek(count, 1)
        if self._file.tell() > self._size:
            self._truncated()

    def _truncated(self) -> None:
        raise ModelFileError(f"{self._path} is truncated: it ends after {self._size} bytes", remedy=_DOWNLOAD_AGAIN)
