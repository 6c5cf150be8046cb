"""Settings that work and are likely to be regretted."""

import datetime
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cryptography import x509

from sekisho.app.doctor.findings import Finding, ok, problem, warning
from sekisho.catalog.interfaces import Deployment
from sekisho.settings import GatewaySettings, Settings, is_loopback, split_address

ENDS_SOON: Final = datetime.timedelta(days=30)
_DEFAULT: Final = GatewaySettings()
_IDLE_DEFAULT_S: Final = 60  # of deployments (`catalog.interfaces`)
_FILE_BYTES_MAX: Final = 262_144


def judge_workers(workers: int, cores: int) -> list[Finding]:
    return [warning("smell.workers", workers=workers, cores=cores)] if workers > cores else []


def judge_drain(drain_seconds: int, idle_timeouts_ms: Iterable[int]) -> list[Finding]:
    """A request that waits for its deployment for longer than the gateway waits when it stops is cut off.

    The defaults (10 s against 60 s) are a choice made for everybody, of which nobody need be warned.
    """
    longest_s = max(idle_timeouts_ms, default=0) // 1_000
    by_default = drain_seconds == _DEFAULT.drain_seconds and longest_s <= _IDLE_DEFAULT_S
    if drain_seconds >= longest_s or by_default:
        return []
    return [warning("smell.drain", drain_s=drain_seconds, idle_s=longest_s)]


def judge_addresses(settings: Settings) -> list[Finding]:
    """What of it can't be is refused by `load_settings` already: no TLS on an address that others reach."""
    found = []
    gateway = settings.gateway
    if not is_loopback(split_address(gateway.listen)[0]) and not gateway.tls_client_ca_file:
        found.append(ok("smell.public", listen=gateway.listen))
    public = settings.control.public_host
    host, _, port = public.partition(":")
    if public and port == "80":
        found.append(warning("smell.plain_console", host=public))
    elif public and is_loopback(host):
        found.append(warning("smell.loopback_console", host=public))
    return found


def judge_certificate(path: str, ends: datetime.datetime, now: datetime.datetime) -> list[Finding]:
    ends_at = int(ends.timestamp()) * 1_000_000
    if ends <= now:
        return [problem("smell.certificate_ended", path=path, ends_at=ends_at)]
    return [warning("smell.certificate_ends", path=path, ends_at=ends_at)] if ends - now < ENDS_SOON else []


def judge_directory(mode: int) -> list[Finding]:
    """`mode` of the installation's directory. Its ledger holds who asked for what, in files that do not hide it."""
    if mode & stat.S_IWOTH:
        return [problem("smell.writable", mode=f"{mode:04o}")]
    return [warning("smell.readable", mode=f"{mode:04o}")] if mode & 0o005 else []


# -- looking


def look_at_settings(
    root: Path, settings: Settings, deployments: Iterable[Deployment], now: datetime.datetime
) -> list[Finding]:
    """Raises OSError."""
    found = judge_directory(stat.S_IMODE(root.stat().st_mode))
    found += judge_workers(settings.gateway.workers, len(os.sched_getaffinity(0)))
    found += judge_drain(settings.gateway.drain_seconds, [one.idle_timeout_ms for one in deployments])
    found += judge_addresses(settings)
    gateway = settings.gateway
    for name in (gateway.tls_certificate_file, gateway.tls_client_ca_file):
        if name:
            found += _look_at_certificate(root, name, now)
    if gateway.tls_key_file:
        found += _look_at_key(root, gateway.tls_key_file)
    return found or [ok("smell.none")]


def _look_at_certificate(root: Path, name: str, now: datetime.datetime) -> list[Finding]:
    try:
        with (root / name).open("rb") as file:
            certificates = x509.load_pem_x509_certificates(file.read(_FILE_BYTES_MAX))
    except (OSError, ValueError) as error:
        return [problem("smell.tls_file", path=name, detail=str(error))]
    return judge_certificate(name, min(one.not_valid_after_utc for one in certificates), now)


def _look_at_key(root: Path, name: str) -> list[Finding]:
    try:
        mode = stat.S_IMODE((root / name).stat().st_mode)
    except OSError as error:
        return [problem("smell.tls_file", path=name, detail=error.strerror or str(error))]
    return [problem("key.open", path=name, mode=f"{mode:04o}", right="600")] if mode & 0o077 else []
