"""Why a model process ended, from what llama.cpp wrote and how the process went. Pure."""

import re
import signal
from pathlib import Path
from typing import Final

from sekisho.capacity.errors import ModelFailed

_ERROR: Final = re.compile(
    r"^[0-9.]+ E (?:.*error loading model: )?(.+)$", re.MULTILINE
)  # llama.cpp's log: time, level, message
_THROWN: Final = re.compile(r"^terminate called.*(?:\n\s*what\(\):.*)?", re.MULTILINE)
_ASSERTION: Final = re.compile(r"^.*GGML_(?:ASSERT|ABORT).*$", re.MULTILINE)
_ARCHITECTURE: Final = re.compile(r"unknown model architecture: '([^']*)'")
_MEMORY: Final = ("insufficient memory", "failed to allocate", "bad_alloc", "unable to allocate", "out of memory")
_DAMAGED: Final = ("corrupted or incomplete", "gguf_init_from", "data is not within")
_LESS_MEMORY: Final = "Lower --context or --parallel, or use a smaller model"
_QUOTED_MAX: Final = 300


def why_not_loaded(file: Path, exit_code: int, log: str) -> ModelFailed:
    """The reason in one line, for a process that ended before its model was loaded."""
    errors = _ERROR.findall(log)
    thrown = _THROWN.search(log)
    text = "\n".join([*errors, thrown[0] if thrown is not None else ""])
    unknown = _ARCHITECTURE.search(text)
    if unknown is not None:
        return ModelFailed(
            f"{file} is of the architecture {_quoted(unknown[1])!r}, which this llama.cpp does not support",
            remedy="Take another model, or a newer xllamacpp",
        )
    if any(word in text for word in _MEMORY):
        return ModelFailed(f"not enough memory to load {file}", remedy=_LESS_MEMORY)
    if any(word in text for word in _DAMAGED):
        return ModelFailed(f"{file} is truncated or damaged: {_quoted(errors[0])}", remedy="Fetch the file again")
    if exit_code < 0:
        return ModelFailed(f"{how_it_ended(exit_code, log)} while {file} was loaded", remedy=_remedy(exit_code))
    said = errors[0] if errors else (log.strip().splitlines() or ["llama.cpp gave no reason"])[-1]
    return ModelFailed(f"{file} can't be loaded: {_quoted(said)}")


def how_it_ended(exit_code: int, log: str) -> str:
    """One line about a process that ended by itself. Quotes an assertion at most: the rest may hold content."""
    if exit_code >= 0:
        return f"the model process ended (exit code {exit_code})"
    if exit_code == -signal.SIGKILL:
        return "the model process was killed, most likely because memory ran out,"
    failed = _ASSERTION.search(log)
    detail = f": {_quoted(failed[0])}" if failed is not None else ""
    return f"llama.cpp crashed (signal {-exit_code}{detail})"


def _remedy(exit_code: int) -> str:
    if exit_code == -signal.SIGKILL:
        return _LESS_MEMORY
    if exit_code == -signal.SIGILL:
        return "This processor lacks an instruction that the installed xllamacpp uses: build it from source"
    return "The file is damaged, or this llama.cpp can't run it: fetch it again, or take a newer xllamacpp"


def _quoted(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text.strip())[:_QUOTED_MAX]
