"""The model process: `python -m sekisho.capacity.llama.worker OPTIONS`, started by the engine.

It loads the model, serves llama.cpp's own HTTP handlers on a Unix socket and writes READY to standard output. It lives
until it is killed.
"""

import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

from sekisho.capacity.llama.gguf import ModelHead
from sekisho.capacity.llama.options import EngineOptions, context_of

SOCKET: Final = "model.sock"  # llama.cpp takes a host name with this ending for a Unix socket
READY: Final = b"READY\n"
INPUT_TOKENS_MAX: Final = 8192  # of a text to embed; more than most embedding models are made for
MONITORING_THREADS: Final = 2  # of llama.cpp's HTTP server, beyond one per request
_PR_SET_PDEATHSIG: Final = 1
_KILL_FIRST: Final = "800"  # of 1000


def command(options: EngineOptions, head: ModelHead, path: Path, requests: int) -> list[str]:
    """The program and arguments that start it, to serve on the socket `path`.

    `requests` is how many there may be at a time, waiting ones included.
    """
    told = {
        "engine": os.getpid(),
        "socket": str(path),
        "file": str(options.file.resolve()),
        "model": options.model,
        "context": context_of(options, head),
        "parallel": options.parallel,
        "threads": options.threads or max(1, len(os.sched_getaffinity(0)) - 1),
        "embeddings": options.embeddings,
        "pools": head.pools,
        "requests": requests,
    }
    return [sys.executable, "-m", __name__, json.dumps(told)]


def main() -> None:
    options = json.loads(sys.argv[1])
    _end_with_the_engine(options["engine"])
    # The engine starts us again; the gateway and its ledger must not be what the kernel ends for our weights.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_KILL_FIRST)
    xllamacpp = importlib.import_module("xllamacpp")  # an optional dependency, and 100 MB of code
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, options))
    except RuntimeError:
        sys.exit(1)  # llama.cpp has written the reason
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    while server is not None:
        signal.pause()


def _end_with_the_engine(engine: int) -> None:
    """However the engine ends, the kernel ends us: loading holds Python's lock, so no thread of ours could look."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != engine:
        sys.exit(1)


def _parameters(xllamacpp: Any, options: dict[str, Any]) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = options["file"]
    parameters.model_alias = {options["model"]}
    parameters.hostnames = [options["socket"]]
    parameters.n_ctx = options["context"] * options["parallel"]  # llama.cpp divides it among the slots
    parameters.n_parallel = options["parallel"]
    parameters.n_threads_http = options["requests"] + MONITORING_THREADS
    for processors in (parameters.cpuparams, parameters.cpuparams_batch):
        processors.n_threads = options["threads"]
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.offline = True
    parameters.cache_ram_mib = 0  # by default it keeps up to 8 GiB of earlier callers' prompts
    if options["embeddings"]:
        parameters.embedding = True
        # An input is pooled from one batch, so it can't be longer; buffers grow with batch times context.
        parameters.n_batch = parameters.n_ubatch = min(options["context"], INPUT_TOKENS_MAX)
        if not options["pools"]:
            # Models that generate have read the whole input at its last token, and nowhere before.
            parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
    return parameters


if __name__ == "__main__":
    main()
