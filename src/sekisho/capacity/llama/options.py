"""What an engine is told about the model that it serves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sekisho.capacity.errors import ModelFileError
from sekisho.capacity.llama.gguf import ModelHead

# Without a wish, no more than this: the cache of a context takes memory in proportion, and models trained on
# 128 Ki tokens would ask for gigabytes that nobody wanted.
CONTEXT_DEFAULT: Final = 8192
PARALLEL_MAX: Final = 256  # llama.cpp's own bound on sequences


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """`model` is the name it is served under. `context` in tokens, for each of `parallel` requests at a time;
    0: what the model was trained on, at most CONTEXT_DEFAULT. `threads` 0: all processors but one.
    """

    file: Path
    model: str
    context: int = 0
    parallel: int = 1
    threads: int = 0
    embeddings: bool = False


def context_of(options: EngineOptions, head: ModelHead) -> int:
    """The context per request, in tokens. Raises ModelFileError if it is more than the model was trained on."""
    trained = head.context_trained
    if not options.context:
        return min(trained or CONTEXT_DEFAULT, CONTEXT_DEFAULT)
    if trained is not None and options.context > trained:
        raise ModelFileError(
            f"a context of {options.context} tokens is more than {options.file} was trained on",
            remedy=f"Give at most {trained}",
        )
    return options.context
