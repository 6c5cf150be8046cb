"""An installation's settings and the paths of its data directory, read once and frozen.

`sekisho.toml` holds what a process needs before it can read anything else; what should be governed stands in
`declarations/`. Unknown keys are errors: a misspelt bound must not silently be the default.
"""

import dataclasses
import inspect
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, get_type_hints

from sekisho.kernel.errors import SekishoError

FILE: Final = "sekisho.toml"
ENGINE_KINDS: Final = ("manual", "llama.cpp")
FORMAT: Final = 1  # of the data directory; it goes up when an older program would misread what a newer one wrote
VALID_SECONDS_MAX: Final = 30 * 86_400  # of what a probe has confirmed
_FILE_BYTES_MAX: Final = 1024 * 1024
_FORMAT_BYTES_MAX: Final = 16
_HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}(:[0-9]{1,5})?", re.ASCII)


class SettingsError(SekishoError):
    """`sekisho.toml` can't be read or says something impossible."""


class FormatUnknown(SekishoError):
    """The data directory was written by a newer program, or its format can't be told; nothing in it was touched."""


@dataclass(frozen=True, slots=True)
class InstallationSettings:
    origin: str  # of the log: <domain>/<site>/<node>, unique in the world; fixed when the installation is made
    site: str = "local"  # the site in declarations/sites/ that this installation is


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    listen: str = "127.0.0.1:8400"
    workers: int = 1  # processes; one per core that you want to give
    in_flight_max: int = 1024  # requests per worker; more get 429
    body_bytes_max: int = 32 * 1024 * 1024
    connections_max: int = 4096  # per worker
    head_timeout_ms: int = 10_000  # from the first byte of a request to the end of its head
    body_stall_timeout_ms: int = 30_000  # without a byte of an unfinished body
    idle_timeout_ms: int = 75_000  # between two requests of a connection
    write_stall_timeout_ms: int = 60_000  # the caller takes nothing of its answer
    drain_seconds: int = 10  # on stop, requests in flight may still finish for so long
    stream_outlives_snapshot_seconds: int = 3600  # a stream decided under rules that were replaced runs on for so long
    tls_certificate_file: str = ""  # PEM, relative to the data directory; empty: plain HTTP, on loopback only
    tls_key_file: str = ""
    tls_client_ca_file: str = ""  # when set, callers must present a certificate of this CA


@dataclass(frozen=True, slots=True)
class ControlSettings:
    listen: str = "127.0.0.1:8401"
    public_host: str = ""  # where a TLS proxy in front of it is reached: the one name the console then answers to


@dataclass(frozen=True, slots=True)
class WitnessSettings:
    """Where others' logs ask for cosignatures. Checkpoints are signed, so nothing else is asked of who comes."""

    listen: str = ""  # empty: nobody is answered over HTTP; `sekisho witness sign` works all the same
    tls_certificate_file: str = ""  # PEM, relative to the data directory; empty: plain HTTP, on loopback only
    tls_key_file: str = ""


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """How control looks at deployments. What is probed by itself sends no request to any of them."""

    enabled: bool = True
    interval_seconds: int = 900  # between two rounds …
    jitter_percent: int = 10  # … less up to so much of it, by chance: many sites don't ask at once
    valid_seconds: int = 86_400  # a fact that a probe has confirmed is as declared again so long after the reading
    answers: bool = False  # also time an answer of one token: a request to each deployment and round, which costs


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    segment_bytes: int = 16 * 1024 * 1024  # write-ahead segments are allocated ahead in this size
    free_reserve_bytes: int = 64 * 1024 * 1024  # below twice the unmerged bytes plus this, no new decision


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """An engine process that `up` runs beside the gateway.

    `kind` "manual" is the built-in documentation model; "llama.cpp" serves the GGUF `file` (relative to the data
    directory) under the name `model`, and the other keys are its alone.
    """

    kind: str
    listen: str
    model: str = "manual"
    file: str = ""
    context: int = 0  # tokens per request; left out: what the model was trained on, at most 8192
    parallel: int = 1  # requests computed at a time
    threads: int = 0  # left out: all processors but one
    embeddings: bool = False  # serve /v1/embeddings as well


@dataclass(frozen=True, slots=True)
class Settings:
    installation: InstallationSettings
    gateway: GatewaySettings = GatewaySettings()
    control: ControlSettings = ControlSettings()
    ledger: LedgerSettings = LedgerSettings()
    witness: WitnessSettings = WitnessSettings()
    probes: ProbeSettings = ProbeSettings()
    engines: dict[str, EngineSettings] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """Where things are in an installation."""

    root: Path

    @property
    def settings(self) -> Path:
        return self.root / FILE

    @property
    def format(self) -> Path:
        return self.root / "format"

    @property
    def declarations(self) -> Path:
        return self.root / "declarations"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger"

    @property
    def write_ahead(self) -> Path:
        return self.root / "ledger" / "wal"

    @property
    def enrolment(self) -> Path:
        return self.root / "ledger" / "enrolment"

    @property
    def former_enrolments(self) -> Path:
        return self.root / "ledger" / "enrolments"

    @property
    def former_logs(self) -> Path:
        return self.root / "ledger" / "former"

    @property
    def snapshots(self) -> Path:
        return self.root / "snapshots"

    @property
    def state(self) -> Path:
        return self.root / "state.sqlite"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def site_key(self) -> Path:
        return self.root / "keys" / "site.key"

    @property
    def log_key(self) -> Path:
        return self.root / "keys" / "log.key"

    @property
    def next_log_key(self) -> Path:
        return self.root / "keys" / "log-next.key"

    @property
    def next_log(self) -> Path:
        return self.root / "keys" / "log-next.json"

    @property
    def organisation_keys(self) -> Path:
        return self.root / "keys" / "organisations"

    @property
    def content(self) -> Path:
        return self.root / "content"

    @property
    def content_keys(self) -> Path:
        return self.root / "keys" / "content"

    @property
    def issuer_keys(self) -> Path:
        return self.root / "issuers"

    @property
    def witness_key(self) -> Path:
        return self.root / "keys" / "witness.key"

    @property
    def witness(self) -> Path:
        return self.root / "witness"

    @property
    def witness_vkey(self) -> Path:
        return self.root / "witness.vkey"

    @property
    def witnesses_state(self) -> Path:
        return self.root / "run" / "witnesses.json"

    @property
    def site_vkey(self) -> Path:
        return self.root / "site.vkey"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def probes_state(self) -> Path:
        return self.root / "run" / "probes.json"

    @property
    def registry(self) -> Path:
        return self.root / "registry"

    @property
    def declarations_state(self) -> Path:
        return self.root / "run" / "declarations.json"

    @property
    def shadow_state(self) -> Path:
        return self.root / "run" / "shadow.json"


def require_known_format(root: Path) -> None:
    """Raises FormatUnknown unless this program knows the format of the data directory. Ask before all else.

    A directory without the file was made before there was one, and has format 1.
    """
    path = DataDirectory(root).format
    try:
        with path.open("rb") as file:
            text = file.read(_FORMAT_BYTES_MAX).strip()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise FormatUnknown(f"{path} can't be read: {error.strerror}", remedy="Look at its permissions") from None
    if not text.isdigit() or int(text) < 1:
        raise FormatUnknown(f"{path} holds no format number", remedy="Restore it from a backup; nothing was touched")
    if int(text) > FORMAT:
        raise FormatUnknown(
            f"{root} has data format {int(text)}; this program knows formats up to {FORMAT}, and touched nothing",
            remedy="Run a version of Sekisho at least as new as the one that wrote it",
        )


def load_settings(root: Path) -> Settings:
    """Raises SettingsError, which names the key and what would be right, and FormatUnknown."""
    require_known_format(root)
    path = root / FILE
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES_MAX + 1)
        if len(data) > _FILE_BYTES_MAX:
            raise SettingsError(f"{path} is larger than {_FILE_BYTES_MAX} bytes")
        document = tomllib.loads(data.decode())
    except FileNotFoundError:
        raise SettingsError(f"{root} is not an installation", remedy=f"Make one: sekisho init {root}") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {error}") from None
    try:
        settings = Settings(
            installation=_read(InstallationSettings, "installation", _table(document, "installation")),
            gateway=_read(GatewaySettings, "gateway", _table(document, "gateway")),
            control=_read(ControlSettings, "control", _table(document, "control")),
            ledger=_read(LedgerSettings, "ledger", _table(document, "ledger")),
            witness=_read(WitnessSettings, "witness", _table(document, "witness")),
            probes=_read(ProbeSettings, "probes", _table(document, "probes")),
            engines={
                name: _read(EngineSettings, f"engines.{name}", _table(_table(document, "engines"), name))
                for name in _table(document, "engines")
            },
        )
        unknown = set(document) - {field.name for field in dataclasses.fields(Settings)}
        if unknown:
            raise SettingsError(f"unknown table [{min(unknown)}]")
        _check(settings)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error.message}", remedy=error.remedy) from None
    return settings


def split_address(listen: str) -> tuple[str, int]:
    """ "127.0.0.1:8400" or "[::1]:8400" as (host, port)."""
    host, separator, port = listen.rpartition(":")
    if not separator or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise SettingsError(f"{listen!r} is not an address", remedy='Write "127.0.0.1:8400"')
    return host.removeprefix("[").removesuffix("]"), int(port)


_Table = TypeVar("_Table")


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise SettingsError(f"{name!r} must be a table", remedy=f"Write [{name}]")
    return table


def _read(kind: Callable[..., _Table], where: str, table: dict[str, Any]) -> _Table:
    hints = get_type_hints(kind)
    for key, value in table.items():
        if key not in hints:
            raise SettingsError(f"[{where}] has no key {key!r}", remedy=f"It knows {', '.join(sorted(hints))}")
        if type(value) is not hints[key]:
            raise SettingsError(f"[{where}] {key} must be of type {hints[key].__name__}")
        if hints[key] is int and value < (0 if key == "drain_seconds" else 1):
            raise SettingsError(f"[{where}] {key} must be positive")
    try:
        return kind(**table)
    except TypeError:
        parameters = inspect.signature(kind).parameters.values()
        lacking = [one.name for one in parameters if one.default is one.empty and one.name not in table]
        raise SettingsError(f"[{where}] lacks {', '.join(lacking)}") from None


def _check(settings: Settings) -> None:
    for listen in (settings.gateway.listen, settings.control.listen):
        split_address(listen)
    _check_tls("gateway", settings.gateway)
    if settings.gateway.tls_client_ca_file and not settings.gateway.tls_certificate_file:
        raise SettingsError(
            "[gateway] tls_client_ca_file is set without tls_certificate_file: callers could show no certificate",
            remedy="Set tls_certificate_file and tls_key_file, or remove tls_client_ca_file",
        )
    if settings.witness.listen:
        _check_tls("witness", settings.witness)
    if not is_loopback(split_address(settings.control.listen)[0]):
        raise SettingsError("[control] listen must be a loopback address", remedy="Put a TLS proxy in front of it")
    if settings.control.public_host and not _HOST.fullmatch(settings.control.public_host):
        raise SettingsError(
            f"[control] public_host {settings.control.public_host!r} is not a host name",
            remedy='Write "console.example.com", with a port if it is not 443',
        )
    for name, engine in settings.engines.items():
        if engine.kind not in ENGINE_KINDS:
            remedy = 'It can be "manual" or "llama.cpp"'
            raise SettingsError(f"[engines.{name}] kind {engine.kind!r} is unknown", remedy=remedy)
        if bool(engine.file) != (engine.kind == "llama.cpp"):
            raise SettingsError(f"[engines.{name}] file belongs to the kind llama.cpp, which needs it")
        if len(engine.model.split()) != 1 or engine.model.startswith("-"):
            raise SettingsError(f"[engines.{name}] model {engine.model!r} is not a name")
        if not is_loopback(split_address(engine.listen)[0]):
            raise SettingsError(f"[engines.{name}] listen must be a loopback address")
    if settings.probes.valid_seconds < 2 * settings.probes.interval_seconds:
        raise SettingsError(
            "[probes] valid_seconds is less than two rounds: facts would end before they are looked at again",
            remedy="Set it to at least twice interval_seconds",
        )
    if settings.probes.valid_seconds > VALID_SECONDS_MAX:
        raise SettingsError(
            f"[probes] valid_seconds must be at most {VALID_SECONDS_MAX} (30 days)",
            remedy="What was looked at longer ago is not observed any more",
        )
    if settings.probes.jitter_percent > 90:
        raise SettingsError("[probes] jitter_percent must be at most 90", remedy="10 spreads rounds well enough")
    if settings.ledger.segment_bytes < 256 * 1024:
        raise SettingsError("[ledger] segment_bytes must be at least 262144")


def _check_tls(where: str, server: GatewaySettings | WitnessSettings) -> None:
    if not server.tls_certificate_file and not is_loopback(split_address(server.listen)[0]):
        raise SettingsError(
            f"[{where}] listen {server.listen} is not loopback and has no TLS",
            remedy="Set tls_certificate_file and tls_key_file, or listen on 127.0.0.1",
        )
    if bool(server.tls_certificate_file) != bool(server.tls_key_file):
        raise SettingsError(f"[{where}] tls_certificate_file and tls_key_file belong together")


def is_loopback(host: str) -> bool:
    """Whether an address given as text is on this machine only."""
    return host in ("localhost", "::1") or host.startswith("127.")


TEMPLATE: Final = """\
# An installation of Sekisho. What is governed stands in declarations/; this file holds what a process needs to start.
# Every key below has its default; remove the leading "# " to change one, then start again.

[installation]
# The name of this installation's log in every receipt. It must be unique in the world and must never change:
# the site's key has enrolled it.
origin = "{origin}"
# The site (declarations/sites/) that this installation is.
site = "local"

[gateway]
listen = "{gateway}"
# Processes that serve requests; give it as many as you want to give it cores.
# workers = 1
# Requests that one worker serves at a time; more are answered 429.
# in_flight_max = 1024
# The largest request body, in bytes.
# body_bytes_max = 33554432
# Connections per worker.
# connections_max = 4096
# Patience with callers, in milliseconds: for a request's head, between two pieces of its body, between two requests
# of a connection (keep it above that of a load balancer in front), and while nothing of an answer is taken.
# head_timeout_ms = 10000
# body_stall_timeout_ms = 30000
# idle_timeout_ms = 75000
# write_stall_timeout_ms = 60000
# On stop, requests in flight may still finish for so many seconds.
# drain_seconds = 10
# A stream that was decided under declarations (or a fact) no longer in force may run on for so many seconds.
# stream_outlives_snapshot_seconds = 3600
# TLS (PEM files, relative to this directory). Without it the gateway listens on loopback only.
# tls_certificate_file = ""
# tls_key_file = ""
# When set, callers must show a certificate of this authority.
# tls_client_ca_file = ""

[control]
listen = "{control}"
# The host name (with the port, if it is not 443) under which a TLS proxy in front of it is reached. The console then
# answers to that name alone, and its cookie travels by TLS only.
# public_host = ""

[ledger]
# Write-ahead segments are allocated ahead in this size, per worker.
# segment_bytes = 16777216
# With less free disk than twice the unmerged bytes plus this, requests are answered 503 and nothing is sent.
# free_reserve_bytes = 67108864

[witness]
# Where other logs (declarations/logs/) ask this installation to cosign their checkpoints, for example
# "127.0.0.1:8403" behind a TLS proxy. Empty: nobody is answered.
# listen = ""
# TLS (PEM files, relative to this directory). Without it the witness listens on loopback only.
# tls_certificate_file = ""
# tls_key_file = ""

[probes]
# Whether control looks at the deployments' addresses, certificates and management APIs (docs/facts.md). No request is
# sent to a deployment, unless `answers` is set: then one for a single token in each round, to time the answer.
# enabled = true
# answers = false
# Seconds between two rounds, by how much of that a round may come earlier by chance, and for how many seconds a fact
# that was confirmed counts as observed.
# interval_seconds = 900
# jitter_percent = 10
# valid_seconds = 86400

# The built-in model: it answers questions about Sekisho by quoting its documentation. It is an ordinary engine
# process behind an ordinary declared deployment (declarations/deployments/manual-local.toml).
[engines.manual]
kind = "manual"
listen = "{manual}"
"""
