"""`sekisho engine`: run models on your own machine with llama.cpp, and declare them."""

import argparse
import importlib.util
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sekisho.app.engines import Wish, add_engine, list_engines
from sekisho.app.process import configure_log
from sekisho.capacity.llama.options import PARALLEL_MAX, EngineOptions
from sekisho.capacity.llama.server import serve
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.settings import DataDirectory, SettingsError, is_loopback, load_settings, split_address

LISTEN: Final = "127.0.0.1:8410"
TOKENS_MAX: Final = 2**27  # llama.cpp counts context times parallel in 31 bits, with room for 16 at a time
_NOT_INSTALLED: Final = "pip install 'sekisho[server,engine]'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Run models on your own machine with llama.cpp, and declare them."
    parser.epilog = "`sekisho engine add --help` and so on tell the rest."
    acts = parser.add_subparsers(dest="act", required=True, metavar="add|list|serve")
    add = acts.add_parser(
        "add",
        help="declare a GGUF file in an installation",
        description=(
            "Declare a GGUF file: [engines.NAME] in sekisho.toml, a model and a deployment in declarations/. "
            "A file outside the installation is linked into its models/, or copied. Nothing is overwritten."
        ),
    )
    add.add_argument("file", metavar="MODEL.gguf", type=Path)
    add.add_argument("--name", help="what callers call the model (default: made from the file's name)")
    add.add_argument("--listen", metavar="ADDRESS", help="where it listens (default: the first free port from 8410)")
    _add_dimensions(add)
    listed = acts.add_parser("list", help="the engines declared, and whether they answer")
    listed.add_argument("--json", action="store_true", help="print it as JSON")
    for act in (add, listed):
        act.add_argument("--dir", type=Path, default=Path(), metavar="DIR", help="the installation (default: here)")
    served = acts.add_parser(
        "serve",
        help="serve a GGUF file on an address of this machine",
        description="Serve a GGUF file as an OpenAI-compatible API, without keys and rules: the gateway has those.",
        epilog="SIGINT or SIGTERM stops it: answers under way may take 5 s more.",
    )
    served.add_argument("file", metavar="MODEL.gguf", type=Path)
    served.add_argument("--listen", metavar="ADDRESS", default=LISTEN, help="a loopback address (%(default)s)")
    served.add_argument("--model", metavar="NAME", help="the name it is served under (default: the file's)")
    _add_dimensions(served)
    served.add_argument("--exit-with-parent", action="store_true", help="stop when standard input ends")


def _add_dimensions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--context", type=_number(TOKENS_MAX), default=0, metavar="N",
        help="tokens per request, question and answer together (default: the model's own, at most 8192)",
    )  # fmt: skip
    parser.add_argument(
        "--parallel", type=_number(PARALLEL_MAX), default=0, metavar="N",
        help="requests computed at a time (default: 1); as many, or 8, may wait; others get 429",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=_number(1024), default=0, metavar="N", help="processors used (default: all but one)"
    )
    parser.add_argument("--embeddings", action="store_true", help="serve /v1/embeddings as well")


def _number(most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not 0 < int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {most}")
        return int(text)

    return number


def run(arguments: argparse.Namespace) -> int:
    return {"add": _add, "list": _list, "serve": _serve}[arguments.act](arguments)


def _add(arguments: argparse.Namespace) -> int:
    root: Path = arguments.dir
    if arguments.listen is not None:
        _loopback(arguments.listen)
    wish = Wish(
        arguments.file,
        arguments.name,
        arguments.listen,
        arguments.context,
        arguments.parallel,
        arguments.threads,
        arguments.embeddings,
    )
    added = add_engine(DataDirectory(root), wish)
    where = f"{added.copied} into the installation as {added.file}" if added.copied else added.file
    print(f"{added.name}: {where}\nsha256 {added.sha256}")
    print("\n".join([f"wrote {file}" for file in added.declared] + [f"wrote [engines.{added.name}] in sekisho.toml"]))
    if not _can_serve():
        print(f"To run it, llama.cpp is needed as well: {_NOT_INSTALLED}", file=sys.stderr)
    print(f'Next: start `sekisho up {root}` again, then ask for the model "{added.name}".', file=sys.stderr)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    engines = list_engines(load_settings(arguments.dir))
    if arguments.json:
        print(json.dumps([engine._asdict() for engine in engines], indent=2, ensure_ascii=False))
        return 0
    rows = [("NAME", "KIND", "MODEL", "LISTEN", "ANSWERS")]
    rows += [(one.name, one.kind, one.model, one.listen, one.answers) for one in engines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row, reason in zip(rows, ["", *(one.reason for one in engines)], strict=True):
        line = "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        print(f"{line}: {reason}" if reason else line)
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    configure_log("engine")
    host, port = _loopback(arguments.listen)
    if not _can_serve():
        raise SekishoError("serving a model needs llama.cpp, which is not installed", remedy=_NOT_INSTALLED)
    options = EngineOptions(
        file=arguments.file,
        model=arguments.model or arguments.file.name.removesuffix(".gguf"),
        context=arguments.context,
        parallel=arguments.parallel or 1,
        threads=arguments.threads,
        embeddings=arguments.embeddings,
    )
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    serve(options, host, port, exit_with_parent=arguments.exit_with_parent)
    return 0


def _loopback(listen: str) -> tuple[str, int]:
    try:
        host, port = split_address(listen)
    except SettingsError as error:
        raise UsageError(f"--listen: {error.message}", remedy=error.remedy) from None
    if not is_loopback(host):
        raise UsageError(
            f"--listen: {listen} is not a loopback address",
            remedy="An engine has no keys: only the gateway before it may be reached from elsewhere",
        )
    return host, port


def _can_serve() -> bool:
    return importlib.util.find_spec("xllamacpp") is not None
