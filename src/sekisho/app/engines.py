"""Declaring local engines in an installation, and asking those that are declared."""

import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.app.installation import DeclarationsRefused, check_declarations
from sekisho.capacity.llama.gguf import ModelHead, read_head
from sekisho.capacity.llama.options import EngineOptions, context_of
from sekisho.catalog.files import read_declarations
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.kernel.files import sync_directory, write_durable
from sekisho.settings import DataDirectory, EngineSettings, Settings, load_settings, split_address

PROVIDER: Final = "local"
SITE: Final = "local"
MODELS: Final = "models"  # where model files are put, in the data directory
PORT_FIRST: Final = 8410
PORTS_TRIED: Final = 90  # up to 8499; more engines than that on one machine have addresses of their own
HEALTH_TIMEOUT_S: Final = 2.0
_HEALTH_BYTES_MAX: Final = 64 * 1024
NAME_MAX: Final = 58  # a declaration's name has at most 64, and "-local" is added to it
# Without the dots that declarations may have: they would nest TOML's tables.
_NAME: Final = re.compile(rf"[a-z0-9][a-z0-9_-]{{0,{NAME_MAX - 1}}}", re.ASCII)

_MODEL: Final = """\
# Served by [engines.{name}] of sekisho.toml.

title = {title}
"""

_DEPLOYMENT: Final = """\
# The model file {file}, run on this machine by llama.cpp: [engines.{name}] of sekisho.toml.
# SHA-256 {sha256}
# {bytes} bytes, architecture {architecture}

model = "{name}"
provider = "{provider}"
site = "{site}"
type = "engine"
url = "http://{listen}/v1"
networks = ["{network}"]
# A whole answer may take minutes on a machine without an accelerator.
first_byte_timeout_ms = 600000

# Inference runs where the site is (declarations/sites/{site}.toml). What an engine on your own machine keeps, reviews
# or reports stays there as well. Say who may look after the machine and decide about it: until then it is unknown.
[facts]
storage = {fact}
abuse_review = {fact}
telemetry = {fact}
control_plane = {fact}
# support_staff = ["{jurisdiction}"]
# identity_provider = ["{jurisdiction}"]
# policy_authority = ["{jurisdiction}"]
tenancy = "dedicated"
key_holder = "customer"
"""

_SETTINGS: Final = """\

# {title}: a GGUF file, run by llama.cpp (declarations/deployments/{deployment}.toml).
[engines.{name}]
kind = "llama.cpp"
listen = "{listen}"
model = "{name}"
file = {file}
"""


class Wish(NamedTuple):
    """What `engine add` is asked for. `listen` None: the first free port from 8410; numbers 0: the default."""

    file: Path
    name: str | None = None
    listen: str | None = None
    context: int = 0
    parallel: int = 0
    threads: int = 0
    embeddings: bool = False


class Added(NamedTuple):
    """Paths relative to the installation; `copied` says how the model file came there, "" if it was there."""

    name: str
    listen: str
    file: str
    sha256: str
    copied: str
    declared: tuple[str, ...]


class Listed(NamedTuple):
    """`answers` is the engine's own word ("ready", "loading", "failed", "ok"), or "no answer"."""

    name: str
    kind: str
    model: str
    listen: str
    file: str
    answers: str
    reason: str


def add_engine(directory: DataDirectory, wish: Wish) -> Added:
    """Declare a GGUF file as an engine of an installation, all or nothing.

    Raises SekishoError for a file that can't be served, for a name or an address that is taken, and where the
    declarations hold mistakes, which then are as they were.
    """
    settings = load_settings(directory.root)
    head = read_head(wish.file)
    name = _name(wish)
    context_of(EngineOptions(wish.file, name, wish.context), head)
    deployment = f"{name}-local"
    targets = [directory.declarations / "models" / f"{name}.toml"]
    targets.append(directory.declarations / "deployments" / f"{deployment}.toml")
    if name in settings.engines or any(target.exists() for target in targets):
        raise SekishoError(f"{name!r} is declared already, and nothing is overwritten", remedy="Choose another --name")
    if check_declarations(directory).mistakes:
        raise SekishoError("the declarations hold mistakes", remedy=f"See them: sekisho check {directory.root}")
    jurisdiction = _jurisdiction(directory)
    listen = wish.listen or _free_address(settings)
    _require_free(listen, settings)
    placed, copied = _place(directory.root, wish.file, name)
    try:
        digest = _sha256(directory.root / placed)
        texts = _texts(head, name, deployment, listen, placed, digest, jurisdiction)
        _write(directory, targets, texts, _settings_text(wish, head, name, deployment, listen, placed))
    except BaseException:
        if copied:
            (directory.root / placed).unlink(missing_ok=True)
        raise
    declared = tuple(str(target.relative_to(directory.root)) for target in targets)
    return Added(name, listen, placed, digest, copied, declared)


def list_engines(settings: Settings) -> list[Listed]:
    """The engines of `sekisho.toml`, in its order, each asked how it is."""
    return [
        Listed(name, engine.kind, engine.model, engine.listen, engine.file, *_health(engine))
        for name, engine in settings.engines.items()
    ]


def _name(wish: Wish) -> str:
    name = wish.name
    if name is None:
        name = re.sub(r"[^a-z0-9_]+", "-", wish.file.name.lower().removesuffix(".gguf")).strip("-_")[:NAME_MAX]
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} can't be a name", remedy="Give --name: a-z, 0-9, '_' and '-', beginning with a letter or digit"
        )
    return name


def _jurisdiction(directory: DataDirectory) -> str:
    catalogue = read_declarations(directory.declarations).catalogue
    sites = {} if catalogue is None else {site.name: site.jurisdiction for site in catalogue.sites}
    if SITE not in sites or catalogue is None or PROVIDER not in {one.name for one in catalogue.providers}:
        raise SekishoError(
            f"the site {SITE!r} or the provider {PROVIDER!r} is not declared",
            remedy=f"Declare declarations/sites/{SITE}.toml and declarations/providers/{PROVIDER}.toml",
        )
    return sites[SITE]


def _taken(settings: Settings) -> Iterable[str]:
    yield from (settings.gateway.listen, settings.control.listen)
    yield from (engine.listen for engine in settings.engines.values())


def _free_address(settings: Settings) -> str:
    taken = {split_address(listen)[1] for listen in _taken(settings)}
    for port in range(PORT_FIRST, PORT_FIRST + PORTS_TRIED):
        with socket.socket() as probe, contextlib.suppress(OSError):
            if port not in taken:
                probe.bind(("127.0.0.1", port))
                return f"127.0.0.1:{port}"
    raise SekishoError("no port from 8410 on is free", remedy="Give --listen 127.0.0.1:PORT")


def _require_free(listen: str, settings: Settings) -> None:
    if split_address(listen) in {split_address(other) for other in _taken(settings)}:
        raise SekishoError(f"{listen} is taken in sekisho.toml already", remedy="Give another --listen")


def _place(root: Path, file: Path, name: str) -> tuple[str, str]:
    """The file's path relative to the data directory, and how it came there if it was not in it."""
    root, file = root.resolve(), file.resolve()
    if file.is_relative_to(root):
        return file.relative_to(root).as_posix(), ""
    target = root / MODELS / f"{name}.gguf"
    if target.exists():
        raise SekishoError(f"{target} is there already, and nothing is overwritten", remedy="Choose another --name")
    target.parent.mkdir(exist_ok=True)
    try:
        os.link(file, target)
        how = "linked"
    except OSError:  # another file system, or one without hard links
        how = "copied"
        try:
            with file.open("rb") as source, target.open("xb") as copy:
                shutil.copyfileobj(source, copy)
                os.fsync(copy.fileno())
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    sync_directory(target.parent)
    return target.relative_to(root).as_posix(), how


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _texts(
    head: ModelHead, name: str, deployment: str, listen: str, placed: str, digest: str, jurisdiction: str
) -> list[str]:
    source = f"sekisho engine add: {placed}, sha256 {digest}"
    host = split_address(listen)[0]
    return [
        _MODEL.format(name=name, title=_toml(head.name or name)),
        _DEPLOYMENT.format(
            name=name,
            file=placed,
            sha256=digest,
            bytes=head.file_bytes,
            architecture=_one_line(head.architecture),
            provider=PROVIDER,
            site=SITE,
            listen=listen,
            network="::1/128" if ":" in host else "127.0.0.0/8",
            jurisdiction=jurisdiction,
            fact=f'{{ value = ["{jurisdiction}"], grade = "declared", source = {_toml(source)} }}',
        ),
    ]


def _settings_text(wish: Wish, head: ModelHead, name: str, deployment: str, listen: str, placed: str) -> str:
    title = _one_line(head.name or name)
    text = _SETTINGS.format(title=title, name=name, deployment=deployment, listen=listen, file=_toml(placed))
    for key, number in (("context", wish.context), ("parallel", wish.parallel), ("threads", wish.threads)):
        text += f"{key} = {number}\n" if number else ""
    return text + ("embeddings = true\n" if wish.embeddings else "")


def _write(directory: DataDirectory, targets: list[Path], texts: list[str], settings_text: str) -> None:
    before = directory.settings.read_bytes()
    try:
        for target, text in zip(targets, texts, strict=True):
            target.parent.mkdir(exist_ok=True)
            write_durable(target, text.encode())
        mistakes = check_declarations(directory).mistakes
        if mistakes:
            raise DeclarationsRefused(mistakes)
        write_durable(directory.settings, before + settings_text.encode())
        load_settings(directory.root)
    except BaseException:
        for target in targets:  # first: to remove needs no room on a full disk
            target.unlink(missing_ok=True)
        if directory.settings.read_bytes() != before:
            write_durable(directory.settings, before)
        raise


def _health(engine: EngineSettings) -> tuple[str, str]:
    host, port = split_address(engine.listen)
    connection = http.client.HTTPConnection(host, port, timeout=HEALTH_TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        answer = json.loads(connection.getresponse().read(_HEALTH_BYTES_MAX))
        return str(answer.get("status", "")), str(answer.get("reason", ""))
    except (OSError, http.client.HTTPException, ValueError, AttributeError):
        return "no answer", ""  # nobody, or something that is no engine
    finally:
        connection.close()


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:200]


def _toml(text: str) -> str:
    """A TOML basic string: JSON's escapes are a subset of TOML's (toml.io, "String")."""
    return json.dumps(_one_line(text), ensure_ascii=False)
